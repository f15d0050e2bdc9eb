"""The stages of `likeness world pretrain`: the checkpoints inside the package, trained on the drawn world.

run.py joins the stages; autoencoder.py, latents.py, transformer.py, probe.py and contrastive.py are one each, export.py
and calibrate.py put the results into the package. tiny_flux.py is the small stock pipeline that they train.
"""
