// Workflows and their executions. #/workflows/<workflow> and #/workflows/<workflow>/<execution>

import { button, count, crumbs, duration, facts, h, link, moment, now, pretty, section, table, tag } from "./dom.js";
import { get, send } from "./server.js";

export const workflows = {
  title: "Workflows",

  async load({ path: [workflow, id] }) {
    if (workflow === undefined) {
      const all = await get("workflows");
      const latest = await Promise.all(all.map((each) => get("executions", { workflow: each.name, limit: 10 })));
      return all.map((each, index) => ({ ...each, latest: latest[index] }));
    }
    if (id !== undefined) {
      const named = { workflow, id };
      const [execution, steps] = await Promise.all([get("execution", named), get("steps", { ...named, limit: 300 })]);
      return { ...execution, ...steps };
    }
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
  const columns = [
    ["Workflow", "wide"],
    ["Revision", "nowrap"],
    ["Deployed", "nowrap"],
  ];
  const none = ["No workflow is deployed. Deploy one: ", h("code", null, "gcloud workflows deploy NAME --source=FILE")];
  return [
    h("h1", null, "Workflows"),
    table("Workflows", columns, rows, none),
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
    [withWorkflow ? "Workflow" : "Revision", "nowrap"],
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
  const more = execution.total - execution.steps.length;
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
    folded("Argument", execution.argument, "none"),
    folded("Result", execution.result, isActive ? "none yet" : "none"),
    section("Steps", stepTable(execution), more > 0 && h("p", { class: "muted" }, `and ${count(more)} before these`)),
  ];
}

/** Each step with its share of the execution's time. */
function stepTable({ started, ended, steps }) {
  const end = ended ?? now();
  const span = Math.max(end - started, 0.001);
  const rows = steps.map((step) => {
    const took = (step.ended ?? end) - step.started;
    const kind = step.state === "FAILED" ? "failed" : step.ended === null ? "running" : "";
    return {
      key: step.number,
      cells: [
        h(
          "span",
          { class: "name" },
          h(
            "span",
            { left: `${Math.min(step.depth, 12)}rem` },
            step.step,
            step.part && h("span", { class: "muted" }, ` ${step.part}`),
          ),
        ),
        [
          h("span", { class: "muted" }, step.kind),
          step.error && h("details", null, h("summary", null, "Error"), h("pre", null, pretty(step.error))),
        ],
        tag(STEP_STATES[step.state]?.[0] ?? step.state, STEP_STATES[step.state]?.[1]),
        `+${duration(step.started - started)}`,
        duration(took),
        h(
          "span",
          { class: `bar ${kind}` },
          h("i", { left: percent(step.started - started, span), width: percent(took, span) }),
        ),
      ],
    };
  });
  const columns = [["Step", "wide"], ["Kind"], ["State"], ["Began", "num"], ["Took", "num"], ["When", "wide"]];
  return table("Steps", columns, rows, "It has taken no step that is kept.", "steps");
}

const STEP_STATES = {
  IN_PROGRESS: ["running", "info"],
  SUCCEEDED: ["done", ""],
  FAILED: ["failed", "bad"],
  CANCELLED: ["cancelled", "warn"],
};

const percent = (part, whole) => `${Math.max(0, Math.min(100, (100 * part) / whole)).toFixed(2)}%`;

/** A JSON text that opens; its start stands beside its title. */
function folded(title, json, empty) {
  if (!json) return h("p", null, `${title}: `, h("span", { class: "muted" }, empty));
  const start = json.length > 100 ? `${json.slice(0, 100)} …` : json;
  return h(
    "details",
    { key: title },
    h("summary", null, `${title}: `, h("code", null, start)),
    h("pre", null, pretty(json)),
  );
}
