"""The stages of `likeness world pretrain`: the checkpoints inside the package, trained on the drawn world.

run.py joins the stages; autoencoder.py, latents.py, transformer.py, unet.py, probe.py and contrastive.py are one each,
export.py and calibrate.py put the results into the package. tiny_flux.py and tiny_sdxl.py are the small stock pipelines
that they train.
"""
