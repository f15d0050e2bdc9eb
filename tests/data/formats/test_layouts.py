"""Layouts of other projects become pair sets; what they lack is written down, what is broken is left out by name."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.core.errors import ConfigError, DataError, OutputError
from likeness.core.files import read_jsonl
from likeness.core.images import load_image
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.data.formats import LAYOUTS, OWN_FORMATS
from likeness.data.formats.layouts import Beside, import_layout

SIZE = (48, 32)


def picture(path: Path, color: str, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def encoded(color: str, size: tuple[int, int] = SIZE, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format=kind)
    return buffer.getvalue()


def text(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words, encoding="utf-8")


def color_of(path: Path) -> tuple[int, int, int]:
    value: Any = load_image(path).getpixel((1, 1))
    return value


def only(out: Path) -> PreferencePair:
    (pair,) = read_pairs(out).pairs
    return pair


def kohya(folder: Path) -> Path:
    picture(folder / "1_rex" / "w" / "a.png", "red")
    picture(folder / "1_rex" / "l" / "a.jpg", "blue")
    text(folder / "1_rex" / "w" / "a.caption", "a dog in a park\n")
    return folder


def test_kohya_pairs_by_name_and_keeps_bytes(tmp_path: Path) -> None:
    source = kohya(tmp_path / "set")
    assert import_layout("kohya", source, tmp_path / "out").num_pairs == 1
    pair = only(tmp_path / "out")
    assert (pair.prompt, pair.size, pair.subset, pair.references[0].phrase) == (
        "a dog in a park",
        SIZE,
        "single",
        "rex",
    )
    assert pair.preferred.read_bytes() == (source / "1_rex/w/a.png").read_bytes()
    assert pair.rejected.read_bytes() == (source / "1_rex/l/a.jpg").read_bytes()
    assert pair.rejected.suffix == ".jpg"


def test_what_a_layout_lacks_is_written_down(tmp_path: Path) -> None:
    import_layout("kohya", kohya(tmp_path / "set"), tmp_path / "out")
    pair = only(tmp_path / "out")
    assert pair.references[0].image == pair.preferred
    assert pair.references[0].mask is None
    assert pair.prior_mask is not None
    assert pair.prior_mask is not None
    assert load_image(pair.prior_mask).convert("L").getextrema() == (255, 255)
    assert pair.qa.preferred.judge == ()
    assert pair.subjects[0].detection_score is None
    assert pair.models == {
        "layout": "kohya",
        "source": "a.png",
        "reference": "none: the preferred picture stands in",
        "mask": "none: the whole picture",
        "category": "assumed",
        "judge": None,
    }


def test_references_and_masks_from_beside(tmp_path: Path) -> None:
    source = kohya(tmp_path / "set")
    picture(tmp_path / "refs" / "rex.png", "green")
    mask = Image.new("L", SIZE)
    mask.paste(200, (4, 4, 20, 20))
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "a.png")
    beside = Beside(references=tmp_path / "refs", masks=tmp_path / "masks")
    import_layout("kohya", source, tmp_path / "out", beside=beside, category="animal")
    pair = only(tmp_path / "out")
    assert color_of(pair.references[0].image) == (0, 128, 0)
    assert pair.prior_mask is not None
    assert pair.prior_mask is not None
    assert load_image(pair.prior_mask).convert("L").getcolors() == [(SIZE[0] * SIZE[1] - 256, 0), (256, 255)]
    assert pair.category == "animal"
    assert (pair.models["reference"], pair.models["mask"]) == ("given", "given")


def test_bad_rows_are_left_out_with_the_reason(tmp_path: Path) -> None:
    source = kohya(tmp_path / "set")
    winners, losers = source / "1_rex" / "w", source / "1_rex" / "l"
    for stem, size in (("small", (16, 16)), ("alone", SIZE), ("silent", SIZE), ("damaged", SIZE)):
        picture(winners / f"{stem}.png", "red")
        if stem != "alone":
            picture(losers / f"{stem}.png", "blue", size)
        if stem != "silent":
            text(winners / f"{stem}.txt", "a dog")
    (losers / "damaged.png").write_bytes(b"no picture")
    done = import_layout("kohya", source, tmp_path / "out")
    assert done.num_pairs == 1
    reasons = {Path(row.where).stem: row.reason for row in done.left_out}
    assert "expected two of one size, got 48 x 32 and 16 x 16" in reasons["small"]
    assert "expected a picture alone in" in reasons["alone"]
    assert "expected a caption in silent.txt or silent.caption" in reasons["silent"]
    assert "expected a readable one" in reasons["damaged"]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    source = kohya(tmp_path / "set")
    picture(tmp_path / "masks" / "a.png", "white", (8, 8))
    with pytest.raises(DataError, match=r"mask .*: expected 48 x 32 px as its picture has, got 8 x 8"):
        import_layout("kohya", source, tmp_path / "out", beside=Beside(masks=tmp_path / "masks"))


def backends(folder: Path, **extra: object) -> Path:
    rows = [
        {"id": "win", "type": "local", "instance_data_dir": "win", "conditioning_data": ["lose", "cover"], **extra},
        {"id": "lose", "dataset_type": "conditioning", "conditioning_type": "reference_strict",
         "instance_data_dir": "lose"},
        {"id": "cover", "dataset_type": "conditioning", "conditioning_type": "mask", "instance_data_dir": "cover"},
    ]  # fmt: skip
    picture(folder / "win" / "sub" / "a_red_cat.png", "red")
    picture(folder / "lose" / "sub" / "a_red_cat.webp", "blue")
    picture(folder / "cover" / "sub" / "a_red_cat.png", "white")
    text(folder / "win" / "sub" / "a_red_cat.txt", "a cat in the sun")
    text(folder / "multidatabackend.json", json.dumps(rows))
    return folder


@pytest.mark.parametrize(
    ("extra", "prompt"),
    [
        ({}, "a cat in the sun"),
        ({"caption_strategy": "filename"}, "a red cat"),
        ({"caption_strategy": "instanceprompt", "instance_prompt": "sks cat"}, "sks cat"),
    ],
)
def test_simpletuner_follows_its_data_backends(tmp_path: Path, extra: dict[str, str], prompt: str) -> None:
    import_layout("simpletuner", backends(tmp_path / "set", **extra), tmp_path / "out")
    pair = only(tmp_path / "out")
    assert pair.prompt == prompt
    assert (color_of(pair.preferred), pair.rejected.suffix, pair.models["mask"]) == ((255, 0, 0), ".webp", "given")


def test_simpletuner_without_rejected_data_says_so(tmp_path: Path) -> None:
    text(tmp_path / "multidatabackend.json", json.dumps([{"id": "a", "instance_data_dir": "a"}]))
    with pytest.raises(DataError, match="expected a data set whose conditioning_data is reference_strict"):
        import_layout("simpletuner", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("as_struct", [False, True])
def test_pickapic_columns(tmp_path: Path, as_struct: bool) -> None:
    red, blue = encoded("red"), encoded("blue")
    cells: list[Any] = [{"bytes": data, "path": None} if as_struct else data for data in (red, blue)]
    rows = [
        {"caption": caption, "jpg_0": cells[0], "jpg_1": cells[1], "label_0": label, "has_label": has_label}
        for caption, label, has_label in (
            ("one", 1.0, True),
            ("two", 0.0, True),
            ("tie", 0.5, True),
            ("none", 1.0, False),
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    done = import_layout("pickapic", tmp_path / "train.parquet", tmp_path / "out")
    first, second = read_pairs(tmp_path / "out").pairs
    assert (first.prompt, first.preferred.read_bytes(), first.rejected.read_bytes()) == ("one", red, blue)
    assert (second.prompt, second.preferred.read_bytes(), second.rejected.read_bytes()) == ("two", blue, red)
    assert [row.where.rpartition(":")[2] for row in done.left_out] == ["3", "4"]
    assert "a tie or no label" in done.left_out[0].reason


def test_patchdpo_prompts_may_hold_underscores_and_pickles_stay_closed(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "sample0"
    picture(folder / "a snow_white dog_entity_0.png", "red")
    picture(folder / "a snow_white dog_gen_0.png", "blue")
    trap = pickle.dumps(Trap(str(tmp_path / "opened")))
    (tmp_path / "set" / "patch_quality.pkl").write_bytes(trap)
    import_layout("patchdpo", tmp_path / "set", tmp_path / "out")
    pair = only(tmp_path / "out")
    assert pair.prompt == "a snow_white dog"
    assert color_of(pair.preferred) == color_of(pair.references[0].image) == (255, 0, 0)
    assert color_of(pair.rejected) == (0, 0, 255)
    assert not (tmp_path / "opened").exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path(self.path), "opened"))


def test_uno_rows_take_their_losers_from_beside(tmp_path: Path) -> None:
    for name, color in (("r0", "green"), ("r1", "gray"), ("t0", "red")):
        picture(tmp_path / "set" / f"{name}.png", color)
    picture(tmp_path / "losers" / "t0-0.png", "blue")
    row = {"prompt": "two dogs", "image_paths": ["r0.png", "r1.png"], "image_tgt_path": "t0.png"}
    text(tmp_path / "set" / "train.json", json.dumps([row, {"prompt": "none", "image_paths": ["r0.png"]}]))
    source = tmp_path / "set" / "train.json"
    with pytest.raises(DataError, match="add --rejected FOLDER"):
        import_layout("uno", source, tmp_path / "out")
    done = import_layout("uno", source, tmp_path / "out", beside=Beside(rejected=tmp_path / "losers"))
    pair = only(tmp_path / "out")
    assert (pair.subset, len(pair.references), color_of(pair.rejected)) == ("multi", 2, (0, 0, 255))
    assert "image_tgt_path" in done.left_out[0].reason


def test_subjects200k_is_cut_in_two(tmp_path: Path) -> None:
    both = Image.new("RGB", (32 * 2 + 48, 64), "white")
    both.paste("green", (16, 16, 48, 48))
    both.paste("red", (64, 16, 96, 48))
    buffer = io.BytesIO()
    both.save(buffer, format="PNG")
    rows = [
        {"image": {"bytes": data, "path": None}, "description": {"item": "toy", "description_1": words}}
        for data, words in (
            (buffer.getvalue(), "a toy on a shelf"),
            (encoded("red", (20, 64)), "narrow"),
            (b"", "empty"),
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    picture(tmp_path / "losers" / "1.png", "blue", (32, 32))
    beside = Beside(rejected=tmp_path / "losers")
    done = import_layout("subjects200k", tmp_path / "train.parquet", tmp_path / "out", beside=beside)
    pair = only(tmp_path / "out")
    assert (pair.size, pair.prompt, pair.references[0].class_name) == ((32, 32), "a toy on a shelf", "toy")
    assert color_of(pair.references[0].image) == (0, 128, 0)
    assert color_of(pair.preferred) == (255, 0, 0)
    assert len(done.left_out) == 2


def dreambench_plus(folder: Path, color: str) -> Path:
    for collection in ("live_subject_animal_00_kitten", "style_03_ink"):
        picture(folder / "tgt_image" / collection / "0_0.jpg", color)
        picture(folder / "src_image" / collection / "0_0.jpg", "green")
        text(folder / "text" / collection / "0_0.txt", "a kitten asleep")
    return folder


def geneval(folder: Path, color: str) -> Path:
    picture(folder / "00000" / "samples" / "0000.png", color)
    text(folder / "00000" / "metadata.jsonl", '{"tag": "single_object", "prompt": "a bench"}\n')
    return folder


def stellar(folder: Path, color: str) -> Path:
    picture(folder / "001-0-07.png", color)
    text(folder / "001-0-07.json", '{"prompt": "a person swimming"}')
    return folder


def results(folder: Path, color: str) -> Path:
    picture(folder / "dog6" / "a_dog_in_snow.png", color)
    return folder


@pytest.mark.parametrize(
    ("layout", "tree", "prompt", "category"),
    [
        ("dreambench-plus", dreambench_plus, "a kitten asleep", "animal"),
        ("geneval", geneval, "a bench", "object"),
        ("stellar", stellar, "a person swimming", "human"),
        ("patchdpo", results, "a dog in snow", "object"),
    ],
)
def test_trees_of_results_pair_with_another_tree(
    tmp_path: Path, layout: str, tree: Any, prompt: str, category: str
) -> None:
    source, loser = tree(tmp_path / "good", "red"), tree(tmp_path / "bad", "blue")
    import_layout(layout, source, tmp_path / "out", beside=Beside(rejected=loser))
    pair = only(tmp_path / "out")
    assert (pair.prompt, pair.category) == (prompt, category)
    red, blue = color_of(pair.preferred), color_of(pair.rejected)
    assert red[0] > 200 > 50 > red[2]
    assert blue[2] > 200 > 50 > blue[0]


def test_unknown_layouts_missing_sources_and_taken_folders(tmp_path: Path, clean_set: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of kohya"):
        import_layout("comfy", tmp_path, tmp_path / "out")
    for layout in (*LAYOUTS, *OWN_FORMATS):
        with pytest.raises(DataError, match="expected"):
            import_layout(layout, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(OutputError, match="without a pair set"):
        import_layout("kohya", kohya(tmp_path / "set"), clean_set)
    assert not (tmp_path / "out").exists()


def test_imported_rows_are_plain_pairs(tmp_path: Path) -> None:
    import_layout("kohya", kohya(tmp_path / "set"), tmp_path / "out")
    (row,) = read_jsonl(tmp_path / "out" / "pairs.jsonl")
    assert not Path(row["preferred"]).is_absolute()
    assert row["id"] == "kohya-000001"
