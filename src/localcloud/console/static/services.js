// Services, their instances and logs. #/services/<name>?instance=

import { count, crumbs, duration, facts, h, link, moment, section, table, tag, timeOfDay } from "./dom.js";
import { get } from "./server.js";

export const services = {
  title: "Services",

  async load({ path: [service], query }) {
    if (service === undefined) return { services: await get("services") };
    const logs = get("logs", { service, instance: query.get("instance") ?? "", limit: 200 });
    const [all, lines] = await Promise.all([get("services"), logs]);
    return { services: all, lines };
  },

  // What a service prints is no event.
  poll: (data, { path: [name] }) =>
    name !== undefined && data.services.some((each) => each.name === name && each.instances.length > 0) && 2000,

  render(data, { path: [name], query }) {
    if (name === undefined) return list(data.services);
    return servicePage(data, name, query.get("instance") ?? "");
  },
};

export const serviceLink = (name) => link(`#/services/${encodeURIComponent(name)}`, name);
const PHASES = { starting: "warn", ready: "good", stopping: "", ended: "" };

function list(all) {
  const rows = all.map((service) => {
    const phases = service.instances.map((each) => each.phase);
    const active = service.instances.reduce((sum, each) => sum + each.active, 0);
    return {
      key: service.name,
      cells: [
        serviceLink(service.name),
        phases.length === 0 ? h("span", { class: "muted" }, "at zero") : phaseTags(phases),
        active ? tag(count(active), "info") : 0,
        service.waiting ? tag(count(service.waiting), "warn") : 0,
        `${service.min_instances} to ${service.max_instances}`,
        service.concurrency,
        service.cold_starts.length ? coldStart(service.cold_starts[0]) : "",
      ],
    };
  });
  const columns = [
    ["Service", "wide"],
    ["Instances", "nowrap"],
    ["In flight", "num"],
    ["Waiting", "num"],
    ["Scales", "nowrap"],
    ["Concurrency", "num"],
    ["Last cold start", "nowrap"],
  ];
  return [
    h("h1", null, "Services"),
    table(
      "Services",
      columns,
      rows,
      [
        "No service is deployed. They come with the deployment that the local cloud is started with, or from ",
        h("code", null, "run_v2.ServicesClient().create_service(...)"),
      ],
    ),
  ];
}

function phaseTags(phases) {
  const kinds = [...new Set(phases)];
  return kinds.map((phase) => [tag(`${phases.filter((each) => each === phase).length} ${phase}`, PHASES[phase]), " "]);
}

/** How long a start took; its times are real. */
function coldStart(start) {
  if (start.ready === null) return "not ready yet";
  return duration(start.ready - start.spawned);
}

function servicePage({ services: all, lines }, name, instance) {
  const service = all.find((each) => each.name === name);
  if (service === undefined) return [h("h1", null, name), h("p", { class: "empty" }, "There is no such service.")];
  return [
    crumbs(link("#/services", "Services")),
    h("h1", null, name),
    facts([
      ["Address", h("code", null, service.url)],
      ["Revision", service.revision],
      ["Invocations", service.is_public ? "public" : "with an identity token"],
      ["Waiting", count(service.waiting)],
      ["Instances", `${service.min_instances} to ${service.max_instances}`],
      ["Concurrency", service.concurrency],
      ["Time limit", duration(service.timeout_s)],
      ["Idle until stopped", duration(service.idle_s)],
      ["Command", h("code", null, service.command.join(" "))],
    ]),
    section("Instances", instanceTable(service, name)),
    section("Revisions", revisionTable(service.revisions)),
    section(
      "Log",
      instance &&
        h(
          "p",
          { class: "row" },
          h("span", null, `of ${instance}`),
          link(`#/services/${encodeURIComponent(name)}`, "of all instances"),
        ),
      logLines(lines),
    ),
    section("Cold starts", coldStartTable(service.cold_starts)),
  ];
}

function instanceTable(service, name) {
  const rows = service.instances.map((each) => ({
    key: each.name,
    cells: [
      link(`#/services/${encodeURIComponent(name)}?instance=${encodeURIComponent(each.name)}`, each.name),
      [tag(each.phase, PHASES[each.phase]), each.is_retired ? [" ", tag("old revision", "warn")] : ""],
      each.active
        ? tag(`${each.active} in flight`, "info")
        : each.phase === "ready"
          ? ["idle since ", moment(each.idle_since)]
          : "",
      each.served,
      each.pid ?? "",
      each.port,
    ],
  }));
  const columns = [
    ["Instance", "wide"],
    ["Phase", "nowrap"],
    ["Requests", "nowrap"],
    ["Served", "num"],
    ["Process", "num"],
    ["Port", "num"],
  ];
  return table("Instances", columns, rows, "At zero. The next request starts an instance.");
}

function revisionTable(revisions) {
  const rows = revisions.map((each, index) => ({
    key: each.name,
    cells: [
      [each.name, index === 0 && [" ", tag("latest", "info")]],
      each.percent ? `${each.percent} %` : h("span", { class: "muted" }, "none"),
      each.tags.map((name) => [tag(name), " "]),
      moment(each.created),
    ],
  }));
  const columns = [["Revision", "wide"], ["Requests", "num"], ["Tags"], ["Deployed", "nowrap"]];
  return table("Revisions", columns, rows, "");
}

function coldStartTable(starts) {
  const part = (from, to) => (from === null || to === null ? "" : duration(to - from));
  const rows = starts.map((each) => ({
    key: each.instance,
    cells: [
      each.instance,
      part(each.spawned, each.listening),
      part(each.listening, each.ready),
      part(each.ready, each.first_request),
      part(each.spawned, each.ready),
    ],
  }));
  const columns = [
    ["Instance", "wide"],
    ["Until it listens", "num"],
    ["Until ready", "num"],
    ["Until its first request", "num"],
    ["In all", "num"],
  ];
  return table("Cold starts", columns, rows, "None yet.");
}

export function logLines(lines) {
  if (lines.length === 0) return h("p", { class: "empty" }, "Nothing was printed yet.");
  const items = [...lines]
    .reverse()
    .map((line) =>
      h(
        "li",
        { class: `${line.severity.toLowerCase()} ${line.stream}` },
        h("span", { class: "muted" }, `${timeOfDay(new Date(line.time))} `),
        line.text,
        line.more && h("span", { class: "muted" }, ` ${line.more}`),
      ),
    );
  return h("ol", { class: "lines", tabindex: "0", "aria-label": "Log, newest first" }, items);
}
