// Read arrays of a store with zarrita; print their shapes, and digests of their values in C order.
import { createHash } from "node:crypto";
import * as path from "node:path";
import { FileSystemStore } from "@zarrita/storage";
import * as zarr from "zarrita";

const [store, ...names] = process.argv.slice(2);
const root = zarr.root(new FileSystemStore(path.resolve(store)));
const found = {};
for (const name of names) {
  const array = await zarr.open.v3(root.resolve(name), { kind: "array" });
  const { data, shape, stride } = await zarr.get(array);
  const values = inOrder(data, shape, stride);
  const bytes = array.dtype === "string" ? Buffer.from(JSON.stringify(values)) : asBytes(data, values);
  found[name] = { shape, sha256: createHash("sha256").update(bytes).digest("hex"), attributes: array.attrs };
}
console.log(JSON.stringify(found));

// zarrita gives the memory order that the chunks have, and says which by its strides.
function inOrder(data, shape, stride) {
  const size = shape.reduce((product, length) => product * length, 1);
  return Array.from({ length: size }, (_, place) => {
    let offset = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      offset += (place % shape[axis]) * stride[axis];
      place = Math.floor(place / shape[axis]);
    }
    return data.get ? data.get(offset) : data[offset]; // truth values are packed
  });
}

function asBytes(data, values) {
  const kind = typeof values[0] === "boolean" ? Uint8Array : data.constructor;
  const array = kind.from(values);
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}
