// The mask, a byte a pixel of the photograph: 255 is to be repainted. With undo, and coarser copies to draw it small.

const TILE = 256; // side of what undo compares, in pixels
const UNDO_BYTES = 48e6; // a step over all of 12 megapixels takes 1.5 MB

export class Mask {
  // changed: called with the box [left, top, right, bottom] in which pixels changed
  constructor(width, height, changed) {
    Object.assign(this, { width, height, changed });
    this.count = 0; // of 255s
    this.levels = [{ data: new Uint8Array(width * height), width, height }]; // each half as wide as the one before
    for (let last = this.levels[0]; Math.max(last.width, last.height) > 256; last = this.levels.at(-1)) {
      const [w, h] = [(last.width + 1) >> 1, (last.height + 1) >> 1];
      this.levels.push({ data: new Uint8Array(w * h), width: w, height: h });
    }
    this.across = Math.ceil(width / TILE);
    this.done = []; // steps: which bits of which tiles flipped
    this.undone = [];
    this.before = new Map(); // tiles as they were before the step that goes on
  }

  get data() {
    return this.levels[0].data;
  }

  // All pixels whose centre is within half of `size` of a line.
  segment(from, to, size, value) {
    const radius = size / 2;
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const length = Math.hypot(dx, dy) || 1;
    const [nx, ny] = [(-dy / length) * radius, (dx / length) * radius];
    const sides = [1, -1].map((sign) => [from.x + sign * nx, from.y + sign * ny, to.x + sign * nx, to.y + sign * ny]);
    const xs = [from.x, to.x].sort((a, b) => a - b);
    const ys = [from.y, to.y].sort((a, b) => a - b);
    const box = [xs[0] - radius, ys[0] - radius, xs[1] + radius + 1, ys[1] + radius + 1];
    this.#fill(box, value, (middle) => {
      let [low, high] = [Infinity, -Infinity];
      for (const end of [from, to]) {
        const half = Math.sqrt(radius * radius - (middle - end.y) ** 2); // NaN past the round end
        if (half >= 0) [low, high] = [Math.min(low, end.x - half), Math.max(high, end.x + half)];
      }
      for (const [x0, y0, x1, y1] of sides) {
        const part = (middle - y0) / (y1 - y0);
        if (part >= 0 && part <= 1) {
          const x = x0 + part * (x1 - x0);
          [low, high] = [Math.min(low, x), Math.max(high, x)];
        }
      }
      return [low, high];
    });
  }

  // All pixels whose centre is inside of a closed line.
  polygon(points, value) {
    const [xs, ys] = [points.map((at) => at.x), points.map((at) => at.y)];
    const box = [min(xs), min(ys), max(xs) + 1, max(ys) + 1];
    this.#fill(box, value, (middle) => {
      const crossings = [];
      points.forEach((to, at) => {
        const from = points.at(at - 1);
        if (from.y <= middle !== to.y <= middle) {
          crossings.push(from.x + ((middle - from.y) / (to.y - from.y)) * (to.x - from.x));
        }
      });
      return crossings.sort((a, b) => a - b);
    });
  }

  clear() {
    this.#everywhere(() => this.data.fill(0));
  }

  invert() {
    this.#everywhere((data) => {
      for (let at = 0; at < data.length; at++) data[at] = 255 - data[at];
    });
  }

  // Take over a mask of the same size; with `add` what is painted stays. Whether that changed anything.
  load(other, add = false) {
    return this.#everywhere((data) => {
      for (let at = 0; at < data.length; at++) data[at] = add ? data[at] | other[at] : other[at];
    });
  }

  // Grow by a disc of so many pixels; below 0: shrink. Beyond the photograph's border nothing is.
  grow(by) {
    const [value, radius, { width, height }] = [by > 0 ? 255 : 0, Math.abs(by), this];
    const reach = Array.from({ length: radius + 1 }, (_, dy) => Math.floor(Math.sqrt(radius * radius - dy * dy)));
    this.#everywhere((data) => {
      const old = data.slice();
      for (let y = 0; y < height; y++) {
        const row = old.subarray(y * width, (y + 1) * width);
        for (let from = row.indexOf(value), to; from >= 0; from = row.indexOf(value, to)) {
          to = row.indexOf(255 - value, from);
          if (to < 0) to = width;
          for (let dy = Math.max(-radius, -y); dy <= Math.min(radius, height - 1 - y); dy++) {
            const more = reach[Math.abs(dy)];
            const start = (y + dy) * width;
            data.fill(value, start + Math.max(from - more, 0), start + Math.min(to + more, width));
          }
          if (to === width) break;
        }
      }
    });
  }

  // The end of a step, which can be undone from now on. Whether it changed anything.
  commit() {
    const flips = [];
    let bytes = 0;
    for (const [tile, old] of this.before) {
      const now = this.#tile(tile);
      const step = now.length % 4 ? Uint8Array : Uint32Array; // four pixels at a time, but at some borders
      const [from, to] = [new step(old.buffer), new step(now.buffer)];
      let any = 0;
      for (let at = 0; at < to.length; at++) any |= to[at] ^= from[at];
      if (!any) continue;
      flips.push([tile, pack(now)]);
      bytes += now.length >> 3;
    }
    this.before.clear();
    if (!flips.length) return false;
    this.done.push({ flips, bytes });
    this.undone = [];
    let sum = 0;
    this.done.splice(0, this.done.findLastIndex((step) => (sum += step.bytes) > UNDO_BYTES) + 1);
    return true;
  }

  // Give up the step that goes on.
  rollback() {
    if (this.commit() && this.undo()) this.undone.pop();
  }

  undo() {
    return this.#flip(this.done, this.undone);
  }

  redo() {
    return this.#flip(this.undone, this.done);
  }

  // 8 pixels a byte, for storage; `unpack` gives them back.
  packed() {
    return pack(this.data);
  }

  // As a PNG of the photograph's size: white is what to repaint.
  async png() {
    const { width, height } = this;
    const rows = new Uint8Array((width + 1) * height); // each begins with its filter, none
    for (let y = 0; y < height; y++) {
      rows.set(this.data.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
    }
    const squeezed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
    const head = new DataView(new ArrayBuffer(13));
    head.setUint32(0, width);
    head.setUint32(4, height);
    head.setUint8(8, 8); // bits, of grey
    const parts = [
      chunk("IHDR", new Uint8Array(head.buffer)),
      chunk("IDAT", new Uint8Array(await new Response(squeezed).arrayBuffer())),
      chunk("IEND", new Uint8Array(0)),
    ];
    return new Blob(["\x89PNG\r\n\x1a\n"].map(latin).concat(parts), { type: "image/png" });
  }

  // Fill rows of a box between pairs of places that `spans` gives for the height of their middle.
  #fill([left, top, right, bottom], value, spans) {
    const box = this.#inside([Math.floor(left), Math.floor(top), Math.ceil(right), Math.ceil(bottom)]);
    if (!box) return;
    this.#keep(box);
    const { data, width } = this;
    for (let y = box[1]; y < box[3]; y++) {
      const places = spans(y + 0.5);
      for (let pair = 0; pair + 1 < places.length; pair += 2) {
        const end = y * width + Math.min(Math.floor(places[pair + 1] - 0.5 + 1e-9) + 1, width);
        for (let at = y * width + Math.max(Math.ceil(places[pair] - 0.5 - 1e-9), 0); at < end; at++) {
          if (data[at] !== value) {
            data[at] = value;
            this.count += value ? 1 : -1;
          }
        }
      }
    }
    this.#refresh(box);
  }

  // A step by itself that may change any pixel.
  #everywhere(change) {
    const all = [0, 0, this.width, this.height];
    this.#keep(all);
    const { data } = this;
    change(data);
    let count = 0;
    for (let at = 0; at < data.length; at++) count += data[at] & 1;
    this.count = count;
    this.#refresh(all);
    return this.commit();
  }

  #flip(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push(step);
    const { data, width } = this;
    for (const [tile, bits] of step.flips) {
      const [left, top, right, bottom] = this.#box(tile);
      const flips = unpack(bits, (right - left) * (bottom - top));
      for (let y = top, at = 0; y < bottom; y++) {
        for (let place = y * width + left; place < y * width + right; place++, at++) {
          if (!flips[at]) continue;
          data[place] ^= 255;
          this.count += data[place] ? 1 : -1;
        }
      }
      this.#refresh([left, top, right, bottom]);
    }
    return true;
  }

  #keep([left, top, right, bottom]) {
    for (let y = Math.floor(top / TILE); y * TILE < bottom; y++) {
      for (let x = Math.floor(left / TILE); x * TILE < right; x++) {
        const tile = y * this.across + x;
        if (!this.before.has(tile)) this.before.set(tile, this.#tile(tile));
      }
    }
  }

  #box(tile) {
    const [left, top] = [(tile % this.across) * TILE, Math.floor(tile / this.across) * TILE];
    return [left, top, Math.min(left + TILE, this.width), Math.min(top + TILE, this.height)];
  }

  #tile(tile) {
    const [[left, top, right, bottom], { data, width }] = [this.#box(tile), this];
    const copy = new Uint8Array((right - left) * (bottom - top));
    for (let y = top; y < bottom; y++) {
      copy.set(data.subarray(y * width + left, y * width + right), (y - top) * (right - left));
    }
    return copy;
  }

  // Bring the coarser copies up to date: a pixel there is painted where one of its four is, so that no line gets lost.
  #refresh(box) {
    this.changed(box);
    let [left, top, right, bottom] = box;
    for (let level = 1; level < this.levels.length; level++) {
      const [fine, coarse] = [this.levels[level - 1], this.levels[level]];
      [left, top, right, bottom] = [left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1];
      for (let y = top; y < bottom; y++) {
        const row = 2 * y * fine.width;
        const next = 2 * y + 1 < fine.height ? row + fine.width : row;
        for (let x = left; x < right; x++) {
          const second = 2 * x + 1 < fine.width ? 1 : 0;
          const [one, two] = [row + 2 * x, next + 2 * x];
          coarse.data[y * coarse.width + x] =
            fine.data[one] | fine.data[one + second] | fine.data[two] | fine.data[two + second];
        }
      }
    }
  }

  #inside([left, top, right, bottom]) {
    const box = [Math.max(left, 0), Math.max(top, 0), Math.min(right, this.width), Math.min(bottom, this.height)];
    return box[0] < box[2] && box[1] < box[3] ? box : null;
  }
}

export function unpack(bits, length) {
  const values = new Uint8Array(length);
  for (let at = 0; at < length; at++) if (bits[at >> 3] & (1 << (at & 7))) values[at] = 255;
  return values;
}

// A value is 0 or 255, so that each of its bits tells it.
function pack(v) {
  const bits = new Uint8Array((v.length + 7) >> 3);
  for (let to = 0, at = 0; to < bits.length; to++, at += 8) {
    bits[to] = (v[at] & 1) | (v[at + 1] & 2) | (v[at + 2] & 4) | (v[at + 3] & 8)
      | (v[at + 4] & 16) | (v[at + 5] & 32) | (v[at + 6] & 64) | (v[at + 7] & 128); // past the end: 0
  }
  return bits;
}

const min = (values) => values.reduce((a, b) => Math.min(a, b));
const max = (values) => values.reduce((a, b) => Math.max(a, b));
const latin = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

// A chunk of a PNG: length, name, data, CRC-32.
function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(latin(name), 4);
  bytes.set(data, 8);
  let crc = -1;
  for (let at = 4; at < data.length + 8; at++) {
    crc ^= bytes[at];
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  view.setUint32(data.length + 8, ~crc);
  return bytes;
}
