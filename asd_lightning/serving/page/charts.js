// The pictures: a spectrogram on a canvas, and the score over a recording.
import {drawn, element} from "./elements.js";
import {DECISIONS, clock, hertz, number} from "./words.js";

// Of matplotlib's magma every 25.5th color: as on the pages that asd explain writes.
const MAGMA = ["000004", "150e38", "3b0f70", "641a80", "8c2981", "b73779", "de4968", "f66e5c", "fe9f6d", "fecf92", "fcfdbf"].map(
  (one) => [0, 2, 4].map((start) => parseInt(one.slice(start, start + 2), 16)),
);
const RANGE_DB = 70;
const FREQUENCIES = [100, 300, 1000, 3000, 8000, 20000];
const THINNEST = 4;
// Recordings of more seconds have an axis in whole minutes or hours.
const LONG = 120;
const WHOLE = [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200];

/** Where the moments of a spectrogram begin and end, in s. */
export function spanOf({times}) {
  const step = times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 1;
  return [times[0], times.at(-1) + step];
}

/** Levels in dB, 70 dB below the loudest black, with bars beside what is unlike. */
export function spectrogram(holder, shown, marked, description) {
  const {times, frequencies, levels} = shown;
  const canvas = element("canvas", {width: times.length, height: frequencies.length, role: "img", "aria-label": description});
  paint(canvas, levels);
  const frame = frameOf(holder, 270, {left: 42, right: 14, top: 14, bottom: 34});
  const [start, end] = spanOf(shown);
  const x = scale(start, end, frame.left, frame.right);
  const y = (hz) => frame.bottom - ((placeOf(hz, frequencies) + 0.5) / frequencies.length) * (frame.bottom - frame.top);
  const ticks = FREQUENCIES.filter((hz) => frequencies[0] <= hz && hz <= frequencies.at(-1));
  const chart = frame.chart([
    ...timeAxis(frame, x, start, end),
    ...ticks.flatMap((hz) => rowLabel(frame, y(hz), hz < 1000 ? hz : `${hz / 1000}k`, frame.left - 4)),
    ...marked.frequencies.flatMap(([low, high]) => bandMark(frame, y(high), y(low))),
    ...marked.times.flatMap(([low, high]) => momentMark(frame, x(Math.max(low, start)), x(Math.min(high, end)))),
    text(4, frame.top - 3, "Hz"),
  ]);
  canvas.style.left = `${(100 * frame.left) / frame.width}%`;
  canvas.style.top = `${(100 * frame.top) / frame.height}%`;
  canvas.style.width = `${(100 * (frame.right - frame.left)) / frame.width}%`;
  canvas.style.height = `${(100 * (frame.bottom - frame.top)) / frame.height}%`;
  holder.replaceChildren(element("div", {class: "plot"}, canvas, chart));
}

/** A bar for each window by its decision, the levels of warnings and alarms, and hatching where nothing was judged. */
export function timeline(holder, windows, levels) {
  const scores = windows.filter(judged).map((one) => one.score);
  const known = levels.filter(({value}) => Number.isFinite(value));
  const high = 1.08 * Math.max(...scores, ...known.map(({value}) => value), 1e-9);
  const low = Math.min(...scores, 0);
  const end = Math.max(...windows.map((one) => one.end));
  const frame = frameOf(holder, 230, {left: 42, right: 58, top: 8, bottom: 34});
  const x = scale(windows[0].start, end, frame.left, frame.right);
  const y = scale(low, high, frame.bottom, frame.top);
  const chart = frame.chart([
    patterns(),
    ...timeAxis(frame, x, windows[0].start, end),
    ...roundSteps(low, high, 4).flatMap((value) => rowLabel(frame, y(value), number(value))),
    ...windows.map((one) => windowBar(one, x, y, frame)),
    ...known.flatMap(({name, value}, place) => levelLine(frame, y(value), name, known.length > 1 ? (place ? 0 : 10) : 4)),
  ]);
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", timelineWords(windows));
  holder.replaceChildren(chart, legend(windows));
}

function legend(windows) {
  const there = Object.entries(DECISIONS).filter(([name]) => windows.some((one) => one.decision === name));
  const keys = there.map(([name]) => {
    const swatch = drawn("svg", {class: "key", viewBox: "0 0 14 14", "aria-hidden": "true"}, drawn("rect", {width: 14, height: 14, ...look(name)}));
    return element("span", {}, swatch, name);
  });
  return element("figcaption", {}, ...keys, "Score of each window: the higher, the less normal.");
}

export const judged = (one) => one.score !== null && ["normal", "warning", "alarm"].includes(one.decision);

function timelineWords(windows) {
  const counts = Object.keys(DECISIONS)
    .map((name) => [windows.filter((one) => one.decision === name).length, name])
    .filter(([count]) => count);
  return `Score of each of ${windows.length} windows: ${counts.map(([count, name]) => `${count} ${name}`).join(", ")}`;
}

function paint(canvas, levels) {
  const context = canvas.getContext("2d");
  const {width, height} = canvas;
  const image = context.createImageData(width, height);
  const all = levels.flat();
  const [top, bottom] = [all.reduce((a, b) => Math.max(a, b)), all.reduce((a, b) => Math.min(a, b))];
  // Silence is as black as it is silent, not as bright as its loudest moment.
  const share = (level) => (top > bottom ? 1 - (top - level) / RANGE_DB : 0);
  levels.forEach((frame, column) =>
    frame.forEach((level, row) => image.data.set([...color(share(level)), 255], 4 * ((height - 1 - row) * width + column))),
  );
  context.putImageData(image, 0, 0);
}

export function color(share) {
  const place = Math.min(Math.max(share, 0), 1) * (MAGMA.length - 1);
  const below = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[below].map((value, channel) => value + (place - below) * (MAGMA[below + 1][channel] - value));
}

/** Where a frequency lies among rows, in rows. */
function placeOf(hz, frequencies) {
  const above = frequencies.findIndex((one) => one >= hz);
  if (above < 0) return frequencies.length - 0.5;
  if (above === 0) return -0.5;
  return above - 1 + (hz - frequencies[above - 1]) / (frequencies[above] - frequencies[above - 1]);
}

/** Drawn as wide as there is room, so that letters keep their size on a phone. */
function frameOf(holder, height, margin) {
  const width = Math.round(Math.min(Math.max(holder.clientWidth, 280), 736));
  const chart = (parts) => drawn("svg", {class: "chart", viewBox: `0 0 ${width} ${height}`}, ...parts);
  return {width, height, chart, left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom};
}

const scale = (low, high, first, last) => (value) => first + ((value - low) / (high - low || 1)) * (last - first);

/** A bar at the right of a band, and lines along it. */
function bandMark(frame, high, low) {
  const edges = [high - 2, low + 2].map((y) => line(frame.left, y, frame.right, y, "found"));
  return [bar(frame.right + 3, high, 6, low - high), ...edges];
}

/** A bar on top of a moment, and lines along it. */
function momentMark(frame, start, end) {
  const edges = [start, end].map((x) => line(x, frame.top, x, frame.bottom, "found"));
  return [bar(start, frame.top - 9, end - start, 6), ...edges];
}

const bar = (x, y, width, height) =>
  drawn("rect", {class: "mark", x, y, width: Math.max(width, THINNEST), height: Math.max(height, THINNEST)});

const text = (x, y, content, anchor = "start") => drawn("text", {x, y, "text-anchor": anchor}, String(content));

const line = (x1, y1, x2, y2, css) => drawn("line", {x1, y1, x2, y2, class: css});

function timeAxis(frame, x, start, end) {
  const count = Math.floor((frame.right - frame.left) / 75);
  const steps = end - start > LONG ? stepsOf(start, end, WHOLE.find((one) => one >= (end - start) / count) ?? 86400) : roundSteps(start, end, count);
  return [
    ...steps.flatMap((value) => [
      line(x(value), frame.bottom, x(value), frame.bottom + 4, "axis"),
      text(x(value), frame.bottom + 16, clock(value), "middle"),
    ]),
    line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"),
    text((frame.left + frame.right) / 2, frame.bottom + 30, "time in the recording", "middle"),
  ];
}

function rowLabel(frame, y, label, end = frame.right) {
  return [line(frame.left, y, end, y, end === frame.right ? "grid" : "axis"), text(frame.left - 6, y + 4, label, "end")];
}

function levelLine(frame, y, name, lift) {
  return [line(frame.left, y, frame.right + 4, y, "threshold"), text(frame.right + 7, y + lift, name)];
}

function windowBar(one, x, y, frame) {
  const top = judged(one) ? y(Math.max(one.score, 0)) : frame.top;
  const bottom = judged(one) ? y(Math.min(one.score, 0)) : frame.bottom;
  const width = Math.max(x(one.end) - x(one.start) - 0.6, 0.8);
  return drawn("rect", {x: x(one.start), y: top, width, height: Math.max(bottom - top, 0), ...look(judged(one) ? one.decision : unjudged(one))});
}

// Nothing was decided without a threshold either.
const unjudged = ({decision}) => (decision === "not running" ? decision : "cannot judge");

/** What is judged is filled, what cannot be is hatched, and what does not run is dotted. */
function look(decision) {
  if (decision === "cannot judge") return {class: "unjudged", fill: "url(#hatched)"};
  if (decision === "not running") return {class: "unjudged", fill: "url(#dotted)"};
  return {class: `bar ${DECISIONS[decision].css}`};
}

function patterns() {
  const place = {width: 6, height: 6, patternUnits: "userSpaceOnUse"};
  return drawn(
    "defs",
    {},
    drawn("pattern", {...place, id: "hatched", patternTransform: "rotate(45)"}, line(0, 0, 0, 6, "hatch un")),
    drawn("pattern", {...place, id: "dotted"}, drawn("circle", {class: "bar un", cx: 3, cy: 3, r: 1.2})),
  );
}

/** Round values between two, about so many. */
function roundSteps(low, high, count) {
  const least = (high - low) / Math.max(count, 1) || 1;
  const tens = 10 ** Math.floor(Math.log10(least));
  return stepsOf(low, high, [1, 2, 5, 10].map((one) => one * tens).find((one) => one >= least * 0.999));
}

function stepsOf(low, high, step) {
  const first = Math.ceil(low / step - 1e-6);
  const count = Math.floor(high / step + 1e-6) - first + 1;
  return Array.from({length: count}, (_, place) => Number(((first + place) * step).toPrecision(12)));
}
