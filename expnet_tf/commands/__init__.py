"""The subcommands of `expnet`, one file each.

`add(commands)` declares the arguments, `run(options)` does it and returns the exit code. Heavy imports are inside
`run`, so that --help answers at once.
"""

from types import ModuleType

from expnet_tf.commands import (
    bench,
    demo,
    evaluate,
    export,
    label,
    models,
    pack,
    predict,
    repository,
    serve,
    synth,
    train,
    verify,
)

COMMANDS: dict[str, ModuleType] = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (predict, synth, label, pack, train, evaluate, export, verify, bench, repository, serve, demo, models)
}
