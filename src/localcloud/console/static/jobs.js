// Cloud Run jobs, their executions and tasks. #/jobs/<job> and #/jobs/<job>/<execution>

import { button, count, crumbs, duration, facts, h, link, moment, now, section, table, tag } from "./dom.js";
import { get, send } from "./server.js";
import { logLines } from "./services.js";

export const jobs = {
  title: "Jobs",

  async load({ path: [job, name] }) {
    if (job === undefined) return get("jobs");
    if (name !== undefined) return get("job-execution", { job, name });
    const [all, executions, lines] = await Promise.all([
      get("jobs"),
      get("job-executions", { job, limit: 50 }),
      get("job-logs", { job, limit: 200 }),
    ]);
    return { job: all.find((each) => each.name === job), executions, lines };
  },

  // What a task prints is no event.
  poll: (data, { path: [job, name] }) =>
    job !== undefined && name === undefined && data.executions.some((each) => each.completed === null) && 2000,

  render(data, { path: [job, name] }, page) {
    if (job === undefined) return list(data);
    return name === undefined ? jobPage(data, page) : executionPage(data, page);
  },
};

const STATES = { pending: "", running: "info", succeeded: "good", failed: "bad", cancelled: "warn" };

export const jobLink = (name) => link(`#/jobs/${encodeURIComponent(name)}`, name);
export const jobExecutionLink = (each) =>
  link(`#/jobs/${encodeURIComponent(each.job)}/${encodeURIComponent(each.name)}`, each.name);

/** How many tasks are in which state. */
export const taskTags = (tasks) =>
  Object.entries(tasks).map(([state, number]) => [tag(`${count(number)} ${state}`, STATES[state]), " "]);

function list(all) {
  const rows = all.map((job) => ({
    key: job.name,
    cells: [
      jobLink(job.name),
      job.task_count,
      job.parallelism || "all",
      job.max_retries,
      duration(job.timeout_s),
      job.executions,
      job.latest && jobExecutionLink({ job: job.name, name: job.latest }),
    ],
  }));
  const columns = [
    ["Job", "wide"],
    ["Tasks", "num"],
    ["At once", "num"],
    ["Retries", "num"],
    ["Time limit", "num"],
    ["Executions", "num"],
    ["Last one", "wide"],
  ];
  const none = ["No job of Cloud Run is deployed. Make one: ", h("code", null, "run_v2.JobsClient().create_job(...)")];
  return [h("h1", null, "Jobs"), table("Jobs", columns, rows, none)];
}

function jobPage({ job, executions, lines }, page) {
  const start = () => page.act(() => send("POST", "run-job", { job: job.name }), "Started.");
  const rows = executions.map((each) => ({
    key: each.name,
    cells: [
      jobExecutionLink(each),
      taskTags(each.tasks),
      each.retried,
      moment(each.created),
      duration((each.completed ?? now()) - each.created),
    ],
  }));
  const columns = [
    ["Execution", "wide"],
    ["Tasks", "wide"],
    ["Retries", "num"],
    ["Started", "nowrap"],
    ["Took", "num"],
  ];
  return [
    crumbs(link("#/jobs", "Jobs")),
    h("h1", null, job.name),
    h("p", { class: "row" }, button("Run", start, { class: "primary" })),
    facts([
      ["Tasks", job.task_count],
      ["At once", job.parallelism || "all"],
      ["Retries", `${job.max_retries} a task`],
      ["Time limit", `${duration(job.timeout_s)} an attempt`],
      ["Command", h("code", null, job.command.join(" "))],
    ]),
    section("Executions", table("Executions", columns, rows, "No execution yet.")),
    section("Log", logLines(lines)),
  ];
}

function executionPage(execution, page) {
  const { job, name } = execution;
  const cancel = () => page.act(() => send("POST", "cancel-job", { job, name }), "Cancelled.");
  const rows = execution.shown.map((task) => ({
    key: task.index,
    cells: [
      link(`#/events?text=${encodeURIComponent(`${name}-task${task.index}-`)}`, task.index),
      tag(task.state, STATES[task.state]),
      task.attempts,
      moment(task.started),
      task.started === null ? "" : duration((task.completed ?? now()) - task.started),
      task.exit_code ?? "",
      task.message,
    ],
  }));
  const columns = [
    ["Task", "num"],
    ["State"],
    ["Attempts", "num"],
    ["Started", "nowrap"],
    ["Took", "num"],
    ["Exit code", "num"],
    ["Why it failed", "wide"],
  ];
  const total = Object.values(execution.tasks).reduce((sum, number) => sum + number, 0);
  return [
    crumbs(link("#/jobs", "Jobs"), jobLink(job)),
    h("h1", null, name),
    h(
      "p",
      { class: "row" },
      taskTags(execution.tasks),
      execution.is_cancelled && tag("asked to end", "warn"),
      execution.completed === null && button("Cancel", cancel, { class: "danger" }),
    ),
    facts([
      ["Started", moment(execution.created)],
      ["Ended", moment(execution.completed)],
      ["Took", duration((execution.completed ?? now()) - execution.created)],
      ["Retries", execution.retried],
    ]),
    section(
      "Tasks",
      table("Tasks", columns, rows, ""),
      total > rows.length && h("p", { class: "muted" }, `and ${count(total - rows.length)} more`),
    ),
  ];
}
