// The page: pick a photograph, paint, ask the service, compare.

import { Faces } from "./faces.js";
import { Mask } from "./mask.js";

const find = (id) => document.getElementById(id);
const NUMBERS = { dilate: "dilate", feather: "feather", "max-crops": "max_crops" }; // fields of the page and of a request

let file = null; // the photograph as it was chosen
let token = null;
let asking = null; // the AbortController of a request under way
let addresses = []; // blob: addresses to give back
let opened = 0; // how many photographs were chosen
let marked = 0; // faces

const mask = new Mask(find("paint"), find("cursor"), refresh);
const faces = new Faces(find("faces"), (count) => {
  marked = count;
  refreshOptions();
});

function refresh() {
  const painted = file !== null && !mask.empty;
  find("undo").disabled = !mask.canUndo;
  find("clear").disabled = !painted;
  find("restore").disabled = !painted || asking !== null;
}

function refreshOptions() {
  find("forget-faces").disabled = marked === 0;
  const numbers = Object.keys(NUMBERS).filter((id) => find(id).value !== find(id).defaultValue);
  const changed = numbers.length + Number(!find("detail").checked);
  const parts = [marked && `${marked} face${marked > 1 ? "s" : ""} marked`, changed && `${changed} changed`];
  find("chosen").textContent = parts.some(Boolean) ? `: ${parts.filter(Boolean).join(", ")}` : "";
}

function say(text) {
  find("status").textContent = text;
}

function fail(text) {
  find("error").textContent = text;
  find("error").hidden = !text;
  if (!text) return;
  say("");
  find("error").scrollIntoView({ block: "nearest" });
}

function forget() {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  find("result").hidden = true;
  find("empty").hidden = false;
}

function address(blob) {
  addresses.push(URL.createObjectURL(blob));
  return addresses.at(-1);
}

async function open(chosen) {
  if (!chosen || asking) return;
  fail("");
  const number = ++opened;
  let picture;
  try {
    picture = await createImageBitmap(chosen); // upright, as its EXIF orientation says
  } catch {
    if (number === opened) fail(`${chosen.name || "This file"} cannot be shown: it is damaged, or no PNG, JPEG, WebP or BMP.`);
    return;
  }
  if (asking || number !== opened) return picture.close(); // overtaken meanwhile, by a request or another choice
  forget();
  file = chosen;
  const canvas = find("photo");
  const scale = Math.min(1, 2048 / Math.max(picture.width, picture.height)); // what is seen, not what is sent
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  const fit = fitted(picture);
  find("stage").style.width = `${fit}px`;
  find("compare").style.width = find("edges-box").style.width = `${fit}px`;
  mask.open(picture.width, picture.height);
  faces.open(picture, mask.scale);
  find("pick").hidden = true;
  find("work").hidden = false;
  say(`${chosen.name || "Photograph"}: ${picture.width} x ${picture.height} px. Now paint over the damage.`);
  find("paint").focus({ preventScroll: true });
  picture.close();
}

// CSS pixels: small photographs are enlarged, tall ones kept within the window.
function fitted({ width, height }) {
  const most = Math.max(240, Math.min(640, window.innerHeight - 260));
  return Math.round(Math.min(560, (most * width) / height));
}

function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function restore() {
  fail("");
  const wrong = Object.keys(NUMBERS).find((id) => !find(id).checkValidity());
  if (wrong) {
    find("options-box").open = true;
    find(wrong).reportValidity();
    return;
  }
  asking = new AbortController();
  find("cancel").hidden = false;
  find("cancel").focus({ preventScroll: true }); // its neighbour is about to be disabled
  find("restore").textContent = "Restoring ...";
  refresh();
  say("Restoring ...");
  try {
    const form = new FormData();
    form.append("photo", file, "photo");
    form.append("mask", await mask.file(), "mask");
    form.append("edges", "true");
    for (const [id, name] of Object.entries(NUMBERS)) form.append(name, find(id).value || find(id).defaultValue);
    form.append("detail", find("detail").checked ? "match" : "none");
    if (faces.boxes.length) form.append("faces", JSON.stringify(faces.boxes));
    const answer = await fetch("v1/restore", {
      method: "POST",
      body: form,
      headers: headers({ Accept: "application/json" }),
      signal: asking.signal,
    });
    const body = await answer.json().catch(() => null); // a proxy in between answers what it likes
    if (answer.status === 401) askToken();
    if (!body) throw new Error(`something between here and the service answered ${answer.status} ${answer.statusText}`);
    if (!answer.ok) throw new Error([body.error.message, body.error.hint].filter(Boolean).join(": "));
    await show(body);
  } catch (error) {
    if (error.name === "AbortError") say("Cancelled.");
    else fail(error instanceof TypeError ? "The service cannot be reached." : sentence(error.message));
  } finally {
    const lost = [document.body, find("cancel")].includes(document.activeElement);
    asking = null;
    find("cancel").hidden = true;
    find("restore").textContent = "Restore";
    refresh();
    if (lost) find("restore").focus({ preventScroll: true });
  }
}

async function show(body) {
  forget();
  const restored = await decoded(body.image, body.media_type);
  const edges = await decoded(body.edges, "image/png");
  find("before").src = address(file);
  find("after").src = find("download").href = address(restored);
  find("edges").src = find("download-edges").href = address(edges);
  await Promise.all(["before", "after", "edges"].map((id) => find(id).decode()));
  const stem = (file.name || "photograph").replace(/\.[^.]*$/, "");
  find("download").download = `${stem}_restored.png`;
  find("download-edges").download = `${stem}_edges.png`;
  find("empty").hidden = true;
  find("result").hidden = false;
  slide();
  const total = Object.values(body.timings_ms).reduce((sum, part) => sum + part, 0);
  const comparing = !find("compare").hidden;
  say(`Restored in ${(total / 1000).toFixed(1)} s.${comparing ? " Move the slider to compare." : ""}`);
  find(comparing ? "slider" : "download").focus({ preventScroll: true });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  find("result-title").scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

async function decoded(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type });
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + ".";
}

function slide() {
  const share = Number(find("slider").value);
  find("before").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  find("divider").style.left = `${share}%`;
}

function tool(name) {
  mask.erasing = name === "eraser";
  mask.faces = name === "face" ? faces : null;
  mask.down = false;
  faces.cancel();
  find(`tool-${name}`).checked = true;
}

function resize(by) {
  const size = find("size");
  size.value = Number(size.value) + by;
  mask.size = Number(size.value);
  if (!find("cursor").hidden) mask.show(true);
}

function askToken() {
  find("token-form").hidden = false;
  find("token").focus();
}

async function about() {
  try {
    const answer = await fetch("v1/info", { headers: headers() });
    if (answer.status === 401) {
      if (token) fail("That token is not the right one.");
      return askToken();
    }
    const { limits } = await answer.json();
    find("limits").textContent = `, at most ${limits.pixels / 1e6} megapixels and ${Math.floor(limits.body_bytes / 2 ** 20)} MB`;
    if (!find("token-form").hidden) fail(""); // said of the token; an error of a file that was just dropped stays
    find("token-form").hidden = true;
  } catch {
    fail("The service cannot be reached.");
  }
}

find("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
find("undo").addEventListener("click", () => mask.undo());
find("clear").addEventListener("click", () => mask.clear());
find("forget-faces").addEventListener("click", () => faces.clear());
for (const id of [...Object.keys(NUMBERS), "detail"]) find(id).addEventListener("input", refreshOptions);
find("restore").addEventListener("click", restore);
find("cancel").addEventListener("click", () => asking?.abort());
find("choose").addEventListener("click", () => find("file").click());
find("another").addEventListener("click", () => find("file").click());
find("slider").addEventListener("input", slide);
find("size").addEventListener("input", () => resize(0));
for (const choice of document.getElementsByName("tool")) {
  choice.addEventListener("change", () => tool(choice.value));
}
for (const choice of document.getElementsByName("view")) {
  choice.addEventListener("change", () => {
    find("compare").hidden = choice.value !== "compare";
    find("edges-box").hidden = choice.value !== "edges";
  });
}
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  about();
});
find("paint").addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") mask.undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key.toLowerCase() === "e") tool(mask.erasing ? "brush" : "eraser");
  else if (event.key.toLowerCase() === "f") tool(mask.faces ? "brush" : "face");
  else if (event.key === "[") resize(-8);
  else if (event.key === "]") resize(8);
  else return;
  event.preventDefault();
});
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    find("pick").classList.toggle("over", kind === "dragover");
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
about();
