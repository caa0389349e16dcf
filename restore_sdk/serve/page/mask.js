// Painting a mask over a photograph, with pointer, pen, touch or keyboard.

const PAINT = "#ff3b6b";
const MOST_PIXELS = 4_000_000; // of the canvas that is painted on; a larger photograph's mask is scaled up at the end
const UNDO_STEPS = 30;

export class Mask {
  // canvas: to paint on; cursor: the ring that shows the brush; changed: called when the mask changed
  constructor(canvas, cursor, changed) {
    this.canvas = canvas;
    this.cursor = cursor;
    this.changed = changed;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.erasing = false;
    this.faces = null; // boxes are drawn there instead, while it is set
    this.down = false; // the keyboard's brush
    this.pointer = null; // the one that paints; a second finger on the glass does not
    this.size = 30;
    this.listen();
  }

  // Start afresh for a photograph of this size.
  open(width, height) {
    this.full = { width, height };
    const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.steps = [];
    this.down = false;
    this.at = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    this.pointer = this.last = null;
    this.show(false);
    this.changed();
  }

  // Canvas pixels a pixel of the photograph.
  get scale() {
    return this.canvas.width / this.full.width;
  }

  get radius() {
    const longest = Math.max(this.canvas.width, this.canvas.height);
    return Math.max(0.5, (longest * 0.12 * this.size * this.size) / 10_000 + longest * 0.004);
  }

  get canUndo() {
    return this.steps.length > 0;
  }

  get empty() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let at = 3; at < data.length; at += 4) if (data[at] > 127) return false;
    return true;
  }

  undo() {
    const step = this.steps.pop();
    if (!step) return;
    this.context.putImageData(step, 0, 0);
    this.changed();
  }

  clear() {
    this.remember();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed();
  }

  // The mask as a PNG of the photograph's size: white is what to repaint, nothing between.
  async file() {
    const { width, height } = this.full;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(this.canvas, 0, 0, width, height);
    const image = context.getImageData(0, 0, width, height);
    for (let at = 0; at < image.data.length; at += 4) {
      const value = image.data[at + 3] > 127 ? 255 : 0;
      image.data[at] = image.data[at + 1] = image.data[at + 2] = value;
      image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.pointer !== null) return;
      event.preventDefault();
      this.pointer = event.pointerId;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      if (this.faces) return this.faces.start(this.place(event));
      this.remember();
      this.last = null;
      this.stroke(this.place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.pointer !== null && this.pointer !== event.pointerId) return;
      const at = this.place(event);
      if (this.faces) {
        if (this.pointer !== null) this.faces.drag(at);
      } else if (this.pointer !== null) {
        for (const part of event.getCoalescedEvents?.() ?? []) this.stroke(this.place(part));
        this.stroke(at);
      }
      this.at = at;
      this.show(true);
    });
    const lift = (event) => {
      if (this.pointer !== event.pointerId) return;
      this.pointer = this.last = null;
      if (!this.faces) this.changed();
      else if (event.type === "pointerup") this.faces.end();
      else this.faces.cancel();
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("lostpointercapture", lift);
    canvas.addEventListener("pointerleave", () => this.show(false));
    canvas.addEventListener("blur", () => {
      this.down = false;
      this.faces?.cancel(); // half a box is none, and must not look like one
      this.show(false);
    });
    canvas.addEventListener("focus", () => this.show(canvas.matches(":focus-visible")));
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.cursor.hidden || this.show(true)).observe(canvas);
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (event.altKey || event.metaKey || event.ctrlKey) return; // Ctrl+Z is the page's
    if (move) {
      const step = Math.max(1, this.radius * (event.shiftKey ? 3 : 0.75));
      const x = Math.min(Math.max(this.at.x + move[0] * step, 0), this.canvas.width - 1);
      const y = Math.min(Math.max(this.at.y + move[1] * step, 0), this.canvas.height - 1);
      this.at = { x, y };
      if (this.faces) this.faces.drag(this.at);
      else if (this.down) this.stroke(this.at);
    } else if (this.faces && (event.key === "Enter" || event.key === " ")) {
      if (this.faces.drawing) this.faces.end();
      else this.faces.start(this.at);
    } else if (this.faces && event.key === "Escape") {
      this.faces.cancel();
    } else if (event.key === " ") {
      this.remember();
      this.last = null;
      this.stroke(this.at);
    } else if (event.key === "Enter") {
      this.down = !this.down;
      this.last = null;
      if (this.down) {
        this.remember();
        this.stroke(this.at);
      }
    } else if (event.key === "Escape") {
      this.down = false;
    } else {
      return;
    }
    event.preventDefault();
    this.show(true);
    this.changed();
  }

  stroke(to) {
    const from = this.last ?? to;
    const pen = this.context;
    pen.globalCompositeOperation = this.erasing ? "destination-out" : "source-over";
    pen.strokeStyle = pen.fillStyle = PAINT;
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 2 * this.radius;
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y); // a line of no length draws nothing
    pen.stroke();
    this.last = to;
  }

  remember() {
    this.steps.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    const bytes = this.canvas.width * this.canvas.height * 4;
    const most = Math.max(3, Math.min(UNDO_STEPS, Math.floor(128e6 / bytes)));
    if (this.steps.length > most) this.steps.shift();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * this.canvas.width) / box.width,
      y: ((event.clientY - box.top) * this.canvas.height) / box.height,
    };
  }

  show(visible) {
    this.cursor.hidden = !visible;
    if (!visible) return;
    const box = this.canvas.getBoundingClientRect();
    const scale = box.width / this.canvas.width;
    const side = `${Math.max(6, 2 * this.radius * scale)}px`;
    Object.assign(this.cursor.style, {
      left: `${this.at.x * scale}px`,
      top: `${this.at.y * scale}px`,
      width: side,
      height: side,
    });
    this.cursor.classList.toggle("down", this.down);
    this.cursor.classList.toggle("corner", this.faces !== null);
  }
}
