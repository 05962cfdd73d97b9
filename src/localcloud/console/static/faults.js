// Faults: what goes wrong next, and ordering more of it.

import { button, duration, h, section, table, tag } from "./dom.js";
import { admin } from "./server.js";

// The most common ones; any call that `localcloud.faults` names works.
const CALLS = [
  "storage.objects.insert",
  "storage.objects.get",
  "storage.objects.delete",
  "storage.objects.list",
  "storage.objects.patch",
  "pubsub.topics.publish",
  "pubsub.messages.deliver",
  "eventarc.events.deliver",
  "run.services.invoke",
  "compute.machines.provision",
  "compute.machines.run",
  "workflows.executions.create",
];
const ACTIONS = {
  fail: "answer with the status, without acting",
  fail_after: "act, then answer with the status",
  delay: "wait, then act",
  drop: "close the connection without acting; lose one delivery",
  disconnect: "act, then close the connection before the answer or in the middle of it",
  duplicate: "deliver a message twice",
  reorder: "deliver a message after the next one",
  kill: "kill the instance that has the request; lose the VM",
  preempt: "take the VM back, after the delay",
};

export const faults = {
  title: "Faults",
  load: () => admin("GET", "faults"),

  render({ faults: standing }, route, page) {
    const rows = standing.map((fault, index) => ({
      key: String(index),
      cells: [
        h("code", null, fault.call),
        h("code", null, fault.resource),
        tag(fault.action, "warn"),
        details(fault),
        fault.skip,
        fault.times ?? "all",
        fault.probability < 1 ? `${(100 * fault.probability).toLocaleString("en")} %` : "always",
        button("Withdraw", () => page.act(() => admin("POST", "faults/withdraw", fault), "Withdrawn.")),
      ],
    }));
    const columns = [
      ["Call", "wide"],
      ["Resource"],
      ["Does"],
      ["With"],
      ["Lets pass", "num"],
      ["Hits", "num"],
      ["Chance", "num"],
      ["", "num"],
    ];
    return [
      h("h1", null, "Faults"),
      table(
        "Standing orders",
        columns,
        rows,
        "Nothing is ordered to fail. Order something below, and see how your program takes it.",
      ),
      rows.length > 0 &&
        h(
          "p",
          { class: "row" },
          button("Withdraw all", () => page.act(() => admin("DELETE", "faults"), "Withdrawn."), { class: "danger" }),
        ),
      section("Order a fault", form(page)),
    ];
  },
};

function details({ action, reason, code, status, delay_s: delay, delay_max_s: longest, after_bytes: bytes }) {
  if (action.startsWith("fail")) return reason || code || status;
  if (action === "disconnect") return bytes === null ? "" : `after ${bytes} bytes`;
  if (!["delay", "reorder", "preempt"].includes(action)) return "";
  return longest ? `${duration(delay)} to ${duration(longest)}` : duration(delay);
}

function form(page) {
  const submit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.currentTarget));
    const fault = { call: given.call, resource: given.resource || "*", action: given.action };
    // What is left empty is as the order has it by default; without a number of hits it stands until it is withdrawn.
    for (const name of NUMBERS) if (given[name] !== "") fault[name] = Number(given[name]);
    if (given.times === "") fault.times = null;
    if (given.reason) fault.reason = given.reason;
    return page.act(() => admin("POST", "faults", fault), "Ordered.");
  };
  const number = (name, label, props) => h("label", null, label, h("input", { name, type: "number", ...props }));
  return h(
    "form",
    { class: "sheet", onsubmit: submit, key: "fault", keep: true },
    h(
      "label",
      null,
      "Call (a pattern)",
      h("input", {
        name: "call",
        list: "calls",
        required: true,
        placeholder: "storage.objects.*",
        autocomplete: "off",
      }),
    ),
    h(
      "datalist",
      { id: "calls" },
      CALLS.map((call) => h("option", { value: call })),
    ),
    h("label", null, "Resource (a pattern)", h("input", { name: "resource", placeholder: "*", autocomplete: "off" })),
    h(
      "label",
      null,
      "Action",
      h(
        "select",
        { name: "action" },
        Object.entries(ACTIONS).map(([name, what]) => h("option", { value: name }, `${name}: ${what}`)),
      ),
    ),
    h(
      "label",
      null,
      "Reason, where a VM is refused",
      h("input", { name: "reason", placeholder: "ZONE_RESOURCE_POOL_EXHAUSTED", autocomplete: "off" }),
    ),
    h(
      "div",
      { class: "pair" },
      number("status", "Status", { value: 503, min: 400, max: 599 }),
      number("delay_s", "Delay, seconds", { min: 0, step: "any" }),
      number("delay_max_s", "up to, seconds", { min: 0, step: "any" }),
      number("after_bytes", "Cut after, bytes", { min: 0 }),
      number("times", "Hits; empty: all", { value: 1, min: 1 }),
      number("skip", "Lets pass first", { min: 0 }),
      number("probability", "Chance, 0 to 1", { min: 0, max: 1, step: "any" }),
      number("seed", "Seed of chance", {}),
      number("for_s", "Stands for, seconds", { min: 1, step: "any" }),
    ),
    h("div", null, h("button", { class: "primary" }, "Order")),
  );
}

const NUMBERS = ["status", "delay_s", "delay_max_s", "after_bytes", "times", "skip", "probability", "seed", "for_s"];
