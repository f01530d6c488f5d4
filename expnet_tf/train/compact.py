"""Trains the compact network on synthetic faces: the run that makes the shipped weights.

    python -m expnet_tf.train.compact FOLDER ... --validation FOLDER --out RUN [--epochs 12]

FOLDERs come from `expnet synth --size 128 --assets MAKEHUMAN`. Cost: about an hour on 2 cores for a million images.
Two landmark heads help the trunk to find its way and are dropped from the file that is written.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

from expnet_tf.morphable import open_face
from expnet_tf.network import ExpNet, ModelInfo, save_model
from expnet_tf.train.batches import STILL, FaceBatches, Jitter
from expnet_tf.train.losses import Displacement, PointError, PoseError, ZoneShare, displacement_root, vertex_weights

CROP_FACTOR = 1.25
LOSS_WEIGHTS = {"expression": 3.0, "identity": 0.15, "pose": 0.3, "points": 5.0, "seen": 20.0}
MAPS = ("stage3_block2_out", "stage4_block3_out")  # 12 x 12 and 6 x 6
VERSION = "1.0"


def training_model(model: keras.Model) -> keras.Model:
    """The network with two landmark heads [136]: one on its features, one that looks at its maps.

    A plain regressor stays at the mean face for thousands of steps before it finds out where a face's parts are. The
    second head has to find them from the start: a heat map a landmark, its centre of mass the answer (soft-argmax).
    """
    points = keras.layers.Dense(136, dtype="float32", name="points")(model.get_layer("features").output)
    maps = None
    for name in reversed(MAPS):
        own = keras.layers.Conv2D(48, 1)(model.get_layer(name).output)
        maps = own if maps is None else keras.layers.Add()([own, keras.layers.UpSampling2D(2)(maps)])
    maps = keras.layers.Conv2D(68, 1, dtype="float32")(keras.layers.ReLU()(maps))
    side = maps.shape[1]
    share = keras.ops.softmax(keras.ops.reshape(maps, (-1, side * side, 68)), axis=1)
    centre = (np.arange(side) + 0.5) / side * 2 - 1
    grid = np.stack(np.meshgrid(centre, centre), -1).reshape(-1, 2).astype(np.float32)
    found = keras.ops.einsum("bkp,kc->bpc", share, keras.ops.convert_to_tensor(grid))
    seen = keras.layers.Reshape((136,), name="seen")(found)
    return keras.Model(model.input, {**model.output, "points": points, "seen": seen}, name=model.name)


def compile_for_training(model: keras.Model, steps: int, learning_rate: float) -> None:
    face = open_face()
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.01, warmup_target=learning_rate, warmup_steps=min(300, steps // 10)
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            schedule, weight_decay=0.02, use_ema=True, ema_momentum=0.995, ema_overwrite_frequency=None
        ),
        loss={
            "expression": ZoneShare(face),
            "identity": Displacement(displacement_root(face.identity_basis, vertex_weights(face))),
            "pose": PoseError(),
            "points": PointError(),
            "seen": PointError(),
        },
        loss_weights=LOSS_WEIGHTS,
    )


def vertex_error(model: keras.Model, data: FaceBatches) -> dict[str, float]:
    """How well the expression of labelled crops is read.

    `vertex error mm`: mean over images and vertices (face without ears, scalp and mouth interior) of the distance
    between the decoded prediction and the decoded truth, the same identity in both; `mean face error mm`: the same for
    predicting the data's mean expression; `share`: their ratio.
    """
    basis, predicted, true = _seen_basis(), *_codes(model, data)

    def error(difference: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(np.tensordot(d, basis, 1), axis=-1).mean() for d in difference]))

    read, unread = error(predicted - true), error(true.mean(0) - true)
    return {"vertex error mm": read, "mean face error mm": unread, "share": read / unread}


def r_squared(model: keras.Model, data: FaceBatches) -> np.ndarray:
    """Coefficient of determination of each expression component, float64 [29]."""
    predicted, true = _codes(model, data)
    return 1 - ((predicted - true) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)


def _seen_basis() -> np.ndarray:
    face = open_face()
    return face.expression_basis[:, vertex_weights(face) > 0]


def _codes(model: keras.Model, data: FaceBatches) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) expression codes float32 [n, 29]."""
    batches = [data[index] for index in range(len(data))]
    predicted = [keras.ops.convert_to_numpy(model.predict_on_batch(images)["expression"]) for images, _ in batches]
    return np.concatenate(predicted), np.concatenate([targets["expression"] for _, targets in batches])


class Report(keras.callbacks.Callback):
    """After each epoch: validation figures with the averaged weights to `log.jsonl`, and a checkpoint."""

    def __init__(self, data: FaceBatches, out: Path, info: ModelInfo):
        super().__init__()
        self.data, self.out, self.info = data, out, info

    def on_epoch_end(self, epoch, logs=None):
        own = [keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        figures = {**vertex_error(self.model, self.data), "r2": r_squared(self.model, self.data).round(3).tolist()}
        save_model(self.model, self.out / "last.keras", self.info)
        for variable, value in zip(self.model.trainable_variables, own, strict=True):
            variable.assign(value)
        line: dict = {"epoch": epoch + 1, **{k: round(float(v), 4) for k, v in (logs or {}).items()}, **figures}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print({k: v for k, v in line.items() if k != "r2"}, "r2", line["r2"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--initial", type=Path, help=".keras file to start from, of an earlier run; default: random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="mixed_bfloat16 halves the time on CPUs with AVX512_BF16 and on GPUs",
    )
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    keras.mixed_precision.set_global_policy(options.precision)
    options.out.mkdir(parents=True, exist_ok=True)
    train = FaceBatches(options.folders, 96, CROP_FACTOR, options.batch_size, Jitter(), options.seed)
    validation = FaceBatches([options.validation], 96, CROP_FACTOR, 250, STILL)
    rng = np.random.default_rng(options.seed)
    sample = train.crops(rng.choice(len(train.images), min(4000, len(train.images)), replace=False), rng)[0]
    network = ExpNet("compact", mean_image=sample.mean(0))
    if options.initial:
        network.load_weights(options.initial)
    model = training_model(network)
    steps = len(train) * options.epochs
    print(f"{len(train.images)} images, {len(validation.images)} for validation, {steps} steps", flush=True)
    compile_for_training(model, steps, options.learning_rate)
    training = f"synthetic faces, {len(train.images)} images, {steps * options.batch_size} passes, AdamW, loss in mm"
    info = ModelInfo(
        "compact", VERSION, "compact", 96, CROP_FACTOR, ("expression", "identity", "pose"), training, "Apache-2.0"
    )
    model.fit(train, epochs=options.epochs, verbose=2, callbacks=[Report(validation, options.out, info)])
    model.optimizer.finalize_variable_values(model.trainable_variables)
    save_model(model, options.out / "compact.keras", info, float16=True)


if __name__ == "__main__":
    main()
