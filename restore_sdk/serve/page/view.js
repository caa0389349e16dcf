// What is seen: the photograph, its result and the paint over it, at any zoom. Only what changed is drawn again.

const MOST = 8; // CSS pixels a pixel of the photograph
const COLOURS = { pink: "#ff2d78", green: "#12c95b", blue: "#2f7bff", yellow: "#ffd000" };
const WEIGHTS = [0.55, 0.77, 0.33]; // how much of a difference in red, green and blue is seen

export class View {
  // stage: an element with the canvases .photo and .paint; moved: called when the zoom or the place changed
  constructor(stage, moved) {
    this.stage = stage;
    this.moved = moved;
    [this.photo, this.paint] = ["photo", "paint"].map((name) => stage.querySelector(`.${name}`).getContext("2d"));
    this.before = this.after = null; // pictures with their smaller copies, by `copies`
    this.mask = null;
    this.mode = "paint"; // or slider, or side
    this.split = 0.5; // where the slider is, in parts of the stage
    this.scale = 1;
    this.x = this.y = 0; // the photograph's place in the upper left corner
    this.colour = { fill: [0, 0], edge: 0 };
    this.dirty = null; // a box of the photograph whose paint changed
    this.stale = false; // everything is to be drawn
    new ResizeObserver(() => this.#resize()).observe(stage);
  }

  get width() {
    return this.before[0].width;
  }

  get height() {
    return this.before[0].height;
  }

  // Boxes [x, y, width, height] of the stage: side by side there are two, next to or above each other.
  get panes() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (this.mode !== "side") return [[0, 0, width, height]];
    const beside = Math.min(width / 2 / this.width, height / this.height);
    return beside > Math.min(width / this.width, height / 2 / this.height)
      ? [[0, 0, width / 2 - 1, height], [width / 2 + 1, 0, width / 2 - 1, height]]
      : [[0, 0, width, height / 2 - 1], [0, height / 2 + 1, width, height / 2 - 1]];
  }

  get fitting() {
    const [, , width, height] = this.panes[0];
    return Math.min(MOST, (0.97 * width) / this.width, (0.97 * height) / this.height);
  }

  get fits() {
    return this.scale <= this.fitting * 1.001;
  }

  show(before, after, mask) {
    const fresh = !this.before || this.width !== before[0].width || this.height !== before[0].height;
    Object.assign(this, { before, after, mask });
    if (fresh) this.fit();
    this.redraw();
  }

  look(mode) {
    const fitted = this.before && this.fits;
    this.mode = mode;
    if (fitted) this.fit();
    this.redraw();
  }

  fit() {
    this.zoomTo(this.fitting);
  }

  // `at`: a place of the stage in CSS pixels that stays where it is; its middle unless told.
  zoomTo(scale, at) {
    const [left, top, width, height] = this.#paneAt(at);
    const [x, y] = at ? [at.x - left, at.y - top] : [width / 2, height / 2];
    const wanted = Math.min(MOST, Math.max(this.fitting, scale));
    this.x += x / this.scale - x / wanted;
    this.y += y / this.scale - y / wanted;
    this.scale = wanted;
    this.pan(0, 0);
  }

  // Between all of it, and at least 100%.
  toggle(at) {
    this.zoomTo(this.fits ? Math.max(1, 3 * this.fitting) : this.fitting, at);
  }

  // By CSS pixels of the stage; a part of the photograph stays in it.
  pan(dx, dy) {
    const [, , width, height] = this.panes[0];
    const held = (place, all, seen) => {
      const room = seen > all ? 0 : seen / 4; // so that its border can be painted in comfort
      return seen > all ? (all - seen) / 2 : Math.min(Math.max(place, -room), all - seen + room);
    };
    this.x = held(this.x - dx / this.scale, this.width, width / this.scale);
    this.y = held(this.y - dy / this.scale, this.height, height / this.scale);
    this.redraw();
    this.moved();
  }

  // Move so far that a place of the photograph is in sight.
  reveal(at) {
    const [, , width, height] = this.panes[0];
    const off = (place, seen) => Math.min(0, place - 24) + Math.max(0, place + 24 - seen);
    const [x, y] = [off((at.x - this.x) * this.scale, width), off((at.y - this.y) * this.scale, height)];
    if (x || y) this.pan(-x, -y);
  }

  spot(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  toPhoto(event) {
    const at = this.spot(event);
    const [left, top] = this.#paneAt(at);
    return { x: (at.x - left) / this.scale + this.x, y: (at.y - top) / this.scale + this.y };
  }

  toStage(at) {
    return { x: (at.x - this.x) * this.scale, y: (at.y - this.y) * this.scale };
  }

  // The place of the photograph in the middle of what is seen.
  get middle() {
    const [, , width, height] = this.panes[0];
    return { x: this.x + width / 2 / this.scale, y: this.y + height / 2 / this.scale };
  }

  // The name of a colour, "stripes", or "auto": the one that is least like what the photograph shows.
  tint(name, opacity) {
    const small = new OffscreenCanvas(48, 48).getContext("2d", { willReadFrequently: true });
    small.drawImage(this.before.at(-1), 0, 0, 48, 48);
    const { data } = small.getImageData(0, 0, 48, 48);
    const distance = (colour) => {
      const far = [];
      for (let at = 0; at < data.length; at += 4) {
        far.push(Math.hypot(...rgb(colour).map((value, channel) => WEIGHTS[channel] * (value - data[at + channel]))));
      }
      return far.sort((a, b) => b - a)[Math.floor(far.length * 0.9)];
    };
    const least = (a, b) => (distance(COLOURS[b]) > distance(COLOURS[a]) ? b : a);
    if (name === "auto") name = Object.keys(COLOURS).reduce(least);
    const shades = name === "stripes" ? ["#ffffff", "#000000"] : [COLOURS[name], COLOURS[name]];
    this.colour = { fill: shades.map((shade) => abgr(shade, opacity)), edge: abgr(shades[0], 1) };
    this.redraw();
  }

  // The paint in a box of the photograph changed.
  repaint([left, top, right, bottom]) {
    const box = this.dirty ?? [left, top, right, bottom];
    this.dirty = [Math.min(box[0], left), Math.min(box[1], top), Math.max(box[2], right), Math.max(box[3], bottom)];
    this.#soon();
  }

  redraw() {
    this.stale = true;
    this.#soon();
  }

  #soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (!this.before || !this.ratio) return;
      if (this.stale) this.#drawPictures();
      if (this.mode === "paint") this.#drawPaint(this.stale ? null : this.dirty);
      this.stale = false;
      this.dirty = null;
    });
  }

  #resize() {
    const fitted = this.before && this.fits;
    this.ratio = Math.min(2, devicePixelRatio);
    for (const { canvas } of [this.photo, this.paint]) {
      canvas.width = Math.max(1, Math.round(this.stage.clientWidth * this.ratio));
      canvas.height = Math.max(1, Math.round(this.stage.clientHeight * this.ratio));
    }
    if (this.before) fitted || this.scale < this.fitting ? this.fit() : this.pan(0, 0);
  }

  #paneAt(at) {
    return this.panes.find(([x, y, width, height]) => at && at.x < x + width && at.y < y + height) ?? this.panes.at(-1);
  }

  #drawPictures() {
    const { photo: pen, ratio, width, height } = this;
    const [first, second] = this.panes;
    const cut = this.split * first[2];
    const parts = {
      paint: () => [[this.before, first, first]],
      slider: () => [
        [this.before, first, [0, 0, cut, first[3]]],
        [this.after, first, [cut, 0, first[2] - cut, first[3]]],
      ],
      side: () => [[this.before, first, first], [this.after, second, second]],
    }[this.mode]();
    pen.clearRect(0, 0, pen.canvas.width, pen.canvas.height);
    const scale = this.scale * ratio;
    for (const [copies, [left, top], box] of parts) {
      pen.save();
      pen.beginPath();
      pen.rect(...box.map((value) => value * ratio));
      pen.clip();
      pen.setTransform(scale, 0, 0, scale, (left - this.x * this.scale) * ratio, (top - this.y * this.scale) * ratio);
      pen.imageSmoothingEnabled = scale < 3;
      pen.drawImage(copies.findLast((copy) => copy.width >= width * scale) ?? copies[0], 0, 0, width, height);
      pen.restore();
    }
  }

  // Painted pixels filled, their outline solid, so that a thin line is seen at any zoom.
  #drawPaint(dirty) {
    const { paint: pen, mask } = this;
    const scale = this.scale * this.ratio;
    const onStage = (place, start, most) => Math.min(Math.max((place - start) * scale, 0), most);
    const [wide, high] = [pen.canvas.width, pen.canvas.height];
    const box = dirty ?? [0, 0, mask.width, mask.height];
    const left = Math.max(Math.floor(onStage(box[0], this.x, wide)) - 2, 0);
    const top = Math.max(Math.floor(onStage(box[1], this.y, high)) - 2, 0);
    const width = Math.min(Math.ceil(onStage(box[2], this.x, wide)) + 2, wide) - left;
    const height = Math.min(Math.ceil(onStage(box[3], this.y, high)) + 2, high) - top;
    if (!dirty) pen.clearRect(0, 0, wide, high);
    if (width < 1 || height < 1 || (!dirty && !mask.count)) return;
    const depth = Math.min(Math.max(0, Math.ceil(-Math.log2(scale))), mask.levels.length - 1);
    const level = mask.levels[depth];
    const step = 1 / (scale * 2 ** depth);
    const source = (place, start, most) => {
      const at = Math.floor((place + 0.5) * step + start / 2 ** depth);
      return at >= 0 && at < most ? at : -1;
    };
    const columns = Int32Array.from({ length: width + 2 }, (_, at) => source(left + at - 1, this.x, level.width));
    const read = (line, y) => {
      const row = source(y, this.y, level.height);
      line.any = 0; // most rows of most masks are empty
      if (row < 0) return line.fill(0);
      const start = row * level.width;
      for (let at = 0; at < line.length; at++) {
        line.any |= line[at] = columns[at] < 0 ? 0 : level.data[start + columns[at]];
      }
      return line;
    };
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const { fill, edge } = this.colour;
    let [above, line, below] = [0, 1, 2].map((at) => read(new Uint8Array(width + 2), top + at - 1));
    for (let y = 0; y < height; y++) {
      for (let x = 1; line.any && x <= width; x++) {
        if (!line[x]) continue;
        const inner = line[x - 1] && line[x + 1] && above[x] && below[x];
        pixels[y * width + x - 1] = inner ? fill[((left + x + top + y) >> 2) & 1] : edge;
      }
      [above, line, below] = [line, below, read(above, top + y + 2)];
    }
    pen.putImageData(image, left, top);
  }
}

// A picture and its halves, quarters, ..., so that drawing it small costs little.
export function copies(picture) {
  const all = [picture];
  for (let last = picture; Math.max(last.width, last.height) > 1024; last = all.at(-1)) {
    const half = new OffscreenCanvas(Math.ceil(last.width / 2), Math.ceil(last.height / 2));
    half.getContext("2d").drawImage(last, 0, 0, half.width, half.height);
    all.push(half);
  }
  return all;
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function abgr(colour, opacity) {
  const [red, green, blue] = rgb(colour);
  return ((Math.round(255 * opacity) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
