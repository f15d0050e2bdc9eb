"""Folders of other tools: small trees in their real naming, and hostile input, of which each is a named rejection."""

import csv
import json
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image, PngImagePlugin

from likeness.core.errors import DataError
from likeness.core.records import Case, Subject
from likeness.evaluate.layouts import manifests
from likeness.evaluate.samples import Found, find_samples


def case(name: str, prompt: str, *subjects: str) -> Case:
    found = tuple(
        Subject(id=each, class_name="thing", reference_image=Path("photos", each, f"{each}-00.jpg"))
        for each in subjects
    )
    return Case(id=name, prompt=prompt, subjects=found)


CASES = [
    case("cat-00", "a cat in the snow", "cat"),
    case("cat-01", "a red cat.", "cat"),
    case("cat2-00", "a cat in the snow", "cat2"),
    case("cat-can-00", "a cat and a can", "cat", "can"),
]


def put(folder: Path, *names: str, **text: str) -> Path:
    """Pictures by name; `text` goes into their chunks."""
    notes = PngImagePlugin.PngInfo()
    for key, value in text.items():
        notes.add_text(key, value)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name, pnginfo=notes)  # other formats ignore the notes
    return folder


def places(found: Found) -> dict[str, str]:
    return {sample.image.name: sample.id for sample in found.samples}


def reason(found: Found, where: str) -> str:
    """Why what stands at `where` was left out, as summary.json lists it."""
    (one,) = [row.reason for row in found.left_out() if row.where == where]
    return one


# -- real trees ----------------------------------------------------------------------------------------------------
def test_uno_counts_cases_from_zero_and_pictures_after_the_underscore(tmp_path: Path) -> None:
    put(tmp_path, "0_0.png", "0_1.png", "2_0.png", "4_0.png", "sheet.png")
    (tmp_path / "2_0.json").write_text(json.dumps({"prompt": "a cat in the snow", "seed": 3407}))
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "uno"
    assert places(found) == {"0_0.png": "cat-00-0", "0_1.png": "cat-00-1", "2_0.png": "cat2-00-0"}
    assert found.missing == ("cat-01", "cat-can-00")
    assert "of the 4 cases, which count from 0, got 4" in reason(found, "4_0.png")
    assert "{item}_{j}" in reason(found, "sheet.png")


def test_patchdpo_has_a_folder_per_subject_and_the_prompt_as_name(tmp_path: Path) -> None:
    put(tmp_path, "cat/a cat in the snow.png", "cat/a red cat.png", "cat2/a cat in the snow.png")
    put(tmp_path, "cat+can/a cat and a can.png", "cat/a dog.png", "dog/a red cat.png", "loose.png")
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "prompt-folders"
    assert sorted(sample.id for sample in found.samples) == ["cat-00-0", "cat-01-0", "cat-can-00-0", "cat2-00-0"]
    assert found.missing == ()
    assert "got 'a dog' of 'cat'" in reason(found, "cat/a dog.png")
    assert "after the subjects of a case, got 'dog'" in reason(found, "dog/a red cat.png")
    assert "<subject>/<prompt>.png" in reason(found, "loose.png")


def test_pictures_of_a_page_that_lies_beside_them_are_no_results(tmp_path: Path) -> None:
    put(tmp_path, "cat/a cat in the snow.png", "report_files/0f.256.webp", "other_files/0f.256.webp")
    (tmp_path / "report.html").write_text("a page")
    found = find_samples(tmp_path, cases=CASES)
    assert [row.where for row in found.left_out() if "webp" in row.where] == ["other_files/0f.256.webp"]


def test_subjects_of_short_rows_go_by_the_folder_of_their_photo(tmp_path: Path) -> None:
    put(tmp_path, "cat/a cat in the snow.png")
    subject = Subject(id="dreambooth/cat/02.jpg", class_name="subject", reference_image=tmp_path / "02.jpg")
    found = find_samples(tmp_path, cases=[Case(id="one", prompt="a cat in the snow", subjects=(subject,))])
    assert places(found) == {"a cat in the snow.png": "one-0"}


def test_dreambench_plus_has_pictures_and_prompts_in_parallel_trees(tmp_path: Path) -> None:
    collection = "live_subject_animal_00_cat"
    put(
        tmp_path, *(f"{tree}/{collection}/{stem}.jpg" for tree in ("src_image", "tgt_image") for stem in ("0_0", "1_0"))
    )
    put(tmp_path, f"tgt_image/{collection}/2_0.jpg", "tgt_image/object_03_mug/0_0.jpg")
    for name, prompt in {f"{collection}/0_0": "a cat in the snow", f"{collection}/1_0": "a red cat"}.items():
        (tmp_path / "text" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "text" / f"{name}.txt").write_text(prompt)
    (tmp_path / "text/object_03_mug").mkdir()
    (tmp_path / "text/object_03_mug/0_0.txt").write_text("a cat in the snow")
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "dreambench++"
    assert [sample.id for sample in found.samples] == ["cat-00-0", "cat-01-0"]
    assert f"text/{collection}/2_0.txt" in reason(found, f"tgt_image/{collection}/2_0.jpg")
    assert "of 'object_03_mug'" in reason(found, "tgt_image/object_03_mug/0_0.jpg")
    assert len(found.extra) == 2  # photos that went in are no results


def test_mip_counts_combinations_of_subjects(tmp_path: Path) -> None:
    put(tmp_path, "comb_0/a cat in the snow_gen.png", "comb_0/a red cat._gen.png", "comb_1/a cat in the snow_gen.png")
    put(tmp_path, "comb_2/a cat and a can_gen.png", "comb_2/a cat and a can_entity_0.png", "comb_3/a red cat_gen.png")
    stated = {"a cat in the snow_gen.png": "a cat in the snow_gen.", "a red cat._gen.png": "a red cat."}
    (tmp_path / "comb_0/prompts.json").write_text(json.dumps(stated))
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "mip"
    assert [sample.id for sample in found.samples] == ["cat-00-0", "cat-01-0", "cat2-00-0", "cat-can-00-0"]
    assert "reference of an entity" in reason(found, "comb_2/a cat and a can_entity_0.png")
    assert "one of 3 combinations, which count from 0, got 3" in reason(found, "comb_3/a red cat_gen.png")


def graph(text: str, **more: Any) -> str:
    return json.dumps({"6": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}}, **more})


def test_comfyui_says_the_prompt_in_its_chunk(tmp_path: Path) -> None:
    put(tmp_path, "ComfyUI_00001_.png", "ComfyUI_00002_.png", prompt=graph("a red cat."))
    put(
        tmp_path,
        "ComfyUI_00003_.png",
        prompt=graph("?", s={"inputs": {"filename_prefix": "run/cat2-00", "x": math.nan}}),
    )
    put(tmp_path, "ComfyUI_00004_.png", prompt=graph("a cat in the snow"))
    put(tmp_path, "ComfyUI_00005_.png", prompt=graph("a cat in the snow", l={"inputs": {"image": "cat-00.jpg"}}))
    put(tmp_path, "ComfyUI_00006_.png", workflow=json.dumps({"nodes": [{"widgets_values": ["a cat and a can"]}]}))
    put(tmp_path, "ComfyUI_00007_.png", prompt=graph("a dog"))
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "comfyui"
    wanted = {1: "cat-01-0", 2: "cat-01-1", 3: "cat2-00-0", 5: "cat-00-0", 6: "cat-can-00-0"}
    assert places(found) == {f"ComfyUI_0000{number}_.png": name for number, name in wanted.items()}
    assert "expected one case with the prompt" in reason(found, "ComfyUI_00004_.png")
    assert "got neither" in reason(found, "ComfyUI_00007_.png")


Row = dict[str, Any]


def write_rows(folder: Path, kind: str, rows: list[Row]) -> None:
    path = folder / f"manifest.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


KINDS = ("jsonl", "csv", "parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_names_cases_or_prompts(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "x/one.png", "two.png", "three.png", "four.png", "loose.png")
    rows: list[Row] = [
        {"case_id": "cat-00", "image": "x/one.png", "k": 3, "prompt": None, "subject": None},
        {"case_id": None, "image": "two.png", "k": 0, "prompt": "a red cat", "subject": None},
        {"case_id": None, "image": "three.png", "k": 0, "prompt": "a cat in the snow", "subject": "cat2"},
        {"case_id": "zebra", "image": "four.png", "k": 0, "prompt": None, "subject": None},
    ]
    write_rows(tmp_path, kind, rows)
    found = find_samples(tmp_path, cases=CASES)
    assert found.layout == "manifest"
    assert [sample.id for sample in found.samples] == ["cat-00-3", "cat-01-0", "cat2-00-0"]
    assert found.extra == ("four.png", "loose.png")
    assert "got 'zebra'" in reason(found, "four.png")


def test_names_of_cases_go_before_other_layouts(tmp_path: Path) -> None:
    put(tmp_path, "cat-00.png", "0_0.png", "cat2/a cat in the snow.png")
    found = find_samples(tmp_path, cases=CASES)
    assert (found.layout, places(found), found.extra) == ("names", {"cat-00.png": "cat-00-0"}, ("0_0.png",))


def test_two_pictures_for_one_place_cost_the_second_its_place(tmp_path: Path) -> None:
    put(tmp_path, "0_0.png", "0_0.jpg")
    found = find_samples(tmp_path, cases=CASES)
    assert places(found) == {"0_0.jpg": "cat-00-0"}
    assert "expected one picture for cat-00-0, got 0_0.jpg too" in reason(found, "0_0.png")


# -- hostile lists -------------------------------------------------------------------------------------------------
UNSAFE = {
    "../secret.png": "inside the folder",
    "x/../../secret.png": "inside the folder",
    "x/../one.png": "inside the folder",
    "..": "inside the folder",
    "..\\secret.png": "inside the folder",
    "x\\..\\..\\secret.png": "inside the folder",
    "/etc/passwd": "relative to the folder",
    "/etc/secret.png": "relative to the folder",
    "//server/share/a.png": "relative to the folder",
    "C:\\secret.png": "relative to the folder",
    "C:secret.png": "relative to the folder",
    "\\\\server\\share\\a.png": "relative to the folder",
    " ": "path of a picture",
    "a\0.png": "path of a picture",
    "a" * 1001 + ".png": "path of a picture",
    "run.json": "file, got 'run.json'",
    "a.gif": "file, got 'a.gif'",
    "manifest.jsonl": "file, got",
    "link.png": "a link that leaves",
    "linked/secret.png": "a link that leaves",
    "ring.png": "a link that leaves",
}


def with_links(folder: Path) -> Path:
    """A run folder beside a secret picture, with links out of it and a ring."""
    run = put(folder / "run", "one.png")
    put(folder, "secret.png")
    (run / "link.png").symlink_to(folder / "secret.png")
    (run / "linked").symlink_to(folder)
    (run / "ring.png").symlink_to(run / "ring.png")
    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", UNSAFE, ids=[str(number) for number in range(len(UNSAFE))])
def test_a_row_that_leaves_the_folder_is_listed_and_not_followed(tmp_path: Path, kind: str, name: str) -> None:
    run = with_links(tmp_path)
    write_rows(run, kind, [{"case_id": "cat-00", "image": "one.png"}, {"case_id": "cat-01", "image": name}])
    found = find_samples(run, cases=CASES)
    assert places(found) == {"one.png": "cat-00-0"}
    (row,) = found.rows
    assert (f"manifest.{kind}:" in row.where, UNSAFE[name] in row.reason) == (True, True), row.reason
    assert row in found.left_out()


GOOD: Row = {"case_id": "cat-00", "image": "one.png"}
MALFORMED: list[Any] = [
    *({**GOOD, "image": value} for value in (None, 7, 1.5, math.nan, True, ["one.png"], {"path": "one.png"})),
    *({**GOOD, "case_id": value} for value in (7, 1.5, math.nan, True, ["cat-00"], {"id": "cat-00"})),
    *({**GOOD, "k": value} for value in ("0", "", None, 0.0, 1.5, math.nan, math.inf, -1, 10**9, True, [0], {"k": 0})),
    *({"prompt": value, "image": "one.png"} for value in (None, 7, math.nan, ["a"], {"text": "a"})),
    *({"prompt": "a red cat", "subject": value, "image": "one.png"} for value in (7, math.nan, ["cat"])),
    *({"image": "one.png"}, {"case_id": "cat-00"}, {}, [], "cat-00", 7, None, math.nan),
]


@pytest.mark.parametrize("row", MALFORMED, ids=[str(number) for number in range(len(MALFORMED))])
def test_a_row_of_wrong_types_is_refused_by_its_number(tmp_path: Path, row: Any) -> None:
    put(tmp_path, "one.png")
    (tmp_path / "manifest.jsonl").write_text(f"{json.dumps(GOOD)}\n{json.dumps(row)}\n")
    with pytest.raises(DataError, match=r'manifest\.jsonl:2: expected \{"case_id" or "prompt": text'):
        find_samples(tmp_path, cases=CASES)


TABLES: dict[str, dict[str, list[Any]]] = {
    "image of numbers": {"case_id": ["cat-00"], "image": [7]},
    "image of bytes": {"case_id": ["cat-00"], "image": [b"one.png"]},
    "image of structs": {"case_id": ["cat-00"], "image": [{"bytes": b"", "path": "one.png"}]},
    "image of lists": {"case_id": ["cat-00"], "image": [["one.png"]]},
    "no image": {"case_id": ["cat-00"]},
    "no case": {"image": ["one.png"]},
    "case of numbers": {"case_id": [0], "image": ["one.png"]},
    "case of NaN": {"case_id": [math.nan], "image": ["one.png"]},
    "k of text": {"case_id": ["cat-00"], "image": ["one.png"], "k": ["0"]},
    "k of NaN": {"case_id": ["cat-00"], "image": ["one.png"], "k": [math.nan]},
    "k of fractions": {"case_id": ["cat-00"], "image": ["one.png"], "k": [0.5]},
    "k below 0": {"case_id": ["cat-00"], "image": ["one.png"], "k": [-1]},
    "k of booleans": {"case_id": ["cat-00"], "image": ["one.png"], "k": [True]},
}


@pytest.mark.parametrize("name", TABLES)
def test_a_parquet_file_of_wrong_types_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, "one.png")
    pyarrow.parquet.write_table(pyarrow.table(TABLES[name]), tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"manifest\.parquet:1: expected"):
        find_samples(tmp_path, cases=CASES)


def test_a_parquet_file_that_unpacks_to_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "one.png")
    write_rows(tmp_path, "parquet", [GOOD] * 5)
    for name in ("MOST_ROWS", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(manifests, name, 4)
            with pytest.raises(DataError, match=r"manifest\.parquet: expected at most .* got 5 rows"):
                find_samples(tmp_path, cases=CASES)


LISTS: dict[str, tuple[str, bytes, str]] = {
    "empty csv": ("csv", b"", "a first line with image"),
    "csv without image": ("csv", b"case_id,path\ncat-00,one.png\n", "got 'case_id, path'"),
    "csv without case": ("csv", b"image\none.png\n", "got 'image'"),
    "csv with a column twice": ("csv", b"image,image,case_id\na,one.png,cat-00\n", "each once"),
    "csv with a cell too many": ("csv", b"case_id,image\ncat-00,one.png,9\n", "csv:2: expected"),
    "csv with a cell too few": ("csv", b"case_id,image\ncat-00\n", "csv:2: expected"),
    "csv with an open quote": ("csv", b'case_id,image\n"cat-00,one.png\n', "expected CSV"),
    "csv with k as text": ("csv", b"case_id,image,k\ncat-00,one.png,first\n", "csv:2: expected"),
    "csv with k as NaN": ("csv", b"case_id,image,k\ncat-00,one.png,nan\n", "csv:2: expected"),
    "csv with k below 0": ("csv", b"case_id,image,k\ncat-00,one.png,-1\n", "csv:2: expected"),
    "csv that is no text": ("csv", b"\xff\xfe\x00", "expected UTF-8"),
    "parquet that is text": ("parquet", b"case_id,image\n", "expected a whole Parquet file"),
    "parquet cut short": ("parquet", b"PAR1\x00\x00PAR1", "expected a whole Parquet file"),
    "empty parquet": ("parquet", b"", "expected a whole Parquet file"),
    "jsonl that is no JSON": ("jsonl", b"{\n", "jsonl:1"),
    "jsonl of deep nesting": ("jsonl", b"[" * 100_000 + b"\n", "jsonl:1"),
    "jsonl of endless digits": ("jsonl", b"9" * 10_000 + b"\n", "jsonl:1"),
    "jsonl that is no text": ("jsonl", b"\xff\xfe\n", "expected UTF-8"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_damaged_list_is_named(tmp_path: Path, name: str) -> None:
    kind, data, message = LISTS[name]
    put(tmp_path, "one.png")
    (tmp_path / f"manifest.{kind}").write_bytes(data)
    with pytest.raises(DataError) as caught:
        find_samples(tmp_path, cases=CASES)
    assert f"manifest.{kind}" in str(caught.value)
    assert message in str(caught.value)


def test_two_lists_are_one_too_many(tmp_path: Path) -> None:
    put(tmp_path, "one.png")
    for kind in ("jsonl", "csv"):
        write_rows(tmp_path, kind, [GOOD])
    with pytest.raises(DataError, match=r"expected one list, got manifest\.jsonl and manifest\.csv"):
        find_samples(tmp_path, cases=CASES)


# -- hostile trees -------------------------------------------------------------------------------------------------
def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    note = chunk(b"tEXt", b"prompt\0" + graph("a red cat").encode())
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + note + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def text_bomb(path: Path) -> None:
    """A PNG whose compressed text unpacks to 64 MiB."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("prompt", "a" * 2**26, zip=True)
    Image.new("RGB", (4, 4)).save(path, pnginfo=notes)


Damage = Callable[[Path], object]
GRAPHS: list[tuple[Damage, str]] = [
    (bomb, "expected a whole picture"),
    (text_bomb, "expected a whole picture"),
    (lambda path: path.write_bytes(b""), "got an empty file"),
    (lambda path: path.write_bytes(b"GIF89a"), "expected a whole picture"),
    (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20), "expected a whole picture"),
    (lambda path: put(path.parent, path.name), "got neither; name it after its case"),
    (lambda path: put(path.parent, path.name, prompt="{"), "expected JSON in the chunks"),
    (lambda path: put(path.parent, path.name, prompt="[" * 50_000), "expected JSON in the chunks"),
    (lambda path: put(path.parent, path.name, prompt="9" * 10_000), "expected JSON in the chunks"),
    (lambda path: put(path.parent, path.name, prompt="null"), "expected the prompt or the id of a case"),
    (lambda path: put(path.parent, path.name, prompt="NaN"), "expected the prompt or the id of a case"),
    (lambda path: put(path.parent, path.name, prompt="[[[7]]]"), "expected the prompt or the id of a case"),
    (lambda path: put(path.parent, path.name, prompt='["a red cat", "a cat and a can"]'), "got several"),
    (lambda path: put(path.parent, path.name, prompt='["cat-00", "cat-01"]'), "got several"),
    (
        lambda path: put(path.parent, path.name, prompt='["a cat in the snow", "dog.jpg"]'),
        "expected one case with",
    ),
    (lambda path: put(path.parent, path.name, prompt=json.dumps([0] * 100_001)), "at most 100000 values"),
]


@pytest.mark.parametrize(("damage", "message"), GRAPHS, ids=[str(number) for number in range(len(GRAPHS))])
def test_a_bad_graph_costs_its_own_picture(tmp_path: Path, damage: Damage, message: str) -> None:
    put(tmp_path, "ok.png", prompt=graph("a red cat"))
    damage(tmp_path / "bad.png")
    found = find_samples(tmp_path, cases=CASES)
    assert places(found) == {"ok.png": "cat-01-0"}
    assert message in reason(found, "bad.png")


SIDECARS: list[tuple[bytes, str]] = [
    (b"", "0_1.json:1"),
    (b"{", "0_1.json:1"),
    (b"[" * 50_000, "nesting too deep"),
    (b"\xff\xfe", "expected UTF-8"),
    (b"[]", "an object with a prompt as text"),
    (b"null", "an object with a prompt as text"),
    (b"NaN", "an object with a prompt as text"),
    (b"{}", "an object with a prompt as text"),
    (b'{"prompt": 7}', "an object with a prompt as text"),
    (b'{"prompt": NaN}', "an object with a prompt as text"),
    (b'{"prompt": ["a cat in the snow"]}', "an object with a prompt as text"),
    (b'{"prompt": "a red cat"}', "expected the prompt of cat-00, got 'a red cat' in 0_1.json"),
    (b'{"prompt": ""}', "expected the prompt of cat-00"),
]


@pytest.mark.parametrize(("data", "message"), SIDECARS, ids=[str(number) for number in range(len(SIDECARS))])
def test_a_bad_json_of_uno_costs_its_own_picture(tmp_path: Path, data: bytes, message: str) -> None:
    put(tmp_path, "0_0.png", "0_1.png")
    (tmp_path / "0_1.json").write_bytes(data)
    found = find_samples(tmp_path, cases=CASES)
    assert places(found) == {"0_0.png": "cat-00-0"}
    assert message in reason(found, "0_1.png")


PROMPTS = (
    b"",
    b"{",
    b"[" * 50_000,
    b"\xff",
    b"[]",
    b"null",
    b"{}",
    b'{"a red cat_gen.png": 7}',
    b'{"a red cat_gen.png": NaN}',
)


@pytest.mark.parametrize("data", PROMPTS, ids=[str(number) for number in range(len(PROMPTS))])
def test_bad_prompts_of_mip_cost_their_own_folder(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "comb_0/a red cat_gen.png", "comb_1/a cat in the snow_gen.png")
    (tmp_path / "comb_0/prompts.json").write_bytes(data)
    found = find_samples(tmp_path, cases=CASES)
    assert [sample.id for sample in found.samples] == ["cat2-00-0"]
    assert "prompts.json" in reason(found, "comb_0/a red cat_gen.png")


TREES = {
    "names": ("cat-00.png", "cat-01.png"),
    "uno": ("0_0.png", "1_0.png"),
    "prompt-folders": ("cat/a cat in the snow.png", "cat/a red cat.png"),
    "mip": ("comb_0/a cat in the snow_gen.png", "comb_0/a red cat_gen.png"),
    "comfyui": ("one.png", "two.png"),
    "stellar": ("000-0-00.png", "000-0-01.png"),
}


@pytest.mark.parametrize("layout", TREES)
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, layout: str) -> None:
    kept, linked = TREES[layout]
    cases = CASES if layout != "stellar" else [case(f"000-0-0{n}", p) for n, p in enumerate(("a cat", "a dog"))]
    notes = {"prompt": graph("a cat in the snow", s={"inputs": {"p": "cat-00"}})} if layout == "comfyui" else {}
    run, _ = put(tmp_path / "run", kept, **notes), put(tmp_path, "secret.png", prompt=graph("a red cat"))
    (run / linked).symlink_to(tmp_path / "secret.png")
    if layout == "stellar":
        for stem, prompt in (("000-0-00", "a cat"), ("000-0-01", "a dog")):
            (run / f"{stem}.json").write_text(json.dumps({"prompt": prompt, "image_path": "000/0.jpg"}))
    found = find_samples(run, cases=cases)
    assert (found.layout, len(found.samples)) == (layout, 1)
    assert "got a link that leaves it" in reason(found, linked)


def test_a_linked_folder_is_listed_and_not_entered(tmp_path: Path) -> None:
    run = put(tmp_path / "run", "cat/a cat in the snow.png")
    put(tmp_path / "elsewhere", "a cat in the snow.png")
    (run / "cat2").symlink_to(tmp_path / "elsewhere")
    found = find_samples(run, cases=CASES)
    assert [sample.id for sample in found.samples] == ["cat-00-0"]
    assert "a link to one, which is not followed" in reason(found, "cat2")
