// Which tiles a mask gets, how they are cut and put back: restore_sdk/tiling/{plan,crop,request}.py in JavaScript, with the
// same results but for rounding. The reasons stand there. Left out are faces, and grain and detail.
//
// Boxes are [top, left, bottom, right], half open; a mask has a byte a pixel, not 0 where it is to be repainted.

export const SIZE = 256; // side of a tile as the model takes it
const [CONTEXT, MARGIN, RAMP, REACH, LEAST_CONTEXT, POOL] = [4, 1 / 6, 1 / 8, 8, 1.25, 4];
const PLANE = [-Infinity, -Infinity, Infinity, Infinity];

const longest = ([top, left, bottom, right]) => Math.max(bottom - top, right - left);

// Halves to even, as Python's.
function round(value) {
  const up = Math.floor(value + 0.5);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

// The tiles in waves, coarse to fine, each { crop, cell, level, ramp }, and the level of a pixel where there are several.
export function plan(mask, width, height, maxCrops = 64) {
  const [shape, box] = [[height, width], bounds(mask, width, [0, 0, height, width])];
  if (!box) return { waves: [], levelAt: null };
  if (Math.max(...shape) <= SIZE || longest(box) * CONTEXT <= SIZE) {
    return { waves: [[{ crop: place(box, limited(SIZE, box, shape), shape), cell: PLANE, level: 0, ramp: 1 }]], levelAt: null };
  }
  const blocks = new Blocks(mask, shape, box);
  for (let base = SIZE; ; base *= Math.SQRT2) {
    const found = blocks.plan(base);
    if (found.waves.flat().length <= maxCrops || base > 2 * Math.max(...shape)) return found;
  }
}

// The mask in blocks of POOL x POOL pixels around what is masked.
class Blocks {
  constructor(mask, shape, box) {
    const origin = [0, 1].map((axis) => Math.floor(box[axis] / POOL) * POOL);
    const [rows, columns] = [0, 1].map((axis) => Math.ceil((box[axis + 2] - origin[axis]) / POOL));
    // Beyond the picture's border nothing is known: a mask at the border counts as going on there.
    const [above, before] = origin.map((at) => Number(at > 0));
    const [below, after] = [0, 1].map((axis) => Number(box[axis + 2] < shape[axis]));
    const wide = before + columns + after;
    const framed = new Uint8Array((above + rows + below) * wide);
    for (let y = box[0]; y < box[2]; y++) {
      const row = (above + Math.floor((y - origin[0]) / POOL)) * wide + before;
      for (let x = box[1]; x < box[3]; x++) {
        if (mask[y * shape[1] + x]) framed[row + Math.floor((x - origin[1]) / POOL)] = 1;
      }
    }
    const inner = (all) => all.filter((_, at) => {
      const [row, column] = [Math.floor(at / wide) - above, (at % wide) - before];
      return row >= 0 && row < rows && column >= 0 && column < columns;
    });
    Object.assign(this, { shape, origin, rows, columns, mask: inner(framed), depth: inner(distance(framed, wide)) });
  }

  plan(base) {
    const { origin, rows, columns } = this;
    const [levels, count] = this.levels(base);
    const waves = [];
    for (let level = 0; level < count; level++) {
      const part = this.mask.map((any, at) => any && levels[at] === level);
      if (!part.includes(1)) continue;
      const side = Math.min(base * 2 ** level, Math.max(base, CONTEXT * this.thickness(part, [0, 0, rows, columns])));
      waves.unshift(this.divide(part, side).map((each) => this.tile(level, part, ...each, side)));
    }
    const block = (at, axis, most) => Math.min(Math.max(Math.floor((at - origin[axis]) / POOL), 0), most - 1);
    const levelAt = (y, x) => levels[block(y, 0, rows) * columns + block(x, 1, columns)];
    return { waves, levelAt: waves.length > 1 ? levelAt : null };
  }

  thickness(part, [top, left, bottom, right]) {
    let most = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const at = y * this.columns + x;
        if (part[at] && this.depth[at] > most) most = this.depth[at];
      }
    }
    return 2 * POOL * Math.min(most, Math.max(...this.shape));
  }

  // The level of each block, and how many there are.
  levels(base) {
    const levels = new Uint8Array(this.mask.length);
    let [part, count] = [this.mask, 1];
    for (; base * 2 ** (count - 1) < Math.max(...this.shape); count++) {
      const radius = (base * 2 ** (count - 1)) / CONTEXT / 2 / POOL;
      const thin = this.mask.map((_, at) => this.depth[at] <= Math.fround(radius + 0.5));
      if (!part.some((any, at) => any && !thin[at])) break;
      const reach = distance(thin, this.columns);
      part = part.map((any, at) => any && reach[at] <= Math.fround(1.5 * radius));
      part.forEach((any, at) => any && (levels[at] = count));
    }
    return [levels, count];
  }

  // Cells, each with the box of the part's pixels in it, such that a tile of `side` serves each.
  divide(part, side) {
    const [found, pending] = [[], [[PLANE, [0, 0, this.rows, this.columns]]]];
    while (pending.length) {
      const [cell, window] = pending.pop();
      const at = bounds(part, this.columns, window);
      const box = at.map((value, edge) => Math.min(this.origin[edge % 2] + value * POOL, this.shape[edge % 2]));
      const over = [0, 1].map((axis) => excess(box[axis], box[axis + 2], this.shape[axis], side));
      if (Math.max(...over) <= 0) {
        found.push([cell, box]);
        continue;
      }
      const axis = over[0] >= over[1] ? 0 : 1;
      const filled = Array.from({ length: at[axis + 2] - at[axis] }, (_, step) => {
        return bounds(part, this.columns, at.with(axis, at[axis] + step).with(axis + 2, at[axis] + step + 1)) !== null;
      });
      const cut = at[axis] + cutAt(filled, (side * (1 - 2 * MARGIN)) / POOL, side / 4 / POOL);
      const border = this.origin[axis] + cut * POOL;
      pending.push([cell.with(axis, border), at.with(axis, cut)], [cell.with(axis + 2, border), at.with(axis + 2, cut)]);
    }
    return found;
  }

  tile(level, part, cell, box, side) {
    const within = box.map((at, edge) => Math[edge < 2 ? "floor" : "ceil"]((at - this.origin[edge % 2]) / POOL));
    const wanted = Math.max(SIZE, CONTEXT * this.thickness(part, within), longest(box) / (1 - 2 * MARGIN));
    const taken = limited(Math.min(side, wanted), box, this.shape);
    return { crop: place(box, taken, this.shape), cell, level, ramp: Math.max(1, Math.floor(RAMP * taken)) };
  }
}

function limited(side, box, shape) {
  const limit = Math.min(Math.max(...shape), Math.max(Math.min(...shape), Math.ceil(REACH * longest(box))));
  if (side <= SIZE) return Math.min(SIZE, limit);
  const [rounded, below] = [Math.ceil(Math.ceil(side) / 32) * 32, Math.floor(limit / 32) * 32];
  return rounded <= limit ? rounded : below >= LEAST_CONTEXT * longest(box) ? below : limit;
}

function excess(start, end, available, side) {
  const margin = MARGIN * side;
  return side < available ? Math.min(end + margin, available) - Math.max(start - margin, 0) - side : -side;
}

function cutAt(filled, piece, gap) {
  const places = filled.flatMap((any, at) => (any ? [at] : []));
  const gaps = places.slice(1).map((place, at) => place - places[at]);
  const widest = gaps.indexOf(gaps.reduce((a, b) => Math.max(a, b), 0));
  if (gaps[widest] > Math.max(1, gap)) return places[widest] + 1 + Math.floor(gaps[widest] / 2);
  const pieces = Math.max(2, Math.ceil(filled.length / piece));
  return Math.max(1, round((filled.length * Math.floor(pieces / 2)) / pieces));
}

// The crop of `side` around a box, shifted into the picture.
function place(box, side, shape) {
  const [[y, height, top, innerHeight], [x, width, left, innerWidth]] = shape.map((available, axis) => {
    const start = Math.max(Math.floor((box[axis] + box[axis + 2]) / 2) - Math.floor(side / 2), 0);
    if (side <= available) return [Math.min(start, available - side), side, 0, SIZE];
    const inner = Math.max(1, round((available * SIZE) / side));
    return [0, available, Math.floor((SIZE - inner) / 2), inner];
  });
  return { y, x, height, width, top, left, innerHeight, innerWidth };
}

// The box of what is not 0 in a part of an array; null where nothing is.
function bounds(data, width, [top, left, bottom, right]) {
  let box = null;
  for (let y = top; y < bottom; y++) {
    let [first, last] = [y * width + left, y * width + right - 1];
    while (first <= last && !data[first]) first++;
    if (first > last) continue;
    while (!data[last]) last--;
    const [low, high] = [first - y * width, last + 1 - y * width];
    box = box ? [box[0], Math.min(box[1], low), y + 1, Math.max(box[3], high)] : [y, low, y + 1, high];
  }
  return box;
}

// From the nearest 0, in steps of 1, 1.4 and 2.1969: OpenCV's distanceTransform with DIST_L2 and a mask of 5 x 5.
function distance(inside, width) {
  const [height, wide] = [inside.length / width, width + 4];
  const far = new Float32Array(wide * (height + 4)).fill(1e9);
  const steps = [1, wide, wide + 1, wide - 1, wide + 2, wide - 2, 2 * wide + 1, 2 * wide - 1];
  const lengths = [1, 1, 1.4, 1.4, 2.1969, 2.1969, 2.1969, 2.1969];
  for (const sign of [1, -1]) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const from = sign > 0 ? row * width + column : inside.length - 1 - row * width - column;
        const at = from + 2 + 2 * wide + 4 * (sign > 0 ? row : height - 1 - row);
        if (!inside[from]) far[at] = 0;
        for (let step = 0; step < 8 && inside[from]; step++) {
          const more = far[at - sign * steps[step]] + lengths[step];
          if (more < far[at]) far[at] = more;
        }
      }
    }
  }
  const found = new Float32Array(inside.length);
  for (let row = 0; row < height; row++) found.set(far.subarray((row + 2) * wide + 2, (row + 3) * wide - 2), row * width);
  return found;
}

// What each place of an axis scaled from `from` to `to` is made of, from `start` to `end`: places with weights, and where
// the list of each ends.
function taps(from, to, kind, start, end) {
  const [ends, places, weights, scale] = [[], [], [], from / to];
  const add = (place, weight) => {
    places.push(Math.min(Math.max(place, 0), from - 1));
    weights.push(weight);
  };
  const near = (x) => (1.25 * x - 2.25) * x * x + 1; // the cubic kernel with a = -0.75, up to 1 and from 1 to 2
  const far = (x) => ((-0.75 * x + 3.75) * x - 6) * x + 3;
  for (let at = start; at < end; at++) {
    const [low, high] = [at * scale, Math.min((at + 1) * scale, from)];
    let centre = Math.fround((at + 0.5) * scale - 0.5);
    if (kind === "linear") centre = Math.min(Math.max(centre, 0), from - 1);
    const [place, f] = [Math.floor(centre), Math.fround(centre - Math.floor(centre))];
    if (kind === "area") {
      for (let each = Math.floor(low + 1e-3); each < high - 1e-3; each++) {
        add(each, (Math.min(each + 1, high) - Math.max(each, low)) / (high - low));
      }
    } else if (kind === "linear") {
      add(place, 1 - f);
      if (f) add(place + 1, f);
    } else [far(f + 1), near(f), near(1 - f), far(2 - f)].forEach((weight, step) => add(place - 1 + step, weight));
    ends.push(places.length);
  }
  return { ends, places, weights };
}

// A window of { data, width, height }, scaled as by OpenCV's INTER_AREA, INTER_LINEAR or INTER_CUBIC.
export function resize({ data, width, height }, toWidth, toHeight, kind, window, Type = Uint8ClampedArray) {
  const [top, left, bottom, right] = window ?? [0, 0, toHeight, toWidth];
  const [across, down] = [taps(width, toWidth, kind, left, right), taps(height, toHeight, kind, top, bottom)];
  const channels = data.length / width / height;
  const out = new Type((bottom - top) * (right - left) * channels); // clamps, and rounds halves to even
  const line = new Float32Array(width * channels);
  for (let y = 0, tap = 0, to = 0; y < down.ends.length; y++) {
    line.fill(0);
    for (; tap < down.ends[y]; tap++) {
      const [start, weight] = [down.places[tap] * line.length, down.weights[tap]];
      for (let x = 0; x < line.length; x++) line[x] += weight * data[start + x];
    }
    for (let x = 0, from = 0; x < across.ends.length; from = across.ends[x++]) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = kind === "area" ? 1e-4 : 0; // means of four round halves up
        for (let at = from; at < across.ends[x]; at++) sum += across.weights[at] * line[across.places[at] * channels + channel];
        out[to++] = sum;
      }
    }
  }
  return out;
}

// The RGB of known pixels in every so many rows and columns.
function picked(data, mask, width, down, along) {
  const [found, channels] = [[], data.length / mask.length];
  for (let row = 0; row < mask.length; row += down * width) {
    for (let at = row; at < row + width; at += along) {
      if (!mask[at]) found.push(data[channels * at], data[channels * at + 1], data[channels * at + 2]);
    }
  }
  return found;
}

// The colour of each luma where known pixels are of one tone, as (256 x 3) bytes; null where they have colours.
function toneOf(pixels, nearGrey) {
  const count = pixels.length / 3;
  if (count < 64) return null;
  const colour = (at, channel) => pixels[3 * at + channel];
  let coloured = 0;
  for (let at = 0; at < count; at++) {
    const [r, g, b] = [0, 1, 2].map((channel) => colour(at, channel));
    if (Math.max(r, g, b) - Math.min(r, g, b) > 2) coloured++;
  }
  if (coloured <= 0.01 * count) return Uint8ClampedArray.from({ length: 768 }, (_, at) => Math.floor(at / 3));
  if (nearGrey) return null;
  const lumas = Uint8Array.from({ length: count }, (_, at) => luma(pixels, 3 * at));
  const sums = [0, 1, 2, 3].map((channel) => {
    const sum = new Float64Array(256);
    lumas.forEach((value, at) => (sum[value] += channel < 3 ? colour(at, channel) - value : 1));
    return sum.map((_, to) => sum.reduce((all, value, from) => {
      return Math.abs(from - to) <= 24 ? all + value * Math.exp(-((from - to) ** 2) / 128) : all;
    }, 0));
  });
  const seen = Array.from({ length: 256 }, (_, at) => at).filter((at) => sums[3][at] > 1);
  const tone = Float64Array.from({ length: 768 }, (_, at) => {
    const [value, sum] = [Math.floor(at / 3), (step) => sums[at % 3][step] / sums[3][step]];
    const [low, high] = [seen.findLast((step) => step <= value) ?? seen[0], seen.find((step) => step >= value) ?? seen.at(-1)];
    return low === high ? sum(low) : sum(low) + ((value - low) / (high - low)) * (sum(high) - sum(low));
  });
  const off = Float64Array.from(lumas, (value, at) => {
    return Math.max(...[0, 1, 2].map((channel) => Math.abs(colour(at, channel) - value - tone[3 * value + channel])));
  }).sort();
  const [whole, rest] = [Math.floor(0.95 * (count - 1)), (0.95 * (count - 1)) % 1];
  if (off[whole] + rest * ((off[whole + 1] ?? 0) - off[whole]) > 5) return null;
  return Uint8ClampedArray.from(tone, (more, at) => Math.floor(at / 3) + more);
}

const luma = (data, at) => (9798 * data[at] + 19235 * data[at + 1] + 3735 * data[at + 2] + 16384) >> 15; // ITU-R BT.601

// One photograph on its way, restored in place. `image`: an ImageData, RGBA; what it raises is a key of strings.js.
export class Request {
  constructor(image, mask, { maxCrops = 64, feather = 0 } = {}) {
    const { data, width, height } = image;
    if (mask.indexOf(0) < 0) throw new Error("maskWhole");
    const few = picked(data, mask, width, ...[height, width].map((length) => Math.max(1, Math.floor(length / 64))));
    Object.assign(this, plan(mask, width, height, maxCrops), { data, width, height, mask, feather, toned: toneOf(few) !== null });
    this.source = feather ? data.slice() : null;
    this.edges = new Uint8ClampedArray(width * height);
    this.written = new Uint8Array(width * height); // the level + 1 of the last wave that wrote a pixel
  }

  // What the model is shown for a tile: its RGB and its mask. What earlier waves restored is known to it.
  sample(tile) {
    const { y, x, height, width, top, left, innerHeight, innerWidth } = tile.crop;
    const shrinks = innerHeight <= height && innerWidth <= width;
    let [box, at] = [{ data: new Uint8Array(4 * width * height), width, height }, 0]; // RGB, and what is known or masked
    for (let row = y; row < y + height; row++) {
      for (let from = row * this.width + x; from < row * this.width + x + width; from++, at += 4) {
        const masked = this.mask[from] !== 0 && !(this.levelAt?.(row, from % this.width) > tile.level);
        box.data[at + 3] = shrinks ? (masked ? 0 : 255) : Number(masked);
        if (!(masked && shrinks)) for (let channel = 0; channel < 3; channel++) box.data[at + channel] = this.data[4 * from + channel];
      }
    }
    while (shrinks && box.width % 2 === 0 && box.height % 2 === 0 && box.width >= 2 * innerWidth && box.height >= 2 * innerHeight) {
      const half = [box.width / 2, box.height / 2];
      box = { data: resize(box, ...half, "area"), width: half[0], height: half[1] };
    }
    const [kind, Type] = shrinks ? ["area", Uint8ClampedArray] : ["linear", Float32Array];
    const small = resize(box, innerWidth, innerHeight, kind, null, Type);
    const known = (place) => (shrinks ? small[place + 3] >= 128 : small[place + 3] === 0);
    if (!small.some((_, place) => place % 4 === 0 && known(place))) throw new Error("maskDense");
    const image = new Uint8ClampedArray(3 * SIZE * SIZE);
    const mask = new Uint8Array(SIZE * SIZE);
    for (let to = 0; to < mask.length; to++) {
      const [row, column] = [mirrored(Math.floor(to / SIZE) - top, innerHeight), mirrored((to % SIZE) - left, innerWidth)];
      const from = 4 * (row * innerWidth + column);
      const factor = shrinks && known(from) ? 255 / small[from + 3] : 1;
      mask[to] = known(from) ? 0 : 255;
      for (let channel = 0; channel < 3; channel++) image[3 * to + channel] = small[from + channel] * factor;
    }
    const few = picked(image, mask, SIZE, 4, 4);
    tile.tone = toneOf(few.length >= 192 ? few : picked(image, mask, SIZE, 1, 1), !this.toned);
    return { image: new Uint8Array(image.buffer), mask };
  }

  // Paste what the model made of a tile's sample.
  put(tile, restored, edges) {
    const { y, x, height, width, innerHeight, innerWidth } = tile.crop;
    const larger = (data, slow, window) => {
      const channels = data.length / SIZE / SIZE;
      const inner = new Uint8Array(innerHeight * innerWidth * channels);
      for (let row = 0; row < innerHeight; row++) {
        const start = ((tile.crop.top + row) * SIZE + tile.crop.left) * channels;
        inner.set(data.subarray(start, start + innerWidth * channels), row * innerWidth * channels);
      }
      const kind = height <= innerHeight && width <= innerWidth ? "area" : slow;
      return resize({ data: inner, width: innerWidth, height: innerHeight }, width, height, kind, window);
    };
    larger(edges, "linear").forEach((edge, at) => {
      const to = (y + Math.floor(at / width)) * this.width + x + (at % width);
      if (edge > this.edges[to]) this.edges[to] = edge;
    });
    if (tile.tone) restored = restored.map((_, at) => tile.tone[3 * luma(restored, at - (at % 3)) + (at % 3)]);
    const share = (at, edge) => {
      const inside = Math.min(at + 0.5 - tile.cell[edge], tile.cell[edge + 2] - at - 0.5);
      return Math.min(Math.max(inside / tile.ramp + 0.5, 0), 1);
    };
    const mine = new Float32Array(width * height);
    const finer = this.levelAt && new Uint8Array(width * height);
    for (let at = 0; at < mine.length; at++) {
      const [row, column] = [y + Math.floor(at / width), x + (at % width)];
      if (finer) finer[at] = 1;
      if (!this.mask[row * this.width + column]) continue;
      const level = this.levelAt?.(row, column) ?? 0;
      if (finer && level > tile.level) finer[at] = 0;
      const [before, part] = [this.written[row * this.width + column], Math.min(share(row, 0), share(column, 1))];
      mine[at] = part > 0 && before !== tile.level + 1 ? 1 : part;
    }
    const above = finer?.includes(0) ? distance(finer, width) : null;
    const window = bounds(mine, width, [0, 0, height, width]);
    if (!window) return;
    const patch = larger(restored, "cubic", window);
    for (let row = window[0], from = 0; row < window[2]; row++) {
      for (let column = window[1]; column < window[3]; column++, from += 3) {
        const [at, to] = [row * width + column, (y + row) * this.width + x + column];
        if (!mine[at]) continue;
        const soft = above && this.written[to] ? Math.min(above[at] / tile.ramp, 1) : 1;
        this.written[to] = tile.level + 1;
        for (let channel = 0; channel < 3; channel++) {
          const old = this.data[4 * to + channel];
          this.data[4 * to + channel] = old + mine[at] * soft * (patch[from + channel] - old);
        }
      }
    }
  }

  // Once every tile was put back: blend the photograph in over so many pixels from the border of the mask (within 2 % of them).
  finish() {
    const far = this.feather ? distance(this.mask, this.width) : [];
    far.forEach((near, at) => {
      const share = near / (this.feather + 1);
      for (let place = 4 * at; share > 0 && share < 1 && place < 4 * at + 3; place++) {
        this.data[place] = this.source[place] + share * (this.data[place] - this.source[place]);
      }
    });
  }
}

// A place beyond the ends of an axis, reflected at its first and last pixel.
function mirrored(at, length) {
  const period = Math.max(1, 2 * length - 2);
  const within = ((at % period) + period) % period;
  return within < length ? within : period - within;
}
