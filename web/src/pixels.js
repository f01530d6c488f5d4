/**
 * The definition of the pixels, as in expnet_tf/image.py: crop square, black beyond the photo, area average where it
 * shrinks, bilinear where it grows. A canvas is not used: each browser scales in its own way.
 *
 * An image is {width, height, channels, data}: bytes, rows from the top, 3 (RGB) or 4 channels (RGBA, as a canvas
 * gives them; the fourth is ignored). What comes out is RGB. A box is [x, y, w, h] in px of the upright photo.
 */

const roundHalfUp = (value) => Math.floor(value + 0.5);

/** Python's round(): halves go to the even number. */
export function roundHalfEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

/** The square cut out for a face box: {x0, y0, side}, whole px; x0 and y0 may be negative. */
export function cropSquare([x, y, w, h], factor) {
  const side = Math.max(1, roundHalfUp(factor * Math.max(w, h)));
  return { x0: roundHalfUp(x + w / 2 - side / 2), y0: roundHalfUp(y + h / 2 - side / 2), side };
}

/** RGB image [size, size]: the square of `cropSquare`, resized. */
export function crop(image, box, size, factor) {
  const { x0, y0, side } = cropSquare(box, factor);
  return resize(cutOut(image, x0, y0, side, side), size, size);
}

/** RGB image [height, width] of the photo from (x0, y0) on, black beyond its edges. */
export function cutOut(image, x0, y0, width, height) {
  const data = new Uint8Array(width * height * 3);
  const { channels } = image;
  const left = Math.max(0, -x0);
  const right = Math.min(width, image.width - x0);
  for (let y = Math.max(0, -y0); y < Math.min(height, image.height - y0); y++) {
    let from = ((y + y0) * image.width + x0 + left) * channels;
    let to = (y * width + left) * 3;
    for (let x = left; x < right; x++, from += channels, to += 3) {
      data[to] = image.data[from];
      data[to + 1] = image.data[from + 1];
      data[to + 2] = image.data[from + 2];
    }
  }
  return { width, height, channels: 3, data };
}

/** RGB image [height, width]: OpenCV's INTER_AREA where both sides shrink or stay, INTER_LINEAR elsewhere. */
export function resize(image, width, height) {
  const shrinks = image.width >= width && image.height >= height;
  return shrinks ? average(image, width, height) : stretch(image, width, height);
}

/** INTER_AREA: a pixel is the mean of the part of the source that it covers. */
function average(image, width, height) {
  const columns = coverage(image.width, width);
  const rows = coverage(image.height, height);
  // Means of 2 x 2 bytes are rounded in integers by OpenCV, others as floats.
  const round = image.width === 2 * width && image.height === 2 * height ? roundHalfUp : roundHalfEven;
  const data = new Uint8Array(width * height * 3);
  const sums = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = rows.start[y]; i < rows.start[y + 1]; i++) {
      addRow(image, rows.source[i], rows.weight[i], columns, sums);
    }
    for (let i = 0, to = y * width * 3; i < sums.length; i++, to++) data[to] = round(sums[i]);
  }
  return { width, height, channels: 3, data };
}

/** Adds one row of the image, scaled sideways, times `factor` to `sums` [width * 3]. */
function addRow(image, row, factor, columns, sums) {
  const { channels, data } = image;
  const offset = row * image.width * channels;
  for (let x = 0, to = 0; to < sums.length; x++, to += 3) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let i = columns.start[x]; i < columns.start[x + 1]; i++) {
      const from = offset + columns.source[i] * channels;
      const weight = columns.weight[i];
      red += weight * data[from];
      green += weight * data[from + 1];
      blue += weight * data[from + 2];
    }
    sums[to] += factor * red;
    sums[to + 1] += factor * green;
    sums[to + 2] += factor * blue;
  }
}

/**
 * Which source pixels, with which weights, make each of `to` pixels: pixel p has the entries start[p] to start[p + 1]
 * of `source` and `weight`.
 */
function coverage(from, to) {
  const scale = from / to;
  const table = { start: [0], source: [], weight: [] };
  for (let p = 0; p < to; p++) {
    const low = p * scale;
    const high = Math.min(low + scale, from);
    for (let s = Math.floor(low); s < high; s++) {
      const covered = Math.min(s + 1, high) - Math.max(s, low);
      // Slivers are rounding errors of `low` and `high`; OpenCV leaves them out as well.
      if (covered > 1e-3) {
        table.source.push(s);
        table.weight.push(Math.fround(covered / (high - low)));
      }
    }
    table.start.push(table.source.length);
  }
  return table;
}

/** INTER_LINEAR, with OpenCV's roundings for bytes: weights in 1/2048, and bits dropped where it drops them. */
function stretch(image, width, height) {
  const { channels } = image;
  const columns = neighbours(image.width, width);
  const rows = neighbours(image.height, height);
  const data = new Uint8Array(width * height * 3);
  const sideways = (row, x, channel) => {
    const at = (column) => image.data[(row * image.width + column) * channels + channel];
    return (at(columns.low[x]) * (2048 - columns.share[x]) + at(columns.high[x]) * columns.share[x]) >> 4;
  };
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++, to++) {
        const above = ((2048 - rows.share[y]) * sideways(rows.low[y], x, channel)) >> 16;
        const below = (rows.share[y] * sideways(rows.high[y], x, channel)) >> 16;
        data[to] = (above + below + 2) >> 2;
      }
    }
  }
  return { width, height, channels: 3, data };
}

/** The two source pixels that each of `to` pixels lies between, and the share, in 1/2048, of the second. */
function neighbours(from, to) {
  const scale = from / to;
  const table = { low: [], high: [], share: [] };
  const inside = (s) => Math.min(Math.max(s, 0), from - 1);
  for (let p = 0; p < to; p++) {
    const place = Math.fround((p + 0.5) * scale - 0.5);
    const low = Math.floor(place);
    table.low.push(inside(low));
    table.high.push(inside(low + 1));
    table.share.push(roundHalfEven(Math.fround(place - low) * 2048));
  }
  return table;
}
