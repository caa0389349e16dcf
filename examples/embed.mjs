// The two graphs of a bundle without Python, on ONNX Runtime's WebAssembly. See docs/embedding.md.
//
//     (cd examples && npm ci)
//     node examples/embed.mjs restore_sdk/bundle/models/default image.rgb mask.grey restored.rgb
//
// The files are the plain bytes of one 256 x 256 tile, row by row: RGB, and a mask that is above 127 where to repaint.

import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [bundle, image, mask, restored] = process.argv.slice(2);
const { size, stages, files } = JSON.parse(readFileSync(`${bundle}/manifest.json`, "utf8"));
const read = (name) => new Uint8Array(readFileSync(`${bundle}/${name}`));
// weights that the graphs share
const externalData = Object.keys(files).filter((name) => name.startsWith("weights-")).map((path) => ({ path, data: read(path) }));
const tensors = {
  image: new ort.Tensor("uint8", new Uint8Array(readFileSync(image)), [1, size, size, 3]),
  mask: new ort.Tensor("uint8", new Uint8Array(readFileSync(mask)), [1, size, size]),
};
for (const stage of stages) {
  const session = await ort.InferenceSession.create(read(stage.files.fp32), { externalData });
  const feeds = Object.fromEntries(stage.inputs.map(({ name }) => [name, tensors[name]]));
  Object.assign(tensors, await session.run(feeds));
}
writeFileSync(restored, tensors.restored.data);
