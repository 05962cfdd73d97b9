// Which view is shown, and when is it asked for again? The hash names the view; whatever happens makes it stale.

import { button, clockText, count, h, morphChildren, now, setNow, tick } from "./dom.js";
import { admin, follow, get } from "./server.js";
import { begin, events, remember } from "./events.js";
import { faults } from "./faults.js";
import { jobs } from "./jobs.js";
import { machines } from "./machines.js";
import { overview } from "./overview.js";
import { services } from "./services.js";
import { schedules, triggers } from "./triggers.js";
import { storage } from "./storage.js";
import { pubsub } from "./pubsub.js";
import { workflows } from "./workflows.js";

// A view: title, load(route) -> data, render(data, route, page, totals) -> elements, the first of them a heading; if it
// changes without events, poll(data, route) -> milliseconds.
const VIEWS = { "": overview, storage, pubsub, services, jobs, machines, workflows, triggers, schedules, faults, events };
const REFRESH_MS = 800; // between two requests for the same view, however much happens
const REDRAW_MS = 200; // between two pictures of the event log
const ADVANCES = [
  ["+10 s", 10],
  ["+1 min", 60],
  ["+10 min", 600],
  ["+1 h", 3600],
  ["+1 d", 86400],
];

const main = document.getElementById("main");
const state = { route: null, totals: null, stale: false, loading: false, last: 0, timer: null };

/** `#/pubsub/topic/a%2Fb?page=2` as {view, path: ["topic", "a/b"], query}. */
function parseRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...rest] = path.split("/").map(decoded);
  const known = Object.hasOwn(VIEWS, view) ? view : "";
  return { view: known, path: rest, query: new URLSearchParams(query), place: JSON.stringify([known, ...rest]) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What a view gets to work with.
const page = {
  redraw: () => state.data !== undefined && draw(state.data),
  /** Do something that changes the cloud, say how it went, and show what came of it, here or at `then`. */
  async act(work, done, then) {
    try {
      await work();
      toast(done);
      if (then === undefined) await load();
      else location.hash = then;
    } catch (error) {
      toast(error.message);
    }
  },
};

let toastTimer = null;

function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.hidden = true), 6000);
}

async function load() {
  const route = state.route;
  state.stale = false;
  state.loading = true;
  try {
    const [totals, data] = await Promise.all([get("overview"), VIEWS[route.view].load(route)]);
    if (route !== state.route) return;
    state.totals = totals;
    setNow(totals.time, totals.is_frozen);
    drawFrame();
    draw(data);
    again(VIEWS[route.view].poll?.(data, route));
  } catch (error) {
    if (route === state.route) draw(null, error);
  } finally {
    state.loading = false;
    state.last = performance.now();
    if (state.stale) schedule();
  }
}

function draw(data, error) {
  const { route } = state;
  const view = VIEWS[route.view];
  state.data = data ?? undefined;
  const content = error
    ? [h("h1", null, view.title), h("p", { class: "empty" }, `This cannot be shown: ${error.message}`)]
    : view.render(data, route, page, state.totals);
  const fresh = h("main", null, content);
  if (main.dataset.place === route.place) {
    morphChildren(main, fresh);
  } else {
    const wasInside = main.contains(document.activeElement);
    main.replaceChildren(...fresh.childNodes);
    if (wasInside) main.focus({ preventScroll: true }); // or the next Tab begins at the top of the page
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  main.dataset.place = route.place;
  document.title = `${main.querySelector("h1")?.textContent ?? view.title} · local cloud`;
}

function drawFrame() {
  const { totals, route } = state;
  const numbers = {
    storage: [totals.objects],
    pubsub: [totals.undelivered + totals.leased, totals.undelivered + totals.leased ? "busy" : ""],
    services: [totals.starting + totals.ready, totals.in_flight + totals.waiting ? "busy" : ""],
    jobs: [totals.active_jobs, totals.active_jobs ? "busy" : ""],
    machines: [totals.machines + totals.wanted_machines, totals.machines + totals.wanted_machines ? "busy" : ""],
    workflows: [totals.active_executions, totals.active_executions ? "busy" : ""],
    triggers: [totals.triggers],
    schedules: [totals.schedules],
    faults: [totals.faults, totals.faults ? "wrong" : ""],
  };
  const links = Object.entries(VIEWS).map(([name, view]) =>
    h(
      "a",
      { key: name, href: `#/${name}`, "aria-current": route.view === name && "page" },
      view.title,
      numbers[name] && h("span", { class: `number ${numbers[name][1] ?? ""}` }, count(numbers[name][0])),
    ),
  );
  morphChildren(document.getElementById("nav"), h("nav", null, links));
  const clock = h(
    "div",
    null,
    h("time", { title: "Virtual time" }, clockText(now())),
    totals.is_frozen && h("span", { class: "tag warn" }, "stands still"),
    ADVANCES.map(([label, seconds]) =>
      button(
        label,
        () =>
          page.act(
            () => admin("POST", "clock", { advance_s: seconds }),
            `The clock was advanced by ${label.slice(1)}.`,
          ),
        {
          title: `Advance the virtual clock by ${label.slice(1)}`,
        },
      ),
    ),
  );
  morphChildren(document.getElementById("clock"), clock);
  document.getElementById("project").textContent = `${totals.project} · ${totals.location}`;
}

/** Ask again soon, but not more often than every REFRESH_MS. */
function schedule() {
  state.stale = true;
  if (state.loading || state.timer !== null || document.hidden) return;
  state.timer = setTimeout(
    () => {
      state.timer = null;
      if (!document.hidden) load();
    },
    Math.max(50, state.last + REFRESH_MS - performance.now()),
  );
}

/** Ask again after so many milliseconds, for what changes without an event; not at all without. */
function again(pause) {
  clearTimeout(state.poll);
  state.poll = pause ? setTimeout(schedule, pause) : null;
}

function navigate() {
  const before = state.route;
  state.route = parseRoute();
  if (before?.place !== state.route.place) window.scrollTo(0, 0);
  load();
}

function linked(isUp, process) {
  if (isUp) begin(process);
  const element = document.getElementById("link");
  element.className = isUp ? "up" : "down";
  element.textContent = isUp ? "live" : "not connected";
  if (isUp && state.route) schedule(); // whatever happened meanwhile
}

/** The event log is in this page already. */
function redrawEvents() {
  redrawing = null;
  if (state.route.view === "events") page.redraw();
}

let redrawing = null;
window.addEventListener("hashchange", navigate);
navigate();
follow({
  told(happened) {
    remember(happened);
    redrawing ??= setTimeout(redrawEvents, REDRAW_MS);
    schedule();
  },
  missed(number) {
    remember([], number);
    schedule();
  },
  linked,
});
setInterval(() => {
  if (document.hidden || state.totals === null) return;
  tick();
  const shown = document.querySelector("#clock time");
  const text = clockText(now());
  if (shown && shown.textContent !== text) shown.textContent = text;
}, 1000);
