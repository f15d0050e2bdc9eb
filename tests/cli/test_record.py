"""What a run remembers of its commands: the benchmark, the flags, and the cases of pictures made elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.benchmarks import BENCHMARKS
from likeness.benchmarks.world import NUM_CASES
from likeness.cli import app
from likeness.cli.record import _word
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.records import Case, CasesFile, Subject, read_cases
from likeness.core.runs import recorded_run
from likeness.core.weights import weights_facts
from likeness.encoders import PHOTO_ENCODERS, WORLD_ENCODERS
from likeness.generate.run import RunSummary, generate_run

runner = CliRunner()
NAMES = ("first", "second")


@pytest.fixture
def no_encoders(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Evaluation without encoders, so that nothing is measured; the list holds the encoders asked for."""
    asked: list[dict[str, str]] = []

    def load(specs: dict[str, str], **_: Any) -> dict[str, Any]:
        asked.append(specs)
        return {}

    monkeypatch.setattr("likeness.evaluate.folder.load_encoders", load)
    return asked


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach generate_run, which draws nothing here."""
    calls: list[dict[str, Any]] = []

    def fake(cases: Any, **settings: Any) -> RunSummary:
        calls.append(settings)
        settings["out"].mkdir()
        return RunSummary(settings["out"], len(cases), len(cases), (), {})

    monkeypatch.setattr("likeness.generate.run.generate_run", fake)
    return calls


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with pictures only, made by another program, for the cases that lie beside it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16), "orange").save(tmp_path / "photos" / "rex.png")
    for name in NAMES:
        Image.new("RGB", (16, 16), "teal").save(tmp_path / "pictures" / f"{name}.jpg")
    rows = [{"id": name, "prompt": f"a dog, {name}", "references": ["photos/rex.png"]} for name in NAMES]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    return tmp_path


def test_run_json_names_the_benchmark(tmp_path: Path) -> None:
    for name in ("world-single", None):
        out = tmp_path / str(name)
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "model.txt").write_text("weights")
        generate_run(
            [Case(id="a", prompt="a cat")],
            out=out,
            model=str(tmp_path / "model"),
            device="cpu",
            dtype="float32",
            maker="fake_maker:load",
            benchmark=name,
        )
        assert recorded_run(out)["benchmark"] == name


def test_the_command_is_recorded_with_its_flags_and_seed(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "rex.png")
    out = tmp_path / "run"
    words = ["--prompt", "a dog's day", "--ref", str(tmp_path / "rex.png"), "-n", "2", "--workers", "2"]
    words += ["--engine", "here", "--device", "cpu", "--out", str(out)]
    result = runner.invoke(app, ["generate", *words])
    assert result.exit_code == 0, result.stderr
    line = read_json(out / "commands.json")["generate"]
    given = "--prompt 'a dog'\"'\"'s day' --ref rex.png --seed 0 --num-images 2 --device cpu"
    assert line == f"likeness generate --out run {given}"
    assert drawn[0]["device"] == "cpu"
    assert drawn[0]["engine"] == "here"


def test_paths_are_recorded_so_that_the_line_can_be_copied(
    tmp_path: Path, drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "refs" / "rex.png")
    out = Path("runs") / "rex"
    (tmp_path / "runs").mkdir()
    words = ["--prompt", "a dog", "--ref", str(tmp_path / "refs" / "rex.png"), "--out", str(out)]
    result = runner.invoke(app, ["generate", *words])
    assert result.exit_code == 0, result.stderr
    line = read_json(out / "commands.json")["generate"]
    assert line == "likeness generate --out runs/rex --prompt 'a dog' --ref refs/rex.png --seed 0"


@pytest.mark.parametrize(
    ("given", "told"),
    [("runs/a", "runs/a"), ("../a", "../a"), ("/somewhere/private/a", "a"), ("dino=/somewhere/private/a", "dino=a")],
)
def test_an_absolute_path_elsewhere_goes_by_its_last_name(given: str, told: str) -> None:
    assert _word(given, name="encoder" if "=" in given else "model") == told


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if not BENCHMARKS[name].needs_data])
def test_every_world_benchmark_is_accepted_and_recorded(tmp_path: Path, drawn: list[Any], name: str) -> None:
    out = tmp_path / "run"
    result = runner.invoke(app, ["generate", "--benchmark", name, "--limit", "1", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert drawn[0]["benchmark"] == name
    assert "drawing cases" in result.stderr
    assert read_json(out / "commands.json")["generate"] == f"likeness generate --out run --benchmark {name} --limit 1"


def test_evaluate_finds_the_benchmark_in_the_run(elsewhere: Path, no_encoders: list[dict[str, str]]) -> None:
    run = elsewhere / "pictures"
    write_jsonl(run / "cases.jsonl", [{"id": "first", "prompt": "x"}, {"id": "second", "prompt": "y"}])
    write_json(run / "run.json", {"benchmark": "world-multi"})
    result = runner.invoke(app, ["evaluate", str(run), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["benchmark"] == "world-multi"
    assert "probe" in no_encoders[0]
    result = runner.invoke(app, ["evaluate", str(run), "--benchmark", "world-multi", "--json"])
    assert json.loads(result.stdout)["benchmark"] == "world-multi"


@pytest.mark.parametrize("own", ["world-multi", None])
@pytest.mark.parametrize("cases", [False, True])
def test_a_run_is_not_evaluated_as_a_benchmark_it_was_not_made_for(
    elsewhere: Path, no_encoders: list[Any], own: str | None, cases: bool
) -> None:
    run = elsewhere / "pictures"
    write_jsonl(run / "cases.jsonl", [{"id": "first", "prompt": "x"}, {"id": "second", "prompt": "y"}])
    write_json(run / "run.json", {"benchmark": own})
    given = ["--cases", str(run / "cases.jsonl")] if cases else []
    result = runner.invoke(app, ["evaluate", str(run), "--benchmark", "world-hard", *given])
    assert result.exit_code == 2
    assert f"({own or 'none'}), got world-hard" in " ".join(result.stderr.split())
    assert not (run / "evaluation").exists()


@pytest.fixture
def two_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks of the world have two cases here."""
    for name in NUM_CASES:
        monkeypatch.setitem(NUM_CASES, name, 2)


@pytest.mark.usefixtures("no_encoders", "two_cases")
def test_a_wrong_benchmark_leaves_pictures_made_elsewhere_alone_for_the_right_one(tmp_path: Path) -> None:
    made = tmp_path / "at" / "made"
    made.mkdir(parents=True)
    for index in range(2):
        Image.new("RGB", (16, 16), "teal").save(made / f"world-multi-v2-{index:04d}.png")
    names = sorted(path.name for path in made.iterdir())
    result = runner.invoke(app, ["evaluate", str(made), "--benchmark", "world-single"])
    assert result.exit_code == 2
    assert "world-single-v2-0000" in result.stderr
    assert sorted(path.name for path in made.iterdir()) == names
    write_jsonl(made / "cases.jsonl", [{"id": "world-multi-v2-0000", "prompt": "some other case"}])
    result = runner.invoke(app, ["evaluate", str(made), "--benchmark", "world-multi", "--json"])
    assert result.exit_code == 0, result.stderr
    assert "drawing cases" in result.stderr
    assert json.loads(result.stdout)["benchmark"] == "world-multi"
    assert json.loads(result.stdout)["num_cases"] == 2
    assert sorted(path.name for path in (made / "truth").iterdir()) == names
    moved = (tmp_path / "at").rename(tmp_path / "moved")
    cases = read_cases(moved / "made" / "evaluation" / "cases.jsonl").cases
    assert [len(case.subjects) for case in cases] == [2, 2]
    assert runner.invoke(app, ["report", str(moved / "made")]).exit_code == 0


@pytest.mark.usefixtures("no_encoders")
def test_dreambench_cases_are_kept_beside_pictures_made_elsewhere(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, *, data: Path, **_: object) -> CasesFile:
        subject = Subject(id="rex", class_name="dog", reference_image=data / "rex.png")
        cases = [Case(id=word, prompt=f"a dog, {word}", subjects=(subject,)) for word in ("first", "second")]
        return CasesFile(cases=tuple(cases), left_out=())

    monkeypatch.setattr("likeness.benchmarks.dreambench.build", build)
    words = ["--benchmark", "dreambench-single", "--data", str(elsewhere / "photos"), "--json"]
    for _ in range(2):
        result = runner.invoke(app, ["evaluate", str(elsewhere / "pictures"), *words])
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["benchmark"] == "dreambench-single"
    assert not (elsewhere / "pictures" / "cases.jsonl").exists()
    moved = elsewhere.rename(elsewhere.with_name(f"{elsewhere.name}-moved"))
    assert read_cases(moved / "pictures-cases" / "dreambench-single" / "cases.jsonl").left_out == ()
    assert read_cases(moved / "pictures" / "evaluation" / "cases.jsonl").left_out == ()


@pytest.fixture
def embedded_flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What run.json says of the embedded model, which is a small file here."""
    (tmp_path / "embedded" / "flux").mkdir(parents=True)
    (tmp_path / "embedded" / "flux" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("likeness.core.weights.embedded_folder", lambda: tmp_path / "embedded")
    return weights_facts("flux", tmp_path / "embedded" / "flux")


WORLD_EYES = {"clip": "clip", "dino": "dino"}


@pytest.mark.parametrize(
    ("model", "attributes", "words", "expected"),
    [
        pytest.param({}, None, [], WORLD_EYES, id="embedded model"),
        pytest.param({}, {"species": "dog"}, [], WORLD_ENCODERS, id="embedded model, labels"),
        pytest.param({"loras": []}, None, ["--dino", "x/y"], {"clip": "clip", "dino": "x/y"}, id="chosen"),
        pytest.param({"sha256": "0"}, None, [], PHOTO_ENCODERS, id="another model of that name"),
        pytest.param({"id": "FLUX.1-dev"}, None, [], PHOTO_ENCODERS, id="another model"),
        pytest.param(None, None, [], PHOTO_ENCODERS, id="made elsewhere"),
    ],
)
def test_what_an_embedded_model_drew_is_measured_by_the_embedded_encoders(
    elsewhere: Path,
    no_encoders: list[dict[str, str]],
    embedded_flux: dict[str, str],
    model: dict[str, Any] | None,
    attributes: dict[str, str] | None,
    words: list[str],
    expected: dict[str, str],
) -> None:
    run = elsewhere / "pictures"
    photo = str(elsewhere / "photos" / "rex.png")
    subject = {"id": "rex", "class_name": "dog", "reference_image": photo, "attributes": attributes}
    write_jsonl(run / "cases.jsonl", [{"id": word, "prompt": "x", "subjects": [subject]} for word in NAMES])
    if model is not None:
        write_json(run / "run.json", {"benchmark": None, "model": embedded_flux | model})
    result = runner.invoke(app, ["evaluate", str(run), *words])
    assert result.exit_code == 0, result.stderr
    assert no_encoders == [expected]


def test_pictures_made_elsewhere_can_be_evaluated_and_reported(elsewhere: Path, no_encoders: list[Any]) -> None:
    run = elsewhere / "pictures"
    result = runner.invoke(app, ["evaluate", str(run), "--cases", str(elsewhere / "mine.jsonl"), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["benchmark"] == "mine"
    moved = elsewhere.rename(elsewhere.with_name("moved"))
    kept = read_cases(moved / "pictures" / "evaluation" / "cases.jsonl")
    assert [case.id for case in kept.cases] == ["first", "second"]
    assert kept.cases[0].subjects[0].reference_image.is_file()
    result = runner.invoke(app, ["report", str(moved / "pictures")])
    assert result.exit_code == 0, result.stderr
    html = (moved / "pictures" / "report.html").read_text(encoding="utf-8")
    assert html.count('alt="generated: a dog, ') >= 2
    assert html.count('alt="reference: subject"') >= 2
    assert "likeness evaluate pictures --cases mine.jsonl" in html


def test_own_cases_replace_those_from_elsewhere(elsewhere: Path, no_encoders: list[Any]) -> None:
    run = elsewhere / "pictures"
    runner.invoke(app, ["evaluate", str(run), "--cases", str(elsewhere / "mine.jsonl")])
    write_jsonl(run / "cases.jsonl", [{"id": "first", "prompt": "x"}, {"id": "second", "prompt": "y"}])
    result = runner.invoke(app, ["evaluate", str(run)])
    assert result.exit_code == 0, result.stderr
    assert not (run / "evaluation" / "cases.jsonl").exists()
