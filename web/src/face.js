/**
 * The open face model: codes -> mesh, blendshapes, places on the photo. As expnet_tf/morphable.py and camera.py, from
 * the rounded numbers that tools/build_web_assets.py writes.
 */

const ARRAYS = {
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array,
};

export class FaceModel {
  /**
   * @param about model.json
   * @param {Uint8Array} bytes face.bin
   */
  constructor(about, bytes) {
    const array = ({ type, shape, offset }) =>
      new ARRAYS[type](bytes.buffer, bytes.byteOffset + offset, shape.reduce((a, b) => a * b, 1));
    const arrays = Object.fromEntries(Object.entries(about.arrays).map(([name, entry]) => [name, array(entry)]));
    this.mean = Float32Array.from(arrays.mean, (value) => value * arrays.mean_scale[0]);
    this.triangles = arrays.triangles;
    this.regions = arrays.regions;
    this.regionNames = about.regions;
    this.blendshapeNames = about.blendshapes;
    this.arrays = arrays;
  }

  /**
   * Vertices [n * 3] in mm, eq. (1): x right in a frontal photo, y up, z to the viewer. Of the identity the first
   * components only.
   */
  vertices(identity, expression) {
    const { arrays, mean } = this;
    const result = mean.slice();
    const add = (codes, basis, scales) => {
      scales.forEach((scale, component) => {
        const code = codes[component] * scale;
        const offset = component * mean.length;
        for (let i = 0; i < mean.length; i++) result[i] += code * basis[offset + i];
      });
    };
    add(expression, arrays.expression, arrays.expression_scale);
    if (identity) add(identity, arrays.identity, arrays.identity_scale);
    return result;
  }

  /** {ARKit name: weight in 0..1}; gaze and tongueOut always read 0. */
  blendshapes(expression) {
    const names = this.blendshapeNames;
    const map = this.arrays.expression_to_blendshapes;
    const weight = (b) => expression.reduce((sum, z, e) => sum + z * map[e * names.length + b], 0);
    return Object.fromEntries(names.map((name, b) => [name, Math.min(Math.max(weight(b), 0), 1)]));
  }
}

/** Rotation matrix [9], row by row, of a rotation vector in radians (Rodrigues' formula). */
export function rotationMatrix([rx, ry, rz]) {
  const angle = Math.hypot(rx, ry, rz);
  if (angle < 1e-12) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const [x, y, z] = [rx / angle, ry / angle, rz / angle];
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const d = 1 - c;
  return [
    c + x * x * d, x * y * d - z * s, x * z * d + y * s,
    y * x * d + z * s, c + y * y * d, y * z * d - x * s,
    z * x * d - y * s, z * y * d + x * s, c + z * z * d,
  ];
}

/** Where vertices [n * 3] mm appear: [n * 2] px of the photo. pose [6], focal px, center [x, y] px. */
export function project(vertices, pose, focal, [cx, cy]) {
  const r = rotationMatrix(pose);
  const places = new Float32Array((vertices.length / 3) * 2);
  for (let i = 0, to = 0; i < vertices.length; i += 3, to += 2) {
    const [x, y, z] = [vertices[i], vertices[i + 1], vertices[i + 2]];
    const depth = -(r[6] * x + r[7] * y + r[8] * z + pose[5]);
    places[to] = cx + (focal * (r[0] * x + r[1] * y + r[2] * z + pose[3])) / depth;
    places[to + 1] = cy - (focal * (r[3] * x + r[4] * y + r[5] * z + pose[4])) / depth;
  }
  return places;
}
