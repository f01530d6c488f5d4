"""Training: batches of labelled crops, losses in millimetres, and the runs that make the shipped weights."""
