"""Generation runs: same bytes however interrupted, in whatever order, by however many workers."""

import errno
import hashlib
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_maker
import pytest
from PIL import Image
from scripts import HELPERS, child_environment

from likeness.backbones.flux.options import FluxOptions
from likeness.core.errors import ConfigError, DataError, LikenessError, OutputError, WeightsError
from likeness.core.files import read_json, read_jsonl, write_jsonl
from likeness.core.hashing import pixels_sha256
from likeness.core.images import load_image, png_text, save_png
from likeness.core.records import Case, Subject, read_cases
from likeness.core.rows import LeftOut
from likeness.generate.makers import MakerSpec
from likeness.generate.run import RunSummary, generate_run
from likeness.generate.workers import Plan, _load


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.txt").write_text("weights")
    return tmp_path / "tiny"


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    files = {color: tmp_path / f"{color}.png" for color in ("red", "blue")}
    for color, path in files.items():
        Image.new("RGB", (20, 10), color).save(path)
    return files


def subject(path: Path, **changes: Any) -> Subject:
    return Subject(id=path.stem, class_name="cat", reference_image=path, **changes)


@pytest.fixture
def cases(photos: dict[str, Path]) -> list[Case]:
    red, blue = subject(photos["red"], photos=(photos["red"], photos["blue"])), subject(photos["blue"])
    return [
        Case(id="one", prompt="a cat", subjects=(red,), seed=7),
        Case(id="two", prompt="a cat and a dog in the snow", subjects=(red, blue), seed=100),
        Case(id="none", prompt="a dog"),
    ]


def run(cases: list[Case], out: Path, model: Path, **changes: Any) -> RunSummary:
    options: dict[str, Any] = {"num_images": 2, "device": "cpu", "dtype": "float32", "maker": "fake_maker:load"}
    return generate_run(cases, out=out, model=str(model), **{**options, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_is_complete_and_says_what_it_is(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    summary = run(cases, tmp_path / "run", model, options={"steps": 4, "cfg_scale": 2.0})
    assert summary == RunSummary(tmp_path / "run", 6, 6, (), {})
    rows = read_jsonl(tmp_path / "run" / "manifest.jsonl")
    assert [row["id"] for row in rows] == ["one-0", "one-1", "two-0", "two-1", "none-0", "none-1"]
    assert [row["seed"] for row in rows] == [7, 8, 100, 101, 0, 1]
    red = pixels_sha256(Image.new("RGB", (20, 10), "red"))
    assert rows[0]["references"] == [{"subject_id": "red", "file": f"references/{red[:12]}.png", "sha256": red}]
    assert rows[0]["model"]["id"] == "tiny"
    assert list(rows[0]["settings"].items()) == [
        ("size", None),
        ("steps", 4),
        ("guidance", None),
        ("cfg_scale", 2.0),
        ("reference_cfg_scale", None),
        ("device", "cpu"),
        ("dtype", "float32"),
        ("maker", "fake_maker:load"),
    ]
    assert rows[0]["versions"]["likeness"]
    identity = read_json(tmp_path / "run" / "run.json")
    assert rows[0]["model"] == identity["model"]
    names = set(contents(tmp_path / "run"))
    assert names == {"run.json", "cases.jsonl", "manifest.jsonl"} | {row["image"] for row in rows} | {
        reference["file"] for row in rows for reference in row["references"]
    }


def test_pictures_are_what_the_maker_makes_and_carry_their_proof(
    tmp_path: Path, model: Path, cases: list[Case]
) -> None:
    options: dict[str, Any] = {"size": 24, "steps": 3, "guidance": 3.5, "cfg_scale": 2.0, "reference_cfg_scale": 4.0}
    run(cases, tmp_path / "run", model, options=options)
    maker = fake_maker.load(model, device="cpu", dtype="float32")
    shown = [load_image(subject.reference_image) for subject in cases[1].subjects]
    expected = maker.generate(cases[1].prompt, shown, seed=101, options=FluxOptions(**options))
    path = tmp_path / "run" / "images" / "two-1.png"
    assert pixels_sha256(load_image(path)) == pixels_sha256(expected)
    proof = png_text(path)["likeness"]
    for part in ('"case_id":"two"', '"k":1', '"seed":101', '"prompt":"a cat and a dog in the snow"', '"model":"'):
        assert part in proof


def test_written_cases_are_cases_relative_to_the_run(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    run(cases, tmp_path / "run", model)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    read = read_cases(moved / "cases.jsonl")
    assert [case.id for case in read.cases] == ["one", "two", "none"]
    assert pixels_sha256(load_image(read.cases[0].subjects[0].photos[1])) == pixels_sha256(
        Image.new("RGB", (20, 10), "blue")
    )
    again = run(list(read.cases), moved, model)
    assert (again.num_images, again.num_made) == (6, 0)


def test_workers_and_order_do_not_change_pictures(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    run(cases, tmp_path / "alone", model)
    run(cases, tmp_path / "three", model, workers=3)
    assert contents(tmp_path / "alone") == contents(tmp_path / "three")
    run(cases[::-1], tmp_path / "reversed", model, workers=2)
    reversed_rows = read_jsonl(tmp_path / "reversed" / "manifest.jsonl")
    assert [row["case_id"] for row in reversed_rows] == ["none", "none", "two", "two", "one", "one"]
    run(cases[1:2], tmp_path / "part", model)
    whole = contents(tmp_path / "alone")
    for other in ("reversed", "part"):
        images = {name: data for name, data in contents(tmp_path / other).items() if name.startswith("images/")}
        assert images == {name: whole[name] for name in images}


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_changes_no_byte(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    cases = [*cases, Case(id="horse", prompt="a forbidden horse")]
    run(cases, tmp_path / "alone", model, engine="here")
    run(cases, tmp_path / "ray", model, engine="ray", workers=2)
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    assert "rejected.jsonl" in contents(tmp_path / "ray")


def test_a_worker_that_does_not_see_the_run_or_the_weights_says_where(tmp_path: Path, model: Path) -> None:
    plan = Plan(tmp_path / "run", MakerSpec("fake_maker:load", model, "cpu", "float32"), {})
    machine = socket.gethostname()
    with pytest.raises(DataError, match=rf"/run: expected to find it on {machine} as well, got nothing there"):
        _load(plan, 0)
    (tmp_path / "run").mkdir()
    _load(plan, 0)
    (model / "model.txt").rename(tmp_path / "model.txt")
    model.rmdir()
    with pytest.raises(DataError, match=rf"{model}: expected to find it on {machine} as well, got nothing there"):
        _load(plan, 0)


def test_second_run_makes_only_what_is_missing_or_damaged(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    out = tmp_path / "run"
    run(cases, out, model)
    before = contents(out)
    whole = (out / "images" / "one-0.png").read_bytes()
    (out / "images" / "one-0.png").write_bytes(whole[: len(whole) // 2])
    (out / "images" / "one-1.png").unlink()
    save_png(Image.new("RGB", (24, 24)), out / "images" / "two-0.png", text={"likeness": "{}", "notes": "[]"})
    next((out / "references").iterdir()).write_bytes(b"")
    (out / ".dead.tmp").write_text("half")
    (out / "images" / ".beef.tmp").write_text("half")
    (out / "manifest.jsonl").unlink()
    assert run(cases, out, model).num_made == 3
    assert contents(out) == before
    assert run(cases, out, model).num_made == 0
    assert contents(out) == before


def test_progress_counts_to_the_end(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    seen: list[tuple[int, int]] = []
    run(cases, tmp_path / "run", model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(7)]
    seen.clear()
    run(cases, tmp_path / "run", model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6)]


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_end_with_the_same_bytes(tmp_path: Path, model: Path, photos: dict[str, Path], num_kills: int) -> None:
    rows = [{"id": f"c{n}", "prompt": f"a cat {n}", "references": [str(photos["red"])], "seed": n} for n in range(15)]
    rows.append({"id": "bad", "prompt": "forbidden", "references": []})
    write_jsonl(tmp_path / "cases.jsonl", rows)

    def start(out: str, workers: int) -> subprocess.Popen[bytes]:
        arguments = [tmp_path / "cases.jsonl", model, tmp_path / out, workers]
        command = [sys.executable, str(HELPERS / "generate_once.py"), *map(str, arguments)]
        return subprocess.Popen(command, env=child_environment())

    def num_pictures() -> int:
        return len(list((tmp_path / "killed" / "images").glob("*.png")))

    assert start("whole", 1).wait() == 0
    rng = random.Random(0)
    progress: list[int] = []
    for number in range(num_kills):
        process = start("killed", 1 + number % 3)
        if number % 4 == 0:  # while it starts: before run.json, between the references, as workers load
            time.sleep(rng.uniform(0.1, 0.8))
        else:  # in the midst of making and writing pictures
            wanted = num_pictures() + rng.randint(1, 3)
            while num_pictures() < min(wanted, 44) and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.wait()
        progress.append(num_pictures())
    assert len(set(progress)) > 0.4 * num_kills
    assert start("killed", 2).wait() == 0
    deadline = time.monotonic() + 10  # orphans of the last kill may be a picture behind
    while contents(tmp_path / "killed") != contents(tmp_path / "whole") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(read_jsonl(tmp_path / "killed" / "manifest.jsonl")) == 45
    assert progress == sorted(progress)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path, model: Path, photos: dict[str, Path]) -> None:
    psutil = pytest.importorskip("psutil")
    rows = [{"id": f"c{n}", "prompt": f"a cat {n}", "references": []} for n in range(400)]
    write_jsonl(tmp_path / "cases.jsonl", rows)
    arguments = [HELPERS / "generate_once.py", tmp_path / "cases.jsonl", model, tmp_path / "run", 2]
    process = subprocess.Popen([sys.executable, *map(str, arguments)], env=child_environment())
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "run").glob("images/*.png"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_unreadable_references_are_listed_and_the_others_go_on(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    (tmp_path / "text.png").write_text("no picture")
    bad = [
        Case(id="text", prompt="a cat", subjects=(subject(tmp_path / "text.png"),)),
        Case(id="gone", prompt="a cat", subjects=(subject(tmp_path / "gone.png"),)),
        Case(id="photo", prompt="a cat", subjects=(subject(tmp_path / "red.png", photos=(tmp_path / "text.png",)),)),
    ]
    earlier = LeftOut(where="cases.jsonl:9", reason="bad line")
    summary = run([bad[0], *cases, *bad[1:]], tmp_path / "run", model, left_out=[earlier])
    assert [row.where for row in summary.left_out] == ["cases.jsonl:9", "text", "gone", "photo"]
    assert summary.num_images == 6
    listed = read_jsonl(tmp_path / "run" / "rejected.jsonl")
    assert listed[0] == {"where": "cases.jsonl:9", "reason": "bad line"}
    assert "text.png: expected a picture" in listed[1]["reason"]
    assert "no readable file" in listed[2]["reason"]
    with pytest.raises(DataError, match=r"expected one usable case, got none; first reason: .*text\.png"):
        run(bad, tmp_path / "other", model)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_prompt_the_maker_refuses_is_listed(tmp_path: Path, model: Path, cases: list[Case], workers: int) -> None:
    refused = Case(id="no", prompt="forbidden")
    for _ in range(2):
        summary = run([refused, *cases], tmp_path / "run", model, workers=workers)
        assert [row.where for row in summary.left_out] == ["no-0", "no-1"]
        assert "forbidden" in summary.left_out[0].reason
        assert len(read_jsonl(tmp_path / "run" / "manifest.jsonl")) == 6


def test_notes_on_long_and_unknown_prompts(tmp_path: Path, model: Path) -> None:
    cases = [
        Case(id="long", prompt="cat " * 10_000),
        Case(id="odd", prompt="zyx qwv qwv"),
        Case(id="fine", prompt="a cat"),
    ]
    run(cases, tmp_path / "run", model, num_images=1)
    notes = {row["case_id"]: row["notes"] for row in read_jsonl(tmp_path / "run" / "manifest.jsonl")}
    assert notes["long"] == ["truncated: the prompt is longer than the text encoder reads"]
    assert notes["odd"] == ["unknown words: qwv, zyx"]
    assert notes["fine"] == []
    run(cases, tmp_path / "plain", model, num_images=1, maker="fake_maker:load_plain")
    assert all(row["notes"] == [] for row in read_jsonl(tmp_path / "plain" / "manifest.jsonl"))


def test_blank_prompt_and_repeated_id_and_no_case_are_data_errors(
    tmp_path: Path, model: Path, cases: list[Case]
) -> None:
    blank = cases[0].model_copy(update={"prompt": "  "})
    with pytest.raises(DataError, match=r"case one: .*empty"):
        run([blank], tmp_path / "run", model)
    with pytest.raises(DataError, match=r"case ONE: .*once"):
        run([cases[0], cases[0].model_copy(update={"id": "ONE"})], tmp_path / "run", model)
    with pytest.raises(DataError, match="at least one case"):
        run([], tmp_path / "run", model)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", [{"num_images": 0}, {"workers": 0}, {"dtype": "int8"}])
def test_impossible_settings_are_config_errors(
    tmp_path: Path, model: Path, cases: list[Case], setting: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        run(cases, tmp_path / "run", model, **setting)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": -1}, r"^steps: expected at least 1, got -1; raise it\.$"),
        ({"size": 0}, r"^size: expected at least 1, got 0; raise it\.$"),
        ({"stepz": 3}, "stepz: expected an option among size, .*, got 'stepz'; did you mean steps"),
    ],
)
def test_impossible_options_are_config_errors_before_anything_is_written(
    tmp_path: Path, model: Path, cases: list[Case], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(cases, tmp_path / "run", model, options=options)
    assert not (tmp_path / "run").exists()


def test_a_maker_without_a_model_of_its_options_takes_them_as_given(
    tmp_path: Path, model: Path, cases: list[Case]
) -> None:
    run(cases, tmp_path / "run", model, maker="fake_maker:load_plain", options={"colour": "blue"})
    assert load_image(tmp_path / "run" / "images" / "one-0.png").getpixel((0, 0)) == (0, 0, 255)
    assert read_json(tmp_path / "run" / "run.json")["settings"]["colour"] == "blue"


@pytest.mark.parametrize("maker", ["nothing", "no_such_module:load", "fake_maker:nothing", "fake_maker:KNOWN"])
def test_unknown_maker_is_a_config_error(tmp_path: Path, model: Path, cases: list[Case], maker: str) -> None:
    with pytest.raises(ConfigError, match="maker: expected"):
        run(cases, tmp_path / "run", model, maker=maker)


def test_maker_as_function(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    run(cases, tmp_path / "function", model, maker=fake_maker.load, workers=2)
    run(cases, tmp_path / "name", model)
    assert contents(tmp_path / "function") == contents(tmp_path / "name")
    with pytest.raises(ConfigError, match="move it there"):
        run(cases, tmp_path / "local", model, maker=lambda folder, **options: fake_maker.Plain())


def test_folder_of_another_run_is_left_alone(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    out = tmp_path / "run"
    run(cases, out, model)
    before = contents(out)
    with pytest.raises(OutputError, match=r"another run \(settings\.steps: None there, 9 here\)"):
        run(cases, out, model, options={"steps": 9})
    with pytest.raises(OutputError, match="cases_sha256"):
        run(cases[:1], out, model)
    (model / "model.txt").write_text("other weights")
    with pytest.raises(OutputError, match=r"model\.sha256"):
        run(cases, out, model)
    assert contents(out) == before


def test_unusable_folders_are_output_errors(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can be created"):
        run(cases, tmp_path / "file" / "run", model)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        run(cases, tmp_path / "full", model)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_disk_that_fails_midway_is_reported_and_the_run_continues_later(
    tmp_path: Path, model: Path, cases: list[Case], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    replace = Path.replace
    written: list[Path] = []

    def failing(self: Path, target: Path) -> Path:
        written.append(target)
        if len(written) > 6:  # run.json, two references, cases.jsonl, two pictures
            raise OSError(code, os.strerror(code))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        with pytest.raises(OutputError, match=os.strerror(code)):
            run(cases, tmp_path / "run", model)
    assert len(list((tmp_path / "run").glob("images/*"))) == 2
    assert run(cases, tmp_path / "run", model).num_made == 4
    run(cases, tmp_path / "whole", model)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_adapter_is_loaded_and_part_of_the_identity(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    (tmp_path / "lora.safetensors").write_text("adapter")
    options = {"loras": [tmp_path / "lora.safetensors"], "maker": "fake_maker:load_adapted"}
    run(cases, tmp_path / "run", model, workers=2, **options)
    identity = read_json(tmp_path / "run" / "run.json")
    digest = hashlib.sha256(b"adapter").hexdigest()
    assert identity["model"]["loras"] == [{"id": "lora.safetensors", "sha256": digest}]
    assert digest in png_text(tmp_path / "run" / "images" / "one-0.png")["likeness"]
    (tmp_path / "lora.safetensors").write_text("trained further")
    with pytest.raises(OutputError, match=r"model\.loras"):
        run(cases, tmp_path / "run", model, **options)
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        run(cases, tmp_path / "other", model, loras=[tmp_path / "none.safetensors"])


def test_missing_weights_are_named(tmp_path: Path, cases: list[Case]) -> None:
    with pytest.raises(WeightsError, match="existing folder"):
        run(cases, tmp_path / "run", tmp_path / "no weights")


def test_bug_and_death_in_a_worker_reach_the_caller(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)worker failed.*a bug in the maker"):
        run([*cases, Case(id="x", prompt="crash")], tmp_path / "bug", model, workers=2)
    with pytest.raises(ZeroDivisionError):
        run([Case(id="x", prompt="crash")], tmp_path / "here", model)
    with pytest.raises(LikenessError, match="exit code 9"):
        run([*cases, Case(id="x", prompt="die")], tmp_path / "dead", model, workers=2)


def test_a_run_of_the_first_cases_grows_to_one_of_all(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    """The pictures that were there stay the same files; the folder is that of a run made in one go."""
    run(cases, tmp_path / "whole", model)
    run(cases[:1], tmp_path / "run", model)
    files = {path: path.stat().st_ino for path in (tmp_path / "run" / "images").iterdir()}
    summary = run(cases, tmp_path / "run", model)
    assert (summary.num_images, summary.num_made) == (6, 4)
    assert {path: path.stat().st_ino for path in files} == files
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_run_does_not_shrink_or_change_its_first_cases(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    run(cases[:2], tmp_path / "run", model)
    before = contents(tmp_path / "run")
    for others in (cases[:1], [cases[0], cases[2]], cases[::-1]):
        with pytest.raises(OutputError, match="another run \\(cases_sha256"):
            run(others, tmp_path / "run", model)
    assert contents(tmp_path / "run") == before


def test_a_run_killed_while_it_grew_grows_further(tmp_path: Path, model: Path, cases: list[Case]) -> None:
    """The kill fell between run.json and cases.jsonl, which still has one case while the identity is that of two."""
    run(cases, tmp_path / "whole", model)
    run(cases[:2], tmp_path / "run", model)
    (tmp_path / "run" / "cases.jsonl").write_text((tmp_path / "run" / "cases.jsonl").read_text().splitlines()[0] + "\n")
    run(cases, tmp_path / "run", model)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
