"""The client: photos in, the model's outputs out, through the embedded server or TensorFlow Serving.

    from expnet_tf.serving.client import Client

    with Client("localhost:8500") as client:                 # or "http://localhost:8501"
        for answer in client.predict(["a.jpg", "b.jpg"], [(190, 60, 110, 150), None]):
            print(answer.error or answer.expression)

Photos are decoded, searched for a face and cropped here, with image.py, and sent as crops to serving_default: what
the network sees never depends on how a server decodes.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TypeVar

import numpy as np
from grpc import StatusCode  # type: ignore[import-untyped]

from expnet_tf.detect import BlazeFace, Detector
from expnet_tf.image import ImageError, check_box, check_pixels, crop, decode_image, read_image
from expnet_tf.inputs import Inputs, Problem
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.transports import Facts, Target, connect

# Of the shipped models; for a server that does not say, as TensorFlow Serving. Elsewhere it is input.crop_factor in
# the export's manifest.json.
CROP_FACTOR = 1.25
MAX_PAUSE = 1.0  # s between attempts: a server that starts, or is replaced, is found soon after it is there

Image = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of an image file, or uint8 RGB [H, W, 3]."""
Box = Sequence[float]

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of one photo."""

    name: str  # its path, or `image N`
    outputs: dict[str, np.ndarray] = field(default_factory=dict)  # {head: float32 [width]}
    box: tuple[float, float, float, float] | None = None  # x, y, w, h in px, given or detected
    error: str = ""  # why there are no outputs; empty when there are

    @property
    def expression(self) -> np.ndarray:
        """float32 [29], sigma units. Raises ImageError where the photo could not be used."""
        if self.error:
            raise ImageError(self.error)
        return self.outputs["expression"]


class Client:
    """A model on a server. Threads may share it; close it, or use it in a `with`."""

    def __init__(
        self,
        target: str,
        model: str = "expnet",
        version: int | None = None,
        *,
        timeout: float = 10.0,
        backoff: float = 0.1,
        batch: int = 32,
        crop_factor: float | None = None,
        detector: Detector | None = None,
    ) -> None:
        """
        Args:
            target: `host:8500` for gRPC, `http://host:8501` for REST.
            version: None: the latest.
            timeout: s for one request; to a server that is UNAVAILABLE it is sent again for as long.
            backoff: s before the second attempt; doubled each time up to MAX_PAUSE, and varied by half.
            batch: photos a request at most.
            crop_factor: side of the crop over the larger side of the face box; None: as the server says, or
                CROP_FACTOR where it does not say.
            detector: for photos without a box; None: BlazeFace, made when it is first needed.

        Raises ValueError for a target of another form. The server is first asked by the first call.
        """
        self._transport = connect(target)
        self._target = Target(model, version)
        self._timeout, self._backoff, self._batch = timeout, backoff, batch
        self._crop_factor, self._detector = crop_factor, detector
        self._lock = threading.Lock()
        self._known: Facts | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    @property
    def size(self) -> int:
        """Side of the model's crop, px. Raises ServingError."""
        return self._facts().size

    @property
    def crop_factor(self) -> float:
        """Side of the crop over the larger side of the face box. Raises ServingError."""
        return self._crop_factor or self._facts().crop_factor or CROP_FACTOR

    def predict(self, images: Sequence[Image], boxes: Sequence[Box | None] | None = None) -> list[Answer]:
        """One answer a photo, in order; of a photo without a box its largest face.

        A photo that cannot be used has `error` in its answer, and the others go on. Raises ServingError where the
        server refuses, fails, or stays away; ValueError where `boxes` are not one a photo.
        """
        boxes = [None] * len(images) if boxes is None else boxes
        if len(boxes) != len(images):
            raise ValueError(f"{len(boxes)} boxes came with {len(images)} images; one a photo is expected.")
        names = [str(image) if isinstance(image, str | os.PathLike) else f"image {n}" for n, image in enumerate(images)]
        prepared = [self._prepare(*one) for one in zip(names, images, boxes, strict=True)]
        crops = [made for _, made in prepared if made is not None]
        rows = iter(self.predict_crops(np.stack(crops)) if crops else [])
        return [
            answer if made is None else Answer(answer.name, next(rows), answer.box, "") for answer, made in prepared
        ]

    def predict_crops(self, crops: np.ndarray) -> list[dict[str, np.ndarray]]:
        """uint8 RGB [n, S, S, 3] -> n times {head: float32 [width]}. Raises ServingError."""
        rows: list[dict[str, np.ndarray]] = []
        for start in range(0, len(crops), self._batch):
            part = crops[start : start + self._batch]
            outputs = self._insist(partial(self._transport.predict, self._target, part))
            rows += [{name: values[row] for name, values in outputs.items()} for row in range(len(part))]
        return rows

    def predict_folder(
        self, folder: str | os.PathLike[str], *, progress: bool = True, threads: int = 2
    ) -> Iterator[Answer]:
        """An answer for every photo below the folder, in the order of their names, as they come.

        `threads` requests are prepared and under way at a time; memory does not grow with the folder. `progress`
        shows a bar on standard error. Raises ServingError like `predict`.
        """
        from tqdm import tqdm

        inputs = Inputs([os.fspath(folder)], os.devnull)  # nothing is written, so nothing is left out
        total = sum(1 for _ in inputs) if progress else None
        with (
            tqdm(total=total, unit="photo", disable=not progress, file=sys.stderr) as bar,
            ThreadPoolExecutor(threads) as pool,
        ):
            under_way: deque[Future[list[Answer]]] = deque()
            photos: list[str] = []
            try:
                for item in inputs:
                    if isinstance(item, Problem):
                        under_way.append(_done([Answer(str(folder), error=item.text)]))
                    else:
                        photos.append(item.path)
                    if len(photos) == self._batch:
                        under_way.append(pool.submit(self.predict, photos))
                        photos = []
                    while len(under_way) > threads:
                        yield from _counted(under_way.popleft().result(), bar.update)
                if photos:
                    under_way.append(pool.submit(self.predict, photos))
                while under_way:
                    yield from _counted(under_way.popleft().result(), bar.update)
            finally:
                for future in under_way:
                    future.cancel()

    def _facts(self) -> Facts:
        with self._lock:
            if self._known is None:
                self._known = self._insist(partial(self._transport.facts, self._target))
            return self._known

    def _prepare(self, name: str, image: Image, box: Box | None) -> tuple[Answer, np.ndarray | None]:
        """The photo's crop, and an answer that lacks its outputs; or the whole answer, where it cannot be used."""
        size, factor = self.size, self.crop_factor
        try:
            if isinstance(image, np.ndarray):
                pixels = image
            else:
                pixels = decode_image(image, name) if isinstance(image, bytes) else read_image(image)
            check_pixels(pixels, name)
            given = self._largest(pixels, name) if box is None else check_box(box, name)
            return Answer(name, box=given), crop(pixels, given, size, factor)
        except ImageError as error:
            return Answer(name, error=str(error)), None

    def _largest(self, pixels: np.ndarray, name: str) -> tuple[float, float, float, float]:
        with self._lock:
            if self._detector is None:
                self._detector = BlazeFace()
        faces = self._detector.detect(pixels)
        if not faces:
            raise ImageError(f"{name} shows no face that the detector finds.")
        return faces[0].box

    def _insist(self, call: Callable[[float], _Value]) -> _Value:
        """Call with the seconds left, again while the server is UNAVAILABLE."""
        end, backoff = time.monotonic() + self._timeout, self._backoff
        while True:
            try:
                return call(max(end - time.monotonic(), 0.001))
            except ServingError as error:
                pause = backoff * random.uniform(0.5, 1.5)
                # An attempt needs time as well: cut short it would hide why the server was not there.
                if error.code != StatusCode.UNAVAILABLE or time.monotonic() + 2 * pause >= end:
                    raise
            time.sleep(pause)
            backoff = min(2 * backoff, MAX_PAUSE)


def _counted(answers: list[Answer], update: Callable[[], object]) -> Iterator[Answer]:
    for answer in answers:
        update()
        yield answer


def _done(answers: list[Answer]) -> Future[list[Answer]]:
    future: Future[list[Answer]] = Future()
    future.set_result(answers)
    return future
