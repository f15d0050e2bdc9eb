"""Speed of `likeness evaluate` with encoders of real size: against the public scorers' loop and the bare networks.

    python benchmarks/perf/evaluate.py [PICTURES] [--loop PICTURES]

CLIP ViT-B/32 and DINO ViT-S/16 with random weights; 512 px files; PICTURES (750) generated for 30 subjects with 158
photos, as DreamBench has. Public scorers (PatchDPO, UNO) compare picture by picture: both sides of every comparison are
encoded, with all threads of torch. That loop is timed on the first `--loop` pictures (24) only, and per picture. "Bare"
is the encoders alone, in batches of the same shape, on pictures that are decoded already, by as many processes. The
clock of the first evaluation starts with nothing loaded and no feature stored, that of the second with all of them.
Prints one JSON object per figure.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.images import load_image
from likeness.core.jobs import run_jobs
from likeness.core.records import Case, Subject, write_cases
from likeness.encoders import EncoderSet
from likeness.encoders.base import BATCH

SUBJECTS, PHOTOS, SIDE = 30, 158, 512


def write_weights(folder: Path) -> dict[str, str]:
    """CLIP ViT-B/32 and DINO ViT-S/16 of published sizes, with random weights and the embedded CLIP's tokenizer."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ViTConfig, ViTModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from likeness.core.weights import embedded

    torch.manual_seed(0)
    text = CLIPTextConfig(bos_token_id=1095, eos_token_id=1096, pad_token_id=1096)
    vision = CLIPVisionConfig(patch_size=32)
    CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).save_pretrained(folder / "clip")
    AutoTokenizer.from_pretrained(embedded("clip")).save_pretrained(folder / "clip")
    small = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    ViTModel(small, add_pooling_layer=False).save_pretrained(folder / "dino")
    for name in ("clip", "dino"):
        CLIPImageProcessorPil().save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("clip", "dino")}


def write_run(folder: Path, *, pictures: int) -> list[Case]:
    """A run folder of pictures of noise on colour, and its cases."""
    rng = np.random.default_rng(0)

    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        noise = rng.integers(0, 24, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(np.asarray(rough) // 2 + noise).save(path)
        return path

    counts = [PHOTOS // SUBJECTS + (i < PHOTOS % SUBJECTS) for i in range(SUBJECTS)]
    photos = [[write(folder / "photos" / f"{i}-{k}.png") for k in range(count)] for i, count in enumerate(counts)]
    people = [
        Subject(id=f"s{i}", class_name="thing", reference_image=some[0], photos=tuple(some))
        for i, some in enumerate(photos)
    ]
    cases = [
        Case(id=f"c{i}", prompt=f"a red cat number {i}", subjects=(people[i % SUBJECTS],)) for i in range(pictures)
    ]
    write_cases(folder / "cases.jsonl", cases)
    rows = [{"id": f"c{i}-0", "case_id": f"c{i}", "image": f"images/c{i}-0.png"} for i in range(pictures)]
    for row in rows:
        write(folder / row["image"])
    write_jsonl(folder / "manifest.jsonl", rows)
    return cases


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loop(cases: list[Case], folder: Path, encoders: EncoderSet) -> list[float]:
    """The public scorers' logic: every comparison loads and encodes both of its sides."""
    scores: list[float] = []
    clip, dino = encoders["clip"], encoders["dino"]
    for case in cases:
        path = folder / "images" / f"{case.id}-0.png"
        scores.append(float(clip.look([load_image(path)])[0] @ clip.read([case.prompt])[0].vector))
        for encoder in (clip, dino):
            for photo in case.subjects[0].photos:
                scores.append(float(encoder.look([load_image(path)])[0] @ encoder.look([load_image(photo)])[0]))
    return scores


def bare(encoders: EncoderSet, worker: int) -> Callable[[int], int]:
    """A worker that runs both networks on one batch of noise as often as asked."""
    pixels = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(worker))
    clip, dino = encoders["clip"].model, encoders["dino"].model

    @torch.inference_mode()
    def work(_: int) -> int:
        clip.get_image_features(pixel_values=pixels)
        dino(pixel_values=pixels)
        return BATCH

    return work


def figure(name: str, ratio: float, *, goal: float, better: str, n: int) -> None:
    """One line of JSON."""
    print(json.dumps({"name": name, "ratio": round(ratio, 4), "goal": goal, "better": better, "n": n}), flush=True)


def main() -> None:
    """Prints a line for people per measurement, then the figures."""
    import likeness.encoders.base as base
    from likeness.evaluate import evaluate_run, load_encoders

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=int, default=750)
    parser.add_argument("--loop", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        specs = write_weights(folder / "weights")
        cases = write_run(folder / "run", pictures=options.pictures)
        workers = EncoderSet(specs).num_workers

        def evaluate() -> None:
            encoders = load_encoders(specs)
            evaluate_run(folder / "run", benchmark="x", encoders=encoders, features=folder / "features", bounds=False)

        first, second = timed(evaluate), timed(evaluate)
        num = options.pictures + PHOTOS
        batches = range(-(-num // BATCH))
        work = partial(run_jobs, batches, load=partial(bare, load_encoders(specs)), workers=workers, single_thread=True)
        alone = timed(lambda: list(work()))
        encoders = load_encoders(specs)
        base.in_batches.__kwdefaults__["size"] = 1  # the public loop pads nothing
        looped = timed(lambda: loop(cases[: options.loop], folder / "run", encoders)) / options.loop
    print(f"{workers} workers: first {first:.1f} s, second {second:.2f} s, bare {alone:.1f} s")
    print(f"the public loop: {looped:.2f} s a picture")
    figure("evaluate against the public loop", looped * options.pictures / first, goal=3.0, better="higher", n=num)
    figure("evaluate against bare encoders", alone / first, goal=0.85, better="higher", n=num)
    figure("second evaluation against the first", second / first, goal=0.05, better="lower", n=num)


if __name__ == "__main__":
    main()
