// Topics, subscriptions and what waits in them. #/pubsub/topic/<name> and #/pubsub/subscription/<name>

import { bytes, button, count, crumbs, duration, facts, h, link, moment, pretty, section, table, tag } from "./dom.js";
import { get, send } from "./server.js";

export const pubsub = {
  title: "Pub/Sub",

  async load({ path: [kind, name] }) {
    if (kind !== "subscription") return get("topics");
    const [all, messages] = await Promise.all([get("topics"), get("messages", { subscription: name, limit: 50 })]);
    return { ...all, messages };
  },

  render(data, { path: [kind, name] }, page) {
    if (kind === "topic") return topicPage(data, name, page);
    if (kind === "subscription") return subscriptionPage(data, name, page);
    return lists(data);
  },
};

export const subscriptionLink = (name) => link(`#/pubsub/subscription/${encodeURIComponent(name)}`, name);
export const topicLink = (name) =>
  name.startsWith("_") ? name : link(`#/pubsub/topic/${encodeURIComponent(name)}`, name);

function lists({ topics, subscriptions }) {
  const rows = topics.map((topic) => ({
    key: topic.name,
    cells: [
      topicLink(topic.name),
      topic.subscriptions.map((name, index) => [index > 0 && ", ", subscriptionLink(name)]),
    ],
  }));
  return [
    h("h1", null, "Pub/Sub"),
    section("Subscriptions", subscriptionTable(subscriptions)),
    section(
      "Topics",
      table(
        "Topics",
        [
          ["Topic", "wide"],
          ["Subscriptions", "wide"],
        ],
        rows,
        ["No topic yet. Make one: ", h("code", null, 'publisher.create_topic(name="projects/local/topics/orders")')],
      ),
    ),
  ];
}

export function subscriptionTable(subscriptions) {
  const isBusy = (each) => Number(each.backlog > 0);
  const busyFirst = [...subscriptions].sort((one, other) => isBusy(other) - isBusy(one));
  const rows = busyFirst.map((each) => ({
    key: each.name,
    cells: [
      subscriptionLink(each.name),
      topicLink(each.topic),
      each.is_detached ? tag("detached", "bad") : each.is_push ? "push" : "pull",
      each.backlog ? h("strong", null, count(each.backlog)) : 0,
      each.leased ? tag(count(each.leased), "info") : 0,
      each.oldest === null ? "" : moment(each.oldest, { only: "age" }),
    ],
  }));
  const columns = [
    ["Subscription", "wide"],
    ["Topic", "wide"],
    ["Kind"],
    ["Backlog", "num"],
    ["Leased", "num"],
    ["Oldest", "nowrap"],
  ];
  return table("Subscriptions", columns, rows, [
    "No subscription: what is published reaches nobody. Make one: ",
    h("code", null, "subscriber.create_subscription(name=..., topic=...)"),
  ]);
}

function topicPage({ topics, subscriptions }, name, page) {
  const topic = topics.find((each) => each.name === name);
  if (topic === undefined)
    return [h("h1", null, name), h("p", { class: "empty" }, "There is no such topic (any more).")];
  return [
    crumbs(link("#/pubsub", "Pub/Sub"), "topic"),
    h("h1", null, name),
    section(
      "Subscriptions",
      subscriptionTable(subscriptions.filter((each) => topic.subscriptions.includes(each.name))),
    ),
    section("Publish a message", publishForm(name, page)),
  ];
}

function publishForm(topic, page) {
  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const { data, attributes, ordering_key } = Object.fromEntries(new FormData(form));
    const pairs = attributes
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => line.split(/=(.*)/s).slice(0, 2));
    if (pairs.some((pair) => pair.length < 2))
      return page.act(() => Promise.reject(new Error("Attributes are lines of key=value.")));
    const message = { topic, data, ordering_key, attributes: Object.fromEntries(pairs) };
    return page.act(() => send("POST", "publish", {}, message), "Published.");
  };
  return h(
    "form",
    { class: "sheet", onsubmit: submit, key: `publish ${topic}`, keep: true },
    h("label", null, "Data", h("textarea", { name: "data", rows: 5, spellcheck: "false" })),
    h(
      "label",
      null,
      "Attributes, one key=value a line",
      h("textarea", { name: "attributes", rows: 2, spellcheck: "false" }),
    ),
    h("label", null, "Ordering key", h("input", { name: "ordering_key", autocomplete: "off" })),
    h("div", null, h("button", { class: "primary" }, "Publish")),
  );
}

function subscriptionPage({ subscriptions, messages }, name, page) {
  const found = subscriptions.find((each) => each.name === name);
  if (found === undefined)
    return [h("h1", null, name), h("p", { class: "empty" }, "There is no such subscription (any more).")];
  const more = found.backlog - messages.length;
  return [
    crumbs(link("#/pubsub", "Pub/Sub"), "subscription"),
    h("h1", null, name),
    facts([
      ["Topic", topicLink(found.topic)],
      ["Kind", found.is_detached ? tag("detached", "bad") : found.is_push ? "push" : "pull"],
      ["Endpoint", found.endpoint],
      ["Filter", found.filter && h("code", null, found.filter)],
      ["Backlog", count(found.backlog)],
      ["Leased", count(found.leased)],
      ["Oldest", found.oldest === null ? "" : moment(found.oldest)],
      ["Ack deadline", duration(found.ack_deadline_s)],
      ["Retention", duration(found.retention_s)],
      ["Retries", found.retry_s && `after ${duration(found.retry_s[0])} to ${duration(found.retry_s[1])}`],
      ["Exactly once", found.is_exactly_once ? "yes" : ""],
      ["Ordered", found.is_ordered ? "by key" : ""],
      [
        "Dead letters to",
        found.dead_letter_topic && [topicLink(found.dead_letter_topic), ` after ${found.max_attempts} attempts`],
      ],
    ]),
    section(
      "Not acknowledged",
      messages.length === 0
        ? h(
            "p",
            { class: "empty" },
            "Nothing waits here. Messages show up as long as they are not acknowledged; looking at them changes nothing.",
          )
        : messageTable(messages, name, page),
      more > 0 && h("p", { class: "muted" }, `and ${count(more)} more`),
    ),
  ];
}

const STATES = { ready: "good", leased: "info", delayed: "warn", blocked: "" };

function messageTable(messages, subscription, page) {
  const rows = messages.map((message) => ({
    key: message.id,
    cells: [
      link(`#/events?ref=${message.id}`, message.id),
      [
        tag(message.state, STATES[message.state]),
        message.due && message.state !== "ready" ? [" until ", moment(message.due, { only: "clock" })] : "",
      ],
      message.attempts,
      moment(message.published),
      bytes(message.size),
      [
        attributeList(message),
        h(
          "details",
          null,
          h("summary", null, message.is_text ? "Data" : "Data, base64"),
          h("pre", null, message.is_cut ? `${message.data} …` : pretty(message.data)),
        ),
        message.source && republishButton(message, subscription, page),
      ],
    ],
  }));
  const columns = [
    ["Id"],
    ["State", "nowrap"],
    ["Attempts", "num"],
    ["Published", "nowrap"],
    ["Size", "num"],
    ["Message", "wide"],
  ];
  return table("Messages", columns, rows, "");
}

function attributeList(message) {
  const pairs = Object.entries(message.attributes);
  if (message.ordering_key) pairs.unshift(["ordering key", message.ordering_key]);
  return pairs.map(([key, value]) => h("div", null, h("span", { class: "muted" }, `${key} `), value));
}

function republishButton(message, subscription, page) {
  const again = () =>
    page.act(() => send("POST", "republish", {}, { subscription, id: message.id }), "Published again.");
  return button("Publish again", again, {
    title: `Move it back to the topic of ${message.source}; all subscriptions of that topic get it`,
  });
}
