// VMs and the instance groups that want them. #/machines and #/machines/<zone>/<name>

import { button, count, crumbs, duration, facts, h, link, moment, section, table, tag } from "./dom.js";
import { get, send } from "./server.js";
import { logLines } from "./services.js";

export const machines = {
  title: "Machines",

  async load({ path: [zone, name] }) {
    if (zone === undefined) return get("machines");
    const [all, lines] = await Promise.all([get("machines"), get("machine-logs", { name, limit: 200 })]);
    return { ...all, lines };
  },

  // What a VM prints is no event.
  poll: (data, { path: [zone, name] }) =>
    data.machines.some((each) => each.status !== "running" || (each.zone === zone && each.name === name)) && 2000,

  render(data, { path: [zone, name] }, page) {
    return zone === undefined ? lists(data) : machinePage(data, zone, name ?? "", page);
  },
};

export const machineLink = (each) =>
  each.zone
    ? link(`#/machines/${encodeURIComponent(each.zone)}/${encodeURIComponent(each.name)}`, each.name)
    : each.name;

const STATUSES = { running: "good", provisioning: "warn", staging: "warn", waiting: "warn" };

/** What is said of a VM at a glance. */
export function machineTags(each) {
  return [
    tag(each.status, STATUSES[each.status]),
    each.is_preempted && [" ", tag("preempted", "bad")],
    each.action === "DELETING" && each.status !== "stopping" && [" ", tag("to be deleted", "warn")],
  ];
}

function lists({ machines: all, groups, others }) {
  const idle = Object.entries(others);
  const number = idle.reduce((sum, [, regions]) => sum + regions.length, 0);
  const none = ["No instance group. Make one: ", h("code", null, "RegionInstanceGroupManagersClient().insert(...)")];
  return [
    h("h1", null, "Machines"),
    section("VMs", machineTable(all)),
    section(
      "Instance groups",
      groupTable(groups, number ? "All groups are at zero." : none),
      number > 0 &&
        h(
          "details",
          null,
          h("summary", null, `${count(number)} groups at zero`),
          facts(idle.map(([name, regions]) => [name, regions.join(", ")])),
        ),
    ),
  ];
}

const muted = (...text) => h("span", { class: "muted" }, text);

function machineTable(all) {
  const rows = all.map((each) => ({
    key: `${each.region} ${each.zone} ${each.name}`,
    cells: [
      machineLink(each),
      [machineTags(each), each.error && h("div", { class: "muted" }, each.error)],
      each.zone || each.region,
      [each.machine_type, each.accelerator && each.accelerator !== each.machine_type && [" ", muted(each.accelerator)]],
      each.zone && (each.is_spot ? "spot" : "standard"),
      each.group,
      moment(each.created),
    ],
  }));
  const columns = [
    ["VM", "wide"],
    ["Status"],
    ["Zone", "nowrap"],
    ["Machine", "nowrap"],
    ["Provisioning"],
    ["Group", "nowrap"],
    ["Created", "nowrap"],
  ];
  return table("VMs", columns, rows, "No VM: nothing runs, and nothing would cost.");
}

function groupTable(groups, empty) {
  const rows = groups.map((each) => ({
    key: `${each.region}/${each.name}`,
    cells: [
      each.name,
      each.region,
      `${count(each.running)} of ${count(each.target_size)}`,
      each.resize_requests || "",
      each.errors.length > 0 && lastError(each.errors[0]),
    ],
  }));
  const columns = [
    ["Group", "wide"],
    ["Region", "nowrap"],
    ["Running", "nowrap"],
    ["Resize requests", "num"],
    ["Last error", "wide"],
  ];
  return table("Instance groups", columns, rows, empty);
}

const lastError = ({ code, zone, time }) => [tag(code, "bad"), " ", zone, " ", moment(time)];

function machinePage({ machines: all, lines }, zone, name, page) {
  const found = all.find((each) => each.zone === zone && each.name === name);
  const head = [crumbs(link("#/machines", "Machines"), zone), h("h1", null, name)];
  const log = section("Log", logLines(lines));
  if (found === undefined) return [...head, h("p", { class: "empty" }, "There is no such VM (any more)."), log];
  const act = (what, said) => () => page.act(() => send("POST", `${what}-machine`, { zone, name }), said);
  return [
    ...head,
    h(
      "p",
      { class: "row" },
      machineTags(found),
      link(`#/events?service=compute&text=${encodeURIComponent(`${zone}/${name}`)}`, "Events"),
      found.status === "running" && [
        button("Preempt", act("preempt", "It has half a minute."), {
          title: "As Compute Engine takes a spot VM back: notice, then the end after 30 seconds of virtual time",
        }),
        button("Lose", act("lose", "It is gone."), {
          class: "danger",
          title: "As when its host fails: gone without a word",
        }),
      ],
    ),
    facts([
      ["Machine type", found.machine_type],
      ["Accelerator", found.accelerator === found.machine_type ? "" : found.accelerator],
      ["Provisioning", found.is_spot ? "spot" : "standard"],
      ["Group", found.group && `${found.group}, ${found.region}`],
      ["Created", moment(found.created)],
      ["May run for", duration(found.max_run_s)],
      ["Process", found.pid],
      ...Object.entries(found.labels).map(([key, value]) => [`label ${key}`, value]),
    ]),
    log,
  ];
}
