"""Other people's face models as a `MorphableModel`: one file a family, found out from what is in the file.

    model = load("BaselFaceModel_mod.mat")
    model = load("01_MorphableModel.mat", expression="Model_Expression.mat", trim="model_info.mat")
    model.decode(identity, expression)      # codes in sigma units of that model, vertices in mm
    save(model, Path("basel.npz"))          # as an npz of our own, which load and MorphableModel.from_file read

Each file's text states the family's layout and units. docs/face-models.md tells what was tried on which files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from expnet_tf.facemodels.archive import save
from expnet_tf.morphable import FaceModelError, MorphableModel

__all__ = ["OPTIONS", "FaceModelError", "MorphableModel", "load", "save"]

OPTIONS = ("expression", "trim", "sigma", "triangles", "landmarks")


def load(path: str | Path, **options: str | Path | None) -> MorphableModel:
    """Load a face model of any family, our own npz among them.

    Args:
        path: the file, or the folder of ICT-FaceKit.
        expression: Basel 2009: `Model_Expression.mat` or `Exp_Pca.bin`.
        trim: Basel 2009: the file with `trimIndex`, such as `model_info.mat`.
        sigma: standard deviations: `std_exp.txt` for `Exp_Pca.bin`, `param_mean_std_62d_120x120.pkl` for 3DDFA_V2.
        triangles: 3DDFA_V2: `tri.pkl`.
        landmarks: any family: a text of 68 vertex numbers from 0, iBUG order; FLAME also: `landmark_embedding.npy`.

    Raises:
        FaceModelError: one sentence that names the file, when it is of no family, not what it should be, or an option
            is not of its family.
        TypeError: an option that is not one of these.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise TypeError(f"load() has no option {unknown[0]!r}; it has {', '.join(OPTIONS)}")
    path = Path(path)
    try:
        return _load(path, {name: Path(value) for name, value in options.items() if value is not None})
    except OSError as error:
        raise FaceModelError(f"{error.filename or path}: it cannot be read ({error.strerror})") from error


def _load(path: Path, given: dict[str, Path]) -> MorphableModel:
    from expnet_tf.facemodels import families, flame, landmarks

    for file in given.values():
        if not file.is_file():
            raise FaceModelError(f"{file}: no such file")
    family = families.recognise(path)
    numbered = given.get("landmarks")
    if numbered is not None and not flame.is_embedding(numbered):
        del given["landmarks"]
    else:
        numbered = None
    strange = [name for name in given if name not in family.options]
    if strange:
        takes = f"takes {', '.join(family.options)}" if family.options else "takes none but landmarks as a text"
        raise FaceModelError(f"{path}: {strange[0]} is no option of {family.name}, which {takes}")
    model = family.load(path, **given)
    if numbered is None:
        return model
    return replace(model, landmark_ids=landmarks.read(numbered, model.n_vertices))
