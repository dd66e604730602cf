// What decisions and events are called, and what is to be done: in words, by a sign, and only then by a color.
export const DECISIONS = {
  normal: {css: "ns", sign: "✓", title: "Normal", advice: "It sounds as it did when all was well. Nothing to do."},
  warning: {css: "at", sign: "!", title: "Warning", advice: "It sounds less normal than it should. Look at the machine on your next round."},
  alarm: {css: "as", sign: "!!", title: "Alarm", advice: "It sounds far from normal. Go and listen to the machine."},
  "cannot judge": {css: "un", sign: "?", title: "Cannot judge", advice: "The recording or the microphone is not right, so nothing is said of the machine. See to those first."},
  "not running": {css: "un", sign: "–", title: "Not running", advice: "The machine is off, as far as can be heard, so nothing is judged."},
};

const EVENTS = {
  started: "Listening began",
  normal: "Normal again",
  "not running": "Switched off",
  running: "Switched on",
  judging: "Can be judged again",
  drift: "Normal sound has moved",
  acknowledged: "Somebody has seen it",
  shelved: "Silenced for a while",
  unshelved: "No longer silenced",
  "input lost": "Microphone or folder lost",
  "input back": "Microphone or folder back",
  unreadable: "A recording cannot be read",
  detector: "The detector has changed",
};

/** An event in words; one that this page does not know keeps its own. */
export function eventWords(kind) {
  const {css = "un", sign = "·", title = kind} = DECISIONS[kind] ?? {};
  return {css, sign, title: EVENTS[kind] ?? title};
}

/** Seconds of a recording: 7.5 s, 2:05, 2:05.5, 1:02:05. */
export function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  if (tenths < 600) return `${tenths / 10} s`;
  const whole = Math.floor(tenths / 10);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = (parts[0] ? parts : parts.slice(1)).map((one, place) => (place ? String(one).padStart(2, "0") : one)).join(":");
  return tenths % 10 ? `${shown}.${tenths % 10}` : shown;
}

/** Four digits of a number. */
export const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));

/** A frequency: 440 Hz, 2.87 kHz. */
export const hertz = (value) => (value < 1000 ? `${Math.round(value)} Hz` : `${Number((value / 1000).toPrecision(3))} kHz`);
