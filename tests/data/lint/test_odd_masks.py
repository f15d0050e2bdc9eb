"""Masks as people save them: read with a note by lint and by an import, refused by training where none covers."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.pairs import read_pairs
from likeness.data.formats.layouts import Beside, import_layout
from likeness.data.lint.run import lint_pairs
from likeness.train.pairs.task import _require_prior  # pyright: ignore[reportPrivateUsage]

SIDE = 128


def levels() -> NDArray[np.uint8]:
    canvas = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(canvas).ellipse((24, 20, 100, 112), fill=255)
    return np.asarray(canvas)


def write_pair(folder: Path, mask: Image.Image) -> Path:
    """One pair whose loser differs in `levels`, with `mask` as its prior."""
    folder.mkdir(exist_ok=True)
    winner = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    loser = np.where(levels()[..., None] > 0, 255 - winner, winner).astype(np.uint8)
    for name, picture in (("win", winner), ("lose", loser), ("ref", winner[::-1])):
        Image.fromarray(picture).save(folder / f"{name}.png")
    mask.save(folder / "mask.png")
    subject = {"phrase": "dog", "reference_index": 0, "mask": "mask.png", "box": [0.1, 0.1, 0.9, 0.9]}
    row = {"id": "p", "subset": "single", "category": "animal", "prompt": "a dog", "preferred": "win.png"}
    row |= {"references": [{"image": "ref.png", "phrase": "dog", "category": "animal"}], "rejected": "lose.png"}
    row |= {"subjects": [subject | {"disrupted": True}], "prior_mask": "mask.png", "size": [SIDE, SIDE]}
    write_jsonl(folder / "pairs.jsonl", [row])
    return folder


def in_alpha() -> Image.Image:
    black = Image.new("L", (SIDE, SIDE))
    return Image.merge("RGBA", (black, black, black, Image.fromarray(levels())))


def zero_one() -> Image.Image:
    return Image.fromarray((levels() > 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (Image.fromarray(levels()), []),
        (zero_one(), [("unusual_mask", "values 0 and 1; multiplied by 255")] * 2),
        (in_alpha(), [("unusual_mask", "the alpha channel is the mask")] * 2),
        (Image.merge("RGBA", [Image.fromarray(levels())] * 4), []),
    ],
)
def test_lint_reads_it_and_says_so(tmp_path: Path, mask: Image.Image, expected: list[tuple[str, str]]) -> None:
    found = lint_pairs(write_pair(tmp_path / "set", mask)).findings
    assert [(each.code, each.what.partition(": ")[2]) for each in found] == expected


def test_an_inverted_mask_is_the_same_error_and_called_inverted(tmp_path: Path) -> None:
    found = lint_pairs(write_pair(tmp_path / "set", Image.fromarray(255 - levels()))).findings
    assert [each.code for each in found if each.severity == "error"] == ["leaked_background", "unchanged_subject"]
    assert "the mask looks inverted" in found[0].what


def imported_mask(tmp_path: Path, mask: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """What `data import --masks` writes, and what the row says of it."""
    pair = write_pair(tmp_path / "pair", mask)
    row = {"prompt": "a dog", "image_paths": ["ref.png"], "image_tgt_path": "win.png"}
    (pair / "uno.json").write_text(json.dumps([row | {"image_rejected_path": "lose.png"}]), "utf-8")
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "win.png")
    import_layout("uno", pair / "uno.json", tmp_path / "out", beside=Beside(masks=tmp_path / "masks"))
    (made,) = read_jsonl(tmp_path / "out" / "pairs.jsonl")
    return np.asarray(Image.open(tmp_path / "out" / made["prior_mask"])), made["models"]["mask"]


def test_an_import_writes_black_and_white_and_says_how_it_read_them(tmp_path: Path) -> None:
    written, how = imported_mask(tmp_path, zero_one())
    assert (written == levels()).all()
    assert how == "given: values 0 and 1; multiplied by 255"


def test_an_import_refuses_a_mask_that_covers_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected white \(255\) on the subject, got 38 at most"):
        imported_mask(tmp_path, Image.fromarray(np.where(levels() > 0, 38, 0).astype(np.uint8)))


def test_training_refuses_a_set_without_any_prior_and_notes_how_it_read_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = read_pairs(write_pair(tmp_path / "empty", Image.new("L", (SIDE, SIDE)))).pairs
    usable = read_pairs(write_pair(tmp_path / "usable", zero_one())).pairs
    with pytest.raises(DataError, match="got only empty masks in 1"):
        _require_prior(empty, place="pairs")
    _require_prior((*empty, *usable), place="pairs")
    assert "values 0 and 1; multiplied by 255" in capsys.readouterr().err
