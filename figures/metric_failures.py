"""What the pages of docs/metrics call failures, drawn in the world, and what embedded encoders say of each picture.

    python figures/metric_failures.py          # docs/pictures/{several_subjects,objects,faces}_failures.webp

Nothing is picked by its value: the seeds stand below. The values are printed, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from planted import MEANT_FOR, plant

from likeness.core.records import Case, Labels, Subject
from likeness.encoders import load_encoder
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, SubjectEvidence
from likeness.world.identity import Identity, sample_identity
from likeness.world.render import render_image, render_reference
from likeness.world.scenario import Scenario

OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"
SIZE, GAP, CAPTION = 128, 6, 44
SEED = 1

Pixels = NDArray[np.uint8]
Panel = tuple[str, Pixels]


def main() -> None:
    save("several_subjects_failures", several_subjects())
    save("objects_failures", objects())
    save("faces_failures", faces())


def save(name: str, panels: Sequence[Panel]) -> None:
    """The panels side by side, what each is below it."""
    canvas = Image.new("RGB", (len(panels) * (SIZE + GAP) - GAP, SIZE + CAPTION), "white")
    for place, (words, picture) in enumerate(panels):
        left = place * (SIZE + GAP)
        canvas.paste(Image.fromarray(picture).convert("RGB").resize((SIZE, SIZE)), (left, 0))
        ImageDraw.Draw(canvas).multiline_text((left + 2, SIZE + 2), words, fill=(60, 60, 66), spacing=2)
        print(name, words.replace("\n", ": "))
    OUT.mkdir(parents=True, exist_ok=True)
    canvas.save(OUT / f"{name}.webp", quality=85, method=6)


def several_subjects() -> list[Panel]:
    """A case of figures/planted.py: its photos, a correct picture and the seven failures."""
    planted = plant(SEED)
    photos = [(f"photo of subject {number}", of_one[0]) for number, of_one in enumerate(planted.photos, start=1)]
    meant = {name: metric.replace(".", "\n.") for name, metric in MEANT_FOR.items()}
    failures = [(f"{name}\n{meant[name]}", picture) for name, picture in planted.failures.items()]
    return [*photos, ("correct", planted.correct), *failures]


def objects() -> list[Panel]:
    """GOA of a cat on a bike, asked for "cat" and "bicycle"."""
    cat = sample_identity(Random(SEED), split="test", species="cat")
    asked = Scenario("bike", "countryside", (cat,), SEED)
    pictures = {
        "as asked": asked,
        "no bicycle": replace(asked, action="wave"),
        "two cats, no bicycle": replace(asked, action="together", identities=(cat, cat)),
        "far away": replace(asked, zoom=0.5),
    }
    detector, words = load_encoder("owl", "detector"), ("cat", "bicycle")
    panels: list[Panel] = []
    for name, scenario in pictures.items():
        picture = render_image(scenario, size=SIZE)
        answers = dict(zip(words, detector.ask([Image.fromarray(picture)] * len(words), words), strict=True))
        case = Case(id="a", prompt="A cat is riding a bike.", labels=Labels(detectables=words))
        goa = METRICS["goa"].measure(Evidence(case, picture={}, prompt={}, subjects=(), answers={"owl": answers})).value
        scores = " ".join(f"{score:.2f}" for score in goa.parts.values())
        panels.append((f"{name}\nGOA {goa.value:.2f} ({scores})", picture))
    return panels


def faces() -> list[Panel]:
    """IPS of pictures asked to show the person of the photo."""
    who = sample_identity(Random(SEED), split="test", species="person")
    other = sample_identity(Random(SEED + 1), split="test", species="person")
    photo = render_reference(who, seed=SEED, size=SIZE)
    clothes = replace(who, body_color=who.second_color, second_color=who.body_color)
    encoder = load_encoder("faces", "faces")
    pictures = {
        "the person": _waving(who),
        "other clothes": _waving(clothes),
        "somebody else": _waving(other),
        "far away": _waving(who, zoom=0.35),
        "a copy of the photo": photo,
    }
    seen = encoder.look([Image.fromarray(each) for each in (photo, *pictures.values())])
    panels: list[Panel] = [("photo", photo)]
    for (name, picture), sight in zip(pictures.items(), seen[1:], strict=True):
        subject = Subject(id="p1", class_name="person", reference_image=Path("0.png"))
        evidence = SubjectEvidence(subject, photos=({"faces": seen[0]},), conditioning={"faces": seen[0]})
        case = Case(id="a", prompt="A person is waving.", subjects=(subject,))
        measured = METRICS["ips_fixed"].measure(Evidence(case, {"faces": sight}, prompt={}, subjects=(evidence,)))
        panels.append((f"{name}\nIPS {measured.value.value:.2f} {measured.value.note}"[:48], picture))
    return panels


def _waving(who: Identity, *, zoom: float = 1.0) -> Pixels:
    return render_image(Scenario("wave", "countryside", (who,), SEED, zoom=zoom), size=SIZE)


if __name__ == "__main__":
    main()
