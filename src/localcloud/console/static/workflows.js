// Workflows and their executions. #/workflows/<workflow> and #/workflows/<workflow>/<execution>

import { button, crumbs, duration, facts, h, link, moment, now, pretty, section, table, tag } from "./dom.js";
import { get, send } from "./server.js";

export const workflows = {
  title: "Workflows",

  async load({ path: [workflow, id] }) {
    if (workflow === undefined) {
      const all = await get("workflows");
      const latest = await Promise.all(all.map((each) => get("executions", { workflow: each.name, limit: 10 })));
      return all.map((each, index) => ({ ...each, latest: latest[index] }));
    }
    if (id !== undefined) return get("execution", { workflow, id });
    const [all, executions] = await Promise.all([get("workflows"), get("executions", { workflow, limit: 100 })]);
    return { workflow: all.find((each) => each.name === workflow), executions };
  },

  poll: (data, { path: [, id] }) => id !== undefined && data.state === "ACTIVE" && 1000,

  render(data, { path: [workflow, id] }, page) {
    if (workflow === undefined) return list(data);
    return id === undefined ? workflowPage(data, workflow) : executionPage(data, workflow, page);
  },
};

const STATES = { ACTIVE: "info", SUCCEEDED: "good", FAILED: "bad", CANCELLED: "warn", QUEUED: "", UNAVAILABLE: "bad" };

export const workflowLink = (name) => link(`#/workflows/${encodeURIComponent(name)}`, name);
export const executionLink = (each) =>
  link(`#/workflows/${encodeURIComponent(each.workflow)}/${each.id}`, `${each.workflow}/${each.id.slice(0, 8)}`);

function list(all) {
  const rows = all.map((each) => ({
    key: each.name,
    cells: [workflowLink(each.name), each.revision, moment(each.updated)],
  }));
  const latest = all
    .flatMap((workflow) => workflow.latest)
    .sort((one, other) => other.started - one.started)
    .slice(0, 20);
  return [
    h("h1", null, "Workflows"),
    table("Workflows", [["Workflow", "wide"], ["Revision"], ["Deployed", "nowrap"]], rows, "No workflow is deployed."),
    section("Latest executions", executionTable(latest, true)),
  ];
}

function executionTable(executions, withWorkflow) {
  const rows = executions.map((each) => ({
    key: each.id,
    cells: [
      link(`#/workflows/${encodeURIComponent(each.workflow)}/${each.id}`, each.id),
      withWorkflow ? each.workflow : each.revision,
      tag(each.state, STATES[each.state]),
      each.current ? h("span", { class: "mono" }, each.current[1]) : "",
      moment(each.started),
      duration((each.ended ?? now()) - each.started),
      Object.entries(each.labels).map(([key, value]) => [tag(`${key}=${value}`), " "]),
    ],
  }));
  const columns = [
    ["Execution", "wide"],
    [withWorkflow ? "Workflow" : "Revision"],
    ["State"],
    ["Step"],
    ["Started", "nowrap"],
    ["Took", "num"],
    ["Labels"],
  ];
  return table("Executions", columns, rows, "No execution yet.");
}

function workflowPage({ workflow, executions }, name) {
  if (workflow === undefined) return [h("h1", null, name), h("p", { class: "empty" }, "There is no such workflow.")];
  return [
    crumbs(link("#/workflows", "Workflows")),
    h("h1", null, name),
    facts([["Revision", workflow.revision], ["Deployed", moment(workflow.updated)], ...Object.entries(workflow.env)]),
    section("Executions", executionTable(executions, false)),
    section(
      "Source",
      h(
        "details",
        null,
        h("summary", null, `${workflow.source.split("\n").length} lines`),
        h("pre", null, workflow.source),
      ),
    ),
  ];
}

function executionPage(execution, workflow, page) {
  const isActive = execution.state === "ACTIVE";
  const cancel = () => page.act(() => send("POST", "cancel", { workflow, id: execution.id }), "Cancelled.");
  return [
    crumbs(link("#/workflows", "Workflows"), workflowLink(workflow)),
    h("h1", null, execution.id),
    h(
      "p",
      { class: "row" },
      tag(execution.state, STATES[execution.state]),
      link(`#/events?ref=${execution.id}`, "Events"),
      isActive && button("Cancel", cancel, { class: "danger" }),
    ),
    facts([
      ["Started", moment(execution.started)],
      ["Ended", moment(execution.ended)],
      ["Took", duration((execution.ended ?? now()) - execution.started)],
      ["Revision", execution.revision],
      [isActive ? "Runs" : "Last step", execution.current ? h("code", null, execution.current.join(" · ")) : ""],
      ...Object.entries(execution.labels),
    ]),
    execution.error_context &&
      section("Error", h("pre", null, execution.error_context), h("pre", null, pretty(execution.error))),
    section("Argument", text(execution.argument, "It was started without an argument.")),
    section("Result", text(execution.result, isActive ? "It is still running." : "It has none.")),
  ];
}

function text(json, empty) {
  return json ? h("pre", null, pretty(json)) : h("p", { class: "empty" }, empty);
}
