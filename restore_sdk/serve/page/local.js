// Restoring, and finding damage, in this browser, where there is no service: a worker computes, so that the page stays alive.

import { t } from "./strings.js";

// An instruction of WebAssembly SIMD in the smallest module that holds one.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

let worker = null;
let opened = null; // the promise of a worker that has its model

// What can be done here, as the service says it; `told` is called once the site works without a network.
export function info(told) {
  navigator.serviceWorker?.register("sw.js").catch(() => {}); // without it the page needs its network, and works
  navigator.serviceWorker?.ready.then(told);
  return { limits: { pixels: 25e6, body_bytes: Infinity }, formats: ["png", "jpeg"] };
}

// Load and check the model; whether it finds `damage`. Raises an Error with a sentence for people.
export async function open() {
  if (!globalThis.crypto?.subtle) throw new Error(t("needsHttps"));
  if (!WebAssembly.validate(new Uint8Array(SIMD))) throw new Error(t("needsSimd"));
  opened ??= ask({});
  return opened;
}

// Restore, as `restore` of results.js; `progress` is called with the tile's number and how many there are. Raises as `open`.
export async function restore(asked, signal, progress) {
  signal.addEventListener("abort", () => stop(signal.reason));
  await open();
  const { soft, ...result } = await ask(asked, progress);
  return { ...result, notes: [t("here"), ...(soft ? [t("soft")] : [])] };
}

// A mask, 255 where damage was found. Raises as `open`.
export async function findDamage(asked, signal) {
  signal.addEventListener("abort", () => stop(signal.reason));
  await open();
  return (await ask(asked)).bits;
}

export async function encoded(image, format) {
  const picture = await createImageBitmap(image);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.convertToBlob({ type: `image/${format}`, quality: 0.95 });
}

let stop = () => {};

function ask(message, progress) {
  worker ??= new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    // A worker that failed, or is no longer wanted, goes with its memory; the next request starts another.
    stop = (error) => {
      worker?.terminate();
      worker = opened = null;
      reject(error);
    };
    worker.onerror = (event) => stop(new Error(t("failedHere", { why: event.message ?? "worker.js" })));
    worker.onmessage = ({ data }) => {
      if (data.key) stop(new Error(t(data.key, data)));
      else if (data.tile) progress(data);
      else resolve(data);
    };
    worker.postMessage(message);
  });
}
