// How is the page made and updated? Elements from data, text nodes only; a fresh tree is merged into the one shown, so
// that focus, selection, scroll position and what a person typed stay.

const HANDLERS = ["onclick", "onsubmit", "oninput", "onchange"];

/** An element. Props: `on…` handlers, `class`, `key` (its identity among siblings), `keep` (a form: leave it alone). */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "key") element.dataset.key = value;
    else if (name === "keep") element.dataset.keep = "";
    else if (name === "width") element.style.width = value;
    else if (name === "left") element.style.marginLeft = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Make `shown` look like `fresh`, which is used up. */
export function morph(shown, fresh) {
  if (shown.nodeType === Node.TEXT_NODE) {
    if (shown.data !== fresh.data) shown.data = fresh.data;
    return;
  }
  if (shown.dataset.keep !== undefined) return;
  const chosen = fresh.value;
  morphAttributes(shown, fresh);
  morphChildren(shown, fresh);
  if (chosen !== undefined && shown.value !== chosen && shown !== document.activeElement) shown.value = chosen;
}

function morphAttributes(shown, fresh) {
  for (const { name } of [...shown.attributes]) {
    if (name !== "open" && name !== "style" && !fresh.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "open" && name !== "style" && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  if (shown.style.cssText !== fresh.style.cssText) shown.style.cssText = fresh.style.cssText;
  for (const handler of HANDLERS) shown[handler] = fresh[handler];
}

export function morphChildren(shown, fresh) {
  const byKey = new Map();
  for (const child of shown.children) if (child.dataset?.key !== undefined) byKey.set(child.dataset.key, child);
  let cursor = shown.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = next.dataset?.key;
    const match = key === undefined ? cursor : byKey.get(key);
    if (match && isSame(match, next)) {
      if (match === cursor) cursor = cursor.nextSibling;
      else shown.insertBefore(match, cursor);
      morph(match, next);
    } else {
      shown.insertBefore(next, cursor);
    }
  }
  while (cursor) {
    const gone = cursor;
    cursor = cursor.nextSibling;
    gone.remove();
  }
}

function isSame(one, other) {
  return one.nodeName === other.nodeName && one.dataset?.key === other.dataset?.key;
}

// Parts that all views use.

/** A table: columns are [heading, class], rows are {key, cells}; without rows, what to do about it. */
export function table(label, columns, rows, empty, kind = "") {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = h(
    "tr",
    null,
    columns.map(([heading, kind]) => h("th", { scope: "col", class: kind }, heading)),
  );
  const body = rows.map(({ key, cells, kind }) =>
    h(
      "tr",
      { key, class: kind },
      cells.map((cell, index) => h("td", { class: columns[index][1], "data-label": columns[index][0] }, cell)),
    ),
  );
  return h(
    "div",
    { class: `scroll ${kind}`, role: "region", "aria-label": label, tabindex: "0" },
    h("table", null, h("thead", null, head), h("tbody", null, body)),
  );
}

export function section(title, ...children) {
  return h("section", null, h("h2", null, title), children);
}

/** Names and values below each other: [name, value] pairs; those without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return h(
    "dl",
    null,
    shown.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

export function link(href, ...children) {
  return h("a", { href }, children);
}

export function tag(text, kind) {
  return h("span", { class: `tag ${kind ?? ""}` }, text);
}

export function button(label, onclick, props) {
  return h("button", { type: "button", onclick, ...props }, label);
}

export function crumbs(...parts) {
  return h(
    "p",
    { class: "crumbs" },
    parts.map((part, index) => [index ? h("span", { "aria-hidden": "true" }, "/") : "", part]),
  );
}

// Numbers and times as people read them.

export function bytes(size) {
  let value = Number(size);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

export function count(number) {
  return NUMBER.format(Number(number));
}

/** So many of something: `1 bucket`, `3 buckets`. */
export function many(number, what) {
  return `${count(number)} ${what}${Number(number) === 1 ? "" : "s"}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function rough(seconds) {
  for (const [size, unit] of [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
  ]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

const virtual = { time: Date.now() / 1000, at: performance.now(), frozen: false };

/** Tell what the virtual time is now. */
export function setNow(time, frozen) {
  Object.assign(virtual, { time, at: performance.now(), frozen });
}

/** Virtual time, in seconds since the epoch. */
export function now() {
  return virtual.frozen ? virtual.time : virtual.time + (performance.now() - virtual.at) / 1000;
}

export function clockText(seconds) {
  const time = TIME.format(seconds * 1000);
  const date = DATE.format(seconds * 1000);
  return date === DATE.format(now() * 1000) ? time : `${date} ${time}`;
}

// Made once: to make one takes longer than all that a row shows.
const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DATE = new Intl.DateTimeFormat("en-CA");
const NUMBER = new Intl.NumberFormat("en");

/** Of a date, the time of day. */
export const timeOfDay = (date) => TIME.format(date);

function relative(seconds) {
  const passed = now() - seconds;
  if (Math.abs(passed) < 1) return "now";
  return passed < 0 ? `in ${rough(-passed)}` : `${rough(passed)} ago`;
}

/** A moment of virtual time: local time and how long ago. */
export function moment(seconds, { only } = {}) {
  if (seconds === null || seconds === undefined) return "";
  const iso = new Date(seconds * 1000).toISOString();
  const parts = only === "clock" ? [clockText(seconds)] : only === "age" ? [] : [clockText(seconds), " "];
  const age = only === "clock" ? "" : h("span", { class: "age", "data-since": seconds }, relative(seconds));
  return h("time", { datetime: iso, title: iso }, parts, age);
}

/** Let the relative times on the page move on. */
export function tick() {
  for (const element of document.querySelectorAll(".age")) {
    const text = relative(Number(element.dataset.since));
    if (element.textContent !== text) element.firstChild.data = text;
  }
}

/** JSON text, indented; what is no JSON, was cut, or has integers that JavaScript would round, as it is. */
export function pretty(text) {
  if (/\d{16,}/.test(text.replace(/"(?:[^"\\]|\\.)*"/g, ""))) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
