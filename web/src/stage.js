/**
 * The photo with what was found on it: a button a face, the mesh over it, and a box to draw by hand.
 *
 * Everything is placed in px of the photo; the page scales it.
 */

import { project } from "./face.js";

// What is drawn, at most, px; the network reads the photo itself.
const SHOWN = 1280;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  #root;
  #photo;
  #mesh;
  #size = { width: 1, height: 1 };
  #editor = null;

  /** @param root the element to fill; it holds two canvases, .photo and .mesh */
  constructor(root) {
    this.#root = root;
    this.#photo = root.querySelector(".photo");
    this.#mesh = root.querySelector(".mesh");
  }

  /** Shows a photo or a video frame of this size; what was drawn on the one before goes. */
  show(source, width, height) {
    const scale = Math.min(1, SHOWN / Math.max(width, height));
    this.#size = { width, height };
    for (const canvas of [this.#photo, this.#mesh]) {
      const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
      if (canvas.width !== w) canvas.width = w;
      if (canvas.height !== h) canvas.height = h;
    }
    this.#root.style.setProperty("--ratio", width / height);
    this.#photo.getContext("2d").drawImage(source, 0, 0, this.#photo.width, this.#photo.height);
    this.clear();
  }

  clear() {
    this.closeEditor();
    this.#root.querySelectorAll(".face").forEach((button) => button.remove());
    this.#mesh.getContext("2d").clearRect(0, 0, this.#mesh.width, this.#mesh.height);
  }

  /** One button a face; `choose(index)` is called when one is pressed. */
  showFaces(boxes, chosen, choose) {
    this.#root.querySelectorAll(".face").forEach((button) => button.remove());
    boxes.forEach((box, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "face";
      button.setAttribute("aria-label", `Face ${index + 1} of ${boxes.length}`);
      button.setAttribute("aria-pressed", String(index === chosen));
      button.addEventListener("click", () => choose(index));
      this.#place(button, box);
      this.#root.append(button);
    });
  }

  /** The mesh of a face where it appears: vertices [n * 3] mm, triangles [t * 3]; null takes it away. */
  showMesh(face, vertices, triangles) {
    const context = this.#mesh.getContext("2d");
    context.clearRect(0, 0, this.#mesh.width, this.#mesh.height);
    if (!vertices || !face.pose) return;
    const scale = this.#mesh.width / this.#size.width;
    const places = project(vertices, face.pose, face.focal, face.center).map((value) => value * scale);
    context.beginPath();
    for (let i = 0; i < triangles.length; i += 3) {
      const [a, b, c] = [2 * triangles[i], 2 * triangles[i + 1], 2 * triangles[i + 2]];
      const [ax, ay, bx, by, cx, cy] = [places[a], places[a + 1], places[b], places[b + 1], places[c], places[c + 1]];
      // Counter-clockwise seen from outside; the picture's y points down.
      if ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax) >= 0) continue;
      context.moveTo(ax, ay);
      context.lineTo(bx, by);
      context.lineTo(cx, cy);
    }
    context.lineWidth = Math.max(0.35, (face.square.side * scale) / 800);
    context.strokeStyle = "rgb(94 234 212 / 0.6)";
    context.stroke();
  }

  /**
   * Lets the person draw a box around a face: with the pointer, or with the arrow keys, Shift for its size, and Enter.
   * `done(box)` is called with [x, y, w, h] in px of the photo.
   */
  openEditor(done) {
    this.clear();
    const { width, height } = this.#size;
    const side = Math.min(width, height) / 2;
    let box = [(width - 0.8 * side) / 2, (height - side) / 2, 0.8 * side, side];
    const editor = document.createElement("button");
    editor.type = "button";
    editor.className = "editor";
    const update = () => {
      this.#place(editor, box);
      const [x, y, w, h] = box.map(Math.round);
      const keys = "Arrow keys move it, Shift and arrow keys change its size, Enter reads the face.";
      editor.setAttribute("aria-label", `Box at ${x}, ${y}, ${w} by ${h} pixels. ${keys}`);
    };
    editor.addEventListener("keydown", (event) => {
      const step = Math.max(1, Math.min(width, height) / 50);
      const [dx, dy] = ARROWS[event.key] ?? [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      const [x, y, w, h] = box;
      if (event.shiftKey) box = [x, y, Math.max(8, w + dx * step), Math.max(8, h + dy * step)];
      else box = [clamp(x + dx * step, width - 8), clamp(y + dy * step, height - 8), w, h];
      update();
    });
    editor.addEventListener("click", () => done(box));
    const drag = (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      const start = this.#point(event);
      const over = new AbortController();
      let moved = event.target === editor; // a press on the box takes it as it is
      const move = (event) => {
        const end = this.#point(event);
        const [w, h] = [Math.abs(end[0] - start[0]), Math.abs(end[1] - start[1])];
        if (w < 8 || h < 8) return;
        moved = true;
        box = [Math.min(start[0], end[0]), Math.min(start[1], end[1]), w, h];
        update();
      };
      const stop = () => {
        over.abort();
        if (moved) done(box);
      };
      this.#root.setPointerCapture(event.pointerId);
      this.#root.addEventListener("pointermove", move, { signal: over.signal });
      this.#root.addEventListener("pointerup", stop, { signal: over.signal });
      this.#root.addEventListener("pointercancel", () => over.abort(), { signal: over.signal });
    };
    this.#root.classList.add("drawing");
    this.#root.addEventListener("pointerdown", drag);
    this.#root.append(editor);
    update();
    editor.focus();
    this.#editor = { editor, drag };
  }

  closeEditor() {
    if (!this.#editor) return;
    this.#root.classList.remove("drawing");
    this.#root.removeEventListener("pointerdown", this.#editor.drag);
    this.#editor.editor.remove();
    this.#editor = null;
  }

  #point(event) {
    const frame = this.#photo.getBoundingClientRect();
    return [
      clamp(((event.clientX - frame.left) / frame.width) * this.#size.width, this.#size.width),
      clamp(((event.clientY - frame.top) / frame.height) * this.#size.height, this.#size.height),
    ];
  }

  #place(element, [x, y, w, h]) {
    const { width, height } = this.#size;
    element.style.left = `${(100 * x) / width}%`;
    element.style.top = `${(100 * y) / height}%`;
    element.style.width = `${(100 * w) / width}%`;
    element.style.height = `${(100 * h) / height}%`;
  }
}

const clamp = (value, high) => Math.min(Math.max(value, 0), high);
