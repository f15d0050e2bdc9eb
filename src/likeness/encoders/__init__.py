"""Frozen feature extractors: CLIP (image and text), DINO-style ViT, and the attribute probe of the drawn world.

Importing this room costs nothing: torch and transformers are imported by the file of the encoder that needs them
(`clip.py`, `vit.py`, `probe.py`; `probe_targets.py` is the training side of the probe). `reading.py` is plain data,
`base.py` what the encoders share.
Every encoder turns each picture into numbers one picture at a time: measured on CPU, numbers of one picture change in
the last bits with the batch it travels in (2e-6 for the probe), and a sample's value must not depend on its neighbours.
"""

# Which weights each table uses: published checkpoints for photographs, shipped ones for the drawn world.
# The published ones are named with the revision that holds them as safetensors; their main branches hold pickles only.
PHOTO_ENCODERS: dict[str, str] = {
    "clip": "openai/clip-vit-base-patch32@refs/pr/15",
    "dino": "facebook/dino-vits16@refs/pr/1",
}
WORLD_ENCODERS: dict[str, str] = {"clip": "clip", "dino": "dino", "probe": "probe"}
