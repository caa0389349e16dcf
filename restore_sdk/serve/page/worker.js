// The model on onnxruntime-web. Asked for nothing, it loads it; with a photograph, it finds the damage; with a mask too, it restores.

import { findDamage } from "./damage.js";
import { Request, SIZE } from "./tiling.js";

let ort = null;
let stages = null;
let finder = null; // the stage that finds damage, where the model has one

class Refused extends Error {
  constructor(key, values) {
    super(key);
    this.values = { key, ...values };
  }
}

self.onunhandledrejection = ({ reason }) => postMessage({ key: "failedHere", why: String(reason) }); // in the runtime
self.onmessage = async ({ data }) => {
  try {
    postMessage(data.mask ? await restore(data) : data.photo ? await look(data) : await open());
  } catch (error) {
    const why = String(error?.message ?? error);
    if (error instanceof Refused) postMessage(error.values);
    else if (error instanceof RangeError || /memory|alloc|^\d+$/i.test(why)) postMessage({ key: "memoryOut" });
    else postMessage({ key: why.startsWith("mask") ? why : "failedHere", why });
  }
};

async function load(name) {
  const answer = await fetch(new URL(`../${name}`, import.meta.url), { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok) throw new Refused("fileMissing", { name });
  return answer.arrayBuffer();
}

async function open() {
  const { files, ...site } = JSON.parse(new TextDecoder().decode(await load("site.json")));
  const checked = async (name) => {
    const bytes = await load(name);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if (Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") !== files[name]) {
      throw new Refused("fileAltered", { name });
    }
    return new Uint8Array(bytes);
  };
  const models = [...site.stages, ...(site.damage ? [site.damage] : [])].map(({ file }) => file);
  const [script, glue, wasm, ...graphs] = await Promise.all([...site.runtime, ...models].map(checked));
  const address = (bytes, type = "text/javascript") => URL.createObjectURL(new Blob([bytes], { type })); // of what was checked
  ort = await import(address(script));
  ort.env.wasm.wasmPaths = { mjs: address(glue), wasm: address(wasm, "application/wasm") };
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  const session = (graph) => ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  stages = [];
  for (const [at, { inputs }] of site.stages.entries()) stages.push({ inputs, session: await session(graphs[at]) });
  if (site.damage) finder = { ...site.damage, session: await session(graphs.at(-1)) };
  return { threads: ort.env.wasm.numThreads, damage: finder !== null };
}

async function drawn(photo) {
  const picture = await createImageBitmap(photo);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  picture.close();
  return { canvas, pen, shown: pen.getImageData(0, 0, canvas.width, canvas.height) };
}

async function look({ photo, sensitivity }) {
  const { shown } = await drawn(photo);
  const { input, output, session } = finder;
  const run = async (rgb, height, width) => {
    const found = await session.run({ [input]: new ort.Tensor("uint8", rgb, [1, height, width, 3]) });
    return found[output].data;
  };
  return { bits: await findDamage(shown, finder, sensitivity, run) };
}

async function restore({ photo, mask, ...options }) {
  const started = performance.now();
  const { canvas, pen, shown } = await drawn(photo);
  let soft = false; // a canvas keeps colours multiplied by alpha
  for (let at = 3; at < shown.data.length && !soft; at += 4) soft = shown.data[at] < 255;
  const request = new Request(shown, mask, options);
  const tiles = request.waves.flat();
  for (const [at, tile] of tiles.entries()) {
    postMessage({ tile: at + 1, of: tiles.length });
    const sample = request.sample(tile);
    const tensors = {
      image: new ort.Tensor("uint8", sample.image, [1, SIZE, SIZE, 3]),
      mask: new ort.Tensor("uint8", sample.mask, [1, SIZE, SIZE]),
    };
    for (const { inputs, session } of stages) {
      Object.assign(tensors, await session.run(Object.fromEntries(inputs.map((name) => [name, tensors[name]]))));
    }
    request.put(tile, tensors.restored.data, tensors.completed_edges.data);
  }
  request.finish();
  const file = () => {
    pen.putImageData(shown, 0, 0);
    return canvas.convertToBlob();
  };
  const image = await file();
  request.edges.forEach((edge, at) => shown.data.set([edge, edge, edge, 255], 4 * at));
  return { image, edges: await file(), soft, seconds: (performance.now() - started) / 1000 };
}
