// How does the page talk to the local cloud? Requests that fail say why; a stream that comes back goes on where it was.

const ADMIN = "/_localcloud";
const CONSOLE = `${ADMIN}/console`;

/** The address of a console endpoint with its parameters. */
export function address(name, parameters = {}) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined),
  );
  return `${CONSOLE}/${name}${query.size ? `?${query}` : ""}`;
}

export async function get(name, parameters) {
  return json(await fetch(address(name, parameters)));
}

export async function send(method, name, parameters, body) {
  return json(await fetch(address(name, parameters), { method, body: body && JSON.stringify(body) }));
}

/** The same for the admin API: clock and faults. */
export async function admin(method, name, body) {
  return json(await fetch(`${ADMIN}/${name}`, { method, body: body && JSON.stringify(body) }));
}

/** The start of an object as text, and whether there is more. */
export async function preview(parameters) {
  const answer = await fetch(address("preview", parameters));
  if (!answer.ok) return json(answer);
  return { text: await answer.text(), isCut: answer.headers.get("X-Cut") === "true" };
}

async function json(answer) {
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message ?? `${answer.status} ${answer.statusText}`);
  return body;
}

/** Read the activity log along while the page is looked at: `linked(is up, process)`, `told(events)`, `missed(count)`. */
export function follow({ linked, told, missed }) {
  let source = null;
  let last = "";
  function open() {
    source = new EventSource(address("events", { after: last }));
    source.addEventListener("hello", (event) => linked(true, JSON.parse(event.data)));
    source.addEventListener("activity", (event) => {
      last = event.lastEventId;
      told(JSON.parse(event.data));
    });
    source.addEventListener("gap", (event) => {
      last = event.lastEventId;
      missed(JSON.parse(event.data).missed);
    });
    source.addEventListener("error", () => {
      linked(false);
      // The browser gives up after an HTTP error, and takes its own time otherwise.
      if (source?.readyState === EventSource.CLOSED)
        setTimeout(() => source?.readyState === EventSource.CLOSED && open(), 1000);
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (source === null) open();
  });
  if (!document.hidden) open();
}
