// What a running asd watch tells, as it tells it.
import {by, element, tell} from "./elements.js";
import {Refusal, ask, askForJson} from "./server.js";
import {eventWords, number} from "./words.js";

const AT_FIRST = 30;
const AT_MOST = 200;
const [SOON, LATE] = [1000, 30_000];
// Worth interrupting somebody who hears the page instead of seeing it.
const SPOKEN = ["alarm", "warning", "cannot judge", "input lost"];

/** List what has happened, then what happens, for as long as the page is open. */
export async function follow() {
  let last = "";
  const take = (event, isNew) => ((last = event.id), show(event, isNew));
  for (let pause = SOON; ; pause = Math.min(2 * pause, LATE)) {
    try {
      if (!last) for (const event of await askForJson(`/api/v1/events?limit=${AT_FIRST}`)) take(event, false);
      await listen(last, (event) => take(event, true), () => (pause = SOON));
      tell(by("connection"), "The connection has ended. Trying again …");
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      tell(by("connection"), refusal.status === 404 ? `Nothing is listened to, as far as this server knows. ${refusal.message}` : refusal.message);
      if (refusal.status === 401) return;
      if (refusal.status === 404) {
        // No journal, yet, or another one than before: from the beginning.
        [last, pause] = ["", LATE];
        by("events").replaceChildren();
      }
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

/** Server-sent events by fetch: an EventSource cannot send the token. */
async function listen(after, take, opened) {
  const answer = await ask(`/api/v1/events/stream?after=${encodeURIComponent(after)}`, {headers: {Accept: "text/event-stream"}});
  opened();
  tell(by("connection"), by("events").childElementCount ? "Connected. The newest comes first." : "Connected. Nothing has happened yet.");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const {done, value} = await reader.read().catch(() => ({done: true}));
    if (done) return;
    const messages = (unread + value).replaceAll("\r\n", "\n").split("\n\n");
    unread = messages.pop();
    messages.map(dataOf).filter(Boolean).forEach((data) => take(JSON.parse(data)));
  }
}

const dataOf = (message) =>
  message
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");

function show(event, isNew) {
  const list = by("events");
  list.prepend(itemOf(event, isNew));
  while (list.childElementCount > AT_MOST) list.lastElementChild.remove();
  if (!isNew) return;
  tell(by("connection"), "Connected. The newest comes first.");
  if (SPOKEN.includes(event.kind)) by("newest").textContent = `${eventWords(event.kind).title}: ${whose(event)}`;
}

function itemOf(event, isNew) {
  const {css, sign, title} = eventWords(event.kind);
  const about = [whose(event), event.score === null ? "" : `score ${number(event.score)}`, event.file, event.note];
  return element(
    "li",
    isNew ? {class: "new"} : {},
    element("span", {class: `sign ${css}`, "aria-hidden": "true"}, sign),
    element("strong", {}, title),
    element("time", {datetime: event.time}, new Date(event.time).toLocaleString()),
    element("p", {class: "muted"}, about.filter(Boolean).join(" · ")),
  );
}

const whose = ({machine, state, source}) =>
  [machine, state && `state ${state}`, source !== machine && `input ${source}`].filter(Boolean).join(", ");
