"""`study new`: cases joined by id and content, look-alikes dropped and listed, nothing in a picture tells its run."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from likeness.core.errors import ConfigError, DataError, OutputError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import load_image, png_text, save_png
from likeness.study.build import Wanted, new_study
from likeness.study.design import read_secret, read_study


def copied(runs: dict[str, Path], folder: Path) -> dict[str, Path]:
    return {name: Path(shutil.copytree(run, folder / name)) for name, run in runs.items()}


def test_best_of_all_shows_every_run_and_pairs_show_two(runs: dict[str, Path], tmp_path: Path) -> None:
    overall = new_study(runs, tmp_path / "a", wanted=Wanted(kind="overall"))
    assert [len(query.options) for query in overall.asked] == [3] * 12
    pairwise = new_study(runs, tmp_path / "b", wanted=Wanted(kind="pairwise"))
    assert len(pairwise.asked) == 12 * 3
    assert {tuple(o.run for o in q.options) for q in pairwise.asked} == {
        ("plain", "focus"),
        ("plain", "third"),
        ("focus", "third"),
    }
    assert all(len(query.references) == 1 for query in pairwise.queries)
    assert read_study(tmp_path / "b") == pairwise


def test_gold_items_are_true_pictures_among_clearly_other_ones(runs: dict[str, Path], tmp_path: Path) -> None:
    study = new_study(runs, tmp_path / "a", wanted=Wanted(kind="relations", golds=2))
    assert len(study.known) == 8
    words = {f"case-{k:05d}": k % 4 for k in range(12)}
    for query in study.known:
        assert query.gold == {"objects": "truth", "relations": "truth"}
        truth, other = (load_image(tmp_path / "a/pictures" / option.picture) for option in query.options)
        assert truth.tobytes() == load_image(runs["plain"] / f"truth/{query.case}.png").tobytes()
        assert other.tobytes() != truth.tobytes()
        assert query.case in words


def test_pictures_lose_their_notes_and_are_called_after_their_pixels(runs: dict[str, Path], tmp_path: Path) -> None:
    mine = copied(runs, tmp_path)
    image = load_image(mine["plain"] / "images/case-00000-0.png")
    save_png(image, mine["plain"] / "images/case-00000-0.png", text={"likeness": "model plain, seed 7"})
    study = new_study(mine, tmp_path / "study", wanted=Wanted())
    files = sorted((tmp_path / "study/pictures").iterdir())
    assert {file.name for file in files} == set(study.pictures)
    assert all(png_text(file) == {} for file in files)
    assert all(len(file.stem) == 12 and int(file.stem, 16) >= 0 for file in files)


def test_cases_that_cannot_be_asked_are_listed(runs: dict[str, Path], tmp_path: Path) -> None:
    mine = copied(runs, tmp_path)
    same = Image.open(mine["plain"] / "images/case-00001-0.png").convert("RGB")
    same.putpixel((3, 3), (190, 200, 210))
    same.save(mine["focus"] / "images/case-00001-0.png")
    (mine["third"] / "images/case-00002-0.png").unlink()
    rows = read_jsonl(mine["focus"] / "cases.jsonl")
    rows[3]["prompt"] = "something else"
    write_jsonl(mine["focus"] / "cases.jsonl", rows)
    Image.new("RGB", (64, 64)).save(mine["focus"] / "references/4.png")
    study = new_study(mine, tmp_path / "study", wanted=Wanted(kind="overall"))
    assert {query.case for query in study.asked} == {f"case-{k:05d}" for k in (0, *range(5, 12))}
    reasons = {row.where: row.reason for row in study.left_out}
    assert "got the same of plain and focus (" in reasons["case-00001-0"]
    assert "got none in third" in reasons["case-00002-0"]
    assert all("the same photos in all runs" in reasons[f"case-0000{k}"] for k in (3, 4))


def test_the_same_study_stays_and_nothing_else_is_overwritten(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "study"
    new_study(runs, out, wanted=Wanted())
    key = read_secret(out)
    assert out.joinpath("secret.key").stat().st_mode & 0o077 == 0
    (out / "votes.sqlite").write_bytes(b"votes")
    new_study(runs, out, wanted=Wanted())
    assert (read_secret(out), (out / "votes.sqlite").read_bytes()) == (key, b"votes")
    with pytest.raises(OutputError, match="expected an empty folder or the same study"):
        new_study(runs, out, wanted=Wanted(votes=5))


def test_a_limit_draws_by_seed(runs: dict[str, Path], tmp_path: Path) -> None:
    drawn = [
        {q.id for q in new_study(runs, tmp_path / str(seed), wanted=Wanted(limit=5, seed=seed)).asked}
        for seed in (0, 1)
    ]
    assert [len(some) for some in drawn] == [5, 5]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("name", ["../secret.key", "/etc/passwd", "absent.png"])
def test_a_study_file_cannot_show_other_files(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    new_study(runs, tmp_path / "study", wanted=Wanted())
    rows = read_jsonl(tmp_path / "study/queries.jsonl")
    rows[0]["options"][0]["picture"] = name
    (tmp_path / "study/queries.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected the picture .* in it, got none"):
        read_study(tmp_path / "study")


def test_one_run_is_no_study(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected two or more runs"):
        new_study({"plain": runs["plain"]}, tmp_path / "study", wanted=Wanted())
    with pytest.raises(DataError, match="expected a study, got no"):
        read_study(tmp_path)
