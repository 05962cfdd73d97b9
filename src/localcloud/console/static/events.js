// What happened: the activity log, newest first, filtered. #/events?service=&level=&text=&ref=

import { button, count, h, link, moment, table } from "./dom.js";

const KEPT = 5000; // in this page
const SHOWN = 300;
const SERVICES = ["storage", "pubsub", "eventarc", "run", "compute", "workflows", "scheduler", "faults", "clock"];
const LEVELS = { info: 0, warning: 1, error: 2 };

const log = { process: null, events: [], missed: 0, paused: null };

/** The log is that of this process; what another one said is over. */
export function begin(process) {
  if (log.process !== process) Object.assign(log, { process, events: [], missed: 0, paused: null });
}

/** Events that came in, and how many the server no longer had. */
export function remember(happened, missed = 0) {
  log.missed += missed;
  log.events.push(...happened);
  if (log.events.length > KEPT) log.events.splice(0, log.events.length - KEPT);
}

export function latest(limit) {
  return log.events.slice(-limit).reverse();
}

export const events = {
  title: "Events",
  load: async () => ({}),

  render(_, route, page) {
    const chosen = select(log.paused ?? log.events, route.query);
    const held = log.paused ? lastNumber(log.events) - lastNumber(log.paused) : 0;
    return [
      h("h1", null, "Events"),
      filters(route.query, page),
      eventTable(
        chosen.slice(0, SHOWN),
        "Nothing happened that fits. Run something against the local cloud, or change the filter.",
      ),
      h(
        "p",
        { class: "muted" },
        [
          chosen.length > SHOWN && `The latest ${SHOWN} of ${count(chosen.length)}.`,
          held > 0 && `${count(held)} more since the pause.`,
          log.missed > 0 && `${count(log.missed)} went by too fast to be shown.`,
        ]
          .filter(Boolean)
          .join(" "),
      ),
    ];
  },
};

const lastNumber = (all) => all.at(-1)?.number ?? 0;

function select(all, query) {
  const [service, ref, text] = ["service", "ref", "text"].map((name) => query.get(name) ?? "");
  const least = LEVELS[query.get("level")] ?? 0;
  const sought = text.toLowerCase();
  return all
    .filter(
      (each) =>
        (!service || each.service === service) &&
        (!ref || each.ref === ref) &&
        LEVELS[each.level] >= least &&
        (!sought || `${each.resource} ${each.action} ${each.detail} ${each.ref}`.toLowerCase().includes(sought)),
    )
    .reverse();
}

export function eventTable(shown, empty) {
  const rows = shown.map((each) => ({
    key: each.number,
    kind: each.level,
    cells: [
      moment(each.time),
      each.service,
      [
        subject(each),
        " ",
        h("span", { class: "muted" }, each.resource === "clock" ? "" : each.action),
        " ",
        each.detail,
      ],
      each.ref && link(`#/events?ref=${encodeURIComponent(each.ref)}`, each.ref),
    ],
  }));
  return table("Events", [["Time", "nowrap"], ["Service"], ["What", "wide"], ["Of", "ref"]], rows, empty, "events");
}

/** The resource, as a link where there is a view of it. */
function subject({ service, resource, action, ref }) {
  const [head, ...rest] = resource.split("/");
  if (service === "storage") {
    const path = rest.length ? [head, rest.join("/")] : [head];
    return action.endsWith("deleted")
      ? resource
      : link(`#/storage/${path.map(encodeURIComponent).join("/")}`, resource);
  }
  if (service === "run" && /^(execution|task) /.test(action))
    return link(`#/jobs/${encodeURIComponent(resource)}`, resource);
  if (service === "run") return link(`#/services/${encodeURIComponent(resource)}`, resource);
  if (service === "compute")
    return link(`#/machines/${encodeURIComponent(head)}/${encodeURIComponent(rest.join("/"))}`, resource);
  if (service === "scheduler") return link("#/schedules", resource);
  if (service === "workflows") return link(`#/workflows/${encodeURIComponent(resource)}/${ref}`, resource);
  if (service === "pubsub" && !action.endsWith("deleted")) {
    const kind = action === "published" || action.startsWith("topic") ? "topic" : "subscription";
    return link(`#/pubsub/${kind}/${encodeURIComponent(resource)}`, resource);
  }
  if (service === "eventarc") return link("#/triggers", resource);
  return resource;
}

function filters(query, page) {
  const set = (name, value) => {
    const changed = new URLSearchParams(location.hash.split("?")[1] ?? "");
    if (value) changed.set(name, value);
    else changed.delete(name);
    history.replaceState(null, "", `#/events${changed.size ? `?${changed}` : ""}`);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const option = (name, value, label) => h("option", { value, selected: (query.get(name) ?? "") === value }, label);
  const pause = () => {
    log.paused = log.paused === null ? [...log.events] : null;
    page.redraw();
  };
  return h(
    "div",
    { class: "row", role: "search" },
    h(
      "label",
      null,
      "Service",
      h(
        "select",
        { onchange: (event) => set("service", event.target.value) },
        option("service", "", "all"),
        SERVICES.map((name) => option("service", name, name)),
      ),
    ),
    h(
      "label",
      null,
      "Level",
      h(
        "select",
        { onchange: (event) => set("level", event.target.value) },
        option("level", "", "all"),
        option("level", "warning", "warnings and errors"),
        option("level", "error", "errors"),
      ),
    ),
    h("input", {
      type: "search",
      value: query.get("text") ?? "",
      placeholder: "Resource or text",
      "aria-label": "Resource or text",
      oninput: (event) => set("text", event.target.value),
    }),
    query.get("ref") && button(`of ${query.get("ref")} ✕`, () => set("ref", ""), { title: "Show those of others too" }),
    button(log.paused ? "Go on" : "Pause", pause, { "aria-pressed": log.paused !== null ? "true" : "false" }),
  );
}
