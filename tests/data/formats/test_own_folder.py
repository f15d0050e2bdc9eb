"""One's own folders as pairs: joined by name, filled in where that can be done, left out by name where it cannot."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from likeness.core.errors import DataError
from likeness.core.masks import read_mask
from likeness.core.pairs import read_pairs
from likeness.data.formats.layouts import import_layout
from likeness.data.formats.own_folder import difference_mask
from likeness.data.lint.run import lint_pairs

BALL = (40, 40, 88, 88)


def ball(path: Path, color: str, *, box: tuple[int, int, int, int] = BALL) -> Path:
    """A ball with a stripe on a plain of two colours."""
    image = Image.new("RGB", (128, 128), "lightgreen")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 100, 128, 128), fill="gray")
    draw.ellipse(box, fill=color)
    draw.line((box[0] + 10, box[1] + 24, box[2] - 10, box[1] + 24), fill="white", width=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).ellipse(BALL, fill=255)
    image.save(path)


def write_folder(folder: Path, names: tuple[str, ...] = ("a ball on a lawn", "a_ball_at-noon")) -> Path:
    ball(folder / "refs" / "ball.png", "red", box=(20, 30, 100, 110))
    for number, name in enumerate(names):
        ball(folder / "preferred" / f"{name}.png", "red")
        ball(folder / "rejected" / f"{name}.png", ("purple", "blue", "orange", "yellow")[number])
    return folder


def test_the_least_folder_is_filled_in_and_says_so(tmp_path: Path) -> None:
    done = import_layout("own", write_folder(tmp_path / "mine"), tmp_path / "out", category="object")
    pairs = read_pairs(tmp_path / "out").pairs
    assert {pair.prompt for pair in pairs} == {"a ball on a lawn", "a ball at noon"}
    assert dict(done.filled) == {
        "box (the mask's)": 2,
        "category (assumed)": 2,
        "mask (made: where both pictures differ)": 2,
        "prompt (the file's name)": 2,
        "reference masks (none: the whole picture)": 2,
        "size (the preferred picture's)": 2,
    }
    truth = Image.new("L", (128, 128))
    ImageDraw.Draw(truth).ellipse(BALL, fill=255)
    for pair in pairs:
        assert pair.size == (128, 128)
        assert pair.prior_mask is not None
        assert np.array_equal(read_mask(pair.prior_mask), np.asarray(truth) > 0)  # the stripe is filled
        assert pair.subjects[0].box == pytest.approx((40 / 128, 40 / 128, 89 / 128, 89 / 128))
        assert pair.references[0].image.name.endswith("reference-0.png")
    assert lint_pairs(tmp_path / "out").num_errors == 0


def test_what_is_there_is_used(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", ("1", "2"))
    (folder / "preferred" / "1.txt").write_text("a red ball\n")
    (folder / "prompts.json").write_text(json.dumps({"2": "another ball"}))
    for name in ("1", "2", "ball"):
        mask(folder / "masks" / f"{name}.png")
    done = import_layout("own", folder, tmp_path / "out", category="animal")
    assert set(done.filled) == {"box (the mask's)", "category (assumed)", "size (the preferred picture's)"}
    one, two = read_pairs(tmp_path / "out").pairs
    assert (one.prompt, two.prompt, one.category) == ("a red ball", "another ball", "animal")
    assert one.references[0].mask is not None
    assert read_mask(one.references[0].mask).sum() == read_mask(one.subjects[0].mask).sum() > 1500


def test_references_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", ("a red ball", "two red balls"))
    (folder / "refs" / "ball.png").unlink()
    ball(folder / "refs" / "a red ball.png", "blue")
    for number, color in enumerate(("red", "orange")):
        ball(folder / "refs" / f"two red balls-{number}.png", color)
    import_layout("own", folder, tmp_path / "out")
    assert [len(pair.references) for pair in read_pairs(tmp_path / "out").pairs] == [1, 2]


def test_what_cannot_be_filled_is_left_out_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", ("a ball", "01", "a pair alone", "the same twice"))
    (folder / "rejected" / "a pair alone.png").unlink()
    ball(folder / "rejected" / "of nothing.png", "red")
    ball(folder / "rejected" / "the same twice.png", "red")
    done = import_layout("own", folder, tmp_path / "out")
    assert done.num_pairs == 1
    reasons = {Path(row.where).stem: row.reason for row in done.left_out}
    assert set(reasons) == {"01", "a pair alone", "of nothing", "the same twice"}
    assert "expected a prompt in 01.txt or prompts.json, or a file name of several words" in reasons["01"]
    assert "expected a picture a pair alone in rejected" in reasons["a pair alone"]
    assert "expected a picture of nothing in preferred" in reasons["of nothing"]
    assert "expected two pictures that differ" in reasons["the same twice"]


@pytest.mark.parametrize("part", ["preferred", "rejected", "refs"])
def test_missing_folders_are_told(tmp_path: Path, part: str) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / part).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"expected a folder {part} with pictures, got none"):
        import_layout("own", folder, tmp_path / "out")


def test_the_difference_ignores_noise_and_specks() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(50, 60, (64, 64, 3)).astype(np.uint8)
    other = rng.integers(50, 60, (64, 64, 3)).astype(np.uint8)
    other[10:40, 20:50] = 200
    other[20:30, 30:40] = one[20:30, 30:40]  # a hole
    other[60, 60] = 255  # a speck
    wanted = np.zeros((64, 64), bool)
    wanted[10:40, 20:50] = True
    assert np.array_equal(difference_mask(one, other), wanted)
    with pytest.raises(DataError, match="got 100%; draw a mask"):
        difference_mask(one, 255 - one)
