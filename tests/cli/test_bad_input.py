"""Every kind of bad input, given to the real command with a real (random) tiny model of 32 px.

Each ends with exit code 2 and one block that names the thing, leaving nothing half-written, or with success and a
listed rejection or note. What is refused before any file is read stands in test_commands.py; each reader's own errors
in tests/core.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image
from typer.testing import CliRunner, Result

from likeness.cli import app
from likeness.core.files import read_json, read_jsonl
from likeness.pretrain.tiny_flux import build_tiny_flux

runner = CliRunner()
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
NUMBERS = {
    "transformer": {"num_layers": 1, "num_single_layers": 1},
    "vae": {"block_out_channels": (8, 8, 8, 8), "sample_size": 32},
    "likeness": {"size": 32, "reference_size_single": 32, "reference_size_multi": 32, "default_steps": 2},
}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "flux"
    return build_tiny_flux(folder, corpus=["a cat hugs a dog in the snow"], config=NUMBERS)


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {"clip": tiny.write_clip(folder / "clip"), "dino": tiny.write_vit(folder / "dino")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with one good picture, cat.png."""
    Image.new("RGB", (40, 30), "orange").save(tmp_path / "cat.png")
    return tmp_path


def command(*words: object) -> Result:
    return runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def generate(place: Path, model: Path, *words: object) -> Result:
    fixed = ("--out", place / "run", "--device", "cpu", "--dtype", "float32")
    return command("generate", *words, *(() if "--model" in words else ("--model", model)), *fixed)


def require_refused(result: Result, *named: object) -> None:
    """Exit code 2 and one block of at most five lines that names what is wrong; only a bar may stand above it."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)  # handled, not a traceback
    assert result.stdout == ""
    above, _, block = result.stderr.partition("likeness stopped: ")
    assert not above or above.startswith(("drawing ", "measuring "))
    assert above.count("\n") <= 1
    assert 1 < len(block.splitlines()) <= 5
    assert "Traceback" not in block
    for name in named:
        assert str(name) in block


def require_success(result: Result) -> None:
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cases_file(place: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (place / "cases.jsonl").write_text("\n".join(lines) + "\n")
    return place / "cases.jsonl"


# reference files -----------------------------------------------------------------------------------------------------


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))


def truncated(path: Path) -> None:
    noise().save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:700])


def animated(path: Path) -> None:
    noise().save(path, format="GIF", save_all=True, append_images=[Image.new("RGB", (48, 48))])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "got nothing at"),
    "truncated": (truncated, "damaged"),
    "zero-byte": (lambda path: path.write_bytes(b""), "empty file"),
    "10^5-px": (lambda path: Image.new("1", (100_000, 1)).save(path, format="PNG"), "got 100000 x 1"),
    "animated": (animated, "2 frames"),
    "cmyk": (lambda path: noise().convert("CMYK").save(path, format="TIFF"), "CMYK"),
    "non-image": (lambda path: path.write_text("a cat"), "another kind"),
    "folder": (lambda path: path.mkdir(), "got nothing at"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_reference_beside_a_prompt_is_refused(place: Path, model: Path, kind: str) -> None:
    make, said = BAD_FILES[kind]
    make(place / "bad.png")
    result = generate(place, model, "--prompt", "a cat", "--ref", place / "cat.png", "--ref", place / "bad.png")
    require_refused(result, place / "bad.png", said)
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("generate", "--prompt", "a cat", "--out", "run\udce9"), "--out"),
        (("generate", "--prompt", "a cat", "--out=run\udce9"), "--out"),
        (("evaluate", "run\udce9"), "arguments"),
        (("world", "sample", "3", "--out", "run\udce9"), "--out"),
    ],
)
def test_other_names_that_are_not_utf8_are_refused_before_any_work(
    place: Path, arguments: tuple[str, ...], flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    require_refused(command(*arguments), flag, "UTF-8", r"run\udce9")
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("content", ["notes.txt", "run.json"])
def test_a_benchmark_is_not_drawn_for_a_folder_that_is_taken(place: Path, model: Path, content: str) -> None:
    (place / "run").mkdir()
    (place / "run" / content).write_text('{"kind": "generate", "benchmark": "world-single", "num_images": 1}')
    result = command("generate", "--benchmark", "world-multi", "--model", model, "--out", place / "run")
    require_refused(result, place / "run", "notes.txt" if content == "notes.txt" else "another run")
    assert not (place / "run-cases").exists()


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_reference_of_one_case_is_listed_and_the_others_are_drawn(place: Path, model: Path, kind: str) -> None:
    make, said = BAD_FILES[kind]
    make(place / "bad.png")
    rows = [{"id": name, "prompt": "a cat", "references": [f"{name}.png"]} for name in ("bad", "cat")]
    result = generate(place, model, "--cases", cases_file(place, *rows))
    require_success(result)
    assert "1 left out:" in result.stdout
    assert said in result.stdout
    (listed,) = read_jsonl(place / "run" / "rejected.jsonl")
    assert said in listed["reason"]
    assert "bad.png" in listed["reason"]
    assert [row["id"] for row in read_jsonl(place / "run" / "manifest.jsonl")] == ["cat-0"]


@pytest.mark.parametrize("mode", ["16-bit", "palette", "transparent", "turned"])
def test_odd_but_readable_references_are_used(place: Path, model: Path, mode: str) -> None:
    path, exif = place / "odd.png", Image.Exif()
    if mode == "16-bit":
        Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 28).save(path)
    elif mode == "palette":
        noise().quantize(16).save(path)
    elif mode == "transparent":
        noise().convert("RGBA").save(path)
    else:
        exif[0x0112] = 6
        noise().save(path, exif=exif)
    require_success(generate(place, model, "--prompt", "a cat", "--ref", path))
    assert not (place / "run" / "rejected.jsonl").exists()


def test_a_sliver_is_listed(place: Path, model: Path) -> None:
    Image.new("RGB", (400, 4)).save(place / "sliver.png")
    rows = [{"prompt": "a cat", "references": [name]} for name in ("sliver.png", "cat.png")]
    require_success(generate(place, model, "--cases", cases_file(place, *rows)))
    (listed,) = read_jsonl(place / "run" / "rejected.jsonl")
    assert "400 x 4" in listed["reason"]


def test_an_endless_path_is_refused(place: Path, model: Path) -> None:
    require_refused(generate(place, model, "--prompt", "a cat", "--ref", "x" * 5000), "got nothing at")
    require_refused(generate(place, model, "--prompt", "a cat", "--model", "x" * 5000), "existing folder")
    require_refused(generate(place, model, "--cases", "x" * 5000))
    require_refused(command("evaluate", "x" * 5000))
    require_refused(command("report", "x" * 5000))


def test_a_reference_whose_name_is_not_utf8_is_refused(place: Path, model: Path) -> None:
    odd = place / os.fsdecode(b"caf\xe9.png")
    shutil.copy(place / "cat.png", odd)
    require_refused(generate(place, model, "--prompt", "a cat", "--ref", odd), "--ref", "UTF-8", r"caf\udce9.png")
    assert not (place / "run").exists()


# prompts and cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        pytest.param("cat " * 10_000, "truncated", id="10^4 words"),
        pytest.param("zyx qwv", "unknown words: qwv, zyx", id="unknown words only"),
        pytest.param("🦊 !?", "", id="no words at all"),
    ],
)
def test_strange_prompts_are_drawn_with_a_note(place: Path, model: Path, prompt: str, note: str) -> None:
    require_success(generate(place, model, "--prompt", prompt))  # and without any reference
    (row,) = read_jsonl(place / "run" / "manifest.jsonl")
    assert note in " ".join(row["notes"])
    assert row["prompt"] == prompt
    assert row["references"] == []


GOOD = {"id": "good", "prompt": "a cat", "references": ["cat.png"]}
BAD_ROWS: dict[str, tuple[Any, str]] = {
    "malformed": ('{"prompt": "a ca', "expected one JSON object"),
    "a list": ("[1]", "got list"),
    "empty prompt": ({"prompt": "  "}, "at least one word"),
    "five references": ({"prompt": "a cat", "references": ["cat.png"] * 5}, "at most 4, got 5"),
    "missing picture": ({"prompt": "a cat", "references": ["none.png"]}, "none.png"),
    "seed of 5,000 digits": ('{"prompt": "a cat", "seed": ' + "9" * 5000 + "}", "thousands of digits"),
    "same id": ({"id": "GOOD", "prompt": "a cat"}, "each id once"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_listed_and_the_others_are_drawn(place: Path, model: Path, kind: str) -> None:
    row, said = BAD_ROWS[kind]
    path = cases_file(place, GOOD, row)
    result = generate(place, model, "--cases", path)
    require_success(result)
    assert "1 left out:" in result.stdout
    (listed,) = read_jsonl(place / "run" / "rejected.jsonl")
    assert listed["where"] == f"{path}:2"
    assert said in listed["reason"]
    assert len(read_jsonl(place / "run" / "manifest.jsonl")) == 1


@pytest.mark.parametrize("kind", [kind for kind in BAD_ROWS if kind not in ("same id", "a list")])
def test_a_file_of_bad_rows_only_is_refused(place: Path, model: Path, kind: str) -> None:
    row, said = BAD_ROWS[kind]
    path = cases_file(place, row)
    require_refused(generate(place, model, "--cases", path), f"{path}:1", said)
    assert not (place / "run").exists()


def test_words_the_model_does_not_know_are_warned_of_once_per_prompt_and_counted(place: Path, model: Path) -> None:
    """Two pictures of one prompt, one of another, one of a prompt that is known in full."""
    strange, other = "a zebra juggles", "a pineapple"
    rows = [{"id": f"c{i}", "prompt": text} for i, text in enumerate([strange, "a cat", other])]
    result = generate(place, model, "--cases", cases_file(place, *rows), "-n", "2")
    require_success(result)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: prompt {strange!r}: unknown words: juggles, zebra",
        f"warning: prompt {other!r}: unknown words: pineapple",
    ]
    assert "2 prompts have words that the model does not know" in result.stdout
    again = generate(place, model, "--cases", place / "cases.jsonl", "-n", "2", "--json")  # draws nothing
    assert set(json.loads(again.stdout)["notes"]) == {strange, other}


def test_a_reference_that_cannot_be_used_is_an_error_when_nothing_else_is_left(place: Path, model: Path) -> None:
    Image.new("RGB", (1, 3000), "red").save(place / "thread.png")
    words = ("--prompt", "a cat", "--ref", place / "thread.png")
    require_refused(generate(place, model, *words), "got 1 x 3000")
    assert not (place / "run").exists()


def test_a_name_of_half_a_surrogate_pair_is_refused(place: Path, model: Path) -> None:
    subject = {"id": "cat", "class_name": "caf\udce9", "reference_image": "cat.png"}
    path = cases_file(place, {"id": "one", "prompt": "a cat", "subjects": [subject]})
    require_refused(generate(place, model, "--cases", path), r"caf\udce9")
    assert not (place / "run").exists()


def test_the_largest_seed_is_drawn(place: Path, model: Path) -> None:
    require_success(generate(place, model, "--prompt", "a cat", "--seed", 2**63 - 1, "-n", 2))
    assert [row["seed"] for row in read_jsonl(place / "run" / "manifest.jsonl")] == [2**63 - 1, 2**63]


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"[1, 2"], ids=["empty", "binary", "half a list"])
def test_a_file_that_holds_no_cases_is_refused(place: Path, model: Path, content: bytes) -> None:
    (place / "cases.jsonl").write_bytes(content)
    require_refused(generate(place, model, "--cases", place / "cases.jsonl"), place / "cases.jsonl")
    assert not (place / "run").exists()


# output folders ------------------------------------------------------------------------------------------------------


def test_folder_of_another_run_is_left_alone(place: Path, model: Path) -> None:
    require_success(generate(place, model, "--prompt", "a cat"))
    before = contents(place / "run")
    result = generate(place, model, "--prompt", "a cat", "--steps", "3")
    require_refused(result, place / "run", "another run", "settings.steps: None there, 3 here")
    assert contents(place / "run") == before


@pytest.mark.parametrize("make", ["file", "other files"])
def test_a_place_that_is_taken_is_left_alone(place: Path, model: Path, make: str) -> None:
    out = place / "run"
    if make == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    require_refused(generate(place, model, "--prompt", "a cat"), out)
    assert (out if make == "file" else out / "mine.txt").read_text() == "mine"


def test_cases_of_mine_beside_the_run_are_left_alone(place: Path, model: Path) -> None:
    (place / "run-cases").mkdir()
    (place / "run-cases" / "cases.jsonl").write_text("mine")
    result = generate(place, model, "--benchmark", "world-single", "--limit", 1)
    require_refused(result, place / "run-cases", "cases.jsonl")
    assert contents(place / "run-cases") == {"cases.jsonl": b"mine"}
    assert not (place / "run").exists()


def test_sampled_pictures_go_to_no_folder_of_something_else(place: Path) -> None:
    words = ("world", "sample", 2, "--size", 16, "--out")
    before = contents(place)
    require_refused(command(*words, place), place, "cat.png")
    assert contents(place) == before
    require_success(command(*words, place / "mine"))
    before = contents(place)
    require_refused(command(*words, place / "mine", "--seed", 1), place / "mine", "seed: 0 there, 1 here")
    require_success(command(*words, place / "mine"))
    assert contents(place) == before


def break_disk(monkeypatch: pytest.MonkeyPatch, *, below: Path, code: int, after: int = 0) -> None:
    """All but the first `after` files below a folder cannot be put in place. Acted, since root ignores permissions."""
    replace, written = Path.replace, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal written
        if Path(target).is_relative_to(below):
            written += 1
            if written > after:
                raise OSError(code, os.strerror(code), str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC], ids=["read-only", "forbidden", "full"])
@pytest.mark.parametrize("after", [0, 2, 4], ids=["at once", "before a picture", "after a picture"])
def test_a_folder_that_takes_no_more_files_is_refused(
    place: Path, model: Path, monkeypatch: pytest.MonkeyPatch, code: int, after: int
) -> None:
    words = ("--prompt", "a cat", "--ref", place / "cat.png", "-n", "2")
    with monkeypatch.context() as patch:
        break_disk(patch, below=place / "run", code=code, after=after)  # run.json, reference, cases.jsonl, pictures
        require_refused(generate(place, model, *words), place / "run", os.strerror(code))
    left = contents(place / "run")
    if after < 4:
        assert not (place / "run").exists() or left == {}
    else:
        assert sorted(name for name in left if name.startswith("images/")) == ["images/prompt-0.png"]
    assert not [name for name in left if name.endswith(".tmp")]
    require_success(generate(place, model, *words))
    assert len(read_jsonl(place / "run" / "manifest.jsonl")) == 2


def test_a_folder_that_cannot_be_made_is_refused(place: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def failing(self: Path, *given: Any, **options: Any) -> None:
        if self.is_relative_to(place / "run"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        mkdir(self, *given, **options)

    monkeypatch.setattr(Path, "mkdir", failing)
    require_refused(generate(place, model, "--prompt", "a cat"), place / "run", "Read-only")


# models --------------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Damage in the header, where every byte counts."""
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    path.write_bytes(bytes(data))


WRONG_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty folder": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "a folder with files"),
    "a part missing": (lambda folder: shutil.rmtree(folder / "vae"), "vae/config.json"),
    "another class": (
        lambda folder: (folder / "transformer/config.json").write_text('{"_class_name": "UNet2DConditionModel"}'),
        "UNet2DConditionModel",
    ),
    "half a config": (lambda folder: (folder / "text_encoder/config.json").write_text('{"arch'), "text_encoder"),
    "other sizes": (
        lambda folder: shutil.copy(folder / "vae/diffusion_pytorch_model.safetensors", folder / WEIGHTS),
        "transformer",
    ),
    "no such setting": (lambda folder: (folder / "likeness.json").write_text('{"sise": 1}'), "likeness.json"),
    "truncated weights": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
        WEIGHTS,
    ),
    "damaged weights": (lambda folder: flip(folder / WEIGHTS), WEIGHTS),
    "LFS pointer": (
        lambda folder: (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
}


@pytest.mark.parametrize("kind", WRONG_MODELS)
def test_a_wrong_model_is_refused_and_leaves_the_folder_free(place: Path, model: Path, kind: str) -> None:
    spoil, said = WRONG_MODELS[kind]
    wrong = shutil.copytree(model, place / "wrong")
    spoil(wrong)
    words = ("--prompt", "a cat", "--ref", place / "cat.png")
    require_refused(generate(place, model, *words, "--model", wrong), wrong, said)
    assert not (place / "run").exists()


def test_a_size_the_model_cannot_draw_is_refused(place: Path, model: Path) -> None:
    require_refused(generate(place, model, "--prompt", "a cat", "--size", "40"), "multiples of 16 px")
    assert not (place / "run").exists()


def test_a_size_that_no_memory_holds_is_refused_with_what_it_takes(place: Path, model: Path) -> None:
    """100,000^2 px x 8 channels of the tiny autoencoder x 4 bytes = 3.2e11 bytes."""
    for words in (("--size", "100000"), ("--option", "width=100000", "--size", "100000")):
        require_refused(generate(place, model, "--prompt", "a cat", *words), "got 100000 x 100000", "about 320 GB")
    assert not (place / "run").exists()


@pytest.mark.parametrize("text", ["[]", "{}", "{"])
@pytest.mark.parametrize("name", ["tokenizer/tokenizer_config.json", "text_encoder/config.json"])
def test_a_part_of_a_model_without_settings_is_named(place: Path, model: Path, name: str, text: str) -> None:
    wrong = shutil.copytree(model, place / "wrong")
    (wrong / name).write_text(text)
    require_refused(generate(place, model, "--prompt", "a cat", "--model", wrong), wrong / name)
    assert not (place / "run").exists()


@pytest.mark.parametrize("text", ["[]", "{}"])
@pytest.mark.parametrize(
    ("encoder", "name"),
    [("clip", "preprocessor_config.json"), ("clip", "tokenizer_config.json"), ("dino", "preprocessor_config.json")],
)
def test_an_encoder_without_settings_is_named(
    place: Path, drawn: Path, encoders: dict[str, Path], encoder: str, name: str, text: str
) -> None:
    wrong = shutil.copytree(encoders[encoder], place / "wrong")
    assert (wrong / name).is_file()
    (wrong / name).write_text(text)
    require_refused(evaluate(drawn, encoders | {encoder: wrong}), wrong / name)
    assert not (drawn / "evaluation").exists()


def test_an_encoder_as_model_and_a_model_as_encoder_are_refused(
    place: Path, model: Path, encoders: dict[str, Path]
) -> None:
    require_refused(generate(place, model, "--prompt", "a cat", "--model", encoders["clip"]), encoders["clip"])
    assert not (place / "run").exists()
    require_success(generate(place, model, "--prompt", "a cat"))
    require_refused(command("evaluate", place / "run", "--clip", model, "--dino", encoders["dino"]), model)
    assert not (place / "run" / "evaluation").exists()


# evaluate ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(place: Path, model: Path) -> Path:
    """A run of two cases."""
    rows = [{"id": name, "prompt": "a cat", "references": ["cat.png"]} for name in ("one", "two")]
    require_success(generate(place, model, "--cases", cases_file(place, *rows)))
    return place / "run"


def evaluate(run: Path, encoders: dict[str, Path], *words: object) -> Result:
    return command("evaluate", run, "--clip", encoders["clip"], "--dino", encoders["dino"], *words)


def test_missing_pictures_are_refused_or_listed(drawn: Path, encoders: dict[str, Path]) -> None:
    (drawn / "images" / "two-0.png").unlink()
    require_refused(evaluate(drawn, encoders), "two-0", "allow missing")
    assert not (drawn / "evaluation").exists()
    result = evaluate(drawn, encoders, "--allow-missing")
    require_success(result)
    assert read_json(drawn / "evaluation" / "summary.json")["missing_images"] == ["two-0"]
    assert "1 left out:\n  two-0: expected a picture, found none" in result.stdout


def test_the_table_is_printed_and_json_has_its_rows(drawn: Path, encoders: dict[str, Path]) -> None:
    """Numbers are those of summary.json, columns stand under each other, and the text is ASCII for any terminal."""
    text = evaluate(drawn, encoders).stdout
    facts = json.loads(evaluate(drawn, encoders, "--json").stdout)
    summary = read_json(drawn / "evaluation" / "summary.json")
    by_place = {(row["row"], row["metric"], row["column"]): row for row in summary["rows"]}
    generated = [key for key in by_place if key[0] == "generated"]
    assert [("generated", row["metric"], row["column"]) for row in facts["table"]] == generated
    assert text.isascii()
    lines = [line for line in text.splitlines() if " | " in line]
    assert [cell.strip() for cell in lines[0].split("|")] == [
        "metric", "mean", "95% interval", "floor", "ceiling", "n", "missing",
    ]  # fmt: skip
    assert len({tuple(i for i, letter in enumerate(line) if letter == "|") for line in lines}) == 1
    for line, row in zip(lines[1:], facts["table"], strict=True):
        found = by_place["generated", row["metric"], row["column"]]
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[0].startswith(summary["metrics"][_key(summary, row)]["label"])
        assert cells[1] == ("-" if found["mean"] is None else f"{found['mean']:.3f}")
        for cell, kind in ((cells[3], "floor"), (cells[4], "ceiling")):
            bound = by_place[kind, row["metric"], row["column"]]["mean"]
            assert cell == ("-" if bound is None else f"{bound:.3f}")
            assert row[kind] == bound
        assert cells[5:] == [str(found["n"]), str(found["missing"])]


def _key(summary: dict[str, Any], row: dict[str, Any]) -> str:
    names = {(facts["name"], facts["column"]): key for key, facts in summary["metrics"].items()}
    return names[row["metric"], row["column"]]


BAD_RUNS: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged picture": (lambda run: (run / "images/one-0.png").write_bytes(b"\x89PNG"), "one-0.png"),
    "malformed manifest": (lambda run: (run / "manifest.jsonl").write_text('{"id": '), "manifest.jsonl:1"),
    "foreign manifest": (lambda run: (run / "manifest.jsonl").write_text('{"id": 1}\n'), "manifest.jsonl:1"),
    "wordy manifest": (
        lambda run: (run / "manifest.jsonl").write_text(
            '{"case_id": "one", "image": "images/one-0.png", "k": "zero"}\n'
        ),
        "manifest.jsonl:1",
    ),
    "malformed run.json": (lambda run: (run / "run.json").write_text("{"), "run.json:1"),
    "no cases": (lambda run: (run / "cases.jsonl").unlink(), "cases.jsonl"),
    "lost reference": (lambda run: shutil.rmtree(run / "references"), "references/"),
}


@pytest.mark.parametrize("kind", BAD_RUNS)
def test_a_damaged_run_is_refused(drawn: Path, encoders: dict[str, Path], kind: str) -> None:
    spoil, said = BAD_RUNS[kind]
    spoil(drawn)
    require_refused(evaluate(drawn, encoders), said)
    assert not list((drawn / "evaluation").glob("*.json*"))


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC], ids=["read-only", "full"])
def test_an_evaluation_that_cannot_be_written_is_refused(
    drawn: Path, encoders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        break_disk(patch, below=drawn, code=code, after=2)  # the one part and scores.jsonl
        require_refused(evaluate(drawn, encoders), drawn / "evaluation", os.strerror(code))
    assert not (drawn / "evaluation" / "summary.json").exists()
    require_success(evaluate(drawn, encoders))


def test_corrupted_encoder_weights_are_refused(drawn: Path, encoders: dict[str, Path], tmp_path: Path) -> None:
    wrong = {**encoders, "dino": shutil.copytree(encoders["dino"], tmp_path / "dino")}
    flip(wrong["dino"] / "model.safetensors")
    require_refused(evaluate(drawn, wrong), wrong["dino"] / "model.safetensors")
    assert not (drawn / "evaluation").exists()


def test_commands_json_that_holds_no_commands_is_refused(drawn: Path, encoders: dict[str, Path]) -> None:
    (drawn / "commands.json").write_text('["mine"]')
    require_refused(evaluate(drawn, encoders), drawn / "commands.json", "got list")
    require_refused(command("report", drawn), drawn / "commands.json", "got list")
    assert (drawn / "commands.json").read_text() == '["mine"]'


def test_a_full_disk_under_the_report_leaves_the_old_page(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_success(command("report", drawn))
    page = (drawn / "report.html").read_bytes()
    break_disk(monkeypatch, below=drawn, code=errno.ENOSPC)
    said = command("report", drawn, "--title", "another")  # an unchanged page would not be written again
    require_refused(said, drawn / "report.html", os.strerror(errno.ENOSPC))
    assert (drawn / "report.html").read_bytes() == page
    assert not list(drawn.glob(".*.tmp"))
