"""ExpNet's release of 2018 for those who hold its files: its networks, its pixels, its program.

    expnet import-2018 --expression Expression_Model --shape Shape_Model --pose fpn_new_model --out networks
    expnet predict --pipeline release2018 --input input.csv --networks networks --face-model FILE --out meshes

docs/release2018.md says what was taken over, and which of its quirks. Nothing of the release is in this package.
"""


class ReleaseError(ValueError):
    """A file of the release that cannot be used: one sentence with the file, what was found, what is accepted."""
