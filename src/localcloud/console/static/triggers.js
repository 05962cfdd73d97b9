// Eventarc's triggers with their deliveries, and the schedules.

import { count, duration, h, link, moment, table, tag } from "./dom.js";
import { subscriptionLink, topicLink } from "./pubsub.js";
import { get } from "./server.js";
import { serviceLink } from "./services.js";
import { workflowLink } from "./workflows.js";

export const triggers = {
  title: "Triggers",
  load: () => get("triggers"),

  render(all) {
    const rows = all.map((each) => ({
      key: each.name,
      cells: [
        link(`#/events?service=eventarc&text=${encodeURIComponent(each.name)}`, each.name),
        [
          h("div", { class: "nowrap" }, each.event_type.replace("google.cloud.", "")),
          Object.entries(each.filters).map(([key, value]) =>
            h("div", null, h("span", { class: "muted" }, `${key} `), value),
          ),
        ],
        each.workflow ? workflowLink(each.workflow) : [serviceLink(each.service), each.path === "/" ? "" : each.path],
        each.transport === null
          ? tag("transport is gone", "bad")
          : each.transport.backlog
            ? link(`#/pubsub/subscription/${each.transport.name}`, count(each.transport.backlog))
            : 0,
        each.transport?.leased ? tag(each.transport.leased, "info") : 0,
        each.transport?.oldest ? moment(each.transport.oldest, { only: "age" }) : "",
        each.dead_letters ? [tag(count(each.dead_letters), "bad"), " ", subscriptionLink(each.dead_letter)] : 0,
      ],
    }));
    const columns = [
      ["Trigger", "wide"],
      ["Event", "wide"],
      ["Calls"],
      ["Undelivered", "num"],
      ["On its way", "num"],
      ["Oldest", "nowrap"],
      ["Dead letters", "num"],
    ];
    return [
      h("h1", null, "Triggers"),
      table("Triggers", columns, rows, "No trigger is deployed: events of objects and messages start nothing."),
    ];
  },
};

export const schedules = {
  title: "Schedules",
  load: () => get("schedules"),

  render(all) {
    const rows = all.map((each) => ({
      key: each.name,
      cells: [each.name, topicLink(each.topic), `every ${duration(each.every_s)}`, moment(each.next_run)],
    }));
    return [
      h("h1", null, "Schedules"),
      table(
        "Schedules",
        [["Schedule", "wide"], ["Publishes to"], ["Runs"], ["Next", "nowrap"]],
        rows,
        "No schedule is deployed. They come with the deployment that the local cloud is started with.",
      ),
      rows.length > 0 && h("p", { class: "muted" }, "Advance the clock above to have one run now."),
    ];
  },
};
