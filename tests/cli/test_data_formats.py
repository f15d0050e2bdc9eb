"""`likeness data lint|export|import`: exit codes, what people and machines read, and the names of layouts."""

import json
import shutil
from pathlib import Path
from pkgutil import resolve_name

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.formats import EXPORTS, LAYOUTS, LIST_EXPORTS, OWN_FORMATS

runner = CliRunner()


def tiny_pairs(folder: Path, n: int = 2) -> Path:
    """Disks on white whose colour the rejected picture changes."""
    from PIL import ImageDraw

    def disk(path: str, color: str, ground: str, mode: str = "RGB") -> str:
        image = Image.new(mode, (64, 64), ground)
        ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill=color)
        image.save(folder / path)
        return path

    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for i, color in zip(range(n), ("red", "green", "blue"), strict=False):
        mask = disk(f"{i}-mask.png", "white", "black", "L")
        shared = {"phrase": f"{color} disk", "mask": mask}
        rows.append(
            {
                "id": f"disk-{i}",
                "subset": "single",
                "category": "object",
                "prompt": f"a {color} disk",
                "references": [{**shared, "image": disk(f"{i}-ref.png", color, "gray"), "category": "object"}],
                "preferred": disk(f"{i}-good.png", color, "white"),
                "rejected": disk(f"{i}-bad.png", "orange", "white"),
                "subjects": [{**shared, "reference_index": 0, "box": [0.1, 0.1, 0.9, 0.9], "disrupted": True}],
                "prior_mask": mask,
                "size": [64, 64],
            }
        )
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


def swap_first(folder: Path) -> Path:
    rows = read_jsonl(folder / "pairs.jsonl")
    rows[0]["preferred"], rows[0]["rejected"] = rows[0]["rejected"], rows[0]["preferred"]
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


def test_lint_ends_with_0_for_a_clean_set(tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "lint", str(tiny_pairs(tmp_path / "set")), "--token", "8"])
    assert result.exit_code == 0, result.output
    assert "2 pairs, 0 errors, 0 warnings" in result.stdout
    assert "overlap with benchmarks: not checked" in result.stdout


def test_lint_ends_with_1_and_says_what_is_wrong(tmp_path: Path) -> None:
    folder = swap_first(tiny_pairs(tmp_path / "set"))
    result = runner.invoke(app, ["data", "lint", str(folder), "--token", "8"])
    assert result.exit_code == 1
    assert "swapped_winner (1)" in result.stdout
    assert "disk-0: the disrupted subjects look more like their references in the rejected picture" in result.stdout
    result = runner.invoke(app, ["data", "lint", str(folder), "--token", "8", "--json"])
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["num_errors"], facts["by_code"]) == (1, {"swapped_winner": 1})
    assert facts["findings"][0]["pair"] == "disk-0"


def test_lint_of_nothing_ends_with_2(tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "lint", str(tmp_path)])
    assert result.exit_code == 2
    assert "pairs.jsonl" in result.stderr


def test_lint_knows_the_subjects_of_case_files(tmp_path: Path) -> None:
    folder = tiny_pairs(tmp_path / "set")
    cases = tmp_path / "cases.jsonl"
    write_jsonl(cases, [{"id": "c", "prompt": "a disk", "references": [str(folder / "0-ref.png")]}])
    result = runner.invoke(app, ["data", "lint", str(folder), "--token", "8", "--cases", str(cases), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["by_code"] == {"benchmark_overlap": 1}


def test_lint_refuses_an_unknown_benchmark(tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "lint", str(tiny_pairs(tmp_path / "set")), "--benchmark", "moon"])
    assert result.exit_code == 2
    assert "world-multi" in result.stderr


@pytest.mark.parametrize("kind", list(EXPORTS))
def test_export_and_import_bring_the_set_back(tmp_path: Path, kind: str) -> None:
    folder = tiny_pairs(tmp_path / "set")
    out, back = tmp_path / "out", tmp_path / "back"
    arguments = ["data", "export", str(folder), "--to", kind, "--out", str(out), "--shard-size", "0.001"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"2 pairs in 2 shards in {out}"
    result = runner.invoke(app, ["data", "import", str(out), "--layout", kind, "--out", str(back), "--json"])
    assert json.loads(result.stdout)["num_pairs"] == 2
    assert (back / "1-good.png").read_bytes() == (folder / "1-good.png").read_bytes()
    assert [row["id"] for row in read_jsonl(back / "pairs.jsonl")] == ["disk-0", "disk-1"]


def test_export_tells_of_rows_that_were_left_out(tmp_path: Path) -> None:
    folder = tiny_pairs(tmp_path / "set")
    (folder / "0-bad.png").unlink()
    arguments = ["data", "export", str(folder), "--to", "parquet", "--out", str(tmp_path / "out")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0
    assert "1 rows left out" in result.stdout
    assert "0-bad.png" in result.stdout
    again = [*arguments[:-1], str(tmp_path / "again"), "--json"]
    assert json.loads(runner.invoke(app, again).stdout)["num_rejected_rows"] == 1


def test_import_of_a_layout_and_what_to_do_next(tmp_path: Path) -> None:
    folder = tiny_pairs(tmp_path / "set")
    for side, name in (("w", "0-good.png"), ("l", "0-bad.png")):
        (tmp_path / "kohya" / side).mkdir(parents=True)
        shutil.copy(folder / name, tmp_path / "kohya" / side / "a.png")
    (tmp_path / "kohya" / "w" / "a.txt").write_text("a disk")
    shutil.copy(tmp_path / "kohya" / "w" / "a.png", tmp_path / "kohya" / "w" / "b.png")
    out = tmp_path / "out"
    result = runner.invoke(app, ["data", "import", str(tmp_path / "kohya"), "--layout", "kohya", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"1 pairs in {out}" in result.stdout
    assert "1 rows left out" in result.stdout
    assert result.stdout.strip().endswith(f"likeness data lint {out}")


def test_import_refuses_unknown_layouts_and_missing_losers(tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "import", str(tmp_path), "--layout", "comfy", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "Invalid value for '--layout': 'comfy' is not one of" in told
    assert [name for name in (*LAYOUTS, *OWN_FORMATS) if f"'{name}'" not in told] == []
    (tmp_path / "train.json").write_text('[{"prompt": "a", "image_paths": ["r.png"], "image_tgt_path": "t.png"}]')
    arguments = ["data", "import", str(tmp_path / "train.json"), "--layout", "uno", "--out", str(tmp_path / "out")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "add --rejected FOLDER" in result.stderr


def test_every_name_of_the_tables_is_a_reader_or_writer() -> None:
    assert list(OWN_FORMATS) == list(EXPORTS)
    for place in (*LAYOUTS.values(), *OWN_FORMATS.values(), *EXPORTS.values(), *LIST_EXPORTS.values()):
        assert callable(resolve_name(place)), place


@pytest.mark.parametrize("kind", list(LIST_EXPORTS))
def test_lists_of_other_trainers_are_written_and_read(tmp_path: Path, kind: str) -> None:
    folder = tiny_pairs(tmp_path / "set")
    out, back = tmp_path / "out", tmp_path / "back"
    result = runner.invoke(app, ["data", "export", str(folder), "--to", kind, "--out", str(out)])
    assert result.exit_code == 0, result.output
    (manifest,) = out.glob("train.*")
    assert result.stdout.strip() == f"2 pairs in {manifest}"
    result = runner.invoke(app, ["data", "import", str(manifest), "--layout", kind, "--out", str(back), "--json"])
    assert json.loads(result.stdout)["num_pairs"] == 2
    assert [row["prompt"] for row in read_jsonl(back / "pairs.jsonl")] == ["a red disk", "a green disk"]
