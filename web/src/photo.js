/** A file or a video frame -> the pixels of an upright photo. Limits are those of expnet_tf/image.py. */

const MAX_BYTES = 64 * 2 ** 20;
const MAX_PIXELS = 50_000_000;

/** A photo that cannot be used; the message is one sentence for the person who chose it. */
export class PhotoError extends Error {}

/**
 * @param {Blob} blob an image file; its content counts, not its name
 * @param {string} name how messages call it
 * @returns {Promise<{bitmap: ImageBitmap, image: object}>} to draw, and to read (see pixels.js); EXIF applied
 * @throws {PhotoError} empty, too large, or nothing that this browser decodes
 */
export async function decodePhoto(blob, name) {
  if (!blob.size) throw new PhotoError(`${name} is empty.`);
  if (blob.size > MAX_BYTES) {
    throw new PhotoError(`${name} has ${megabytes(blob.size)} MB; at most ${megabytes(MAX_BYTES)} MB are read.`);
  }
  let bitmap;
  try {
    // No colour profile and no blending: the numbers in the file. EXIF is applied where nothing is said of it.
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new PhotoError(`${name} is not an image that this browser reads; a JPEG, PNG or WebP photo is expected.`);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new PhotoError(`${name} has ${width} x ${height} pixels; at most ${MAX_PIXELS / 1e6} million are read.`);
  }
  try {
    return { bitmap, image: readPixels(bitmap, width, height, document.createElement("canvas")) };
  } catch {
    bitmap.close();
    throw new PhotoError(`${name} has ${width} x ${height} pixels, too many for this browser; a smaller one will do.`);
  }
}

/** The pixels of anything that a canvas draws, RGBA. Nothing is scaled. */
export function readPixels(source, width, height, canvas) {
  // Setting a size clears the canvas, even to the same one.
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return { width, height, channels: 4, data: context.getImageData(0, 0, width, height).data };
}

const megabytes = (bytes) => Math.ceil(bytes / 2 ** 20);
