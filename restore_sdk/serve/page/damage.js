// Finding damage: restore_sdk/tiling/damage.py in JavaScript, with the same results but for rounding. The reasons stand there.

// The mask, 255 where damage is, from the stage `run(rgb, height, width)`, which gives a probability a pixel.
export async function findDamage({ data, width, height }, finder, sensitivity, run) {
  const rgb = new Uint8Array(3 * width * height);
  for (let at = 0; at < width * height; at++) rgb.set(data.subarray(4 * at, 4 * at + 3), 3 * at);
  const whole = { rgb, height, width };
  const half = halved(whole);
  const chance = await atTwoScales(whole, half, finder, run);
  if (Math.min(height, width) >= finder.large) {
    const quarter = halved(half);
    const wide = await atTwoScales(quarter, halved(quarter), finder, run);
    enlarge(wide, quarter, whole, (at, value) => (chance[at] = Math.max(chance[at], Math.round(value))));
  }
  const long = finder.long * Math.max(1, Math.max(height, width) / 1024);
  return components(chance, height, width, ...finder.levels[sensitivity], long, finder.minPixels);
}

async function atTwoScales(picture, half, finder, run) {
  const chance = await windows(picture, finder, run);
  if (Math.min(picture.height, picture.width) < 256) return chance;
  const coarse = await windows(half, finder, run);
  enlarge(coarse, half, picture, (at, value) => (chance[at] = Math.round((2 * chance[at] + Math.round(value)) / 3)));
  return chance;
}

// Each value of the larger picture, by its place.
function enlarge(values, { height: h, width: w }, { height, width }, use) {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      use(y * width + x, between(values, h, w, ((y + 0.5) * h) / height - 0.5, ((x + 0.5) * w) / width - 0.5));
    }
  }
}

async function windows({ rgb, height, width }, { window, margin, multiple }, run) {
  const chance = new Uint8Array(height * width);
  const step = window - 2 * margin;
  for (let top = 0; top < Math.max(1, height - 2 * margin); top += step) {
    for (let left = 0; left < Math.max(1, width - 2 * margin); left += step) {
      const [down, across] = [Math.min(window, height - top), Math.min(window, width - left)];
      const [rows, columns] = [down, across].map((side) => Math.ceil(side / multiple) * multiple);
      const part = new Uint8Array(3 * rows * columns); // beyond the border the last pixel goes on
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const from = 3 * ((top + Math.min(y, down - 1)) * width + left + Math.min(x, across - 1));
          for (let colour = 0; colour < 3; colour++) part[3 * (y * columns + x) + colour] = rgb[from + colour];
        }
      }
      const found = await run(part, rows, columns);
      const [first, before] = [top && margin, left && margin];
      for (let y = first; y < down; y++) {
        chance.set(found.subarray(y * columns + before, y * columns + across), (top + y) * width + left + before);
      }
    }
  }
  return chance;
}

// The mean of what each pixel of the half covers, as OpenCV's INTER_AREA.
function halved({ rgb, height, width }) {
  const [h, w] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const [rows, columns] = [spans(height, h), spans(width, w)];
  const half = new Uint8Array(3 * h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const sums = [0, 0, 0];
      for (const [row, high] of rows[y]) {
        for (const [column, wide] of columns[x]) {
          for (let colour = 0; colour < 3; colour++) sums[colour] += high * wide * rgb[3 * (row * width + column) + colour];
        }
      }
      for (let colour = 0; colour < 3; colour++) half[3 * (y * w + x) + colour] = Math.round(sums[colour]);
    }
  }
  return { rgb: half, height: h, width: w };
}

// For each of `few` pixels: which of `many` it covers, and what share of it each is.
function spans(many, few) {
  const scale = many / few;
  return Array.from({ length: few }, (_, at) => {
    const [from, to] = [at * scale, Math.min((at + 1) * scale, many)];
    const covered = [];
    for (let pixel = Math.floor(from); pixel < to - 1e-9; pixel++) {
      covered.push([pixel, (Math.min(pixel + 1, to) - Math.max(pixel, from)) / scale]);
    }
    return covered;
  });
}

// A value between pixels, of the nearest where there are none.
function between(values, height, width, y, x) {
  const [top, left] = [Math.max(Math.floor(y), 0), Math.max(Math.floor(x), 0)];
  const [bottom, right] = [Math.min(Math.floor(y) + 1, height - 1), Math.min(Math.floor(x) + 1, width - 1)];
  const [down, across] = [y - Math.floor(y), x - Math.floor(x)];
  const row = (at) => values[at * width + left] * (1 - across) + values[at * width + right] * across;
  return row(top) * (1 - down) + row(bottom) * down;
}

// What is connected over `edge` and somewhere reaches its seed, a pixel wider.
function components(chance, height, width, seed, seedOfLong, edge, long, minPixels) {
  const [seen, mask] = [new Uint8Array(chance.length), new Uint8Array(chance.length)];
  const around = (at, use) => {
    const [y, x] = [Math.floor(at / width), at % width];
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
      for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) use(row * width + column);
    }
  };
  for (let start = 0; start < chance.length; start++) {
    if (seen[start] || chance[start] < seedOfLong) continue;
    const part = [start];
    let [most, top, left, bottom, right] = [0, height, width, 0, 0];
    seen[start] = 1;
    for (let at = 0; at < part.length; at++) {
      const [y, x] = [Math.floor(part[at] / width), part[at] % width];
      [top, left, bottom, right] = [Math.min(top, y), Math.min(left, x), Math.max(bottom, y), Math.max(right, x)];
      most = Math.max(most, chance[part[at]]);
      around(part[at], (next) => {
        if (!seen[next] && chance[next] >= edge) seen[next] = part.push(next) && 1;
      });
    }
    const enough = most >= seed || Math.max(bottom - top, right - left) + 1 >= long;
    if (enough && part.length >= minPixels) for (const at of part) around(at, (near) => (mask[near] = 255));
  }
  return mask;
}
