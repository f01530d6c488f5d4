"""Training: `expnet train`. Start reading at run.py; config.py has the recipes."""
