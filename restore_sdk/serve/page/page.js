// The page: a photograph, paint over its damage, the service's answer. Nothing is sent before a button asks for it.

import { server } from "./config.js";
import { hand, openMask, openPhoto, Refused, stem } from "./files.js";
import * as local from "./local.js";
import { Mask, unpack } from "./mask.js";
import { restore, Results } from "./results.js";
import { ask, info, useToken } from "./service.js";
import * as storage from "./storage.js";
import { chosenLanguage, speak, t } from "./strings.js";
import { Tools } from "./tools.js";
import { copies, View } from "./view.js";

const find = (id) => document.getElementById(id);
const NUMBERS = { feather: "feather", "max-crops": "max_crops" }; // fields of the page and of a request
const MODELS = { default: "modelDefault", faithful: "modelFaithful" }; // what the names of those in the wheel mean
const calm = { preventScroll: true };

let offer = { limits: { pixels: Infinity, body_bytes: Infinity } }; // what the service said of itself
let photo = null; // { file, name, kind } as it is sent
let asking = null; // the AbortController of a request under way
let opening = 0; // how many files were chosen

const view = new View(find("stage"), moved);
const tools = new Tools(view, find("cursor"), find("guides"), refresh);
const results = new Results(view, refresh);
export { results, tools, view };

// Show what can be done now, and keep the work.
function refresh() {
  const { mask } = view;
  if (!mask) return;
  find("undo").disabled = !mask.done.length;
  find("redo").disabled = !mask.undone.length;
  for (const id of ["clear", "mask-save", "mask-grow", "mask-shrink"]) find(id).disabled = !mask.count;
  find("restore").disabled = asking !== null || !mask.count;
  find("restore").hidden = asking !== null;
  find("cancel").hidden = asking === null;
  find("another").disabled = find("forget").disabled = asking !== null;
  for (const choice of document.getElementsByName("tool")) choice.checked = choice.value === tools.name;
  const size = find("size");
  if (size !== document.activeElement) size.value = 100 * (Math.log(tools.size) / Math.log(tools.most)); // it is moved
  find("size-said").textContent = `${tools.size} px`;
  size.setAttribute("aria-valuetext", `${tools.size} px`);
  find("forget-faces").hidden = !tools.faces.length;
  find("forget-faces").textContent = t("forgetFaces", { count: tools.faces.length });
  tools.refresh();
  keep();
}

function moved() {
  find("zoom").value = `${Math.round(100 * view.scale)}%`;
  tools.refresh();
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

// What to tell of an error.
function tell(error) {
  if (error.name === "AbortError") return say(t("cancelled"));
  if (error.status === 401) askToken();
  fail(error.status === 0 ? t("unreachable") : error.message);
}

const keepNow = () => storage.save("paint", { bits: view.mask.packed(), faces: tools.faces });

let waiting = null; // to keep the mask
function keep() {
  waiting ??= setTimeout(async () => {
    waiting = null;
    if (tools.path) return keep(); // after this stroke
    if (!(await keepNow()) && !find("error").textContent) say(t("notKept"));
  }, 500);
}

async function open(file) {
  if (!file || asking) return;
  const number = ++opening;
  fail("");
  try {
    await asked; // the limits
    const chosen = await openPhoto(file, offer.limits);
    if (asking || number !== opening) return chosen.picture.close(); // overtaken meanwhile
    if (view.mask?.count && !confirm(t("replace"))) return chosen.picture.close();
    await start(chosen);
    say([...chosen.notes, t("opened")].join(" "));
    find("stage").focus(calm);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (number === opening) fail(error.message);
  }
}

// Begin with a photograph, or with what was kept of the work on it.
async function start({ file, name, kind, picture }, kept = null) {
  photo = { file, name, kind };
  const mask = new Mask(picture.width, picture.height, (box) => view.repaint(box));
  if (kept?.paint) mask.load(unpack(kept.paint.bits, picture.width * picture.height));
  mask.done = [];
  found = null;
  tools.faces = kept?.paint?.faces ?? [];
  find("pick").hidden = true;
  find("work").hidden = find("another").hidden = find("forget").hidden = find("name").hidden = false;
  document.body.classList.add("working");
  find("name").textContent = `${name} · ${picture.width} × ${picture.height}`;
  view.show(copies(picture), null, mask);
  view.fit();
  tools.at = view.middle;
  if (tools.name === "eraser") tools.use("brush"); // there is nothing to erase
  tools.resize(24 / view.scale);
  colour();
  results.set(null);
  const fresh = Object.entries({ photo, paint: null, result: null });
  if (!kept) await Promise.all(fresh.map((part) => storage.save(...part)));
}

async function show(result) {
  view.show(view.before, copies(await createImageBitmap(result.image)), view.mask);
  const kind = server ? photo.kind : ""; // a browser writes no file like the photograph's own
  results.set(result, photo.name, kind, offer.formats ?? ["png"]);
  results.look("slider");
}

// The request, run so that it can be cancelled, with its button's text meanwhile. What `work` gives, or null.
async function run(text, work) {
  fail("");
  asking = new AbortController();
  refresh();
  find("cancel").focus(calm);
  say(text);
  try {
    return await work(asking.signal);
  } catch (error) {
    tell(error);
    return null;
  } finally {
    const lost = [document.body, find("cancel")].includes(document.activeElement);
    asking = null;
    refresh();
    if (lost) find("restore").focus(calm);
  }
}

async function restoreNow() {
  const wrong = Object.keys(NUMBERS).find((id) => !find(id).checkValidity());
  if (wrong) {
    results.look("paint");
    find("options").open = true;
    return find(wrong).reportValidity();
  }
  const result = await run(t("restoring"), async (signal) => {
    if (!server) return restoreHere(signal);
    const fields = { photo: photo.file, mask: await view.mask.png(), edges: "true" };
    for (const [id, name] of Object.entries(NUMBERS)) fields[name] = find(id).value || find(id).defaultValue;
    fields.detail = find("detail").checked ? "match" : "none";
    if (tools.faces.length) fields.faces = JSON.stringify(tools.faces);
    if (!find("model-box").hidden) fields.model = find("model").value;
    return restore(fields, signal);
  });
  if (!result) return;
  await show(result);
  say(t("restored", { seconds: result.seconds.toFixed(1) }));
  find("slider").focus(calm);
  await storage.save("result", result);
}

async function restoreHere(signal) {
  await keepNow(); // memory may run out
  const numbers = { maxCrops: Number(find("max-crops").value || 64), feather: Number(find("feather").value) };
  const asked = { photo: photo.file, mask: view.mask.data, ...numbers };
  return local.restore(asked, signal, (done) => say(t("tile", done)));
}

let found = null; // the mask's last step after damage was looked for, and whether it is what was found
const untouched = () => found !== null && view.mask.done.at(-1) === found.step;

async function findDamage() {
  const bits = await run(t("damageRuns"), async (signal) => {
    const fields = { photo: photo.file, sensitivity: ["low", "normal", "high"][find("sensitivity").value] };
    if (!server) return local.findDamage(fields, signal);
    const answer = await ask("v1/damage", fields, "image/png", signal);
    return openMask(await answer.blob(), view.width, view.height);
  });
  if (!bits) return;
  if (untouched() && found.painted) view.mask.undo(); // it was not corrected yet, and is found anew
  const painted = view.mask.load(bits, true);
  found = { step: view.mask.done.at(-1), painted };
  const count = bits.reduce((sum, bit) => sum + (bit === 255), 0); // without strokes that were there before
  say(count ? t("damageFound", { share: share(count) }) : t("damageNone"));
  refresh();
}

// Do it, or tell why it is refused.
async function unlessRefused(work) {
  fail("");
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    fail(error.message);
  }
}

function goOn() {
  return unlessRefused(async () => {
    const { image } = results.shown;
    const next = await openPhoto(new File([image], photo.name, { type: image.type }), offer.limits);
    await start({ ...next, kind: photo.kind });
    say(t("goneOn"));
    find("stage").focus(calm);
  });
}

async function download() {
  find("download").disabled = true;
  await results.download().catch(tell);
  find("download").disabled = false;
}

async function forget() {
  if (view.mask.count && !confirm(t("replace"))) return;
  await storage.forget();
  location.reload();
}

function colour() {
  if (view.before) view.tint(find("colour").value, find("opacity").value / 100);
}

function share(count = view.mask.count) {
  return ((100 * count) / view.mask.data.length).toFixed(1);
}

// Change the whole mask, and say how much is painted then.
function change(work) {
  work(view.mask);
  say(t("maskDone", { share: share() }));
  refresh();
}

function grow(sign) {
  if (find("mask-by").reportValidity()) change((mask) => mask.grow(sign * (Number(find("mask-by").value) || 1)));
}

function loadMask(file) {
  return unlessRefused(async () => {
    const values = await openMask(file, view.width, view.height);
    change((mask) => mask.load(values));
  });
}

async function saveMask() {
  hand(await view.mask.png(), `${stem(photo.name)}_mask.png`);
}

function askToken() {
  find("token-form").hidden = false;
  find("token").focus();
}

let tried = false; // a token
async function about() {
  try {
    offer = server ? await info() : local.info(() => (find("limits").textContent = t("offline")));
    if (!server) local.open().then(({ damage }) => (find("damage-box").hidden = !damage), tell);
  } catch (error) {
    if (error.status !== 401) return tell(error);
    if (tried) fail(t("wrongToken"));
    return askToken();
  }
  const { pixels, body_bytes } = offer.limits;
  find("limits").textContent = t("limits", { pixels: pixels / 1e6, bytes: Math.floor(body_bytes / 2 ** 20) });
  if (server) find("damage-box").hidden = !offer.damage;
  const models = offer.models ?? [];
  find("model-box").hidden = models.length < 2;
  find("model").replaceChildren(...models.map((name) => new Option(MODELS[name] ? t(MODELS[name]) : name, name)));
  if (!find("token-form").hidden) fail(""); // said of the token
  find("token-form").hidden = true;
}

function onFile(id, use) {
  find(id).addEventListener("change", (event) => {
    use(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
}

function onClick(actions) {
  for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", action);
}

const back = () => view.mask.undo() && refresh();
const again = () => view.mask.redo() && refresh();
onFile("file", open);
onFile("camera-file", open);
onFile("mask-file", loadMask);
onClick({
  choose: () => find("file").click(),
  another: () => find("file").click(),
  camera: () => find("camera-file").click(),
  forget,
  undo: back,
  redo: again,
  clear: () => change((mask) => mask.clear()),
  damage: findDamage,
  "mask-load": () => find("mask-file").click(),
  "mask-save": saveMask,
  "mask-invert": () => change((mask) => mask.invert()),
  "mask-grow": () => grow(1),
  "mask-shrink": () => grow(-1),
  "forget-faces": () => {
    tools.faces = [];
    refresh();
  },
  restore: restoreNow,
  cancel: () => asking?.abort(),
  "go-on": goOn,
  download,
  fit: () => view.fit(),
  "zoom-in": () => view.zoomTo(view.scale * 1.5),
  "zoom-out": () => view.zoomTo(view.scale / 1.5),
});
for (const choice of document.getElementsByName("tool")) {
  choice.addEventListener("change", () => tools.use(choice.value));
}
find("sensitivity").addEventListener("change", () => untouched() && findDamage());
find("size").addEventListener("input", (event) => tools.resize(tools.most ** (event.target.value / 100)));
for (const id of ["colour", "opacity"]) find(id).addEventListener("input", colour);
for (const kind of ["pointerdown", "pointerup", "pointerleave", "keydown", "keyup", "blur"]) {
  find("bare").addEventListener(kind, (event) => {
    if (event.key && event.key !== " " && event.key !== "Enter") return;
    find("stage").classList.toggle("bare", kind.endsWith("down"));
  });
}
find("language").addEventListener("change", (event) => {
  speak(event.target.value, true);
  about();
  refresh();
});
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  tried = true;
  useToken(find("token").value.trim());
  asked = about();
});
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const ours = (event.ctrlKey || event.metaKey) && "zy".includes(key) && tools.painting;
  if (!ours || event.target.matches("[type=number]")) return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) again();
  else back();
});
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));

speak(find("language").value = chosenLanguage());
find("here").hidden = server;
for (const element of document.querySelectorAll("[data-server]")) element.hidden = !server;
let asked = about();
const kept = await storage.load();
if (kept.photo && !photo) {
  await asked;
  const picture = await createImageBitmap(kept.photo.file).catch(() => null);
  if (picture && !photo) {
    await start({ ...kept.photo, picture }, kept);
    if (kept.result) await show(kept.result);
    say(t("kept", { name: photo.name }));
  }
}
