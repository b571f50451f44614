// Reads a store by byte ranges: files that its manifest lists, every checksum compared. What is damaged is told, and the
// rest is read.
import { Blosc } from "./blosc.js";
import { get, open, registry, root } from "./zarrita.js";

const CODECS = new Set(["sharding_indexed", "transpose", "bytes", "blosc", "crc32c", "vlen-utf8", "gzip"]);
const KEPT_TRIALS = 2, MOST_PARTS = 8, TOGETHER = 2 << 20;

class Damage extends Error {}

// CRC-32C, eight bytes at a time (Kounavis and Berry 2005).
const TABLE = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  TABLE[byte] = value;
}
for (let at = 256; at < TABLE.length; at++) TABLE[at] = (TABLE[at - 256] >>> 8) ^ TABLE[TABLE[at - 256] & 255];

export function crc32c(bytes) {
  let crc = -1, at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    const low = crc ^ (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24));
    crc = TABLE[1792 + (low & 255)] ^ TABLE[1536 + ((low >>> 8) & 255)] ^ TABLE[1280 + ((low >>> 16) & 255)] ^
      TABLE[1024 + (low >>> 24)] ^ TABLE[768 + bytes[at + 4]] ^ TABLE[512 + bytes[at + 5]] ^
      TABLE[256 + bytes[at + 6]] ^ TABLE[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]) & 255];
  return ~crc >>> 0;
}

// zarrita's own takes the checksum off and compares it with nothing.
class CheckedCrc32c {
  kind = "bytes_to_bytes";
  static fromConfig() {
    return new CheckedCrc32c();
  }
  decode(bytes) {
    const size = bytes.length - 4;
    if (size < 0) throw new Damage("is too short to have a checksum");
    const expected = new DataView(bytes.buffer, bytes.byteOffset + size, 4).getUint32(0, true);
    const body = bytes.subarray(0, size);
    if (crc32c(body) !== expected) throw new Damage("was changed (its checksum differs)");
    return body;
  }
  computeEncodedSize(size) {
    return size + 4;
  }
}
registry.set("crc32c", async () => CheckedCrc32c);
registry.set("blosc", async () => Blosc);

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The files of a store, for zarrita. Browsers compute SHA-256 only where the address is https or this machine.
class Files {
  constructor(url, listed) {
    this.url = url;
    this.listed = listed;
    this.whole = null;
    this.metadata = new Map();
    this.waiting = new Map();
  }

  get(key) {
    const name = key.slice(1);
    if (!name.endsWith("zarr.json")) return this.read(name);
    if (!this.metadata.has(name)) this.metadata.set(name, this.read(name));
    return this.metadata.get(name);
  }

  async read(name) {
    const [size, digest] = this.record(name);
    const bytes = new Uint8Array(await (await this.fetch(name)).arrayBuffer());
    if (bytes.length !== size) throw new Damage(`is of another size (expected ${size} bytes, found ${bytes.length})`);
    if (globalThis.crypto?.subtle && (await sha256(bytes)) !== digest) throw new Damage("was changed (its SHA-256 differs)");
    return bytes;
  }

  // Ranges that are asked for at once, and lie side by side, are fetched together.
  async getRange(key, range) {
    const name = key.slice(1), [size] = this.record(name);
    const from = range.suffixLength === undefined ? range.offset : size - range.suffixLength;
    const to = range.suffixLength === undefined ? from + range.length : size;
    return new Promise((resolve, reject) => {
      if (!this.waiting.has(name)) {
        this.waiting.set(name, []);
        queueMicrotask(() => this.readWaiting(name));
      }
      this.waiting.get(name).push({ from, to, resolve, reject });
    });
  }

  readWaiting(name) {
    const waiting = this.waiting.get(name).sort((one, other) => one.from - other.from);
    this.waiting.delete(name);
    while (waiting.length) {
      const group = [waiting.shift()], { from } = group[0];
      while (waiting[0]?.from === group.at(-1).to && waiting[0].to - from <= TOGETHER) group.push(waiting.shift());
      this.readRange(name, from, group.at(-1).to).then(
        (bytes) => group.forEach((one) => one.resolve(bytes.subarray(one.from - from, one.to - from))),
        (error) => group.forEach((one) => one.reject(error)),
      );
    }
  }

  async readRange(name, from, to) {
    const [size] = this.record(name);
    if (from < 0 || to > size || from >= to) throw new Damage(`has no bytes ${from} to ${to} (its size is ${size})`);
    if (this.whole?.name === name) return this.whole.bytes.subarray(from, to);
    const response = await this.fetch(name, { Range: `bytes=${from}-${to - 1}` });
    const bytes = new Uint8Array(await response.arrayBuffer());
    const found = response.status === 206 ? Number(response.headers.get("Content-Range")?.split("/")[1]) : bytes.length;
    if (found !== size) throw new Damage(`is of another size (expected ${size} bytes, found ${found})`);
    if (response.status !== 206) {
      // A web server that knows no ranges: what it sent is kept for the next ones.
      this.whole = { name, bytes };
      return bytes.subarray(from, to);
    }
    if (bytes.length !== to - from) throw new Damage(`ends early (expected ${to - from} bytes, found ${bytes.length})`);
    return bytes;
  }

  record(name) {
    if (!Object.hasOwn(this.listed, name)) throw new Damage("is not in the manifest");
    return this.listed[name];
  }

  async fetch(name, headers = {}) {
    const address = this.url + name.split("/").map(encodeURIComponent).join("/");
    const response = await fetch(address, { headers, cache: "no-store" }).catch(() => {
      throw new Error("cannot be reached: the web server does not answer");
    });
    if (response.ok) return response;
    if (response.status === 416) throw new Damage("is shorter than the manifest says");
    throw new Damage(response.status === 404 ? "is missing, or no file" : `cannot be read (status ${response.status})`);
  }
}

// The innermost error says what is wrong.
function reason(error) {
  while (error.cause instanceof Error) error = error.cause;
  return error.message;
}

const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

// How a variable is drawn: as `form_of` of trialpack.readers.shown says; null for axes that nothing is drawn for.
function formOf(dimensions) {
  const own = dimensions.filter((name) => name !== "frame" && name !== "neuron");
  const frames = dimensions.includes("frame"), neurons = dimensions.includes("neuron");
  if (own.length >= 2 && own.length <= 3 && !neurons) return frames ? "video" : "picture";
  if (own.length + neurons > 1) return null;
  if (neurons) return frames ? "raster" : "bars";
  return frames ? "channels" : "values";
}

function copy(source, at, out, to, axes, depth = 0) {
  if (depth === axes.length) {
    out[to] = source[at];
    return;
  }
  const { count, step, outStep } = axes[depth];
  if (depth < axes.length - 1) {
    for (let one = 0; one < count; one++) copy(source, at + one * step, out, to + one * outStep, axes, depth + 1);
  } else {
    for (let one = 0; one < count; one++) out[to + one * outStep] = source[at + one * step];
  }
}

// Values as numbers: zarrita packs truth values, and whole numbers of 64 bits are BigInt.
function numbers(data, size) {
  if (data.get) return Float32Array.from({ length: size }, (_, place) => data.get(place));
  return typeof data[0] === "bigint" ? Float64Array.from(data, Number) : data;
}

export class Recording {
  // `entry`: what stores.json says of a store.
  static async open(entry) {
    const files = new Files(entry.url, {});
    let text;
    try {
      text = await (await files.fetch("manifest.json")).text();
      files.listed = JSON.parse(text).files;
      await checkSeal(text);
    } catch (error) {
      throw new Error(`manifest.json: ${reason(error)}`);
    }
    const recording = new Recording(entry, files);
    await recording.readTrials();
    return recording;
  }

  constructor(entry, files) {
    this.name = entry.name;
    this.stimuli = entry.stimulus_ids;
    this.problems = [...entry.problems];
    this.files = files;
    this.kept = new Map();
    this.arrays = new Map();
    this.root = root({
      get: (key, options) => {
        if (options?.chunk) options.chunk.isThere = true;
        return files.get(key);
      },
      getRange: (key, range, options) => {
        if (options?.chunk && range.suffixLength === undefined) options.chunk.isThere = true;
        return files.getRange(key, range);
      },
    });
  }

  async readTrials() {
    const { attributes } = JSON.parse(new TextDecoder().decode(await this.required("zarr.json")));
    this.attributes = attributes;
    this.variables = attributes.variables.map((one) => ({ ...one, form: formOf(one.dimensions) }));
    const optional = this.variables.filter((one) => one.optional).map((one) => `has_${one.name}`);
    const names = ["trial_id", "tier", "withheld", "n_frames", ...optional];
    const shapes = this.variables.map((one) => this.shapeOf(one));
    const found = await Promise.all(names.map((name) => this.column(`trials/${name}`)));
    const table = Object.fromEntries(names.map((name, place) => [name, found[place]?.values]));
    const sizes = Object.fromEntries((await Promise.all(shapes)).flat());
    const count = table.trial_id?.length ?? sizes.trial ?? 0;
    this.sizes = { frame: 0, neuron: 0, ...sizes };
    this.table = table;
    // Without its numbers a trial is called by its row.
    this.ids = table.trial_id ?? Array.from({ length: count }, (_, row) => row);
    this.tiers = table.tier ?? this.ids.map(() => "unknown");
    if (this.stimuli?.length !== count) this.stimuli = null;
    this.rate = this.variables.find((one) => one.frame_rate)?.frame_rate ?? null;
    this.responses = this.variables.find((one) => one.form === "raster" || one.form === "bars");
  }

  async required(name) {
    try {
      return await this.files.get(`/${name}`);
    } catch (error) {
      throw new Error(`${name}: ${reason(error)}`);
    }
  }

  async shapeOf(variable) {
    try {
      const { shape } = await this.array(variable.name);
      return ["trial", ...variable.dimensions].map((name, axis) => [name, shape[axis]]);
    } catch (error) {
      variable.unreadable = `${variable.name}: ${reason(error)}`;
      this.problems.push(variable.unreadable);
      return [];
    }
  }

  // Names of the arrays in a group, such as "neurons".
  names(group) {
    const end = "/zarr.json", inside = (name) => name.startsWith(`${group}/`) && name.endsWith(end);
    const found = Object.keys(this.files.listed).filter(inside).map((name) => name.slice(group.length + 1, -end.length));
    return found.filter((name) => name && !name.includes("/"));
  }

  array(name) {
    if (!this.arrays.has(name)) this.arrays.set(name, this.openArray(name));
    return this.arrays.get(name);
  }

  async openArray(name) {
    const { codecs } = JSON.parse(new TextDecoder().decode(await this.files.get(`/${name}/zarr.json`)));
    const inner = codecs.find((one) => one.name === "sharding_indexed")?.configuration.codecs ?? [];
    const unknown = [...codecs, ...inner].find((one) => !CODECS.has(one.name));
    if (unknown) throw new Error(`stored with ${unknown.name}, which this page cannot decode`);
    return open.v3(this.root.resolve(name.split("/").map(encodeURIComponent).join("/")), { kind: "array" });
  }

  // An array beside the recorded variables as {values, shape}; null where there is none or it is damaged, which is told.
  async column(name) {
    if (!Object.hasOwn(this.files.listed, `${name}/zarr.json`)) return null;
    try {
      const array = await this.array(name), { shape } = array;
      if (shape.includes(0)) return { values: [], shape, dimensions: array.dimensionNames };
      const data = shape.length ? (await get(array)).data : [await get(array)];
      const values = Array.from(typeof data[0] === "string" ? data : numbers(data, product(shape)));
      return { values, shape, dimensions: array.dimensionNames };
    } catch (error) {
      this.problems.push(`${name}: ${reason(error)}`);
      return null;
    }
  }

  // The columns of a group by name, each as a list; those of two axes as some of one.
  async columns(group) {
    const names = this.names(group), read = await Promise.all(names.map((name) => this.column(`${group}/${name}`)));
    const found = new Map();
    for (const [place, name] of names.entries()) {
      if (!read[place]) continue;
      const { values, shape, dimensions } = read[place];
      // Published tables of trials are by the number of the file.
      const rows = dimensions[0] === "file_number" ? this.ids : Array.from({ length: shape[0] ?? 0 }, (_, row) => row);
      if (shape.length === 1) found.set(name, rows.map((row) => values[row]));
      for (let part = 0; shape.length === 2 && part < Math.min(shape[1], MOST_PARTS); part++) {
        found.set(`${name}_${part}`, rows.map((row) => values[row * shape[1] + part]));
      }
    }
    return found;
  }

  frames(row) {
    return this.table.n_frames?.[row] ?? this.sizes.frame;
  }

  // Why a variable has no values in a trial; empty where it has.
  absent(variable, row) {
    if (variable.name === "responses" && this.table.withheld?.[row]) return "withheld by the publisher (zeros)";
    return this.table[`has_${variable.name}`]?.[row] === 0 ? "not recorded in this trial" : "";
  }

  // Rows that show the same stimulus as one, in their order.
  repeats(row) {
    const own = this.stimuli?.[row];
    return own === undefined ? [row] : this.ids.map((_, one) => one).filter((one) => this.stimuli[one] === own);
  }

  // A trial: for each variable, values in C order with its shape, frames last but of videos; and what is damaged.
  async trial(row) {
    if (!this.kept.has(row)) this.kept.set(row, Promise.all(this.variables.map((one) => this.values(one, row))));
    const shown = this.kept.get(row);
    this.kept.delete(row);
    this.kept.set(row, shown);
    if (this.kept.size > KEPT_TRIALS) this.kept.delete(this.kept.keys().next().value);
    // What could not be read is tried again.
    if ((await shown).some((one) => one.damage.length)) this.kept.delete(row);
    return shown;
  }

  async values(variable, row) {
    const absent = variable.unreadable ?? this.absent(variable, row);
    if (absent || variable.form === null) {
      return { variable, absent: absent || "has axes that nothing is drawn for", values: [], shape: [], damage: [] };
    }
    const array = await this.array(variable.name), valid = variable.dimensions.map((name) => this.sizes[name]);
    const time = variable.dimensions.indexOf("frame"), first = variable.form === "video";
    if (time >= 0) valid[time] = this.frames(row);
    // Axes in the order of what is drawn.
    const others = valid.map((_, axis) => axis).filter((axis) => axis !== time);
    const order = time < 0 ? others : first ? [time, ...others] : [...others, time];
    const shape = order.map((axis) => valid[axis]), steps = Array(valid.length);
    order.forEach((axis, place) => (steps[axis] = product(shape.slice(place + 1))));
    const wide = /^(u?int(32|64)|float64)$/.test(variable.dtype);
    const values = new (wide ? Float64Array : Float32Array)(product(shape)).fill(NaN);
    const blocks = chunksOf(valid, array.chunks.slice(1)), group = Math.floor(row / array.chunks[0]);
    const read = (block) => this.readChunk(array, [group, ...block], row, valid, steps, values);
    const found = await Promise.all(blocks.map(read));
    const damage = found.flatMap((what, place) => {
      if (!what) return [];
      const from = time < 0 ? 0 : blocks[place][time] * array.chunks[time + 1];
      const to = time < 0 ? 1 : Math.min(valid[time], from + array.chunks[time + 1]);
      return [{ from, to, text: `${variable.name}${time < 0 ? "" : `, frames ${from} to ${to - 1}`}: ${what}` }];
    });
    return { variable, absent: "", values, shape, damage };
  }

  // Copy what a chunk has of a trial; returns what is wrong with it, empty if nothing.
  async readChunk(array, place, row, valid, steps, out) {
    const chunk = { isThere: false };
    try {
      const { data, shape, stride } = await array.getChunk(place, { chunk });
      // What the index of a shard marks as empty reads as fill values elsewhere; here every chunk must be there.
      if (!chunk.isThere) throw new Damage("is missing from its shard");
      const size = product(shape);
      if (data.length !== size) throw new Damage(`has ${data.length} values, not ${size}`);
      const axes = valid.map((length, axis) => {
        const start = place[axis + 1] * shape[axis + 1];
        const count = Math.min(shape[axis + 1], length - start);
        return { count, step: stride[axis + 1], outStep: steps[axis], start };
      });
      const to = axes.reduce((sum, axis) => sum + axis.start * axis.outStep, 0);
      axes.sort((one, other) => other.step - one.step);
      copy(numbers(data, size), (row % shape[0]) * stride[0], out, to, axes);
      return "";
    } catch (error) {
      return `chunk ${place.join(".")} ${reason(error)}`;
    }
  }
}

// The manifest has its own digest in it.
async function checkSeal(text) {
  if (!globalThis.crypto?.subtle) return;
  const seal = /,?"sha256_of_manifest":"([0-9a-f]{64})"/.exec(text);
  const body = text.replace(seal?.[0] ?? "", "");
  if (!seal || (await sha256(new TextEncoder().encode(body))) !== seal[1]) {
    throw new Damage("was changed after it was written (its own digest differs)");
  }
}

function chunksOf(sizes, chunks) {
  let blocks = [[]];
  sizes.forEach((size, axis) => {
    const count = Math.ceil(size / chunks[axis]);
    blocks = blocks.flatMap((block) => Array.from({ length: count }, (_, place) => [...block, place]));
  });
  return blocks;
}
