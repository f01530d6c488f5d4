/** The camera: frames as fast as they can be read, until it is stopped. */

export class CameraError extends Error {}

/**
 * Opens the camera and calls `read(video)` for each new frame. Frames stay in the page. `ended(why)` is called, with a
 * sentence, where it stops by itself.
 *
 * @returns {Promise<() => void>} stops it
 * @throws {CameraError} no camera, or it was not allowed
 */
export async function openCamera(read, ended) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraError("This browser gives no camera to the page; over https:// or on localhost it does.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false, video: { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } },
    });
  } catch (error) {
    if (error.name === "NotAllowedError") {
      throw new CameraError("The camera was not allowed; the browser's settings for this page can allow it.");
    }
    if (error.name === "NotFoundError") throw new CameraError("No camera was found.");
    throw new CameraError(`The camera did not start (${error.message}).`);
  }
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  let running = true;
  let time = -1;
  const next = () => {
    if (!running) return;
    if (video.currentTime !== time && video.videoWidth) {
      time = video.currentTime;
      try {
        read(video);
      } catch (error) {
        stop();
        return ended(`A frame could not be read (${error.message}); the camera is off.`);
      }
    }
    requestAnimationFrame(next);
  };
  const stop = () => {
    running = false;
    stream.getTracks().forEach((track) => track.stop());
  };
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    if (running) ended("The camera was taken away.");
  });
  // Not at once: the caller has to know how to stop first.
  requestAnimationFrame(next);
  return stop;
}
