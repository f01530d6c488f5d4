/** The JSON of a photo: the schema of docs/face-json.md, as `expnet predict` writes it. */

/**
 * @param about model.json
 * @param {string} name of the photo
 * @param image of the photo
 * @param faces as from Predictor.read, largest first
 * @param {string|null} detector null: the box was given
 * @param timing milliseconds by step
 */
export function photoRecord(about, name, image, faces, detector, timing) {
  return {
    schema: about.schema,
    file: name,
    image: { width: image.width, height: image.height },
    model: about.model,
    face_model: about.face_model,
    detector,
    software: `${about.software} (browser)`,
    timing_ms: Object.fromEntries(Object.entries(timing).map(([step, ms]) => [step, ms && round(ms, 2)])),
    faces: faces.map(faceRecord),
  };
}

function faceRecord({ box, score, quality, square, expression, blendshapes, identity, pose, focal, center }) {
  return {
    box,
    score,
    quality: quality && round(quality, 4),
    crop: { x: square.x0, y: square.y0, side: square.side },
    expression: Array.from(expression),
    blendshapes: Object.fromEntries(Object.entries(blendshapes).map(([key, weight]) => [key, round(weight, 6)])),
    identity: identity && Array.from(identity),
    pose: pose && {
      rotation_vector: Array.from(pose.subarray(0, 3)),
      translation_mm: Array.from(pose.subarray(3, 6)),
      focal_px: focal,
      center_px: center,
    },
    files: {},
  };
}

const round = (value, digits) => Number(value.toFixed(digits));
