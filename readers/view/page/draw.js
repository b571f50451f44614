// Draws numbers into canvases. Frame i of n spans i / n to (i + 1) / n of the width.
const MOST_ROWS = 1000;
const MISSING = [240, 140, 60];
const SAMPLE = 20000;

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// Two dimensions in CSS pixels, at the resolution of the screen.
function sized(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = globalThis.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

function finite(values, most = Infinity) {
  const step = Math.max(1, Math.floor(values.length / most)), found = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at])) found.push(values[at]);
  return found;
}

export function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

// From the first to the 99th percentile of the values, of a sample where there are many; all of them if these are equal.
export function robustLimits(values) {
  const sorted = Float64Array.from(finite(values, SAMPLE)).sort();
  const at = (part) => sorted[Math.floor(part * (sorted.length - 1))];
  return sorted.length && at(0.01) < at(0.99) ? [at(0.01), at(0.99)] : extent(values);
}

// As `grey_limits` of trialpack.readers.shown: so that trials can be compared.
export function greyLimits(values, dtype) {
  const [low, high] = extent(values);
  if (dtype === "bool" || (dtype !== "uint8" && low >= 0 && high > 0 && high <= 1)) return [0, 1];
  return (low >= 0 && high <= 255) || low === high ? [0, 255] : [low, high];
}

function level(value, limits) {
  const low = limits[0], high = limits[1];
  return Math.round(255 * Math.min(1, Math.max(0, high > low ? (value - low) / (high - low) : 0)));
}

function put(pixels, at, red, green, blue) {
  pixels[at] = red;
  pixels[at + 1] = green;
  pixels[at + 2] = blue;
  pixels[at + 3] = 255;
}

// A picture of shape (height, width) or (channel, height, width) that begins somewhere in values: three channels are
// red, green and blue, others stand side by side. Black is the lower limit, white the upper one, NaN orange.
export function paintPicture(canvas, values, start, shape, limits) {
  const [height, width] = shape.slice(-2), channels = shape.length === 3 ? shape[0] : 1, size = height * width;
  const colour = channels === 3, across = colour ? 1 : channels;
  if (canvas.width !== width * across || canvas.height !== height) [canvas.width, canvas.height] = [width * across, height];
  const context = canvas.getContext("2d"), image = context.createImageData(width * across, height);
  for (let part = 0; part < across; part++) {
    for (let pixel = 0; pixel < size; pixel++) {
      const at = start + part * size + pixel;
      const place = 4 * (Math.floor(pixel / width) * width * across + part * width + (pixel % width));
      const red = values[at], green = colour ? values[at + size] : red, blue = colour ? values[at + 2 * size] : red;
      if (Number.isNaN(red + green + blue)) put(image.data, place, ...MISSING);
      else put(image.data, place, level(red, limits), level(green, limits), level(blue, limits));
    }
  }
  context.putImageData(image, 0, 0);
}

// Rows by frames, one pixel a value: white is the lower limit, black the upper one, NaN orange. Of more rows or frames
// than a canvas should have, a pixel is the mean of some; returns of how many.
export function paintRaster(canvas, values, rows, frames, limits) {
  const down = Math.ceil(rows / MOST_ROWS), along = Math.ceil(frames / MOST_ROWS);
  [canvas.width, canvas.height] = [Math.ceil(frames / along), Math.ceil(rows / down)];
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), missing = new Uint8ClampedArray(4);
  put(missing, 0, ...MISSING);
  const [orange] = new Uint32Array(missing.buffer);
  const [low, high] = limits, scale = high > low ? 255 / (high - low) : 0;
  for (let y = 0, at = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, at++) {
      const value = down * along === 1 ? values[at] : meanOf(values, rows, frames, y * down, x * along, down, along);
      const dark = Math.min(255, Math.max(0, (value - low) * scale)), grey = 255 - Math.round(dark);
      pixels[at] = Number.isNaN(value) ? orange : 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
  }
  context.putImageData(image, 0, 0);
  return { down, along };
}

function meanOf(values, rows, frames, top, left, down, along) {
  let sum = 0, count = 0;
  for (let y = top; y < Math.min(rows, top + down); y++) {
    for (let x = left; x < Math.min(frames, left + along); x++, count++) sum += values[y * frames + x];
  }
  return sum / count;
}

// A line through the middle of every frame; gaps where values are missing.
export function paintTrace(canvas, values) {
  const { context, width, height } = sized(canvas), [low, high] = extent(values), pad = 4;
  const y = (value) => height - pad - ((height - 2 * pad) * (value - low)) / (high - low || 1);
  context.strokeStyle = style("--blue");
  context.lineWidth = 1.2;
  context.beginPath();
  let drawn = false;
  values.forEach((value, frame) => {
    const x = ((frame + 0.5) / values.length) * width, isThere = Number.isFinite(value);
    if (isThere) context[drawn ? "lineTo" : "moveTo"](x, y(value));
    drawn = isThere;
  });
  context.stroke();
}

// Upright bars from zero, one of which may stand out, with their spread.
export function paintBars(canvas, values, chosen = -1, spread = []) {
  const { context, width, height } = sized(canvas), pad = 4, off = (place) => spread[place] || 0;
  const ends = values.flatMap((value, place) => [value - off(place), value + off(place)]);
  const [low, high] = extent([0, ...ends]), wide = width / values.length;
  const y = (value) => height - pad - ((height - 2 * pad) * (value - low)) / (high - low || 1);
  values.forEach((value, place) => {
    context.fillStyle = style(place === chosen ? "--orange" : "--blue");
    const gap = Math.min(2, wide / 4), left = place * wide + gap / 2;
    context.fillRect(left, Math.min(y(0), y(value)), Math.max(1, wide - gap), Math.max(1, Math.abs(y(value) - y(0))));
    context.fillStyle = style("--ink");
    if (off(place)) context.fillRect(left + wide / 2 - 1, y(value + off(place)), 1.5, y(value - off(place)) - y(value + off(place)));
  });
}

// Points seen from above, equal scales along both axes; returns where each is, in CSS pixels.
export function paintPoints(canvas, xs, ys, chosen) {
  const { context, width, height } = sized(canvas), pad = 10, [left, right] = extent(xs), [top, bottom] = extent(ys);
  const scale = Math.min((width - 2 * pad) / (right - left || 1), (height - 2 * pad) / (bottom - top || 1));
  const places = xs.map((x, one) => [
    width / 2 + scale * (x - (left + right) / 2),
    height / 2 + scale * (ys[one] - (top + bottom) / 2),
  ]);
  context.fillStyle = style("--grey");
  context.globalAlpha = 0.5;
  for (const [x, y] of places) context.fillRect(x - 1, y - 1, 2, 2);
  context.globalAlpha = 1;
  context.fillStyle = style("--orange");
  context.beginPath();
  if (places[chosen]) context.arc(...places[chosen], 5, 0, 2 * Math.PI);
  context.fill();
  return places;
}

// Strike out the frames that are damaged.
export function paintDamage(canvas, damage, frames) {
  const context = canvas.getContext("2d");
  context.fillStyle = "rgba(200, 0, 0, 0.35)";
  for (const { from, to } of damage) {
    context.fillRect((from / frames) * canvas.width, 0, ((to - from) / frames) * canvas.width, canvas.height);
  }
}
