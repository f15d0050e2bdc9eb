"""A whole evaluation on tiny encoders: numbers by hand, bounds, gaps, and values that depend on nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_types import Maker
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.images import load_image
from likeness.core.records import read_cases, write_cases
from likeness.encoders.reading import Reading, SubjectReading
from likeness.evaluate import Encoders, evaluate_run, load_encoders
from likeness.evaluate.bounds import make_pool, other_subject, other_truth


def rows_of(folder: Path, name: str = "scores.jsonl") -> dict[str, dict[str, Any]]:
    lines = (folder / "evaluation" / name).read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def table_of(summary: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["row"], row["metric"], row["column"]): row for row in summary["rows"]}


def test_values_are_cosines_by_hand(make_benchmark: Maker, make_pictures: Maker, encoders: Encoders) -> None:
    benchmark, pictures = make_benchmark(), make_pictures()
    summary = evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    rows = rows_of(pictures)
    assert list(rows) == [f"case-{i}-{k}" for i in range(6) for k in range(2)]
    for case in read_cases(benchmark / "cases.jsonl").cases:
        image = load_image(pictures / f"{case.id}-1.png")
        values = rows[f"{case.id}-1"]["values"]
        clip, dino = encoders["clip"].look([image])[0], encoders["dino"].look([image])[0]
        text = encoders["clip"].read([case.prompt])[0].vector
        assert values["clip_t"]["value"] == pytest.approx(float(clip @ text), abs=1e-6)
        photos = [[load_image(path) for path in subject.photos] for subject in case.subjects]
        all_photos = np.mean([(encoders["dino"].look(p) @ dino).mean() for p in photos])
        assert values["dino"]["value"] == pytest.approx(float(all_photos), abs=1e-6)
        one = np.mean([(encoders["clip"].look(p[:1]) @ clip).mean() for p in photos])
        assert values["clip_i_conditioning_photo"]["value"] == pytest.approx(float(one), abs=1e-6)
    groups: dict[str, list[float]] = {}
    for row in rows.values():
        groups.setdefault(row["group"], []).append(row["values"]["dino"]["value"])
    mean = np.mean([np.mean(values) for values in groups.values()])
    assert table_of(summary)["generated", "dino", "all_photos"]["mean"] == pytest.approx(mean)
    assert table_of(summary)["generated", "dino", "all_photos"]["n_subjects"] == 6
    assert json.loads((pictures / "evaluation" / "summary.json").read_text()) == summary
    assert not (pictures / "evaluation" / "parts").exists()


def test_a_copied_photo_reaches_one_and_beats_shuffled_pictures(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark = make_benchmark(multi=False, labelled=False)
    pictures = make_pictures(per_case=0)
    for i in range(6):
        shutil.copy(benchmark / "photos" / f"{i}-0.png", pictures / f"case-{i}-0.png")
        shutil.copy(benchmark / "photos" / f"{(i + 1) % 6}-0.png", pictures / f"case-{i}-1.png")
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    rows = rows_of(pictures)
    for i in range(6):
        own, shuffled = rows[f"case-{i}-0"]["values"], rows[f"case-{i}-1"]["values"]
        for key in ("clip_i_conditioning_photo", "dino_conditioning_photo"):
            assert own[key]["value"] == pytest.approx(1, abs=1e-6)
            assert shuffled[key]["value"] < own[key]["value"]


def test_bounds_without_true_pictures(make_benchmark: Maker, make_pictures: Maker, encoders: Encoders) -> None:
    benchmark, pictures = make_benchmark(multi=False), make_pictures()
    summary = evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    bounds = rows_of(pictures, "bounds.jsonl")
    photos = [encoders["dino"].look([load_image(benchmark / "photos" / f"0-{k}.png")])[0] for k in range(3)]
    ceiling = bounds["case-0-ceiling"]["values"]
    # photos 1 and 2 (0 conditions), each against the two it is not, and against photo 0
    expected = np.mean([photos[1] @ photos[0], photos[1] @ photos[2], photos[2] @ photos[0], photos[2] @ photos[1]])
    assert ceiling["dino"]["value"] == pytest.approx(float(expected), abs=1e-6)
    one = (photos[1] @ photos[0] + photos[2] @ photos[0]) / 2
    assert ceiling["dino_conditioning_photo"]["value"] == pytest.approx(float(one), abs=1e-6)
    # subject 0 is a cat and so is subject 3: its reference image is the floor
    other = encoders["dino"].look([load_image(benchmark / "photos" / "3-0.png")])[0]
    floor = np.mean([other @ photo for photo in photos])
    assert bounds["case-0-floor"]["values"]["dino"]["value"] == pytest.approx(float(floor), abs=1e-6)
    table = table_of(summary)
    assert table["ceiling", "clip_t", ""]["mean"] is None
    assert "no true picture" in table["ceiling", "clip_t", ""]["reason"]
    assert table["ceiling", "attribute_accuracy", ""]["missing"] == 6


def test_true_pictures_are_the_ceiling_and_another_cases_the_floor_of_labels(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(truth=True), make_pictures(per_case=1)
    for i in range(6):  # generated pictures are the true ones: both rows must agree
        shutil.copy(benchmark / "truth" / f"case-{i}.png", pictures / f"case-{i}-0.png")
    summary = evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    table = table_of(summary)
    for metric, column in [
        ("clip_t", ""),
        ("dino", "all_photos"),
        ("attribute_accuracy", ""),
        ("scene_recognised", ""),
    ]:
        assert table["generated", metric, column]["mean"] == table["ceiling", metric, column]["mean"]
    assert table["floor", "attribute_accuracy", ""]["n"] == 6
    cases = read_cases(benchmark / "cases.jsonl").cases
    pool = make_pool(cases, truth_folder=benchmark / "truth")
    for case in cases:
        path = other_truth(case, pool=pool)
        chosen = next(c for c in cases if path == pool.truth[c.id])
        assert {s.id for s in chosen.subjects}.isdisjoint(s.id for s in case.subjects)


def test_the_floor_prefers_the_same_class_and_never_the_case_itself(make_benchmark: Maker) -> None:
    cases = read_cases(make_benchmark() / "cases.jsonl").cases
    pool = make_pool(cases, truth_folder=None)
    for case in cases:
        for subject in case.subjects:
            other = other_subject(subject, case=case, pool=pool)
            assert other is not None
            assert other.class_name == subject.class_name
            assert other.id not in {s.id for s in case.subjects}
    alone = make_pool(cases[:1], truth_folder=None)
    assert other_subject(cases[0].subjects[0], case=cases[0], pool=alone) is None
    two = make_pool([cases[0], cases[4]], truth_folder=None)  # a cat and a dog: another class is better than nothing
    assert other_subject(cases[0].subjects[0], case=cases[0], pool=two) == cases[4].subjects[0]


def test_values_do_not_depend_on_other_cases_or_on_what_is_known(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, tmp_path: Path
) -> None:
    benchmark, pictures = make_benchmark(), make_pictures()
    listed = benchmark / "cases.jsonl"
    evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders)
    first = {path.name: path.read_bytes() for path in (pictures / "evaluation").iterdir()}
    evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders, features=tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (pictures / "evaluation").iterdir()} == first
    whole = rows_of(pictures)
    (benchmark / "fewer.jsonl").write_text("".join(listed.read_text().splitlines(keepends=True)[4:1:-1]))
    evaluate_run(pictures, benchmark="small", cases=benchmark / "fewer.jsonl", encoders=encoders)
    fewer = rows_of(pictures)
    assert len(fewer) == 6
    assert all(row == whole[name] for name, row in fewer.items())


def test_without_bounds_the_scores_are_the_same(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(), make_pictures()
    listed = benchmark / "cases.jsonl"
    evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders)
    scores = (pictures / "evaluation" / "scores.jsonl").read_bytes()
    summary = evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders, bounds=False)
    assert (pictures / "evaluation" / "scores.jsonl").read_bytes() == scores
    assert not (pictures / "evaluation" / "bounds.jsonl").exists()
    assert {row["row"] for row in summary["rows"]} == {"generated"}


def test_the_metrics_asked_for_alone_are_measured(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(), make_pictures()
    listed = benchmark / "cases.jsonl"
    evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders)
    whole = rows_of(pictures)
    summary = evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders, metrics=["dino", "clip_t"])
    assert list(summary["metrics"]) == ["clip_t", "dino"]
    for name, row in rows_of(pictures).items():
        assert row["values"] == {key: whole[name]["values"][key] for key in ("clip_t", "dino")}
    with pytest.raises(ConfigError, match="expected keys of metrics, got 'beauty'"):
        evaluate_run(pictures, benchmark="small", cases=listed, encoders=encoders, metrics=["beauty"])


def test_absent_encoders_and_labels_give_reasons_or_no_rows(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(labelled=False), make_pictures()
    summary = evaluate_run(
        pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders={"dino": encoders["dino"]}
    )
    table = table_of(summary)
    assert "no clip encoder" in table["generated", "clip_t", ""]["reason"]
    assert table["generated", "dino", "all_photos"]["n"] == 12
    assert ("generated", "attribute_accuracy", "") not in table
    assert list(summary["encoders"]) == ["dino"]
    with pytest.raises(ConfigError, match="got face"):
        load_encoders({"face": "x"})


class KnownReadings:
    """A probe whose readings are known by the colour of the picture's first pixel."""

    id = "known readings"
    sight = Reading

    def __init__(self, config: Any, readings: dict[object, Reading]) -> None:
        self.config, self.readings = config, readings

    def look(self, images: list[Image.Image]) -> list[Reading]:
        return [self.readings[image.getpixel((0, 0))] for image in images]


def certain(labels: dict[str, tuple[str, ...]], **values: str) -> SubjectReading:
    attributes = {n: {v: float(v == values[n]) for v in labels[n]} for n in labels}
    return SubjectReading((0.5, 0.5), 1.0, attributes)


def test_labels_are_read_matched_and_averaged(make_benchmark: Maker, make_pictures: Maker, encoders: Encoders) -> None:
    benchmark, pictures = make_benchmark(num_cases=2), make_pictures(num_cases=2, per_case=1)
    labels = encoders["probe"].config.attributes
    # case-0: a red cat; case-1: a green dog and a red teapot, of which the teapot reads green (the dog's colour)
    cat = certain(labels, species="cat", color="red", hat="cap", hat_color="red")
    dog = certain(labels, species="dog", color="green", hat="none", hat_color="red")
    pot = certain(labels, species="teapot", color="green", hat="none", hat_color="red")
    places = [load_image(pictures / f"case-{i}-0.png").getpixel((0, 0)) for i in range(2)]
    actions, scenes = {"hug": 0.9, "chase": 0.1}, {"beach": 0.2, "forest": 0.8}
    readings: dict[object, Reading] = {
        places[0]: Reading(actions, scenes, (cat,), labels),
        places[1]: Reading(actions, scenes, (pot, dog), labels),
    }
    probe = KnownReadings(encoders["probe"].config, readings)
    summary = evaluate_run(
        pictures,
        benchmark="small",
        cases=benchmark / "cases.jsonl",
        encoders={"probe": probe},
    )
    rows = rows_of(pictures)
    one, two = rows["case-0-0"], rows["case-1-0"]
    assert one["values"]["attribute_accuracy"]["value"] == pytest.approx(2 / 3)  # the cap is wrong
    assert one["values"]["leakage"] == {
        "value": None,
        "note": "one subject: nothing can leak",
        "status": "not_applicable",
    }
    assert two["values"]["attribute_accuracy"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert two["values"]["leakage"]["value"] == 0.5
    assert [s["values"]["leakage"]["value"] for s in two["per_subject"]] == [0, 1]
    assert two["per_subject"][1]["values"]["attribute_accuracy"]["parts"] == {
        "species": True,
        "color": False,
        "hat": True,
    }
    assert (one["values"]["action_recognised"]["value"], one["values"]["scene_recognised"]["value"]) == (1, 0)
    assert table_of(summary)["generated", "leakage", ""]["missing"] == 1
    assert summary["attributes"]["color"] == {"share_right": pytest.approx(2 / 3), "n": 3}


def test_a_label_the_probe_does_not_know_gives_a_reason(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(num_cases=1), make_pictures(num_cases=1, per_case=1)
    path = benchmark / "cases.jsonl"
    path.write_text(path.read_text().replace('"red"', '"purple"'))
    evaluate_run(pictures, benchmark="small", cases=path, encoders={"probe": encoders["probe"]})
    values = rows_of(pictures)["case-0-0"]["values"]
    assert "purple" in values["attribute_accuracy"]["note"]
    assert values["action_recognised"]["value"] is not None


def test_missing_pictures_are_an_error_unless_allowed(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(), make_pictures(num_cases=4, per_case=1)
    (pictures / "stranger.png").write_bytes((pictures / "case-0-0.png").read_bytes())
    settings: dict[str, Any] = {"benchmark": "small", "cases": benchmark / "cases.jsonl", "encoders": encoders}
    with pytest.raises(DataError, match=r"2 are missing \(first: case-4\)"):
        evaluate_run(pictures, **settings)
    summary = evaluate_run(pictures, **settings, allow_missing=True)
    assert summary["missing_images"] == ["case-4", "case-5"]
    assert summary["extra_images"] == ["stranger.png"]
    row = table_of(summary)["generated", "dino", "all_photos"]
    assert (row["n"], row["missing"], row["reason"]) == (4, 2, "2 x picture missing")


def test_everything_left_out_is_listed_by_place_and_reason(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    """An unusable row, a missing, a damaged, a stray and an unread picture: each once, and nothing else."""
    benchmark, pictures = make_benchmark(), make_pictures(num_cases=5, per_case=1)
    cases = benchmark / "cases.jsonl"
    cases.write_text(
        cases.read_text() + '{"id": "blank", "prompt": " "}\n{"id": "big", "prompt": "x", "seed": 1' + "0" * 5000
    )
    (pictures / "stranger.png").write_bytes((pictures / "case-0-0.png").read_bytes())
    (pictures / "case-5-0.HEIC").write_bytes(b"a picture of a kind that is not looked for")
    (pictures / "case-4-0.png").write_bytes(b"no picture")
    settings: dict[str, Any] = {"benchmark": "small", "cases": cases, "encoders": encoders, "allow_missing": True}
    left_out = evaluate_run(pictures, **settings)["left_out"]
    assert left_out == json.loads((pictures / "evaluation" / "summary.json").read_text())["left_out"]
    places = [row["where"] for row in left_out]
    assert places == ["cases.jsonl:7", "cases.jsonl:8", "case-5", "case-4-0", "case-5-0.HEIC", "stranger.png"]
    said = ["at least one word", "thousands of digits", "found none", "case-4-0.png", "convert it", "rename or remove"]
    for row, words in zip(left_out, said, strict=True):
        assert words in row["reason"]
    assert str(benchmark) not in json.dumps(left_out)
    assert str(pictures) not in json.dumps(left_out)


def test_what_generate_rejected_is_listed_by_the_evaluation_of_that_run_only(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    run = make_benchmark()
    make_pictures().rename(run / "images")
    rejected = {"where": "mine.jsonl:9", "reason": "mine.jsonl:9: prompt: expected at least one word."}
    (run / "rejected.jsonl").write_text(json.dumps(rejected) + "\n")
    assert evaluate_run(run, benchmark="small", encoders=encoders)["left_out"] == [rejected]
    other = run.parent / "other.jsonl"
    write_cases(other, read_cases(run / "cases.jsonl").cases)
    assert evaluate_run(run, benchmark="small", cases=other, encoders=encoders)["left_out"] == []
    (run / "rejected.jsonl").write_text('{"where": 3}\n')
    with pytest.raises(DataError, match=r"rejected\.jsonl: expected rows of where and reason"):
        evaluate_run(run, benchmark="small", encoders=encoders)


def test_no_picture_at_all_and_damaged_pictures_are_named(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark, pictures = make_benchmark(), make_pictures()
    settings: dict[str, Any] = {
        "benchmark": "small",
        "cases": benchmark / "cases.jsonl",
        "encoders": encoders,
        "allow_missing": True,
    }
    (pictures / "case-3-1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"case-3-1\.png"):
        evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    summary = evaluate_run(pictures, **settings)
    assert (summary["num_samples"], summary["missing_images"]) == (11, ["case-3-1"])
    for path in pictures.glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"found none of 6 cases"):
        evaluate_run(pictures, **settings)


def test_a_run_folder_needs_no_case_file_and_progress_ends_at_the_end(
    make_benchmark: Maker, tmp_path: Path, make_pictures: Maker, encoders: Encoders
) -> None:
    benchmark = make_benchmark()
    make_pictures().rename(benchmark / "images")
    rows = [
        {"id": f"case-{i}-{k}", "case_id": f"case-{i}", "k": k, "image": f"images/case-{i}-{k}.png"}
        for i in range(6)
        for k in range(2)
    ]
    (benchmark / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen: list[tuple[int, int]] = []
    summary = evaluate_run(
        benchmark,
        benchmark="small",
        encoders=encoders,
        features=tmp_path / "features",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (0, 30)  # 12 pictures and 18 photos
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)
    assert summary["num_samples"] == 12


def test_case_without_subjects_has_prompt_fidelity_only(
    tmp_path: Path, make_pictures: Maker, encoders: Encoders
) -> None:
    pictures = make_pictures(num_cases=1, per_case=1)
    (tmp_path / "cases.jsonl").write_text('{"id": "case-0", "prompt": "a tree"}\n')
    evaluate_run(pictures, benchmark="small", cases=tmp_path / "cases.jsonl", encoders=encoders)
    values = rows_of(pictures)["case-0-0"]["values"]
    assert values["clip_t"]["value"] is not None
    assert values["dino"] == {"value": None, "note": "the case has no subject", "status": "not_applicable"}


def test_a_folder_of_another_tool_is_measured_where_its_pictures_lie(
    make_benchmark: Maker, encoders: Encoders, tmp_path: Path
) -> None:
    benchmark, folder = make_benchmark(multi=False), tmp_path / "uno"
    folder.mkdir()
    for item, source in enumerate(["0-1", "1-1", "2-1", "3-1", "4-1", "5-1", "0-2"]):
        shutil.copy(benchmark / "photos" / f"{source}.png", folder / f"{item}_0.png")
    settings: dict[str, Any] = {"benchmark": "small", "cases": benchmark / "cases.jsonl", "encoders": encoders}
    summaries = [evaluate_run(folder, **settings, allow_missing=allowed) for allowed in (False, True)]
    assert summaries[0] == summaries[1]
    assert (summaries[0]["layout"], summaries[0]["num_samples"]) == ("uno", 6)
    (left_out,) = summaries[0]["left_out"]
    assert (left_out["where"], "which count from 0, got 6" in left_out["reason"]) == ("6_0.png", True)
    rows = rows_of(folder)
    assert [row["image"] for row in rows.values()] == [f"{item}_0.png" for item in range(6)]
    assert rows["case-1-0"]["values"]["dino"]["value"] == pytest.approx(
        _mean_cosine(benchmark, encoders, "1"), abs=1e-6
    )
    assert (summaries[0]["cards"], summaries[0]["cards_refused"]) == ({}, {})


def _mean_cosine(benchmark: Path, encoders: Encoders, subject: str) -> float:
    seen = [encoders["dino"].look([load_image(benchmark / "photos" / f"{subject}-{k}.png")])[0] for k in range(3)]
    return float(np.mean([seen[1] @ each for each in seen]))
