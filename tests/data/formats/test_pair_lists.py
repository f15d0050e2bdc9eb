"""Lists of Flow-Factory and LongCat: rows written by hand are read, and our own sets survive the way there and back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.core.errors import DataError, OutputError
from likeness.core.files import read_jsonl
from likeness.core.images import load_image
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.data.formats.layouts import import_layout
from likeness.data.formats.pair_lists import export_flow_factory, export_longcat

FLOW_FACTORY = (
    '{"schema_version":2,"input":{"prompt":"a dog and a cat","media":[{"type":"image","path":"refs/dog.png"},'
    '{"type":"image","path":"refs/cat.png"}]},"supervision":{"type":"preference","chosen":{"media":[{"type":"image",'
    '"path":"good.png"}]},"rejected":{"media":[{"type":"image","path":"bad.png"}]}},"metadata":{"annotator":"me"}}'
)
LONGCAT = (
    '{"img_path_win": "./good.png", "img_path_lose": "./bad.png", "ref_img_path": "refs/dog.png", '
    '"prompt": "change the dog to a cat", "width": 1024, "height": 1024}'
)
SIZE = (48, 32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "refs").mkdir(parents=True)
    for name, color in (("good", "red"), ("bad", "blue"), ("refs/dog", "green"), ("refs/cat", "yellow")):
        Image.new("RGB", SIZE, color).save(folder / f"{name}.png")
    return folder


def color_of(path: Path) -> Any:
    return load_image(path).getpixel((0, 0))


def only(out: Path) -> PreferencePair:
    (pair,) = read_pairs(out).pairs
    return pair


def test_a_flow_factory_row_is_a_pair(source: Path, tmp_path: Path) -> None:
    (source / "train.jsonl").write_text(FLOW_FACTORY + "\n")
    import_layout("flow-factory", source, tmp_path / "out")
    pair = only(tmp_path / "out")
    assert (pair.prompt, pair.subset, pair.size) == ("a dog and a cat", "multi", SIZE)
    assert (color_of(pair.preferred), color_of(pair.rejected)) == ((255, 0, 0), (0, 0, 255))
    assert [color_of(reference.image) for reference in pair.references] == [(0, 128, 0), (255, 255, 0)]
    assert pair.models["mask"] == "none: the whole picture"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 1}, "expected schema_version 2 and supervision of type preference, got 1"),
        ({"supervision": {"type": "demonstration"}}, "got 2 and demonstration"),
        ({"supervision": {"type": "preference", "chosen": {"media": []}, "rejected": {}}}, "chosen: expected one"),
        ({"input": {"prompt": 3}}, "prompt: expected a text, got int"),
        ({"input": {"prompt": "a", "media": [{"type": "video", "path": "a.mp4"}]}}, "expected media of type image"),
        ({"input": []}, "input: expected an object, got list"),
    ],
)
def test_other_rows_of_flow_factory_are_left_out(
    source: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    rows = [FLOW_FACTORY, json.dumps(json.loads(FLOW_FACTORY) | change), "no JSON"]
    (source / "own.jsonl").write_text("\n".join(rows))
    done = import_layout("flow-factory", source / "own.jsonl", tmp_path / "out")
    assert done.num_pairs == 1
    assert [row.where for row in done.left_out] == [f"{source / 'own.jsonl'}:{number}" for number in (2, 3)]
    assert said in done.left_out[0].reason


def test_a_longcat_row_is_a_pair(source: Path, tmp_path: Path) -> None:
    text_to_image = {"img_path_win": "good.png", "img_path_lose": "bad.png", "prompt": "a dog", "width": 1, "height": 1}
    lines = [LONGCAT, json.dumps(text_to_image), json.dumps({"img_path": "good.png", "prompt": "a"})]
    (source / "train.txt").write_text("\n".join(lines))
    done = import_layout("longcat", source, tmp_path / "out")
    assert "got no img_path_win" in done.left_out[0].reason
    edit, plain = read_pairs(tmp_path / "out").pairs
    assert (edit.prompt, edit.size, color_of(edit.references[0].image)) == (
        "change the dog to a cat",
        SIZE,
        (0, 128, 0),
    )
    assert color_of(edit.rejected) == (0, 0, 255)
    assert plain.references[0].image == plain.preferred


def test_our_pairs_survive_flow_factory(clean_set: Path, tmp_path: Path) -> None:
    done = export_flow_factory(clean_set, tmp_path / "ff")
    assert done.num_pairs == 12
    rows = read_jsonl(tmp_path / "ff" / "train.jsonl")
    assert set(rows[0]) == {"schema_version", "input", "supervision", "metadata"}  # other keys are refused there
    for row in rows:
        for item in (*row["input"]["media"], *row["supervision"]["chosen"]["media"]):
            assert set(item) == {"type", "path"}
            assert (tmp_path / "ff" / item["path"]).is_file()
    import_layout("flow-factory", tmp_path / "ff", tmp_path / "back")
    for before, after in zip(read_pairs(clean_set).pairs, read_pairs(tmp_path / "back").pairs, strict=True):
        assert (before.prompt, before.category, before.subset) == (after.prompt, after.category, after.subset)
        assert load_image(before.preferred).tobytes() == load_image(after.preferred).tobytes()
        assert before.prior_mask is not None
        assert after.prior_mask is not None
        assert load_image(before.prior_mask).tobytes() == load_image(after.prior_mask).tobytes()
        for one, other in zip(before.references, after.references, strict=True):
            assert one.mask is not None
            assert other.mask is not None
            assert load_image(one.mask).tobytes() == load_image(other.mask).tobytes()


def test_longcat_holds_pairs_of_one_reference(clean_set: Path, tmp_path: Path) -> None:
    done = export_longcat(clean_set, tmp_path / "lc")
    pairs = {pair.preferred.name: pair for pair in read_pairs(clean_set).pairs}
    rows = read_jsonl(tmp_path / "lc" / "train.txt")
    assert len(rows) == done.num_pairs == sum(len(pair.references) == 1 for pair in pairs.values())
    assert len(done.left_out) == 12 - len(rows)
    assert "expected one reference" in done.left_out[0].reason
    for row in rows:
        assert list(row) == ["img_path_win", "img_path_lose", "ref_img_path", "prompt", "width", "height"]
        pair = pairs[Path(row["img_path_win"]).name]
        assert (row["prompt"], row["width"], row["height"]) == (pair.prompt, *pair.size)
        assert (tmp_path / "lc" / row["img_path_lose"]).read_bytes() == pair.rejected.read_bytes()


def test_equal_sets_give_equal_lists_and_others_are_not_overwritten(clean_set: Path, tmp_path: Path) -> None:
    export_flow_factory(clean_set, tmp_path / "out")
    first = (tmp_path / "out" / "train.jsonl").read_bytes()
    export_flow_factory(clean_set, tmp_path / "out")
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == first
    half = Path(shutil.copytree(clean_set, tmp_path / "half"))
    lines = (half / "pairs.jsonl").read_text().splitlines()
    multi = [line for line in lines if len(json.loads(line)["references"]) > 1]
    (half / "pairs.jsonl").write_text("\n".join(multi) + "\n")
    with pytest.raises(OutputError, match="expected no list of another export"):
        export_flow_factory(half, tmp_path / "out")
    with pytest.raises(DataError, match="expected a pair that the format can hold, got none"):
        export_longcat(half, tmp_path / "none")
