// Everything at a glance: what there is, what is in flight, what just happened.

import { count, facts, h, link, moment, section, table, tag } from "./dom.js";
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
        tile("storage", totals.objects, "objects", `${count(totals.buckets)} buckets`),
        tile(
          "pubsub",
          totals.undelivered + totals.leased,
          "messages in flight",
          `${count(totals.backlog)} wait to be pulled · ${count(totals.topics)} topics`,
        ),
        tile(
          "services",
          totals.ready,
          "instances ready",
          `${totals.starting} starting · ${count(totals.services)} services`,
        ),
        tile("services", totals.in_flight, "requests in flight", `${count(totals.waiting)} waiting`),
        tile(
          "workflows",
          totals.active_executions + totals.active_jobs,
          "executions active",
          `${count(totals.workflows)} workflows · ${count(totals.jobs)} jobs`,
        ),
        tile(
          "machines",
          totals.machines,
          "machines",
          `${count(totals.wanted_machines)} wanted · ${count(totals.groups)} groups`,
        ),
        tile(
          "faults",
          totals.faults,
          "faults ordered",
          `${count(totals.triggers)} triggers · ${count(totals.schedules)} schedules`,
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

function inFlight({ subscriptions, services, executions, jobs }) {
  const messages = subscriptions
    .filter((each) => (each.is_push && each.backlog) || each.leased)
    .map((each) => ({
      key: `subscription ${each.name}`,
      cells: [
        subscriptionLink(each.name),
        `${each.is_push ? "push" : "pull"} subscription`,
        `${count(each.backlog)} messages, ${count(each.leased)} of them leased`,
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
          `${each.instances.reduce((sum, instance) => sum + instance.active, 0)} requests in flight, ${each.waiting} waiting `,
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
