"""The subcommands of `expnet`, one file each.

`add(commands)` declares the arguments, `run(options)` does it and returns the exit code. Heavy imports are inside
`run`, so that --help answers at once.
"""

from types import ModuleType

from expnet_tf.commands import (
    average,
    bench,
    demo,
    evaluate,
    export,
    face_model,
    import_2018,
    label,
    live,
    models,
    pack,
    predict,
    quality,
    repository,
    retarget,
    serve,
    synth,
    train,
    verify,
)

_IN_ORDER = (
    predict, live, retarget, synth, label, pack, train, average, quality, evaluate, export, verify, bench, repository,
    serve, demo, models, face_model, import_2018,
)  # fmt: skip
COMMANDS: dict[str, ModuleType] = {module.__name__.rsplit(".", 1)[1].replace("_", "-"): module for module in _IN_ORDER}
