// Everything at a glance: what there is, what is in flight, what just happened.

import { count, facts, h, link, many, moment, section, table, tag } from "./dom.js";
import { eventTable, latest } from "./events.js";
import { jobExecutionLink, taskTags } from "./jobs.js";
import { subscriptionLink } from "./pubsub.js";
import { get } from "./server.js";
import { serviceLink } from "./services.js";
import { executionLink } from "./workflows.js";

export const overview = {
  title: "Overview",

  async load() {
    const names = ["topics", "services", "active", "active-jobs"];
    const [{ subscriptions }, services, executions, jobs] = await Promise.all(names.map((name) => get(name)));
    return { subscriptions, services, executions, jobs };
  },

  render(data, route, page, totals) {
    return [
      h("h1", null, "Overview"),
      h(
        "ul",
        { class: "tiles" },
        tile("storage", totals.objects, "objects", many(totals.buckets, "bucket")),
        tile(
          "pubsub",
          totals.undelivered + totals.leased,
          "messages in flight",
          `${count(totals.backlog)} to be pulled · ${many(totals.topics, "topic")}`,
        ),
        tile(
          "services",
          totals.ready,
          "instances ready",
          `${count(totals.starting)} starting · ${many(totals.in_flight + totals.waiting, "request")}`,
        ),
        tile(
          "workflows",
          totals.active_executions + totals.active_jobs,
          "executions active",
          `${many(totals.workflows, "workflow")} · ${many(totals.jobs, "job")}`,
        ),
        tile(
          "machines",
          totals.machines,
          "machines",
          `${count(totals.wanted_machines)} awaited · ${many(totals.groups, "group")}`,
        ),
        tile(
          "faults",
          totals.faults,
          "faults ordered",
          `${many(totals.triggers, "trigger")} · ${many(totals.schedules, "schedule")}`,
        ),
      ),
      section("In flight", inFlight(data)),
      section(
        "Just happened",
        eventTable(latest(15), "Nothing yet. Point Google's client libraries at the addresses below."),
      ),
      section(
        "Addresses",
        facts([
          ["HTTP", h("code", null, totals.http_url)],
          ["gRPC", h("code", null, totals.grpc_address)],
          ["Google's Pub/Sub", totals.pubsub_address !== totals.grpc_address && h("code", null, totals.pubsub_address)],
          ["Project", totals.project],
          ["State", [h("code", null, totals.state), totals.is_temporary ? " (ends with the process)" : ""]],
        ]),
      ),
    ];
  },
};

function tile(view, number, label, more) {
  return h(
    "li",
    { key: label },
    link(`#/${view}`, h("span", { class: "big" }, count(number)), label, h("br"), h("span", { class: "label" }, more)),
  );
}

const inside = (service) => service.instances.reduce((sum, each) => sum + each.active, 0);

function inFlight({ subscriptions, services, executions, jobs }) {
  const messages = subscriptions
    .filter((each) => (each.is_push && each.backlog) || each.leased)
    .map((each) => ({
      key: `subscription ${each.name}`,
      cells: [
        subscriptionLink(each.name),
        `${each.is_push ? "push" : "pull"} subscription`,
        `${many(each.backlog, "message")}, ${count(each.leased)} leased`,
      ],
    }));
  const requests = services
    .filter(
      (each) => each.waiting || each.instances.some((instance) => instance.active || instance.phase === "starting"),
    )
    .map((each) => ({
      key: `service ${each.name}`,
      cells: [
        serviceLink(each.name),
        "service",
        [
          `${many(inside(each), "request")} in flight, ${count(each.waiting)} waiting `,
          each.instances.some((instance) => instance.phase === "starting") && tag("cold start", "warn"),
        ],
      ],
    }));
  const running = executions.map((each) => ({
    key: `execution ${each.id}`,
    cells: [
      executionLink(each),
      "execution",
      [each.current && [h("code", null, each.current[1]), ", "], "started ", moment(each.started)],
    ],
  }));
  const tasks = jobs.map((each) => ({
    key: `job ${each.name}`,
    cells: [jobExecutionLink(each), "job", taskTags(each.tasks)],
  }));
  const columns = [["What", "wide"], ["Kind"], ["How much", "wide"]];
  return table("In flight", columns, [...running, ...tasks, ...messages, ...requests], "Nothing is on its way.");
}
