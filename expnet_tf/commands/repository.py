"""`expnet repository`: production files for TensorFlow Serving, Triton, KServe and Kubernetes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, command, count, folder, out, usage
from expnet_tf.quiet import quiet

TARGETS = ("tfserving", "triton", "kserve", "kubernetes")
NEXT = {
    "tfserving": "docker compose -f {out}/docker-compose.yaml up",
    "triton": "docker compose -f {out}/docker-compose.yaml up",
    "kserve": "kubectl apply -f {out}/kserve/, after the volume was filled as {out}/loader.yaml says",
    "kubernetes": "kubectl apply -f {out}/kubernetes/, after the volume was filled as {out}/loader.yaml says",
}


def add(commands: Any) -> None:
    parser = command(
        commands,
        "repository",
        "make the files that production servers need, from an export",
        """
        Copies one artifact of a folder made by `expnet export` to DIR/models/NAME/VERSION, after comparing it
        with the manifest, and writes the server's files beside it: for TensorFlow Serving and Triton their
        configurations and a docker-compose.yaml, for KServe an InferenceService, for Kubernetes a Deployment,
        Service, HorizontalPodAutoscaler and PodDisruptionBudget. An artifact that failed `expnet verify` is
        refused. Run again with another --model-version or --name, DIR gets that as well and keeps what it has.

          expnet repository exported --out serve --target tfserving
          expnet repository exported --out triton --target triton --artifact tensorrt-fp16 --image IMAGE
        """,
    )
    parser.add_argument("export", type=Path, metavar="EXPORT", help="a folder made by `expnet export`")
    out(parser)
    parser.add_argument("--target", required=True, choices=TARGETS, help="what shall serve it")
    parser.add_argument("--name", default="expnet", help="the model's name to its clients (default: expnet)")
    parser.add_argument(
        "--model-version", type=count, default=1, metavar="N", help="a whole number; clients get the highest"
    )
    parser.add_argument(
        "--artifact",
        metavar="NAME",
        help="one of the export; SavedModels are served by TensorFlow Serving, ONNX and TensorRT by Triton "
        "(default: the first that the target serves)",
    )
    parser.add_argument("--image", metavar="IMAGE", help="container image of the server (default: one named in DIR)")


def run(options: argparse.Namespace) -> int:
    root = folder(options.out)
    with quiet():
        from expnet_tf.export import ExportError
        from expnet_tf.serving.repository import RepositoryError, build

        with usage(RepositoryError, ExportError, FileNotFoundError):
            try:
                built = build(
                    options.export,
                    root,
                    options.target,
                    name=options.name,
                    version=options.model_version,
                    artifact=options.artifact,
                    image=options.image,
                )
            except FileNotFoundError:
                raise
            except OSError as error:
                failure = f"{error.filename or root} cannot be read or written ({error.strerror})"
                print(f"expnet repository: {failure}.", file=sys.stderr)
                return FAILED
    for warning in built.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    versions = ", ".join(map(str, built.model.versions))
    print(f"{root}: {built.model.name}, version {versions}, {built.model.artifact} for {options.target}")
    print("\n".join(f"  {path}" for path in built.files))
    print(NEXT[options.target].format(out=root))
    return FINE
