"""Cards: what a checkpoint is worth on test pictures, one file per checkpoint; `calibrate.py` writes them."""
