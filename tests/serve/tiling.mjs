// node tiling.mjs PAGE/tiling.js FOLDER: the photographs of FOLDER/cases.json with a model of a few sums, for test_site.py.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, folder] = process.argv.slice(2);
const { Request, SIZE } = await import(pathToFileURL(module));

// As `made` in test_site.py: known pixels as they are, others from the mean of the known ones.
function made({ image, mask }) {
  const sums = [0, 0, 0, 0];
  mask.forEach((masked, at) => {
    if (masked) return;
    sums[3]++;
    for (let channel = 0; channel < 3; channel++) sums[channel] += image[3 * at + channel];
  });
  const restored = image.map((value, at) => {
    const [place, channel] = [Math.floor(at / 3), at % 3];
    const slope = (Math.floor(place / SIZE) + 2 * (place % SIZE)) >> 3;
    return mask[place] ? Math.min(Math.floor(sums[channel] / sums[3]) + slope, 255) : value;
  });
  return [restored, mask];
}

for (const { name, width, height, maxCrops, feather } of JSON.parse(readFileSync(`${folder}/cases.json`, "utf8"))) {
  const data = new Uint8ClampedArray(width * height * 4).fill(200);
  readFileSync(`${folder}/${name}.rgb`).forEach((value, at) => (data[4 * Math.floor(at / 3) + (at % 3)] = value));
  const mask = new Uint8Array(readFileSync(`${folder}/${name}.mask`));
  const request = new Request({ data, width, height }, mask, { maxCrops, feather });
  const samples = [];
  for (const wave of request.waves) {
    const shown = wave.map((tile) => request.sample(tile));
    wave.forEach((tile, at) => request.put(tile, ...made(shown[at])));
    samples.push(...shown.map(({ image, mask }) => Buffer.concat([image, mask])));
  }
  request.finish();
  const tiles = request.waves.flat().map(({ crop, level, ramp }) => ({ ...crop, level, ramp }));
  writeFileSync(`${folder}/${name}.json`, JSON.stringify(tiles));
  writeFileSync(`${folder}/${name}.out`, Buffer.concat([data, request.edges].map((part) => Buffer.from(part.buffer)).concat(samples)));
}
