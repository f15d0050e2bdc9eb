"""How often `likeness data lint` is wrong: false alarms on clean pairs, hits on planted faults, photographs and drawn.

    python figures/lint_calibration.py --photos ../shared/data/dreambench --pairs 300 --out runs/lint-calibration

Photo pairs are composites: inside a mask the loser shows another photo, another hue or a warp, with edges feathered
inside the mask; both pictures are stored exactly, or one or both are compressed as JPEG. Drawn pairs come from
`make_pairs`. In a copy of each set every third pair gets one fault of each kind in turn.
"""

import argparse
import io
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows of pairs.jsonl

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_fill_holes, distance_transform_edt, gaussian_filter, label, shift

from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.lint.findings import LintReport
from likeness.data.lint.run import lint_pairs

ROOT = Path(__file__).resolve().parent.parent

Row = dict[str, Any]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Plant = Callable[[Row, Path, np.random.Generator], bool]
Photos = dict[str, list[Pixels]]

QUALITIES = (50, 70, 80, 90, 95)
EVERY = 3
TWINS = 4


# -- photographs -----------------------------------------------------------------------------------------------
def load_photos(folder: Path, *, side: int) -> Photos:
    """Subject -> its photos, cut to squares of `side` px."""
    found: Photos = defaultdict(list)
    for path in sorted(folder.glob("*/*.jpg")):
        with Image.open(path) as image:
            short = min(image.size)
            left, top = (image.width - short) // 2, (image.height - short) // 2
            square = image.convert("RGB").crop((left, top, left + short, top + short))
            found[path.parent.name].append(np.asarray(square.resize((side, side), Image.Resampling.LANCZOS)))
    return {name: pictures for name, pictures in found.items() if len(pictures) > 1}


def synthetic_photos(*, side: int, subjects: int = 8, each: int = 3, seed: int = 0) -> Photos:
    """Textures with the spectrum of photographs (1 / frequency), sensor noise and a lit gradient, by subject."""
    rng = np.random.default_rng(seed)
    return {f"texture{s:02d}": [_texture(rng, side) for _ in range(each)] for s in range(subjects)}


def _texture(rng: np.random.Generator, side: int) -> Pixels:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1
    waves = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / frequency, s=(side, side)) for _ in range(3)]
    mixed = np.stack(waves, -1) @ (np.eye(3) * 0.4 + 0.6)
    levels = rng.uniform(80, 170, 3) + 40 * mixed / mixed.std() + rng.normal(0, 2, mixed.shape)
    return np.clip(levels, 0, 255).astype(np.uint8)


# -- masks -----------------------------------------------------------------------------------------------------
def ellipse(rng: np.random.Generator, picture: Pixels) -> Mask:
    """An ellipse near the middle that covers 5% to 30%."""
    side = len(picture)
    (x, y), (a, b) = rng.uniform(0.4, 0.6, 2) * side, rng.uniform(0.14, 0.32, 2) * side
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).ellipse((x - a, y - b, x + a, y + b), fill=255)
    return np.asarray(canvas) > 127


def polygon(rng: np.random.Generator, picture: Pixels) -> Mask:
    """A polygon of 5 to 11 corners, drawn by hand as it were."""
    side, corners = len(picture), int(rng.integers(5, 12))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + np.linspace(0, 0.3, corners)
    radii, middle = rng.uniform(0.16, 0.34, corners) * side, rng.uniform(0.42, 0.58, 2) * side
    points = [(middle[0] + r * np.cos(t), middle[1] + r * np.sin(t)) for r, t in zip(radii, angles, strict=True)]
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    return np.asarray(canvas) > 127


def grabcut_like(rng: np.random.Generator, picture: Pixels) -> Mask:
    """What is nearer in colour to the middle than to the border, filled, in one piece: ragged as segmenters cut."""
    side, colours = len(picture), gaussian_filter(picture.astype(float), (1, 1, 0))
    third = slice(side // 3, 2 * side // 3)
    edge = np.concatenate([colours[: side // 10].reshape(-1, 3), colours[-side // 10 :].reshape(-1, 3)])
    inner = np.abs(colours - np.median(colours[third, third].reshape(-1, 3), 0)).sum(-1)
    outer = np.abs(colours - np.median(edge, 0)).sum(-1)
    rows, columns = np.mgrid[:side, :side]
    near = np.hypot(rows - side / 2, columns - side / 2) < 0.36 * side
    pieces = np.zeros(near.shape, np.int32)
    label((inner < outer) & near, output=pieces)
    if not pieces.any():
        return ellipse(rng, picture)
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(binary_fill_holes(largest), bool)


MASKS = (ellipse, polygon, grabcut_like)


# -- losers ----------------------------------------------------------------------------------------------------
def other_content(rng: np.random.Generator, picture: Pixels, other: Pixels) -> Pixels:
    """Another subject's photo."""
    return other


def other_hue(rng: np.random.Generator, picture: Pixels, other: Pixels) -> Pixels:
    """The same shapes with exchanged channels and other lightness."""
    levels = 255.0 * (picture[..., np.roll([0, 1, 2], int(rng.integers(1, 3)))] / 255.0) ** rng.uniform(0.6, 0.8)
    return levels.astype(np.uint8)


def warped(rng: np.random.Generator, picture: Pixels, other: Pixels) -> Pixels:
    """The same colours elsewhere: moved by 4% to 10%."""
    rows, columns = (int(v) for v in rng.uniform(0.04, 0.1, 2) * len(picture) * rng.choice([-1, 1], 2))
    return np.roll(picture, (rows, columns), (0, 1))


LOSERS = (other_content, other_hue, warped)


def composite(picture: Pixels, changed: Pixels, mask: Mask, *, feather: float) -> Pixels:
    """`changed` inside the mask, fading over `feather` px that lie inside it too; outside not a bit differs."""
    depth = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    alpha = np.clip(depth / max(feather, 1e-6), 0, 1)[..., None]
    return np.where(mask[..., None], np.rint(picture + alpha * (changed.astype(float) - picture)), picture).astype(
        np.uint8
    )


def recompressed(picture: Pixels, quality: int) -> Pixels:
    """The picture after JPEG with Pillow's default colour subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


# -- clean photo pairs -----------------------------------------------------------------------------------------
def photo_pairs(photos: Photos, folder: Path, n: int, *, seed: int = 0) -> Path:
    """`folder` holds n clean pairs; a quarter has two subjects, half has reference masks, two thirds are compressed."""
    rng, rows = np.random.default_rng(seed), list[Row]()
    while len(rows) < n:
        row = _photo_pair(photos, folder, len(rows), rng)
        if row is not None:
            rows.append(row)
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


class _Scene(NamedTuple):
    names: list[str]
    preferred: Pixels
    masks: list[Mask]
    references: list[Pixels]


def _scene(photos: Photos, number: int, rng: np.random.Generator) -> _Scene:
    """One subject's photo, or two of them side by side, with masks and another photo of each."""
    count = 2 if number % 4 == 3 else 1
    names = [str(name) for name in rng.choice(sorted(photos), count, replace=False)]
    chosen = [rng.choice(len(photos[name]), 2, replace=False) for name in names]
    shown = [photos[name][first] for name, (first, _) in zip(names, chosen, strict=True)]
    references = [photos[name][second] for name, (_, second) in zip(names, chosen, strict=True)]
    make = MASKS[number % 3]
    masks = [make(rng, picture) for picture in shown]
    if count == 2:
        half = len(shown[0]) // 2
        cut = slice(half // 2, half // 2 + half)
        sides = [np.zeros_like(masks[0]) for _ in masks]
        for i, mask in enumerate(masks):
            sides[i][:, i * half : (i + 1) * half] = mask[:, cut]
        return _Scene(names, np.concatenate([picture[:, cut] for picture in shown], 1), sides, references)
    return _Scene(names, shown[0], masks, references)


def _photo_pair(photos: Photos, folder: Path, number: int, rng: np.random.Generator) -> Row | None:
    scene = _scene(photos, number, rng)
    losers = [0] if number % 8 == 3 else list(range(len(scene.masks)))
    prior = np.any([scene.masks[i] for i in losers], axis=0)
    stranger = str(rng.choice([name for name in sorted(photos) if name not in scene.names]))
    change = LOSERS[int(rng.integers(3))](rng, scene.preferred, photos[stranger][0])
    rejected = composite(scene.preferred, change, prior, feather=float(rng.choice([0, 3, 12])))
    different = np.abs(rejected.astype(int) - scene.preferred).max(-1) > 12
    if any(different[scene.masks[i]].mean() < 0.2 or scene.masks[i].mean() < 0.04 for i in losers):
        return None  # a mask or a change that nobody would call one
    preferred, (first, second) = scene.preferred, (int(q) for q in rng.choice(QUALITIES, 2))
    if number % 3 == 1:
        rejected = recompressed(rejected, second)
    elif number % 3 == 2:
        preferred, rejected = recompressed(preferred, first), recompressed(rejected, second)
    return _photo_row(folder, number, scene._replace(preferred=preferred), rejected, losers, rng)


def _photo_row(
    folder: Path, number: int, scene: _Scene, rejected: Pixels, losers: list[int], rng: np.random.Generator
) -> Row:
    name = f"photo-{number:05d}"
    references: list[Row] = []
    subjects: list[Row] = []
    for i, (who, mask) in enumerate(zip(scene.names, scene.masks, strict=True)):
        shared = {"phrase": who.replace("_", " "), "id": who}
        reference: Row = {"image": save(folder, f"{name}-reference{i}", scene.references[i]), "category": "object"}
        if number % 2:
            own = grabcut_like(rng, scene.references[i])
            reference["mask"] = save(folder, f"{name}-reference{i}-mask", own * 255)
        references.append(shared | reference)
        placed = {"mask": save(folder, f"{name}-mask{i}", mask * 255), "box": box_of(mask)}
        subjects.append(shared | placed | {"reference_index": i, "disrupted": i in losers})
    prior = np.any([scene.masks[i] for i in losers], axis=0)
    return {
        "id": name,
        "subset": "single" if len(subjects) == 1 else "multi",
        "category": "object",
        "prompt": f"a photo of {' and '.join(scene.names)}".replace("_", " "),
        "references": references,
        "preferred": save(folder, f"{name}-preferred", scene.preferred),
        "rejected": save(folder, f"{name}-rejected", rejected),
        "subjects": subjects,
        "prior_mask": save(folder, f"{name}-prior", prior * 255),
        "size": list(scene.preferred.shape[1::-1]),
    }


def box_of(mask: Mask) -> list[float]:
    """Left, top, right, bottom in shares of the sides."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return [
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    ]


def save(folder: Path, name: str, array: NDArray[Any]) -> str:
    """The path of a new PNG below `folder`."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(folder / "files" / f"{name}.png")
    return f"files/{name}.png"


# -- faults ----------------------------------------------------------------------------------------------------
def pixels(folder: Path, path: str) -> Pixels:
    """A picture or mask of the set."""
    with Image.open(folder / path) as image:
        return np.asarray(image)


def _write(folder: Path, row: Row, name: str, array: NDArray[Any]) -> str:
    return save(folder, f"planted-{row['id']}-{name}", array)


def _moved(mask: Mask, by: tuple[int, int]) -> Mask:
    return np.asarray(shift(mask, by, order=0), bool)


def _random_shift(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """At least 4 px of 128, at most 12."""
    unit = side / 128
    while True:
        rows, columns = (int(v) for v in rng.integers(round(-12 * unit), round(12 * unit) + 1, 2))
        if max(abs(rows), abs(columns)) >= 4 * unit:
            return rows, columns


def _shift_file(row: Row, folder: Path, path: str, name: str, by: tuple[int, int]) -> str:
    return _write(folder, row, name, _moved(pixels(folder, path) > 127, by) * 255)


def shifted_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The prior alone lies elsewhere."""
    row["prior_mask"] = _shift_file(row, folder, row["prior_mask"], "prior", _random_shift(rng, max(row["size"])))
    return True


def shifted_everything(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """Masks, prior and boxes agree with each other, but not with the picture."""
    by = _random_shift(rng, max(row["size"]))
    row["prior_mask"] = _shift_file(row, folder, row["prior_mask"], "prior", by)
    for index, subject in enumerate(row["subjects"]):
        subject["mask"] = _shift_file(row, folder, subject["mask"], f"subject-{index}", by)
        mask = pixels(folder, subject["mask"]) > 127
        if mask.sum() < 200:
            return False
        subject["box"] = box_of(mask)
    return True


def leaked_patch(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A patch of the background shows something else: 4% to 10% of the side, from elsewhere in the picture."""
    loser = pixels(folder, row["rejected"]).copy()
    side = int(rng.uniform(0.04, 0.1) * len(loser))
    near = binary_dilation(pixels(folder, row["prior_mask"]) > 127, iterations=max(len(loser) // 16, 8))
    free = ~near
    places = np.argwhere(free[:-side, :-side] & free[side:, side:] & free[:-side, side:] & free[side:, :-side])
    rng.shuffle(places)
    for top, left in places[:200]:
        patch = loser[top : top + side, left : left + side]
        if near[top : top + side, left : left + side].any():
            continue
        other = np.roll(loser, tuple(len(loser) // 2 for _ in range(2)), (0, 1))[top : top + side, left : left + side]
        if np.abs(patch.astype(float).mean((0, 1)) - other.astype(float).mean((0, 1))).max() > 16:
            loser[top : top + side, left : left + side] = other
            row["rejected"] = _write(folder, row, "leak", loser)
            return True
    return False


def leaked_background(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """Everything around the subject was drawn anew: lighter, and moved by a little."""
    loser = pixels(folder, row["rejected"])
    outside = (pixels(folder, row["prior_mask"]) <= 127)[..., None]
    drawn = np.clip(np.roll(loser, (len(loser) // 40, len(loser) // 50), (0, 1)) * 0.9 + 12, 0, 255)
    row["rejected"] = _write(folder, row, "leak", np.where(outside, drawn, loser))
    return True


def lighter_background(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The background has another exposure, which no recompression gives."""
    loser = pixels(folder, row["rejected"])
    outside = (pixels(folder, row["prior_mask"]) <= 127)[..., None]
    row["rejected"] = _write(folder, row, "leak", np.where(outside, np.clip(loser * 0.9 + 3, 0, 255), loser))
    return True


def noisy_background(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """What a round trip through an autoencoder does: a few grey levels here and there."""
    loser = pixels(folder, row["rejected"]).astype(int)
    row["rejected"] = _write(folder, row, "noise", np.clip(loser + rng.integers(-2, 3, loser.shape), 0, 255))
    return True


def inverted_masks(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """Black and white exchanged in the prior and in the masks of the disrupted subjects."""
    if len(row["subjects"]) > 1 or (pixels(folder, row["prior_mask"]) > 127).mean() < 0.1:
        return False
    row["prior_mask"] = _write(folder, row, "prior", 255 - pixels(folder, row["prior_mask"]))
    row["subjects"][0] |= {"mask": row["prior_mask"], "box": [0, 0, 1, 1]}
    return True


def swapped_judgement(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The pictures change places, and so does what the judge said of them."""
    answers = {yes: {"judge": [[True] * yes + [False] * (10 - yes)] * len(row["subjects"])} for yes in (3, 10)}
    row["qa"] = {"preferred": answers[3], "rejected": answers[10]}
    row["preferred"], row["rejected"] = row["rejected"], row["preferred"]
    return True


def weak_judgement(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A loser that the judge found as good as a winner."""
    row["qa"] = {"rejected": {"judge": [[True] * 8 + [False] * 2] * len(row["subjects"])}}
    return True


def swapped_names(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """Two subjects point to each other's references; ids and phrases say so."""
    if len(row["subjects"]) < 2:
        return False
    first, second = row["subjects"][:2]
    first["reference_index"], second["reference_index"] = second["reference_index"], first["reference_index"]
    return True


def emptied_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A black prior."""
    row["prior_mask"] = _write(folder, row, "prior", np.zeros_like(pixels(folder, row["prior_mask"])))
    return True


def shrunken_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A prior of 4 x 4 px."""
    mask = np.zeros_like(pixels(folder, row["prior_mask"]))
    mask[60:64, 60:64] = 255
    row["prior_mask"] = _write(folder, row, "prior", mask)
    return True


def small_subject(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A disrupted subject of one token beside the prior it had."""
    mask = np.zeros_like(pixels(folder, row["prior_mask"]))
    mask[48:64, 48:64] = 255
    subject = next(subject for subject in row["subjects"] if subject["disrupted"])
    subject["mask"] = _write(folder, row, "subject", mask)
    return True


def full_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A white prior."""
    row["prior_mask"] = _write(folder, row, "prior", np.full_like(pixels(folder, row["prior_mask"]), 255))
    return True


def mask_of_the_other(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The prior of the subject that was left alone."""
    if len(row["subjects"]) != 2 or all(subject["disrupted"] for subject in row["subjects"]):
        return False
    (kept,) = (subject for subject in row["subjects"] if not subject["disrupted"])
    row["prior_mask"] = kept["mask"]
    return True


def unchanged_loser(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The rejected picture is the preferred one."""
    row["rejected"] = _write(folder, row, "same", pixels(folder, row["preferred"]))
    return True


def recompressed_loser(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The rejected picture is the preferred one, saved as JPEG: nothing of the subject changed."""
    row["rejected"] = _write(folder, row, "same", recompressed(pixels(folder, row["preferred"]), 85))
    return True


def cut_mask(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A prior with fewer rows than the picture."""
    row["prior_mask"] = _write(folder, row, "prior", pixels(folder, row["prior_mask"])[:96])
    return True


def missing_file(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A path to nowhere."""
    row["rejected"] = "files/nowhere.png"
    return True


def damaged_file(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A picture cut off half-way."""
    path = _write(folder, row, "damaged", pixels(folder, row["preferred"]))
    (folder / path).write_bytes((folder / path).read_bytes()[:400])
    row["preferred"] = path
    return True


def empty_reference(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A black mask of a reference."""
    reference = row["references"][0]
    picture = pixels(folder, reference["image"])
    reference["mask"] = _write(folder, row, "reference-mask", np.zeros(picture.shape[:2]))
    return True


def own_reference(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The preferred picture as its own reference."""
    row["references"][0] |= {"image": row["preferred"], "mask": None}
    return True


def grey_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A prior with soft edges."""
    soft = gaussian_filter(pixels(folder, row["prior_mask"]).astype(float), 1.5)
    row["prior_mask"] = _write(folder, row, "prior", np.rint(soft))
    return True


FAULTS: dict[str, tuple[Plant, str]] = {
    "shifted prior": (shifted_prior, "prior_not_union"),
    "shifted everything": (shifted_everything, "leaked_background shifted_mask"),
    "leaked patch": (leaked_patch, "leaked_background"),
    "leaked background": (leaked_background, "leaked_background"),
    "lighter background": (lighter_background, "leaked_background"),
    "noisy background": (noisy_background, "recompressed"),
    "inverted masks": (inverted_masks, "leaked_background large_prior"),
    "swapped judgement": (swapped_judgement, "swapped_winner"),
    "weak judgement": (weak_judgement, "gate_failed"),
    "swapped names": (swapped_names, "wrong_subject_order"),
    "empty prior": (emptied_prior, "empty_prior"),
    "tiny prior": (shrunken_prior, "tiny_prior"),
    "small subject": (small_subject, "few_tokens"),
    "full prior": (full_prior, "large_prior"),
    "mask of the other": (mask_of_the_other, "prior_not_union"),
    "identical pictures": (unchanged_loser, "identical_pictures"),
    "unchanged subject": (recompressed_loser, "unchanged_subject"),
    "cut mask": (cut_mask, "wrong_size"),
    "missing file": (missing_file, "bad_row"),
    "damaged file": (damaged_file, "unreadable_picture"),
    "empty reference": (empty_reference, "empty_reference"),
    "own reference": (own_reference, "self_reference"),
    "grey prior": (grey_prior, "grey_mask"),
}
"""Name -> what plants it, and the codes of which one must be found."""


def plant(clean: Path, folder: Path, *, seed: int = 0) -> dict[str, str]:
    """`folder` is the clean set in which every third pair has one fault, with repeated pairs at its end; id -> fault.

    A fault that the pair at hand cannot have waits for one that can.
    """
    shutil.copytree(clean, folder)
    rng, waiting = np.random.default_rng(seed), list(FAULTS)
    rows, planted = read_jsonl(folder / "pairs.jsonl"), dict[str, str]()
    for place in range(0, len(rows), EVERY):
        for fault in list(waiting):
            row = json.loads(json.dumps(rows[place]))
            if FAULTS[fault][0](row, folder, rng):
                rows[place], planted[row["id"]] = row, fault
                waiting.append(waiting.pop(waiting.index(fault)))
                break
    for copies, row in enumerate([row for row in rows if row["id"] not in planted][:TWINS]):
        twin = row | {"id": f"twin-{copies}"}
        for key in ("preferred", "rejected"):
            twin[key] = _write(folder, twin, key, pixels(folder, twin[key]))
        rows.append(twin)
        planted[twin["id"]] = "duplicate"
    write_jsonl(folder / "pairs.jsonl", rows)
    return planted


# -- counting --------------------------------------------------------------------------------------------------
class Tally(NamedTuple):
    """Findings on clean pairs by code, and per fault (found, planted, the codes where it was missed)."""

    errors: Counter[str]
    warnings: Counter[str]
    hits: dict[str, tuple[int, int, Sequence[str]]]


def tally(report: LintReport, planted: dict[str, str]) -> Tally:
    """What `report` says of planted pairs and of the others."""
    wanted = {fault: set(codes.split()) for fault, (_, codes) in FAULTS.items()} | {"duplicate": {"duplicate_pair"}}
    seen = defaultdict[str, set[str]](set)
    errors, warnings = Counter[str](), Counter[str]()
    for found in report.findings:
        if found.pair in planted:
            seen[found.pair].add(found.code)
        elif found.pair is not None:
            (errors if found.severity == "error" else warnings)[found.code] += 1
    hits: dict[str, tuple[int, int, Sequence[str]]] = {}
    for fault in sorted(set(planted.values())):
        names = [name for name, what in planted.items() if what == fault]
        missed = [f"{name}: {sorted(seen[name])}" for name in names if not seen[name] & wanted[fault]]
        hits[fault] = (len(names) - len(missed), len(names), missed)
    return Tally(errors, warnings, hits)


def lines_of(kind: str, clean: Tally, planted: Tally) -> Iterator[str]:
    """The counts as text."""
    yield f"{kind}: clean pairs: {clean.errors.total()} errors {dict(clean.errors)}, warnings {dict(clean.warnings)}"
    found, total = sum(hit for hit, _, _ in planted.hits.values()), sum(of for _, of, _ in planted.hits.values())
    yield f"{kind}: planted faults: {found} of {total} found; beside them {planted.errors.total()} errors"
    for fault, (hit, of, missed) in planted.hits.items():
        yield f"    {fault:<20} {hit} of {of}" + "".join(f"\n        {line}" for line in missed)


def calibrate(kind: str, folder: Path) -> None:
    """Prints the counts of a clean set, and of its copy with faults."""
    clean = tally(lint_pairs(folder), {})
    planted_folder = folder.with_name(f"{folder.name}-planted")
    shutil.rmtree(planted_folder, ignore_errors=True)
    planted = plant(folder, planted_folder)
    print("\n".join(lines_of(kind, clean, tally(lint_pairs(planted_folder), planted))), flush=True)


def main() -> None:
    """Builds both sets where they are missing, looks at them, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "data" / "dreambench")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--drawn", type=int, default=200)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "lint-calibration")
    options = parser.parse_args()
    photo_set = options.out / f"photos-{options.pairs}-{options.side}-{options.seed}"
    if not (photo_set / "pairs.jsonl").is_file():
        photos = load_photos(options.photos, side=options.side)
        if len(photos) < 3:
            parser.error(f"--photos: expected folders of at least 3 subjects, got {len(photos)} in {options.photos}")
        photo_pairs(photos, photo_set, options.pairs, seed=options.seed)
    calibrate("photographs", photo_set)
    if options.drawn:
        from likeness.data.pairs.dip import make_pairs

        drawn_set = options.out / f"drawn-{options.drawn}-{options.seed}"
        make_pairs(options.drawn, out=drawn_set, seed=options.seed)
        calibrate("drawn", drawn_set)


if __name__ == "__main__":
    main()
