// Boxes around faces, drawn over the photograph by dragging, or with two corners set by the keyboard.

export class Faces {
  // layer: an SVG over the photograph; changed: called with how many boxes there are, when they changed
  constructor(layer, changed) {
    this.layer = layer;
    this.changed = changed;
    this.clear();
  }

  // Start afresh for a photograph of this size, painted on a canvas `scale` times as large.
  open({ width, height }, scale) {
    this.full = { width, height };
    this.scale = scale;
    this.layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.clear();
  }

  get drawing() {
    return this.from !== null;
  }

  clear() {
    this.boxes = []; // [x, y, width, height] in the photograph's pixels
    this.from = this.to = null;
    this.draw();
  }

  // Points are in the canvas's pixels.
  start(at) {
    this.from = this.to = this.inside(at);
    this.draw();
  }

  drag(at) {
    if (!this.drawing) return;
    this.to = this.inside(at);
    this.draw();
  }

  end() {
    if (!this.drawing) return;
    const box = this.unfinished();
    this.from = null;
    if (box[2] >= 4 && box[3] >= 4) this.boxes.push(box); // less is a slip of the hand
    this.draw();
  }

  cancel() {
    this.from = null;
    this.draw();
  }

  inside({ x, y }) {
    return {
      x: Math.round(Math.min(Math.max(x / this.scale, 0), this.full.width)),
      y: Math.round(Math.min(Math.max(y / this.scale, 0), this.full.height)),
    };
  }

  unfinished() {
    const { from, to } = this;
    return [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(to.x - from.x), Math.abs(to.y - from.y)];
  }

  draw() {
    const shown = this.drawing ? [...this.boxes, this.unfinished()] : this.boxes;
    this.layer.innerHTML = shown // numbers only
      .map(([x, y, width, height]) => `<rect x="${x}" y="${y}" width="${width}" height="${height}"></rect>`)
      .join("");
    this.changed(this.boxes.length);
  }
}
