// A recording of several windows: its score over time, and the stretches that are not normal.
import {judged, timeline} from "./charts.js";
import {by, element} from "./elements.js";
import {DECISIONS, clock, number} from "./words.js";

const MOST_STRETCHES = 50;
const GRAVEST = ["alarm", "warning", "cannot judge", "not running"];

/** The score over a recording of several windows, and what of it is not normal; `hear` plays from a second on. */
export function showWindows(one, told, hear) {
  by("over").hidden = one.windows.length < 2;
  if (by("over").hidden) return;
  timeline(by("windows"), ...onOneScale(one, told));
  const others = one.windows.filter(({decision}) => decision !== "normal");
  const gravity = ({decision}) => GRAVEST.indexOf(decision);
  const shown = stretches(others).sort((a, b) => gravity(a) - gravity(b)).slice(0, MOST_STRETCHES);
  by("unlike").hidden = !others.length;
  by("unlike").firstElementChild.textContent =
    `Not normal: ${others.length} of ${one.windows.length} windows` + (shown.length < MOST_STRETCHES ? "" : " (the first of them)");
  by("unlike").lastElementChild.replaceChildren(...shown.map((stretch) => stretchItem(stretch, hear)));
}

/** Windows side by side that are alike, as one; its score is the highest. */
export function stretches(windows) {
  const found = [];
  for (const window of windows) {
    const last = found.at(-1);
    const goesOn = last?.decision === window.decision && last.state === window.state && window.start <= last.end + 1e-6;
    if (goesOn) Object.assign(last, {end: window.end, score: window.score === null ? last.score : Math.max(last.score, window.score)});
    else found.push({...window});
  }
  return found;
}

/** Each state of a machine has levels of its own: then 1 is where its warnings begin. */
export function onOneScale(one, told) {
  if (!told?.states.length) return [one.windows, [{name: "warning", value: one.threshold}, {name: "alarm", value: told?.alarm}]];
  const warning = Object.fromEntries(told.states.map((state) => [state.state, state.warning]));
  const windows = one.windows.map((window) => ({...window, score: window.score === null ? null : window.score / (warning[window.state] ?? NaN)}));
  return [windows.map((window) => (Number.isFinite(window.score) ? window : {...window, score: null})), [{name: "warning", value: 1}]];
}

function stretchItem(stretch, hear) {
  const {css, sign, title} = DECISIONS[stretch.decision];
  const button = element("button", {type: "button"}, `Hear from ${clock(stretch.start)}`);
  button.onclick = () => hear(stretch.start);
  const told = [`to ${clock(stretch.end)}: ${title}`, judged(stretch) && `score ${number(stretch.score)}`, stretch.state && `state ${stretch.state}`];
  return element("li", {}, element("span", {class: `sign ${css}`, "aria-hidden": "true"}, sign), button, element("span", {}, told.filter(Boolean).join(", ")));
}

/** The window that decided. */
export function loudestOf(one) {
  const own = one.windows.filter((window) => judged(window) && window.state === one.state);
  return own.reduce((most, window) => (most && most.score >= window.score ? most : window), null);
}
