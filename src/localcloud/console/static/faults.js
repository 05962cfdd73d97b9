// Faults: what goes wrong next, and ordering more of it.

import { button, duration, h, section, table, tag } from "./dom.js";
import { admin } from "./server.js";

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
  "workflows.executions.create",
];
const ACTIONS = {
  fail: "answer with the status, without acting",
  fail_after: "act, then answer with the status",
  delay: "wait, then act",
  duplicate: "deliver a message twice",
  drop: "lose one delivery",
  kill: "kill the instance that has the request",
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
        fault.action.startsWith("fail") ? fault.status : fault.action === "delay" ? duration(fault.delay_s) : "",
        fault.skip,
        fault.times,
        button("Withdraw", () => page.act(() => admin("POST", "faults/withdraw", fault), "Withdrawn.")),
      ],
    }));
    const columns = [
      ["Call", "wide"],
      ["Resource"],
      ["Does"],
      ["With", "num"],
      ["Lets pass", "num"],
      ["Hits", "num"],
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

function form(page) {
  const submit = (event) => {
    event.preventDefault();
    const { call, resource, action, status, delay_s, times, skip } = Object.fromEntries(
      new FormData(event.currentTarget),
    );
    const fault = {
      call,
      resource: resource || "*",
      action,
      status: Number(status),
      delay_s: Number(delay_s),
      times: Number(times),
      skip: Number(skip),
    };
    return page.act(() => admin("POST", "faults", fault), "Ordered.");
  };
  const number = (name, label, value, props) =>
    h("label", null, label, h("input", { name, type: "number", value, required: true, ...props }));
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
      "div",
      { class: "pair" },
      number("status", "Status", 503, { min: 400, max: 599 }),
      number("delay_s", "Delay, seconds", 0, { min: 0, step: "any" }),
      number("times", "Hits", 1, { min: 1 }),
      number("skip", "Lets pass first", 0, { min: 0 }),
    ),
    h("div", null, h("button", { class: "primary" }, "Order")),
  );
}
