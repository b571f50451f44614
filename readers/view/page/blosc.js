// Decodes what C-Blosc 1 made of bytes (github.com/Blosc/c-blosc, README_CHUNK_FORMAT.rst): LZ4 and Zstandard, bytes or bits
// shuffled or not. That of numcodecs is WebAssembly whose JavaScript is made of texts, which the page's policy refuses.
import { zstd } from "./zarrita.js";

const HEADER = 16, LZ4 = 1, ZSTD = 4;

export class Blosc {
  kind = "bytes_to_bytes";
  static fromConfig() {
    return new Blosc();
  }
  decode(bytes) {
    return decompress(bytes);
  }
}

export function decompress(bytes) {
  if (bytes.length < HEADER) throw new Error("is too short for blosc");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = bytes[2], typesize = bytes[3], size = view.getUint32(4, true), blocksize = view.getUint32(8, true);
  const out = new Uint8Array(size), format = flags >> 5;
  if (flags & 2) {
    out.set(bytes.subarray(HEADER, HEADER + size));
    return out;
  }
  if (format !== LZ4 && format !== ZSTD) throw new Error(`is packed in the way ${format} of blosc, which this page cannot decode`);
  const shuffled = flags & 4 ? unshuffleBits : flags & 1 && typesize > 1 ? unshuffle : null;
  const block = shuffled ? new Uint8Array(blocksize) : null;
  for (let start = 0, number = 0; start < size; start += blocksize, number++) {
    const length = Math.min(blocksize, size - start), target = block ?? out.subarray(start);
    // Streams of one byte of every value each, unless a flag says otherwise; the last block, if shorter, is one.
    const streams = flags & 16 || length < blocksize ? 1 : typesize, part = length / streams;
    let at = view.getUint32(HEADER + 4 * number, true);
    for (let stream = 0; stream < streams; stream++) {
      const packed = view.getInt32(at, true), source = bytes.subarray(at + 4, at + 4 + packed);
      const place = target.subarray(stream * part, (stream + 1) * part);
      if (packed === part) place.set(source);
      else if (format === LZ4) unpackLz4(source, place);
      else zstd(source, place);
      at += 4 + packed;
    }
    shuffled?.(block.subarray(0, length), out.subarray(start, start + length), typesize);
  }
  return out;
}

// A block of LZ4: runs of literal bytes, and copies of what came before.
function unpackLz4(source, out) {
  let from = 0, to = 0;
  const more = (length) => {
    if (length === 15) {
      let byte = 255;
      while (byte === 255 && from < source.length) length += byte = source[from++];
    }
    return length;
  };
  while (from < source.length) {
    const token = source[from++];
    let count = more(token >> 4);
    if (count > 32) out.set(source.subarray(from, (from += count)), to), (to += count);
    else while (count-- > 0) out[to++] = source[from++];
    if (from >= source.length) break;
    let back = to - (source[from] | (source[from + 1] << 8));
    from += 2;
    count = more(token & 15) + 4;
    if (back < 0 || to + count > out.length) break;
    if (to - back >= count && count > 32) out.copyWithin(to, back, back + count), (to += count);
    else while (count-- > 0) out[to++] = out[back++];
  }
  if (to !== out.length || from > source.length) throw new Error("is not what blosc writes");
}

// First bytes of all values, then second ones, …; what is less than a value stands at the end.
function unshuffle(source, out, typesize) {
  const count = Math.floor(source.length / typesize);
  for (let byte = 0, from = 0; byte < typesize; byte++) {
    for (let one = 0, to = byte; one < count; one++, from++, to += typesize) out[to] = source[from];
  }
  out.set(source.subarray(count * typesize), count * typesize);
}

// As many bits as there are values of each place in a value, from its least one on; of eight values, or as they are.
function unshuffleBits(source, out, typesize) {
  const count = Math.floor(source.length / typesize), row = count / 8;
  if (count % 8) return out.set(source);
  for (let byte = 0; byte < typesize; byte++) {
    const first = byte * 8 * row;
    for (let group = 0, from = first, to = byte; group < row; group++, from++, to += 8 * typesize) {
      let low = source[from] | (source[from + row] << 8) | (source[from + 2 * row] << 16) | (source[from + 3 * row] << 24);
      let high = source[from + 4 * row] | (source[from + 5 * row] << 8) | (source[from + 6 * row] << 16) | (source[from + 7 * row] << 24);
      // Eight by eight bits are turned around (Warren 2013, 7-3).
      let swap = (low ^ (low >>> 7)) & 0x00aa00aa;
      low ^= swap ^ (swap << 7);
      swap = (high ^ (high >>> 7)) & 0x00aa00aa;
      high ^= swap ^ (swap << 7);
      swap = (low ^ (low >>> 14)) & 0x0000cccc;
      low ^= swap ^ (swap << 14);
      swap = (high ^ (high >>> 14)) & 0x0000cccc;
      high ^= swap ^ (swap << 14);
      swap = (low ^ (high << 4)) & 0xf0f0f0f0;
      low ^= swap;
      high ^= swap >>> 4;
      for (let one = 0; one < 4; one++) {
        out[to + one * typesize] = low >>> (8 * one);
        out[to + (one + 4) * typesize] = high >>> (8 * one);
      }
    }
  }
  out.set(source.subarray(count * typesize), count * typesize);
}
