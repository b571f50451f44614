// The page: what is chosen, what is drawn of it, and the same as text. Texts of a store are only ever text here.
import * as draw from "./draw.js";
import { Recording } from "./recording.js";

const ALL = "all";
const PLACES = [["cell_motor_coordinates_0", "cell_motor_coordinates_1"], ["x", "y"]];
const MOST_GROUPS = 200, MOST_VALUES = 60, MOST_LINES = 2000, USUAL_RATE = 30;

const $ = (id) => document.getElementById(id);
const say = (text) => ($("status").textContent = text);
const state = { recording: null, row: 0, tier: ALL, mean: false, frame: 0, neuron: 0 };
let entries = [], shown = [], panels = [], series = [], columns = null, tuning = null;
let trialTurn = 0, tuningTurn = 0, mouseTurn = 0, playing = null;

function make(tag, text = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function number(value) {
  if (typeof value !== "number") return String(value ?? "–");
  return Number.isInteger(value) ? String(value) : Number.isNaN(value) ? "missing" : value.toPrecision(4);
}

function fillSelect(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => make("option", text, { value: key })));
  select.value = value;
}

function fillList(list, facts) {
  list.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", name), make("dd", number(value))]));
}

const readable = (name) => name.replaceAll("_", " ");
const unitOf = (unit) => (unit && unit !== "1" ? unit : "");
const frameCount = () => (state.recording?.sizes.frame ? Number($("frame").max) + 1 : 1);
const rate = () => state.recording.rate ?? USUAL_RATE;

// The address

function writeAddress() {
  if (playing || !state.recording) return;
  const { recording, row, tier, mean, frame, neuron } = state;
  const said = new URLSearchParams({ mouse: recording.name, trial: recording.ids[row] });
  if (tier !== ALL) said.set("tier", tier);
  if (mean) said.set("repeats", "mean");
  if (frame) said.set("frame", frame);
  if (neuron) said.set("neuron", neuron);
  history.replaceState(null, "", `#${said}`);
}

async function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1)), name = said.get("mouse");
  const entry = entries.find((one) => one.name === name) ?? entries[0];
  const missing = name !== null && entry.name !== name ? `There is no mouse ${name} here. ` : "";
  if (state.recording?.name !== entry.name && !(await openMouse(entry))) return;
  const { recording } = state, row = recording.ids.indexOf(Number(said.get("trial")));
  const known = said.has("trial") ? row >= 0 : true;
  state.tier = recording.tiers.includes(said.get("tier")) ? said.get("tier") : ALL;
  state.row = said.has("trial") && known ? row : rowsOfTier()[0];
  if (!rowsOfTier().includes(state.row)) state.tier = ALL;
  state.mean = said.get("repeats") === "mean";
  state.neuron = within(Number(said.get("neuron")) || 0, recording.sizes.neuron);
  await showTrial(Number(said.get("frame")) || 0, missing + (known ? "" : `There is no trial ${said.get("trial")}. `));
}

const within = (place, count) => Math.min(Math.max(0, Math.trunc(place)), Math.max(0, count - 1));

function rowsOfTier() {
  const { tiers } = state.recording, rows = tiers.map((_, row) => row);
  return state.tier === ALL ? rows : rows.filter((row) => tiers[row] === state.tier);
}

// Mice and trials

async function openMouse(entry) {
  const mine = ++mouseTurn;
  stop();
  say(`Opening ${entry.name} …`);
  $("mouse").value = entry.name;
  try {
    const recording = await Recording.open(entry);
    if (mine !== mouseTurn) return false;
    Object.assign(state, { recording, tier: ALL });
  } catch (error) {
    if (mine !== mouseTurn) return false;
    Object.assign(state, { recording: null });
    $("shown").hidden = $("choices").hidden = true;
    $("controls").hidden = entries.length < 2;
    $("title").textContent = entry.name;
    showProblems([...entry.problems, error.message]);
    say(`${entry.name} cannot be shown.`);
    return false;
  }
  [columns, tuning] = [null, null];
  tuningTurn++;
  $("neuron").max = Math.max(0, state.recording.sizes.neuron - 1);
  $("title").textContent = state.recording.attributes.mouse;
  document.title = `${state.recording.attributes.mouse} – trialpack view`;
  return true;
}

function showProblems(texts) {
  const once = [...new Set(texts)];
  $("problems").hidden = !once.length;
  $("problems").querySelector("ul").replaceChildren(...once.map((text) => make("li", text)));
}

function showChoices() {
  const { recording, tier, row } = state, rows = rowsOfTier();
  const counts = new Map();
  for (const one of recording.tiers) counts.set(one, (counts.get(one) ?? 0) + 1);
  const tiers = [[ALL, `all (${recording.ids.length})`], ...[...counts].map(([one, count]) => [one, `${one} (${count})`])];
  fillSelect($("tier"), tiers, tier);
  const list = $("trial"), key = `${recording.name} ${tier}`;
  // Thousands of trials: made only when others are to be chosen from.
  if (list.dataset.key !== key) fillSelect(list, rows.map((one) => [one, recording.ids[one]]), row);
  [list.dataset.key, list.value] = [key, row];
  const same = recording.repeats(row), others = same.filter((one) => one !== row);
  const options = [["one", others.length ? `trial ${recording.ids[row]} of ${same.length}` : "none"]];
  if (others.length) options.push(["mean", `mean of ${same.length}`]);
  options.push(...others.map((one) => [one, `trial ${recording.ids[one]}, ${recording.tiers[one]}`]));
  state.mean &&= others.length > 0;
  fillSelect($("repeats"), options, state.mean ? "mean" : "one");
  $("repeats").disabled = !others.length;
}

async function showTrial(frame = 0, before = "") {
  const mine = ++trialTurn, { recording, row } = state, name = `trial ${recording.ids[row]}`;
  stop();
  if (row === undefined) return say("There are no trials.");
  showChoices();
  say(`Reading ${name} …`);
  const read = state.mean ? await meanOfRepeats(recording.repeats(row), mine) : await recording.trial(row);
  if (mine !== trialTurn || !read) return;
  shown = read;
  const lengths = shown.filter((one) => one.variable.dimensions.includes("frame") && one.values.length);
  const frames = lengths.length ? lengths[0].shape[lengths[0].variable.form === "video" ? 0 : lengths[0].shape.length - 1] : 1;
  $("frame").max = Math.max(0, frames - 1);
  $("shown").hidden = $("controls").hidden = $("choices").hidden = false;
  $("play").disabled = $("frame").disabled = frames < 2;
  $("mouse").parentElement.hidden = entries.length < 2;
  drawTrial();
  setFrame(within(frame, frames));
  showProblems([...recording.problems, ...shown.flatMap((one) => one.damage.map((damage) => damage.text))]);
  Object.assign($("shown").dataset, { trial: recording.ids[row], frames, repeats: state.mean ? "mean" : "one" });
  const kind = state.mean ? `mean of ${recording.repeats(row).length} trials` : `${name}, ${recording.tiers[row]}`;
  say(`${before}${kind}${recording.sizes.frame ? `, ${frames} frames` : ""}`);
  performance.mark("trial-drawn");
  writeAddress();
  await showTables(mine);
}

async function meanOfRepeats(rows, mine) {
  const { recording } = state, frames = Math.min(...rows.map((row) => recording.frames(row)));
  let total = null;
  for (const [place, row] of rows.entries()) {
    say(`Reading repeat ${place + 1} of ${rows.length} …`);
    const trial = await recording.trial(row);
    if (mine !== trialTurn) return null;
    total ??= trial.map((one) => ({ ...one, count: 0, damage: [] }));
    trial.forEach((one, which) => addTo(total[which], one, frames));
  }
  for (const one of total) if (one.count > 1) one.values = one.values.map((value) => value / one.count);
  return total;
}

// Pictures are those of the first trial; frames are those that all repeats have.
function addTo(sum, one, frames) {
  const { form } = one.variable, timed = form === "raster" || form === "channels";
  sum.damage.push(...one.damage);
  if (one.absent || ((form === "video" || form === "picture") && sum.count)) return;
  const own = timed ? one.shape.at(-1) : 1, kept = timed ? frames : 1, lines = one.values.length / own;
  if (form === "video" || form === "picture") Object.assign(sum, { ...one, count: 1, damage: sum.damage });
  else if (!sum.count) {
    const shape = timed ? [...one.shape.slice(0, -1), frames] : one.shape;
    Object.assign(sum, { absent: "", shape, values: new Float64Array(lines * kept) });
  }
  if (form === "video" && one.shape[0] > frames) {
    const size = one.values.length / one.shape[0];
    Object.assign(sum, { shape: [frames, ...one.shape.slice(1)], values: one.values.slice(0, frames * size) });
  }
  if (form === "video" || form === "picture") return;
  sum.count += 1;
  for (let line = 0; line < lines; line++) {
    for (let frame = 0; frame < kept; frame++) sum.values[line * kept + frame] += one.values[line * own + frame];
  }
}

// What is drawn of a trial: panels, which know how to draw a frame and themselves, and what is read of each frame.

function figure(place, kind, caption, ...children) {
  const made = make("figure", "", { class: kind }, make("figcaption", caption), ...children);
  place.append(made);
  return made;
}

function canvasOf(variable, label) {
  return make("canvas", "", { "data-variable": variable.name, role: "img", "aria-label": label });
}

function drawTrial() {
  $("pictures").replaceChildren();
  $("timeline").replaceChildren($("cursor"));
  [panels, series] = [[], []];
  for (const one of shown) {
    const title = [readable(one.variable.name), unitOf(one.variable.units) && `(${one.variable.units})`].filter(Boolean).join(" ");
    if (one.absent) figure($("timeline"), "absent", `${title}: ${one.absent}`).dataset.absent = one.variable.name;
    else PANELS[one.variable.form](one, title, readable(one.variable.name));
  }
  redraw();
  showValues();
}

function redraw() {
  for (const panel of panels) panel.draw?.();
  $("cursor").hidden = frameCount() < 2;
  $("timeline").style.setProperty("--wide", 1 / frameCount());
}

const PANELS = { video: addPicture, picture: addPicture, raster: addRaster, bars: addBars, channels: addChannels, values: addValues };

function addPicture(one, title, name) {
  const { variable, values } = one, moving = variable.form === "video", shape = moving ? one.shape.slice(1) : one.shape;
  const limits = draw.greyLimits(values, variable.dtype), size = shape.reduce((all, length) => all * length, 1);
  const [height, width] = shape.slice(-2), scale = `black is ${number(limits[0])}, white ${number(limits[1])}`;
  const canvas = canvasOf(variable, `${title}: ${width} by ${height} pixels, ${scale}`);
  Object.assign(canvas.dataset, { low: limits[0], high: limits[1] });
  figure($("pictures"), "picture", `${title}, ${scale}`, canvas);
  const part = (frame) => values.subarray(moving ? frame * size : 0, moving ? (frame + 1) * size : size);
  panels.push({
    frame: (frame) => draw.paintPicture(canvas, values, moving ? frame * size : 0, shape, limits),
    values: [
      { label: `${name}: mean pixel`, variable, channel: "mean", at: (frame) => mean(part(frame)) },
      { label: `${name}: darkest pixel`, variable, channel: "least", at: (frame) => draw.extent(part(frame))[0] },
      { label: `${name}: brightest pixel`, variable, channel: "most", at: (frame) => draw.extent(part(frame))[1] },
    ],
  });
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function addRaster(one, title, name) {
  const { variable, values } = one, [rows, frames] = one.shape, limits = draw.robustLimits(values);
  const scale = `white is ${number(limits[0])} and less, black ${number(limits[1])} and more`;
  const canvas = canvasOf(variable, `${title} of ${rows} neurons, the first on top, over ${frames} frames; ${scale}`);
  Object.assign(canvas.dataset, { low: limits[0], high: limits[1] });
  const made = figure($("timeline"), "raster", "", canvas), caption = made.querySelector("figcaption");
  const { down } = draw.paintRaster(canvas, values, rows, frames, limits);
  draw.paintDamage(canvas, one.damage, frames);
  caption.textContent = `${title}, ${rows} neurons${down > 1 ? `, each line the mean of ${down}` : ""}: ${scale}`;
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    setFrame(within(((event.clientX - box.left) / box.width) * frames, frames));
    setNeuron(((event.clientY - box.top) / box.height) * rows);
  });
  const everyone = (frame) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += values[row * frames + frame];
    return sum / rows;
  };
  panels.push({ values: [{ label: `${name}: mean of the neurons`, variable, channel: "mean", at: everyone }] });
  const line = () => values.subarray(state.neuron * frames, (state.neuron + 1) * frames);
  addTrace(one, () => `${name} of neuron ${state.neuron}`, "neuron", line);
}

function addChannels(one, title, whole) {
  const { variable, values } = one, frames = one.shape.at(-1), count = values.length / frames;
  for (let channel = 0; channel < count; channel++) {
    const own = variable.channels.length === count ? variable.channels[channel] : null;
    const name = own ? own.name : count > 1 ? `${whole} ${channel}` : whole, unit = unitOf(own?.units ?? variable.units);
    const full = own && !name.includes(" ") ? `${whole} ${name}` : name;
    const line = () => values.subarray(channel * frames, (channel + 1) * frames);
    addTrace(one, () => full, channel, line, unit);
  }
}

// `label` and `line` are asked for again whenever another neuron is chosen.
function addTrace(one, label, channel, line, unit = unitOf(one.variable.units)) {
  const { variable } = one, canvas = canvasOf(variable, "");
  canvas.dataset.channel = channel;
  const caption = figure($("timeline"), "trace", "", canvas).querySelector("figcaption");
  const own = { label: () => label(), unit, variable, channel, line };
  series.push(own);
  panels.push({
    draw: () => {
      const values = line(), [low, high] = draw.extent(values), text = `${label()}, from ${number(low)} to ${number(high)} ${unit}`;
      draw.paintTrace(canvas, values);
      draw.paintDamage(canvas, one.damage, values.length);
      canvas.setAttribute("aria-label", text);
      caption.textContent = text;
    },
    values: [{ label, unit, variable, channel, at: (frame) => line()[frame] }],
  });
}

function addBars(one, title, name) {
  const { variable, values } = one, canvas = canvasOf(variable, `${title} of ${values.length} neurons`);
  figure($("timeline"), "bars", `${title}, ${values.length} neurons from left to right`, canvas);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    setNeuron(((event.clientX - box.left) / box.width) * values.length);
  });
  panels.push({
    draw: () => draw.paintBars(canvas, Array.from(values), state.neuron),
    values: [{ label: () => `${name} of neuron ${state.neuron}`, unit: unitOf(variable.units), variable, channel: "neuron", at: () => values[state.neuron] }],
  });
}

function addValues(one, title, name) {
  const { variable, values } = one;
  const channels = Array.from(values, (value, channel) => {
    const own = variable.channels.length === values.length ? variable.channels[channel] : null;
    const label = own?.name ?? (values.length > 1 ? `${name} ${channel}` : name);
    return { label, unit: unitOf(own?.units ?? variable.units), variable, channel, at: () => value };
  });
  panels.push({ values: channels });
}

// Text of what is drawn

let cells = [];

function showValues() {
  cells = panels.flatMap((panel) => panel.values ?? []).map((one) => {
    const name = make("th", "", { scope: "row" });
    const cell = make("td", "", { class: "number", "data-variable": one.variable.name, "data-channel": one.channel });
    return { one, name, cell, row: make("tr", "", {}, name, cell, make("td", one.unit ?? "")) };
  });
  $("values").tBodies[0].replaceChildren(...cells.map((cell) => cell.row));
}

function setFrame(frame) {
  state.frame = frame;
  $("frame").value = frame;
  const seconds = state.recording.rate ? `, ${(frame / state.recording.rate).toFixed(2)} s` : "";
  $("now").textContent = frameCount() > 1 ? `frame ${frame} of ${frameCount()}${seconds}` : "one picture";
  $("now").dataset.frame = frame;
  $("timeline").style.setProperty("--at", frame / frameCount());
  for (const panel of panels) panel.frame?.(frame);
  for (const { one, name, cell } of cells) {
    const value = one.at(frame);
    name.textContent = typeof one.label === "function" ? one.label() : one.label;
    cell.textContent = number(value);
    cell.dataset.value = value;
  }
}

function showTrace() {
  if (!$("trace").open) return;
  const [table] = $("trace").getElementsByTagName("table"), count = series.length ? frameCount() : 0;
  const heads = ["frame", ...series.map((one) => [one.label(), one.unit && `(${one.unit})`].filter(Boolean).join(" "))];
  table.tHead.replaceChildren(make("tr", "", {}, ...heads.map((text) => make("th", text, { scope: "col" }))));
  const first = count > MOST_LINES ? within(state.frame - MOST_LINES / 2, count - MOST_LINES + 1) : 0;
  const lines = series.map((one) => one.line());
  const rows = Array.from({ length: Math.min(count, MOST_LINES) }, (_, place) => {
    const frame = first + place;
    const values = lines.map((line, which) => make("td", number(line[frame]), {
      class: "number", "data-variable": series[which].variable.name, "data-channel": series[which].channel, "data-value": line[frame],
    }));
    return make("tr", "", { "data-frame": frame }, make("th", frame, { scope: "row" }), ...values);
  });
  table.tBodies[0].replaceChildren(...rows);
}

// Neurons and trials: tables of the store, read after the trial is there

async function showTables(mine) {
  const { recording } = state;
  showTrace();
  showNeuron();
  if (!columns) {
    const found = { trials: await recording.columns("trials"), neurons: await recording.columns("neurons") };
    const { responses } = recording, over = recording.sizes.frame ? "over_trials_and_frames" : "over_trials";
    for (const name of responses ? ["mean", "std", "min", "max"] : []) {
      const column = await recording.column(`statistics/train/${responses.name}/${over}/${name}`);
      if (column) found.neurons.set(`${name} of the train trials`, column.values);
    }
    if (mine !== trialTurn || recording !== state.recording) return;
    columns = found;
    showProblems([...recording.problems, ...shown.flatMap((one) => one.damage.map((damage) => damage.text))]);
    fillSelect($("by"), groupings().map((name) => [name, readable(name)]), groupings()[0] ?? "");
  }
  const facts = [...columns.trials].filter(([name]) => name !== "trial_id" && !name.startsWith("has_")).map(([name, values]) => [readable(name), values[state.row]]);
  const same = recording.repeats(state.row);
  if (recording.stimuli) facts.push(["stimulus is that of trial", recording.stimuli[state.row]], ["repeats", same.length]);
  facts.push(["trials with it", same.slice(0, MOST_VALUES).map((row) => recording.ids[row]).join(", ")]);
  $("trial-title").textContent = `Trial ${recording.ids[state.row]}`;
  fillList($("trial-facts"), facts);
  showNeuron();
}

function setNeuron(neuron) {
  state.neuron = within(neuron, state.recording.sizes.neuron);
  redraw();
  setFrame(state.frame);
  showTrace();
  showNeuron();
  writeAddress();
}

let points = [];

function showNeuron() {
  const { recording, neuron } = state;
  $("neuron").value = neuron;
  $("neuron-title").textContent = `Neuron ${neuron}`;
  $("neuron-title").parentElement.hidden = !recording.sizes.neuron;
  if (!columns) return;
  const axes = PLACES.find((names) => names.every((name) => columns.neurons.has(name)));
  $("place").hidden = !axes;
  if (axes) {
    const [xs, ys] = axes.map((name) => columns.neurons.get(name));
    points = draw.paintPoints($("place"), xs, ys, neuron);
    $("place-text").textContent = `Seen from above: ${axes.map((name) => `${readable(name)} ${number(columns.neurons.get(name)[neuron])}`).join(", ")}`;
  } else $("place-text").textContent = "The store does not say where neurons lie.";
  fillList($("neuron-facts"), [...columns.neurons].map(([name, values]) => [readable(name), values[neuron]]));
  showTuning();
}

// Tuning: the mean response to trials that have something in common

function groupsBy(name) {
  const { recording } = state, groups = new Map();
  const keys = name === "stimulus" ? recording.stimuli ?? [] : columns.trials.get(name) ?? [];
  keys.forEach((key, row) => {
    if (recording.absent(recording.responses, row)) return;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  });
  const found = [...groups].filter(([, rows]) => name !== "stimulus" || rows.length > 1);
  return found.sort(([, one], [, other]) => other.length - one.length).slice(0, MOST_GROUPS)
    .sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
}

function groupings() {
  if (!state.recording.responses || state.recording.responses.unreadable) return [];
  const names = [...columns.trials.keys()].filter((name) => {
    const count = new Set(columns.trials.get(name)).size;
    return count > 1 && count <= MOST_VALUES && !name.startsWith("has_") && name !== "withheld";
  });
  return [...(groupsBy("stimulus").length ? ["stimulus"] : []), ...names];
}

async function tune() {
  const mine = ++tuningTurn, { recording } = state, name = $("by").value, groups = groupsBy(name), count = recording.sizes.neuron;
  const made = groups.map(([key, rows]) => ({ key, rows, read: 0, sum: new Float64Array(count), squares: new Float64Array(count) }));
  tuning = { name, groups: made };
  $("tune").textContent = "Stop";
  // One trial of each group after another: what is drawn meanwhile is of all of them.
  const most = Math.max(0, ...groups.map(([, rows]) => rows.length)), total = groups.reduce((sum, [, rows]) => sum + rows.length, 0);
  let done = 0, left = 0, drawn = 0;
  for (let place = 0; place < most; place++) {
    for (const group of made.filter((one) => one.rows.length > place)) {
      const trial = await recording.values(recording.responses, group.rows[place]);
      if (mine !== tuningTurn) return;
      done += 1;
      if (trial.damage.length) left += 1;
      else addMeans(group, trial, count);
      if (performance.now() - drawn > 300 || done === total) {
        showTuning();
        drawn = performance.now();
        $("tuning-text").textContent = `${done} of ${total} trials read${left ? `, ${left} of them damaged and left out` : ""}`;
        $("tuning-text").dataset.done = done === total;
      }
    }
  }
  $("tune").textContent = "Read the trials";
}

function addMeans(group, { values }, count) {
  const frames = values.length / count;
  group.read += 1;
  for (let neuron = 0; neuron < count; neuron++) {
    let sum = 0, known = 0;
    for (let at = neuron * frames; at < (neuron + 1) * frames; at++) if (!Number.isNaN(values[at])) [sum, known] = [sum + values[at], known + 1];
    group.sum[neuron] += sum / known;
    group.squares[neuron] += (sum / known) ** 2;
  }
}

function stopTuning() {
  tuningTurn++;
  $("tune").textContent = "Read the trials";
}

function showTuning() {
  const groups = (tuning?.groups ?? []).filter((one) => one.read), { neuron } = state, table = $("tuning-table");
  $("tuning").hidden = !groups.length;
  $("tune").disabled = $("by").disabled = !$("by").value;
  if (!$("by").value) $("tuning-text").textContent = "No stimulus is shown twice, and no table of trials has groups.";
  else if (!tuning) $("tuning-text").textContent = "";
  table.tHead.replaceChildren();
  table.tBodies[0].replaceChildren();
  if (!groups.length) return;
  const means = groups.map((one) => one.sum[neuron] / one.read);
  const spread = groups.map((one, place) => (one.read > 1 ? Math.sqrt(Math.max(0, (one.squares[neuron] - one.read * means[place] ** 2) / (one.read - 1))) : 0));
  const label = `Mean response of neuron ${neuron} by ${readable(tuning.name)}: ${groups.length} groups, from ${number(Math.min(...means))} to ${number(Math.max(...means))}`;
  draw.paintBars($("tuning"), means, -1, spread);
  $("tuning").setAttribute("aria-label", label);
  const heads = [readable(tuning.name), "trials", "mean", "standard deviation"];
  table.tHead.replaceChildren(make("tr", "", {}, ...heads.map((text) => make("th", text, { scope: "col" }))));
  table.tBodies[0].replaceChildren(...groups.map((one, place) => make("tr", "", { "data-group": one.key },
    make("th", number(one.key), { scope: "row" }), make("td", one.read, { class: "number" }),
    make("td", number(means[place]), { class: "number", "data-value": means[place] }), make("td", number(spread[place]), { class: "number" }))));
}

// Playing: frames follow the clock, so that everything stays in step

function stop() {
  if (playing) cancelAnimationFrame(playing.request);
  playing = null;
  $("play").textContent = "Play";
  $("now").setAttribute("aria-live", "polite");
  writeAddress();
}

function play() {
  if (playing) return stop();
  if (frameCount() < 2) return;
  if (state.frame === frameCount() - 1) setFrame(0);
  playing = { from: state.frame, since: performance.now(), request: 0 };
  $("play").textContent = "Stop";
  $("now").setAttribute("aria-live", "off");
  const tick = (now) => {
    const frame = playing.from + Math.floor((Math.max(0, now - playing.since) * rate()) / 1000);
    if (frame >= frameCount()) {
      setFrame(frameCount() - 1);
      return stop();
    }
    if (frame !== state.frame) setFrame(frame);
    playing.request = requestAnimationFrame(tick);
  };
  playing.request = requestAnimationFrame(tick);
}

function seek(frame) {
  stop();
  setFrame(within(frame, frameCount()));
  writeAddress();
}

function stepTrial(by) {
  const rows = rowsOfTier(), place = rows.indexOf(state.row) + by;
  if (place >= 0 && place < rows.length) chooseTrial(rows[place]);
}

function chooseTrial(row) {
  Object.assign(state, { row, mean: false });
  showTrial();
}

function toggleMean() {
  state.mean = !state.mean;
  showTrial(state.frame);
}

const KEYS = {
  " ": play,
  ArrowLeft: () => seek(state.frame - 1),
  ArrowRight: () => seek(state.frame + 1),
  Home: () => seek(0),
  End: () => seek(Infinity),
  ArrowUp: () => stepTrial(-1),
  ArrowDown: () => stepTrial(1),
  "[": () => setNeuron(state.neuron - 1),
  "]": () => setNeuron(state.neuron + 1),
  m: toggleMean,
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const inside = event.target.closest?.(event.key === " " ? "select, input, button, summary" : "select, input");
    if (event.ctrlKey || event.metaKey || event.altKey || !state.recording || inside || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("mouse").addEventListener("change", () => (location.hash = new URLSearchParams({ mouse: $("mouse").value })));
  $("tier").addEventListener("change", () => {
    state.tier = $("tier").value;
    chooseTrial(rowsOfTier()[0]);
  });
  $("trial").addEventListener("change", () => chooseTrial(Number($("trial").value)));
  $("repeats").addEventListener("change", () => {
    const { value } = $("repeats");
    if (value === "one" || value === "mean") toggleMean();
    else Object.assign(state, { tier: ALL }) && chooseTrial(Number(value));
  });
  $("neuron").addEventListener("change", () => setNeuron(Number($("neuron").value) || 0));
  $("frame").addEventListener("input", () => seek(Number($("frame").value)));
  $("play").addEventListener("click", play);
  $("trace").addEventListener("toggle", showTrace);
  $("by").addEventListener("change", () => {
    stopTuning();
    tuning = null;
    showTuning();
  });
  $("tune").addEventListener("click", () => ($("tune").textContent === "Stop" ? stopTuning() : tune()));
  $("place").addEventListener("click", ({ offsetX, offsetY }) => {
    const away = ([x, y]) => (x - offsetX) ** 2 + (y - offsetY) ** 2;
    setNeuron(points.reduce((best, one, place) => (away(one) < away(points[best]) ? place : best), 0));
  });
  addEventListener("hashchange", readAddress);
  const again = () => {
    redraw();
    if (state.recording) showNeuron();
  };
  new ResizeObserver(again).observe($("timeline"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

async function start() {
  say("Reading the list of stores …");
  try {
    entries = await (await fetch("stores.json", { cache: "no-store" })).json();
  } catch {
    return say("stores.json cannot be read: the server has stopped, or it was not exported with this page.");
  }
  if (!entries.length) return say("There are no stores.");
  fillSelect($("mouse"), entries.map((one) => [one.name, one.name]), entries[0].name);
  listen();
  await readAddress();
}

start();
