// Files that are chosen: told at once what the service would refuse, and converted where only the browser reads them.

import { t } from "./strings.js";

// An Error whose message is for people.
export class Refused extends Error {}

// A photograph as { file, picture, kind, notes }: what to send, its pixels upright, and what the file was.
export async function openPhoto(file, limits) {
  const name = file.name || t("photograph");
  const picture = await createImageBitmap(file).catch(() => null); // upright, as its EXIF orientation says
  const head = new Uint8Array(await file.slice(0, 1 << 19).arrayBuffer());
  const kind = kindOf(head);
  if (!picture) throw new Refused(t(kind ? "cannotShowKind" : "cannotShow", { name, kind: kind.toUpperCase() }));
  const { width, height } = picture;
  if (width * height > limits.pixels) {
    const [has, most] = [width * height, limits.pixels].map((pixels) => (pixels / 1e6).toFixed(1));
    throw new Refused(t("tooManyPixels", { name, width, height, has, most }));
  }
  const lost = [];
  if (limits.formats?.includes(kind) === false) {
    lost.push(t("lostFormat", { kind: kind.toUpperCase() || t("thisFormat") }));
  }
  if (kind === "jpeg" && jpegChannels(head) === 4) lost.push(t("lostPrint"));
  if (isAnimated(head, kind)) lost.push(t("lostFrames"));
  const sent = lost.length ? await asPng(picture, name) : file;
  if (sent.size > limits.body_bytes) {
    const [has, most] = [sent.size, limits.body_bytes].map((bytes) => (bytes / 2 ** 20).toFixed(1));
    throw new Refused(t("tooManyBytes", { name, has, most }));
  }
  if (!lost.length) return { file, name, picture, kind, notes: [] };
  return { file: sent, name, picture, kind: "png", notes: [...lost, t("lostConverted")] };
}

// The mask in an image file, a byte a pixel: 255 where it is white and can be seen.
export async function openMask(file, width, height) {
  const name = file.name || t("mask");
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) throw new Refused(t("cannotShow", { name }));
  if (Math.abs(picture.width / picture.height / (width / height) - 1) > 0.01) {
    const [has, wanted] = [picture, { width, height }].map((size) => `${size.width} x ${size.height}`);
    throw new Refused(t("maskShape", { name, has, wanted }));
  }
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(picture, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  for (let at = 0, from = 0; at < values.length; at++, from += 4) {
    const luma = 0.299 * data[from] + 0.587 * data[from + 1] + 0.114 * data[from + 2];
    if ((luma * data[from + 3]) / 255 > 127) values[at] = 255;
  }
  return values;
}

// A file's name without its extension.
export function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}

// Give a file to who uses the page.
export function hand(blob, name) {
  const href = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

async function asPng(picture, name) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return new File([await canvas.convertToBlob()], `${stem(name)}.png`, { type: "image/png" });
}

// By the first bytes; what a file is called proves nothing.
function kindOf(head) {
  const text = String.fromCharCode(...head.subarray(0, 16));
  const brand = text.slice(4, 8) === "ftyp" ? text.slice(8, 12) : "";
  if (text.startsWith("\x89PNG")) return "png";
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "webp";
  if (text.startsWith("BM")) return "bmp";
  if (text.startsWith("II*\0") || text.startsWith("MM\0*")) return "tiff";
  if (text.startsWith("GIF8")) return "gif";
  if (brand.startsWith("avi")) return "avif";
  return /^(hei|hev|mif|msf)/.test(brand) ? "heif" : "";
}

function jpegChannels(head) {
  const view = new DataView(head.buffer);
  for (let at = 2; at + 9 < head.length && head[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = head[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return head[at + 9];
  }
  return 3;
}

function isAnimated(head, kind) {
  const text = new TextDecoder("latin1").decode(head.subarray(0, 4096));
  if (kind === "webp") return text.slice(12, 16) === "VP8X" && (head[20] & 2) !== 0;
  if (kind === "png") return text.includes("acTL") && !text.includes("acTL\0\0\0\x01"); // of one frame it is none
  return text.slice(4, 12) === "ftypavis";
}
