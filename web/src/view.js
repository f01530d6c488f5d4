/** The 3D face, drawn by three.js: it takes on the expression and the pose, and can be turned by hand. */

import {
  BufferAttribute, BufferGeometry, Color, DirectionalLight, HemisphereLight, Mesh, MeshStandardMaterial,
  PerspectiveCamera, Quaternion, Scene, Vector3, WebGLRenderer,
} from "three";

const COLORS = {
  lips: "#b97b70", eyes: "#f4f2ee", teeth: "#f3efe6", tongue: "#b4766c", "mouth interior": "#7c3f3c",
  eyelashes: "#3b2f2a",
};
const SKIN = "#d6ab94";
const FACE = new Set(["skin", "lips", "eyelids", "brows", "nose"]); // what the view is centred on
const ARROWS = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }; // rad
const EASE_MS = 350;
const DISTANCE = 900; // mm, as the nominal camera's
const VIEW_ANGLE = 18; // degrees, the height of the picture: 285 mm
const BEHIND = 40; // mm: heads turn about a point behind the face
const PUPIL = 6; // mm about the middle of an eye

export class View {
  #renderer;
  #scene = new Scene();
  #camera = new PerspectiveCamera(VIEW_ANGLE, 1, 100, 2000);
  #geometry = new BufferGeometry();
  #mesh;
  #from = null;
  #to = null;
  #head = new Quaternion(); // of the photo
  #turn = [0, 0]; // by hand: yaw and pitch, rad
  #middle;
  #frame = 0;

  /** Raises an Error where the browser has no WebGL. */
  constructor(canvas, faceModel) {
    this.#renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.#geometry.setAttribute("position", new BufferAttribute(faceModel.mean.slice(), 3));
    this.#geometry.setAttribute("color", new BufferAttribute(colors(faceModel), 3));
    this.#geometry.setIndex(new BufferAttribute(faceModel.triangles, 1));
    this.#mesh = new Mesh(this.#geometry, new MeshStandardMaterial({ vertexColors: true, roughness: 0.62 }));
    this.#middle = middle(faceModel);
    this.#geometry.translate(...this.#middle.map((value) => -value));
    this.#geometry.computeVertexNormals();
    const key = new DirectionalLight("#fff4e8", 2.2);
    key.position.set(-250, 350, 600);
    const rim = new DirectionalLight("#bcd7ff", 1.1);
    rim.position.set(450, 100, -150);
    this.#scene.add(this.#mesh, new HemisphereLight("#ffffff", "#6d6a72", 1.35), key, rim);
    this.#camera.position.z = DISTANCE;
    new ResizeObserver(() => this.#resize(canvas)).observe(canvas);
    this.#handle(canvas);
    this.#resize(canvas);
  }

  /**
   * @param {Float32Array} vertices [n * 3] mm in the head's frame
   * @param {number[]} rotation vector, rad
   * @param {boolean} ease move there, or be there at once
   */
  show(vertices, rotation, ease) {
    const target = Float32Array.from(vertices, (value, i) => value - this.#middle[i % 3]);
    const angle = Math.hypot(...rotation);
    const axis = angle > 1e-9 ? new Vector3(...rotation).divideScalar(angle) : new Vector3(0, 1, 0);
    const quaternion = new Quaternion().setFromAxisAngle(axis, angle);
    const positions = this.#geometry.attributes.position.array;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#from = { positions: positions.slice(), quaternion: this.#head.clone(), time: performance.now() };
    this.#to = { positions: target, quaternion, duration: ease && !calm ? EASE_MS : 0 };
    this.#draw();
  }

  /** Back to the front, as the photo has it. */
  reset() {
    this.#turn = [0, 0];
    this.#draw();
  }

  #draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#to) this.#move();
      const [yaw, pitch] = this.#turn;
      const turned = new Quaternion().setFromAxisAngle(new Vector3(1, 0, 0), pitch);
      turned.multiply(new Quaternion().setFromAxisAngle(new Vector3(0, 1, 0), yaw));
      this.#mesh.quaternion.copy(turned).multiply(this.#head);
      this.#renderer.render(this.#scene, this.#camera);
    });
  }

  #move() {
    const { duration } = this.#to;
    const passed = duration ? Math.min(1, (performance.now() - this.#from.time) / duration) : 1;
    const share = passed * passed * (3 - 2 * passed);
    const { position } = this.#geometry.attributes;
    for (let i = 0; i < position.array.length; i++) {
      position.array[i] = this.#from.positions[i] + share * (this.#to.positions[i] - this.#from.positions[i]);
    }
    position.needsUpdate = true;
    this.#geometry.computeVertexNormals();
    this.#head.slerpQuaternions(this.#from.quaternion, this.#to.quaternion, share);
    if (passed < 1) this.#draw();
    else this.#to = null;
  }

  #resize(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    this.#renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.#renderer.setSize(width, height, false);
    this.#camera.aspect = width / height;
    this.#camera.updateProjectionMatrix();
    this.#draw();
  }

  #handle(canvas) {
    const turn = (x, y) => {
      this.#turn = [this.#turn[0] + x, Math.max(-1.2, Math.min(1.2, this.#turn[1] + y))];
      this.#draw();
    };
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) turn(event.movementX / 120, event.movementY / 120);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      turn(...step);
    });
  }
}

/** Halfway between the ends of the face, and as deep as its mean: [x, y, z] mm. */
function middle({ mean, regions, regionNames }) {
  const vertices = [...regions.keys()].filter((vertex) => FACE.has(regionNames[regions[vertex]]));
  const along = (axis) => vertices.map((vertex) => mean[3 * vertex + axis]);
  const heights = along(1);
  const depth = along(2).reduce((sum, value) => sum + value, 0) / vertices.length;
  return [0, (Math.max(...heights) + Math.min(...heights)) / 2, depth - BEHIND];
}

/** A colour a vertex, by its region; the front of each eye is dark. */
function colors({ regions, regionNames, mean }) {
  const result = new Float32Array(regions.length * 3);
  regions.forEach((region, vertex) => {
    new Color(COLORS[regionNames[region]] ?? SKIN).toArray(result, 3 * vertex);
  });
  const eyes = [...regions.keys()].filter((vertex) => regionNames[regions[vertex]] === "eyes");
  for (const side of [-1, 1]) {
    const eye = eyes.filter((vertex) => mean[3 * vertex] * side > 0);
    const front = eye.reduce((best, vertex) => (mean[3 * vertex + 2] > mean[3 * best + 2] ? vertex : best), eye[0]);
    for (const vertex of eye) {
      const distance = Math.hypot(mean[3 * vertex] - mean[3 * front], mean[3 * vertex + 1] - mean[3 * front + 1]);
      if (distance < PUPIL) new Color("#3a4a57").toArray(result, 3 * vertex);
    }
  }
  return result;
}
