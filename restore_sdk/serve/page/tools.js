// What mouse, pen, fingers and keys do on the stage: paint with a tool, or move the view.

import { server } from "./config.js";

const KEYS = { b: "brush", e: "eraser", l: "line", o: "lasso", m: "move", ...(server && { f: "face" }) };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DOUBLE_MS = 350;

export class Tools {
  // cursor: the ring with the brush's size in it; guides: an SVG over the stage; told: of the tool, the size and faces
  constructor(view, cursor, guides, told) {
    Object.assign(this, { view, cursor, guides, told });
    this.name = "brush";
    this.size = 20; // of the brush, in the photograph's pixels
    this.faces = []; // boxes [x, y, width, height] in the photograph's pixels
    this.path = null; // of what is being drawn
    this.at = { x: 0, y: 0 };
    this.#listen(view.stage);
  }

  get painting() {
    return this.view.mode === "paint" && this.view.mask !== null;
  }

  use(name) {
    this.cancel();
    this.name = name;
    this.view.stage.dataset.tool = name;
    this.refresh();
    this.told();
  }

  resize(size) {
    this.size = Math.round(Math.min(Math.max(size, 1), this.most));
    this.refresh();
    this.told();
  }

  // The largest brush.
  get most() {
    return Math.max(2, Math.round(Math.max(this.view.width, this.view.height) / 4));
  }

  // A third larger or smaller, at least by a pixel.
  step(up) {
    this.resize(up ? Math.max(this.size + 1, this.size * 1.3) : Math.min(this.size - 1, this.size / 1.3));
  }

  start(at, erase = false) {
    this.at = at;
    this.value = (this.name === "eraser") !== erase ? 0 : 255;
    this.path = [this.#snapped(at)];
    if (this.#strokes) this.view.mask.segment(this.path[0], this.path[0], this.size, this.value);
    this.refresh();
  }

  move(at) {
    this.at = at;
    if (this.path) {
      const to = this.#snapped(at);
      if (this.#strokes) this.view.mask.segment(this.path.at(-1), to, this.size, this.value);
      if (this.name === "lasso") this.path.push(to);
      else this.path = [this.#strokes ? to : this.path[0], to];
    }
    this.refresh();
  }

  // Whether the mask changed.
  end() {
    const { path, view } = this;
    if (!path) return false;
    this.path = null;
    const last = path.at(-1);
    if (this.name === "line") view.mask.segment(path[0], last, this.size, this.value);
    if (this.name === "lasso" && path.length > 2) view.mask.polygon(path, this.value);
    if (this.name === "face") {
      const inside = ({ x, y }) => ({ x: clamp(Math.round(x), view.width), y: clamp(Math.round(y), view.height) });
      const box = boxed(inside(path[0]), inside(last));
      if (box[2] >= 4 && box[3] >= 4) this.faces.push(box); // less is a slip of the hand
    }
    const changed = view.mask.commit();
    this.refresh();
    this.told();
    return changed;
  }

  cancel() {
    if (!this.path) return;
    this.path = null;
    this.view.mask.rollback();
    this.refresh();
    this.told();
  }

  get #strokes() {
    return this.name === "brush" || this.name === "eraser";
  }

  // So that a brush of n pixels paints n x n at most: on the middle of a pixel, or on a corner.
  #snapped({ x, y }) {
    if (this.name === "lasso" || this.name === "face") return { x, y };
    return this.size % 2 ? { x: Math.floor(x) + 0.5, y: Math.floor(y) + 0.5 } : { x: Math.round(x), y: Math.round(y) };
  }

  // Draw ring and guides again, after anything moved.
  refresh() {
    const { view, cursor, path } = this;
    const sized = this.#strokes || this.name === "line";
    const place = view.toStage(this.at);
    const side = sized ? Math.max(3, this.size * view.scale) : 12;
    cursor.hidden = !this.shown || !this.painting || this.name === "move";
    cursor.style.translate = `${place.x - side / 2}px ${place.y - side / 2}px`;
    cursor.style.width = cursor.style.height = `${side}px`;
    cursor.dataset.size = sized && !path ? `${this.size} px` : "";
    cursor.classList.toggle("corner", !sized);
    cursor.classList.toggle("down", path !== null);
    const points = path && !this.#strokes ? path.map((at) => view.toStage(at)) : [];
    const rects = [...this.faces];
    if (path && this.name === "face") rects.push(boxed(path[0], path.at(-1)));
    const shapes = (this.painting ? rects : []).map(([x, y, width, height]) => {
      const [corner, size] = [view.toStage({ x, y }), [width * view.scale, height * view.scale]];
      return `<rect x="${corner.x}" y="${corner.y}" width="${size[0]}" height="${size[1]}"></rect>`;
    });
    if (points.length && this.name !== "face") {
      shapes.push(`<polyline points="${points.map((at) => `${at.x},${at.y}`).join(" ")}"></polyline>`);
    }
    this.guides.innerHTML = shapes.join(""); // numbers only
  }

  #show(shown) {
    this.shown = shown;
    this.refresh();
  }

  #listen(stage) {
    const { view } = this;
    const down = new Map(); // where the pointers are that touch
    let painter = null; // the one that paints
    let pen = false; // with a pen at hand, fingers only move the view
    let last = { time: 0, x: 0, y: 0, painted: false }; // where it was touched last

    stage.addEventListener("pointerdown", (event) => {
      const at = view.spot(event);
      event.preventDefault();
      stage.focus({ preventScroll: true });
      stage.setPointerCapture(event.pointerId);
      down.set(event.pointerId, at);
      pen ||= event.pointerType === "pen";
      if (down.size > 1) { // two fingers move the view; a stroke that has only begun was none
        if (performance.now() - last.time > 400) this.end();
        else this.cancel();
        painter = null;
        return;
      }
      const near = event.pointerType === "touch" ? 20 : 3;
      if (performance.now() - last.time < DOUBLE_MS && Math.hypot(at.x - last.x, at.y - last.y) < near) {
        if (last.painted && view.mask.undo()) view.mask.undone.pop(); // the dab of the first
        last.time = 0;
        view.toggle(at);
        return this.told();
      }
      last = { time: performance.now(), ...at, painted: false };
      const finger = pen && event.pointerType === "touch";
      const moves = !this.painting || this.name === "move" || event.button === 1 || this.held || finger;
      if (this.held) this.held = "used";
      if (moves) return;
      painter = event.pointerId;
      this.start(view.toPhoto(event), event.altKey || event.button === 2 || event.button === 5); // 5: a pen's eraser
    });
    stage.addEventListener("pointermove", (event) => {
      const from = down.get(event.pointerId);
      if (from && event.pointerId !== painter) {
        const [others, to] = [[...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at), view.spot(event)];
        down.set(event.pointerId, to);
        if (!others.length) return view.pan(to.x - from.x, to.y - from.y);
        const [still] = others;
        const spread = (at) => Math.max(1, Math.hypot(at.x - still.x, at.y - still.y));
        view.pan((to.x - from.x) / 2, (to.y - from.y) / 2);
        const middle = { x: (to.x + still.x) / 2, y: (to.y + still.y) / 2 };
        return view.zoomTo((view.scale * spread(to)) / spread(from), middle);
      }
      if (!this.painting || (!from && this.path)) return; // a stroke by keyboard goes on
      if (from) for (const part of event.getCoalescedEvents?.() ?? []) this.move(view.toPhoto(part));
      this.shown = event.pointerType !== "touch" || Boolean(from);
      this.move(view.toPhoto(event));
    });
    const lift = (event) => {
      if (!down.delete(event.pointerId)) return;
      const at = view.spot(event);
      if (Math.hypot(at.x - last.x, at.y - last.y) > 4) last.time = 0; // a stroke, not the first half of a double click
      if (event.pointerId !== painter) return;
      painter = null;
      if (event.type === "pointercancel") this.cancel();
      else last.painted = this.end();
      if (event.pointerType === "touch") this.#show(false);
    };
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) stage.addEventListener(kind, lift);
    stage.addEventListener("pointerleave", () => this.#show(false));
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("focus", () => {
      if (!stage.matches(":focus-visible") || !view.before) return;
      const inside = view.toStage(this.at);
      if (!(inside.x > 0 && inside.y > 0 && inside.x < stage.clientWidth && inside.y < stage.clientHeight)) {
        this.at = view.middle;
      }
      this.#show(true);
    });
    stage.addEventListener("blur", () => {
      this.held = false;
      stage.classList.remove("bare");
      this.cancel(); // half a stroke is none, and must not look like one
      this.#show(false);
    });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const amount = event.deltaMode ? 30 : 1; // lines, not pixels
      if (event.altKey && this.painting) this.step(event.deltaY + event.deltaX < 0);
      else if (event.shiftKey) view.pan(-(event.deltaX || event.deltaY) * amount, 0);
      else {
        const speed = event.ctrlKey ? 0.01 : 0.002; // a pinch on a trackpad says Ctrl
        view.zoomTo(view.scale * Math.exp(-event.deltaY * amount * speed), view.spot(event));
      }
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && view.before && this.#key(event)) event.preventDefault();
    });
    stage.addEventListener("keyup", (event) => {
      if (event.key === "h") stage.classList.remove("bare");
      if (event.key !== " ") return;
      if (this.held === true && this.painting && !this.path) {
        this.start(this.at);
        this.end();
      }
      this.held = false;
    });
  }

  // Whether the key means something here.
  #key(event) {
    const { view } = this;
    const [key, move] = [event.key.length === 1 ? event.key.toLowerCase() : event.key, ARROWS[event.key]];
    const middle = this.shown ? view.toStage(this.at) : undefined;
    if (key === "+" || key === "=") view.zoomTo(view.scale * 1.5, middle);
    else if (key === "-") view.zoomTo(view.scale / 1.5, middle);
    else if (key === "0") view.fit();
    else if (key === "1") view.zoomTo(1, middle);
    else if (move && (event.altKey || !this.painting || this.name === "move")) view.pan(-60 * move[0], -60 * move[1]);
    else if (!this.painting || event.altKey) return false;
    else if (key === "h") view.stage.classList.add("bare");
    else if (KEYS[key] && !event.repeat) this.use(this.name === "eraser" && key === "e" ? "brush" : KEYS[key]);
    else if (key === "[" || key === "]") this.step(key === "]");
    else if (key === " ") this.held ||= true;
    else if (key === "Enter") {
      if (this.path) this.end();
      else if (this.name !== "move") this.start(this.at);
    } else if (key === "Escape" && this.path) this.cancel();
    else if (move) {
      const step = this.name === "lasso" || this.name === "face" ? 8 / view.scale : this.size * 0.75;
      const far = Math.max(1, step * (event.shiftKey ? 4 : 1));
      const { x, y } = this.at;
      this.shown = true;
      this.move({ x: clamp(x + move[0] * far, view.width - 1), y: clamp(y + move[1] * far, view.height - 1) });
      view.reveal(this.at);
    } else return false;
    return true;
  }
}

const clamp = (value, most) => Math.min(Math.max(value, 0), most);

// The box [x, y, width, height] between two corners.
function boxed(from, to) {
  return [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(from.x - to.x), Math.abs(from.y - to.y)];
}
