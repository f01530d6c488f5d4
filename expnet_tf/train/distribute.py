"""One run on several devices: GPUs of one host under TensorFlow or JAX, several hosts under JAX.

The batch size is that of all devices together, so that a run means the same on one as on many.
TensorFlow: `tf.distribute.MirroredStrategy`, and batch normalisation that takes its statistics over all replicas.
JAX: `keras.distribution.DataParallel`, one process a host (Keras' `fit` under TensorFlow's multi-worker strategy fails:
github.com/keras-team/keras/issues/20585).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from expnet_tf.train.config import JobError


@dataclass(frozen=True)
class Hosts:
    """This process among those of a run on several hosts."""

    coordinator: str = ""  # "address:port" of process 0; empty: one process alone
    process: int = 0
    processes: int = 1


@dataclass(frozen=True)
class Spread:
    """What a run is spread over."""

    replicas: int  # devices, of all hosts
    process: int
    processes: int


@contextmanager
def spread(hosts: Hosts, batch_size: int, devices: Sequence[str] | None = None) -> Iterator[Spread]:
    """Inside, models are built for all devices.

    devices: names as "GPU:0" (TensorFlow only, for tests and for a share of a host); None: all GPUs, or the one CPU.
    Raises JobError for what the backend cannot do, and for a batch that does not divide.
    """
    backend = keras.backend.backend()
    if hosts.processes > 1 and backend != "jax":
        raise JobError(f"Several hosts need KERAS_BACKEND=jax; this is {backend}.")
    if backend == "tensorflow":
        import tensorflow as tf

        names = list(devices or [device.name for device in tf.config.list_logical_devices("GPU")])
        _divides(batch_size, len(names) or 1)
        if len(names) > 1:
            with tf.distribute.MirroredStrategy(names).scope():
                yield Spread(len(names), 0, 1)
        else:
            yield Spread(1, 0, 1)
    elif backend == "jax":
        if hosts.processes > 1:
            _join(hosts)
        found = keras.distribution.list_devices()
        _divides(batch_size, len(found))
        if len(found) == 1:
            yield Spread(1, 0, 1)
            return
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
        try:
            yield Spread(len(found), hosts.process, hosts.processes)
        finally:
            keras.distribution.set_distribution(None)
    else:
        yield Spread(1, 0, 1)


def _join(hosts: Hosts) -> None:
    import jax

    if jax.config.jax_platforms == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # CPUs have no other way to add numbers up
    keras.distribution.initialize(hosts.coordinator, hosts.processes, hosts.process)
    if jax.process_count() != hosts.processes:
        raise JobError(f"{jax.process_count()} of {hosts.processes} processes joined {hosts.coordinator}.")


def _divides(batch_size: int, devices: int) -> None:
    if batch_size % devices:
        raise JobError(f"A batch of {batch_size} does not divide over {devices} devices.")


def synchronise(model: keras.Model, on: bool) -> None:
    """Let batch normalisation see the whole batch and not a replica's part; off again before a model is saved.

    JAX does so anyway: there a batch is one array, wherever its parts lie.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on
