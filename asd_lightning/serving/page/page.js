// A recording is given, judged and shown; and the detector learns that it is normal, where somebody says so.
import {spanOf, spectrogram} from "./charts.js";
import {asked, by, element, tell} from "./elements.js";
import {follow} from "./live.js";
import {Refusal, ask, askForJson} from "./server.js";
import {loudestOf, showWindows} from "./windows.js";
import {DECISIONS, clock, hertz} from "./words.js";

// Of the detector: what /health and /info say.
const detector = {health: {}, machines: []};
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

/** Learn what the server's detector is, anew where its file has changed. */
async function introduce() {
  const health = await askForJson("/api/v1/health");
  if (health.content_hash === detector.health.content_hash) return;
  const {machines} = await askForJson("/api/v1/info");
  Object.assign(detector, {health, machines});
  const names = machines.map((one) => one.machine);
  by("about").textContent = [health.file, names.length === 1 ? `machine ${names[0]}` : `${names.length} machines`, `asd_lightning ${health.version}`].join(" · ");
  offer(names);
}

/** Machines to choose from, where there are several; what was chosen stays. */
function offer(names) {
  const chosen = by("machine").value;
  by("machine").replaceChildren(element("option", {value: ""}, "Choose …"), ...names.map((name) => element("option", {value: name}, name)));
  by("machine-row").hidden = names.length === 1;
  if (names.length === 1 || names.includes(chosen)) by("machine").value = names.length === 1 ? names[0] : chosen;
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
  if (!by("machine").value && detector.machines.length > 1) {
    complain(`Whose sound is ${given.name}? Choose the machine.`);
    by("machine").focus();
    return undefined;
  }
  tell(by("busy"), `Listening to ${given.name} …`);
  const {signal} = running;
  return shielded(async () => {
    await readable(given);
    await introduce();
    const told = await askForJson(of("explain"), {method: "POST", body: form(), signal});
    signal.throwIfAborted();
    found = told;
    show();
  });
}

const of = (what) => `/api/v1/${what}` + (by("machine").value ? `?machine=${encodeURIComponent(by("machine").value)}` : "");

/** A folder can be dropped too, and a file be moved away before it is sent: no matter of the server's. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refusal(`${file.name} cannot be read. Is it a folder, or has it been moved?`);
  }
}

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
  showWindows(one, detector.machines.find(({machine}) => machine === one.machine), hear);
  showSound(one);
  // What is wrong with a microphone is not learnt by accepting it.
  by("accepting").hidden = one.score === null || detector.health.read_only;
  by("card").scrollIntoView({block: "nearest"});
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
  const kept = nearest.is_nearest ? "Of all normal sound the most alike." : "Of the normal sound that the detector keeps the most alike.";
  tell(by("alike"), nearest.sound ? kept : "Of all normal sound the most alike; the detector keeps none of it to be heard.");
  if (!nearest.sound) return;
  const {signal} = running;
  await shielded(async () => {
    const sound = await (await ask(nearest.sound, {signal})).blob();
    signal.throwIfAborted();
    by("normal").src = URL.createObjectURL(sound);
  });
}

async function accept() {
  // Of the recording that is asked about, whatever is dropped meanwhile.
  const [name, path, body] = [given.name, of("accept"), form()];
  const whose = detector.machines.length > 1 ? ` --machine ${found.judgment.machine}` : "";
  const undo = `On the server's computer, asd undo ${detector.health.file}${whose} takes it back.`;
  const called = found.called_anomaly ? "Its name calls it an anomaly. " : "";
  by("confirm-text").textContent = `${called}${name} becomes normal sound of ${found.judgment.machine}: what sounds like it is judged normal from then on, a fault too.`;
  by("confirm-undo").textContent = undo;
  if (!(await asked(by("confirm")))) return;
  by("accept").disabled = true;
  let notes = [];
  try {
    ({notes} = await askForJson(path, {method: "POST", body}));
  } finally {
    by("accept").disabled = false;
  }
  await judge();
  tell(by("accepted"), [`${name} is normal from now on. ${undo}`, ...notes.map((one) => `Note: ${one}.`)].join(" "));
}

start();
