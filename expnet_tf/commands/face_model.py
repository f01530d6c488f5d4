"""`expnet face-model`: what another face model is, and its conversion to an npz of our own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands.common import FINE, UsageError, command, usage

if TYPE_CHECKING:
    from expnet_tf.morphable import MorphableModel

OPTIONS = {  # facemodels.OPTIONS
    "expression": "Basel 2009: Model_Expression.mat (3DDFA) or Exp_Pca.bin (Guo et al.)",
    "trim": "Basel 2009: the file with trimIndex, such as model_info.mat",
    "sigma": "standard deviations: std_exp.txt for Exp_Pca.bin, param_mean_std_62d_120x120.pkl for 3DDFA_V2",
    "triangles": "3DDFA_V2: tri.pkl",
    "landmarks": "a text of 68 vertex numbers from 0 in iBUG order; FLAME also: landmark_embedding.npy",
}
FRAME = "mm: x right in a frontal image, y up, z to the viewer"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "face-model",
        help="bring your own 3D morphable model: Basel, FLAME, ICT-FaceKit, 3DDFA_V2",
        description="Other people's face models: `expnet face-model info` and `expnet face-model convert`.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    info = command(
        actions,
        "info",
        "say what a face model is",
        """
        What FILE is, by what is in it; its sizes, units, what it has and lacks, and a reminder of its licence. FILE is
        BaselFaceModel_mod.mat, 01_MorphableModel.mat or a Basel .h5 of 2017 or 2019, FLAME (.pkl or .npz), the folder
        FaceXModel of ICT-FaceKit, 3DDFA_V2's bfm_noneck_v3.pkl, or an npz of our own (docs/face-models.md). Pickles
        are read without running them.

          expnet face-model info FaceXModel
          expnet face-model info 01_MorphableModel.mat --expression Model_Expression.mat --trim model_info.mat
        """,
    )
    convert = command(
        actions,
        "convert",
        "write a face model as an npz of our own",
        """
        Writes what `expnet face-model info` describes as an npz without pickles, which MorphableModel.from_file and
        `expnet label --face-model` read; faces decode the same to 0.0001 mm. The licence of FILE holds for it too.

          expnet face-model convert BaselFaceModel_mod.mat --out basel.npz
        """,
    )
    for action in (info, convert):
        action.add_argument("file", type=Path, metavar="FILE", help="the face model, or the folder of ICT-FaceKit")
        for name, text in OPTIONS.items():
            action.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    convert.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="is replaced where it exists")


def run(options: argparse.Namespace) -> int:
    from expnet_tf.facemodels import FaceModelError, load, save

    given = {name: getattr(options, name) for name in OPTIONS}
    if options.action == "convert":
        _check_out(options.out, [options.file, *filter(None, given.values())])
    with usage(FaceModelError):
        model = load(options.file, **given)
    print("\n".join(describe(options.file, model)))
    if options.action == "convert":
        try:
            save(model, options.out)
        except OSError as error:
            raise UsageError(f"--out {options.out} cannot be written ({error.strerror or error}).") from error
        print(f"{options.out}: written, {options.out.stat().st_size / 1e6:,.1f} MB")
    return FINE


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Raises UsageError before anything slow."""
    if out.suffix.lower() != ".npz":
        raise UsageError(f"--out {out} ends with {out.suffix!r}; .npz is expected.")
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out {out} {'is a folder' if out.is_dir() else 'lies in no folder that there is'}.")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out} is an input, {path}; it would be overwritten.")


def describe(path: Path, model: MorphableModel) -> list[str]:
    """The lines of `info`."""
    from expnet_tf.morphable import PARTS

    texture = 0 if model.texture_basis is None else len(model.texture_basis)
    width, height, depth = model.mean.max(axis=0) - model.mean.min(axis=0)
    has = [part for part in PARTS if model.has(part)]
    lacks = [part for part in PARTS if not model.has(part)]
    facts = model.provenance
    rows = {
        "vertices": f"{model.n_vertices:,}",
        "triangles": f"{len(model.triangles):,}",
        "components": f"{len(model.identity_basis)} identity, {len(model.expression_basis)} expression, "
        f"{texture} texture",
        "mean face": f"{width:.0f} x {height:.0f} x {depth:.0f} mm",
        "units": f"{FRAME}; codes: {facts.get('codes', 'sigma units of this model')}",
        "has": ", ".join(has) or "nothing more",
        "lacks": ", ".join(lacks) or "nothing",
        "landmarks": "" if model.has("landmarks") else "give 68 vertex numbers with --landmarks",
        "points": ", ".join(f"{name} {vertex}" for name, vertex in (facts.get("points") or {}).items()),
        "not driven": str(facts.get("not_driven", "")),
        "licence": str(facts.get("licence", "")),
    }
    lines = [f"{path}: {facts.get('name', 'a face model without a name')}"]
    return lines + [f"  {name:<11} {text}" for name, text in rows.items() if text]
