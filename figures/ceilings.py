"""The most a generated picture can score on a benchmark: the true pictures of its cases, through the autoencoder."""

from pathlib import Path
from typing import Any  # JSON

import numpy as np
from diffusers import AutoencoderKL
from PIL import Image

from likeness.core.images import load_image, save_png
from likeness.core.records import read_cases
from likeness.core.weights import embedded
from likeness.encoders import WORLD_ENCODERS
from likeness.evaluate import evaluate_run, load_encoders
from likeness.pretrain.calibrate import autoencoded


def measure_ceiling(cases: Path, *, benchmark: str, out: Path) -> dict[str, Any]:
    """The probe's summary of the true pictures beside the case file `cases`, autoencoded into the folder `out`."""
    vae = AutoencoderKL.from_pretrained(embedded("flux") / "vae")
    listed = read_cases(cases).cases
    missing = [case.id for case in listed if not (out / f"{case.id}.png").is_file()]
    true = [np.asarray(load_image(cases.parent / "truth" / f"{name}.png")) for name in missing]
    out.mkdir(parents=True, exist_ok=True)
    for name, pixels in zip(missing, autoencoded(vae, true), strict=True):
        save_png(Image.fromarray(pixels), out / f"{name}.png")
    encoders = load_encoders({"probe": WORLD_ENCODERS["probe"]})
    return evaluate_run(out, benchmark=benchmark, cases=cases, encoders=encoders, bounds=False)
