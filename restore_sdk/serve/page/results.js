// The result: compared with the photograph, and downloaded in the photograph's own format or another.

import { server } from "./config.js";
import { hand, stem } from "./files.js";
import { encoded } from "./local.js";
import { ask, file } from "./service.js";
import { t } from "./strings.js";

const find = (id) => document.getElementById(id);
const LOSSLESS = ["png", "webp", "tiff"];

export class Results {
  // moved: called when another view was chosen
  constructor(view, moved) {
    Object.assign(this, { view, moved });
    this.shown = null; // { image, edges, fields, notes }: files, and what was asked to get them
    for (const choice of document.getElementsByName("mode")) {
      choice.addEventListener("change", () => this.look(choice.value));
    }
    find("slider").addEventListener("input", () => this.#slide());
    const drag = (event) => {
      if (!find("divider").hasPointerCapture(event.pointerId)) return;
      find("slider").value = (100 * view.spot(event).x) / view.stage.clientWidth;
      this.#slide();
    };
    find("divider").addEventListener("pointermove", drag);
    find("divider").addEventListener("pointerdown", (event) => {
      event.stopPropagation(); // the stage would move
      event.preventDefault();
      find("divider").setPointerCapture(event.pointerId);
    });
    this.#slide();
  }

  // Show paint or compare: "paint", "slider" or "side".
  look(mode) {
    for (const choice of document.getElementsByName("mode")) choice.checked = choice.value === mode;
    for (const element of document.querySelectorAll(".paints")) element.hidden = mode !== "paint";
    for (const element of document.querySelectorAll(".compares")) element.hidden = mode === "paint";
    find("divider").hidden = find("slider-box").hidden = mode !== "slider";
    find("tag-before").hidden = find("tag-after").hidden = mode === "paint";
    this.view.stage.dataset.mode = mode;
    this.view.look(mode);
    const [, second] = this.view.panes;
    find("tag-after").classList.toggle("under", Boolean(second) && second[1] > 0);
    this.moved();
  }

  // result: null where there is none; name and kind: of the photograph; formats: that the service answers in.
  set(result, name, kind, formats) {
    URL.revokeObjectURL(find("edges").src);
    this.shown = result;
    find("modes").hidden = !result;
    if (!result) return this.look("paint");
    this.stem = stem(name);
    find("edges").alt = t("edges");
    find("edges").src = find("download-edges").href = URL.createObjectURL(result.edges);
    find("download-edges").download = `${this.stem}_edges.png`;
    find("notes").replaceChildren(...result.notes.map((note) => {
      return Object.assign(document.createElement("li"), { textContent: note });
    }));
    find("format").replaceChildren(...formats.map((format) => {
      const text = format === kind ? "asPhoto" : LOSSLESS.includes(format) ? "lossless" : "lossy";
      return new Option(t(text, { kind: format.toUpperCase() }), format, false, format === kind);
    }));
  }

  // The file in the chosen format; another than PNG is asked for again, so that it is encoded once, by the service.
  async download() {
    const format = find("format").value;
    const image = format === "png" ? this.shown.image : await this.#asked(format);
    hand(image, `${this.stem}_restored.${format === "jpeg" ? "jpg" : format}`);
  }

  async #asked(format) {
    if (!server) return encoded(this.shown.image, format);
    return (await ask("v1/restore", { ...this.shown.fields, edges: "false", format }, `image/${format}`)).blob();
  }

  #slide() {
    this.view.split = Number(find("slider").value) / 100;
    find("divider").style.left = `${100 * this.view.split}%`;
    this.view.redraw();
  }
}

// Restore: the answer as files. Raises as `ask`.
export async function restore(fields, signal) {
  const body = await (await ask("v1/restore", fields, "application/json", signal)).json();
  const seconds = Object.values(body.timings_ms).reduce((sum, part) => sum + part, 0) / 1000;
  const [image, edges] = [file(body.image, body.media_type), file(body.edges, "image/png")];
  return { image, edges, notes: body.notes, fields, seconds };
}
