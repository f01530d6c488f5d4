"""The paper's evaluation: emotions from expression codes, across scales, against landmark pipelines."""
