// A recording is given, judged and shown; and the detector learns that it is normal, where somebody says so.
import {judged, spanOf, spectrogram, timeline} from "./charts.js";
import {asked, by, element, tell} from "./elements.js";
import {follow} from "./live.js";
import {Refusal, ask, askForJson} from "./server.js";
import {DECISIONS, clock, hertz, number} from "./words.js";

const MOST_STRETCHES = 50;
const GRAVEST = ["alarm", "warning", "cannot judge", "not running"];
const info = {file: "", machines: [], readOnly: false};
// The recording that is shown, what was said of it, and what would end the request for it.
let given = null;
let found = null;
let running = new AbortController();

async function start() {
  by("file").onchange = () => by("file").files.length && take([...by("file").files]);
  by("machine").onchange = () => given && judge();
  by("accept").onclick = () => shielded(accept);
  by("loudest").onclick = () => hear(loudestOf(found.judgment).start);
  by("own").onerror = () => (by("unplayable").hidden = false);
  acceptDrops();
  await shielded(introduce);
  follow();
}

/** Do something; what the server refuses is shown instead. */
async function shielded(action) {
  try {
    return await action();
  } catch (failure) {
    if (failure.name === "AbortError") return undefined;
    by("busy").hidden = true;
    if (!(failure instanceof Refusal)) console.error(failure);
    complain(failure instanceof Refusal ? failure.message : "This page has made a mistake; please tell its makers.");
    return undefined;
  }
}

/** Say what is wrong, where it is seen. */
function complain(reason) {
  tell(by("error"), reason);
  by("error").scrollIntoView({block: "nearest"});
}

async function introduce() {
  const [health, told] = await Promise.all([askForJson("/api/v1/health"), askForJson("/api/v1/info")]);
  Object.assign(info, {file: health.file, machines: told.machines, readOnly: health.read_only});
  const names = info.machines.map((one) => one.machine);
  by("about").textContent = [health.file, names.length === 1 ? `machine ${names[0]}` : `${names.length} machines`, `asd_lightning ${health.version}`].join(" · ");
  by("machine").append(...names.map((name) => element("option", {value: name}, name)));
  by("machine-row").hidden = names.length === 1;
  if (names.length === 1) by("machine").value = names[0];
}

function acceptDrops() {
  const over = (is) => by("drop").classList.toggle("over", is);
  document.ondragover = (event) => (event.preventDefault(), over(true));
  document.ondragleave = (event) => event.relatedTarget || over(false);
  document.ondrop = (event) => {
    event.preventDefault();
    over(false);
    take([...event.dataTransfer.files]);
  };
}

function take(files) {
  by("file").value = "";
  if (files.length !== 1) {
    complain(files.length ? "One recording at a time, please. asd score judges whole folders." : "That is no file.");
    return;
  }
  [given] = files;
  judge();
}

/** Ask for the verdict on the recording that was given, and show it. */
function judge() {
  running.abort();
  running = new AbortController();
  clear();
  if (!by("machine").value && info.machines.length > 1) {
    complain(`Whose sound is ${given.name}? Choose the machine.`);
    by("machine").focus();
    return undefined;
  }
  tell(by("busy"), `Listening to ${given.name} …`);
  const {signal} = running;
  return shielded(async () => {
    const told = await askForJson(of("explain"), {method: "POST", body: form(), signal});
    signal.throwIfAborted();
    found = told;
    show();
  });
}

const of = (what) => `/api/v1/${what}` + (by("machine").value ? `?machine=${encodeURIComponent(by("machine").value)}` : "");

function form() {
  const body = new FormData();
  body.append("file", given, given.name);
  return body;
}

function clear() {
  found = null;
  for (const id of ["error", "busy", "accepted", "card", "result", "unplayable"]) by(id).hidden = true;
  for (const id of ["own", "normal"]) silence(by(id));
}

function silence(player) {
  player.pause();
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
}

function show() {
  const one = found.judgment;
  const {css, sign, title, advice} = DECISIONS[one.decision];
  by("busy").hidden = true;
  by("card").className = `card ${css}`;
  by("sign").className = `sign ${css}`;
  by("sign").textContent = sign;
  by("decision").textContent = title;
  by("advice").textContent = advice;
  by("judged").textContent = [one.path, `machine ${one.machine}`, one.state && `state ${one.state}`].filter(Boolean).join(" · ");
  by("sentence").textContent = found.sentence;
  by("card").hidden = by("result").hidden = false;
  showWindows(one);
  showSound(one);
  // What is wrong with a microphone is not learnt by accepting it.
  by("accepting").hidden = one.score === null || info.readOnly;
  by("card").scrollIntoView({block: "nearest"});
}

function showWindows(one) {
  by("over").hidden = one.windows.length < 2;
  if (by("over").hidden) return;
  const told = info.machines.find(({machine}) => machine === one.machine);
  timeline(by("windows"), ...onOneScale(one, told));
  const others = one.windows.filter(({decision}) => decision !== "normal");
  const gravity = ({decision}) => GRAVEST.indexOf(decision);
  const shown = stretches(others).sort((a, b) => gravity(a) - gravity(b)).slice(0, MOST_STRETCHES);
  by("unlike").hidden = !others.length;
  by("unlike").firstElementChild.textContent =
    `Not normal: ${others.length} of ${one.windows.length} windows` + (shown.length < MOST_STRETCHES ? "" : " (the first of them)");
  by("unlike").lastElementChild.replaceChildren(...shown.map(stretchItem));
}

/** Windows side by side that are alike, as one; its score is the highest. */
function stretches(windows) {
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
function onOneScale(one, told) {
  if (!told?.states.length) return [one.windows, [{name: "warning", value: one.threshold}, {name: "alarm", value: told?.alarm}]];
  const warning = Object.fromEntries(told.states.map((state) => [state.state, state.warning]));
  const windows = one.windows.map((window) => ({...window, score: window.score === null ? null : window.score / (warning[window.state] ?? NaN)}));
  return [windows.map((window) => (Number.isFinite(window.score) ? window : {...window, score: null})), [{name: "warning", value: 1}]];
}

function stretchItem(stretch) {
  const {css, sign, title} = DECISIONS[stretch.decision];
  const button = element("button", {type: "button"}, `Hear from ${clock(stretch.start)}`);
  button.onclick = () => hear(stretch.start);
  const told = [`to ${clock(stretch.end)}: ${title}`, judged(stretch) && `score ${number(stretch.score)}`, stretch.state && `state ${stretch.state}`];
  return element("li", {}, element("span", {class: `sign ${css}`, "aria-hidden": "true"}, sign), button, element("span", {}, told.filter(Boolean).join(", ")));
}

function loudestOf(one) {
  const own = one.windows.filter((window) => judged(window) && window.state === one.state);
  return own.reduce((most, window) => (most && most.score >= window.score ? most : window), null);
}

function hear(second) {
  by("own").currentTime = second;
  by("own").play().catch(() => {});
}

function showSound(one) {
  by("own").src = URL.createObjectURL(given);
  const loudest = loudestOf(one);
  tell(by("loudest"), loudest && one.windows.length > 1 ? `Hear the most unlike window, from ${clock(loudest.start)}` : "");
  const {spectrogram: shown, parts} = found;
  by("spectrogram").hidden = !shown;
  const words = shown ? seenWords(spanOf(shown), parts) : "";
  if (shown) spectrogram(by("spectrogram"), shown, parts.marked, `Spectrogram. ${words}`);
  tell(by("seen"), words);
  return showNearest(found.nearest);
}

/** What the spectrogram shows, for those too who do not see it. */
function seenWords([start, end], {times, frequencies, marked}) {
  const span = `From ${clock(start)} to ${clock(end)}.`;
  if (!times.length && !frequencies.length) return span;
  const where = [...marked.frequencies.map((range) => range.map(hertz)), ...marked.times.map((range) => range.map(clock))];
  return where.length ? `${span} Marked as least like normal sound: ${where.map((range) => range.join(" to ")).join(", ")}.` : `${span} Nothing of it stands out.`;
}

async function showNearest(nearest) {
  by("beside").hidden = !nearest;
  if (!nearest) return;
  tell(by("nearest"), `${nearest.recording}, from ${clock(nearest.start)}`);
  by("normal").hidden = !nearest.sound;
  const kept = nearest.is_nearest ? "" : "The most alike of the normal sound that the detector keeps.";
  tell(by("unkept"), nearest.sound ? kept : "The detector keeps no sound of it.");
  if (!nearest.sound) return;
  const {signal} = running;
  await shielded(async () => {
    const sound = await (await ask(nearest.sound, {signal})).blob();
    signal.throwIfAborted();
    by("normal").src = URL.createObjectURL(sound);
  });
}

const takesBack = () => `asd undo ${info.file}${info.machines.length > 1 ? ` --machine ${by("machine").value}` : ""} takes it back.`;

async function accept() {
  by("confirm-text").textContent = `${given.name} becomes normal sound of ${found.judgment.machine}: what sounds like it is judged normal from then on, a fault too.`;
  by("confirm-undo").textContent = takesBack();
  if (!(await asked(by("confirm")))) return;
  by("accept").disabled = true;
  try {
    await askForJson(of("accept"), {method: "POST", body: form()});
  } finally {
    by("accept").disabled = false;
  }
  await judge();
  tell(by("accepted"), `${given.name} is normal from now on. ${takesBack()}`);
}

start();
