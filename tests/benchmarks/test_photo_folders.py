"""Benchmarks read from other projects' folders, on small trees in their real naming, whole and damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.benchmarks import BENCHMARKS, benchmark_cases
from likeness.cli import app
from likeness.core.errors import DataError
from likeness.core.records import CasesFile
from likeness.evaluate.samples import find_samples

SOFA, CHAIR = ("sofa", "furniture_sofa1", "sofa"), ("chair", "furniture_chair1", "chair")


def text(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def picture(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 9, 9)).save(path)


def dreambench_plus(root: Path) -> None:
    for place, subject in {
        "live_subject/animal/00": "Kitten",
        "object/03": "clay pot",
        "style/07": "ink painting",
    }.items():
        picture(root / f"images/{place}.jpg")
        prompts = "".join(f"a {subject.lower()} number {i} \n" for i in range(9))
        text(root / f"captions/{place}.txt", f"{subject}\n{prompts}\n")


def concept(class_word: str, folder: str, prompts: str) -> dict[str, str]:
    return {
        "instance_prompt": f"photo of a <new1> {class_word}",
        "class_prompt": class_word,
        "instance_data_dir": f"./benchmark_dataset/{folder}",
        "class_data_dir": f"./regularization/{folder}",
        "prompt_filename": f"prompts/{prompts}.txt",
    }


def concept101(root: Path) -> None:
    composed = {"prompt_filename_compose": "prompts/furniture_furniture.txt"}
    text(root / "dataset.json", [concept(*SOFA), concept(*CHAIR)])
    pair = [concept(*SOFA), concept(*CHAIR)]
    text(root / "dataset_multiconcept.json", [[*pair, composed], [*pair[::-1], composed]])
    text(root / "prompts/sofa.txt", "photo of a {}.\nA {} on a {}-shaped rug. ")
    text(root / "prompts/chair.txt", "photo of a {}.\n")
    text(root / "prompts/furniture_furniture.txt", "photo of the {0} and {1}.\nA purple {1} beside the {0}. \n")
    picture(root / "benchmark_dataset/furniture_sofa1/b.jpg", root / "benchmark_dataset/furniture_sofa1/a.JPG")
    picture(root / "benchmark_dataset/furniture_chair1/0.png", root / "benchmark_dataset/furniture_chair1/notes.png")
    text(root / "benchmark_dataset/furniture_chair1/licence.txt", "CC BY-SA 4.0")


def multiid(root: Path) -> None:
    def row(prompt: str, number: str, *paths: str, place: str = "") -> dict[str, Any]:
        return {"prompt": prompt, "image_paths": list(paths), "ori_img_path": f"{place}{number}.jpg"}

    text(root / "v200_single.json", [row("a man smiles", "0001", "0001_1.jpg")])
    text(root / "v202.json", [row("two women", "0002", "0002_1.jpg", "0002_2.jpg")])
    three = [f"refs/person_{i}/0003_{i}.jpg" for i in (1, 2, 3)]
    many = row("person_1 greets person_2 and person_3", "0003", *three, place="num_3/")
    text(root / "v200_m.json", [many | {"name": ["person_1", "person_2", "person_3"]}])
    picture(root / "v200_single/untar/0001_1.jpg", root / "v202/untar/0002_1.jpg", root / "v202/untar/0002_2.jpg")
    picture(*(root / "v200_m" / path for path in three))


def xversebench(root: Path) -> None:
    def row(index: int, prompt: str, *photos: tuple[str, str]) -> dict[str, Any]:
        sources = [{"image_path": f"assets/XVerseBench/{path}.jpg", "caption": caption} for path, caption in photos]
        words = [[number, path.partition("_")[2], path.partition("_")[2]] for number, (path, _) in enumerate(photos)]
        adapter = {"type": "adapter", "src_inputs": sources, "use_words": words}
        return {
            "index": index,
            "input_images": [],
            "position_delta": [0, -32],
            "prompt": prompt,
            "modulation": [adapter],
        }

    man, spider = ("human/05_man", "a man"), ("object/71_anime Spider-Man", "an anime Spider-Man")
    text(root / "eval/tools/XVerseBench_single.json", [row(0, "A man reads.", man)])
    text(root / "eval/tools/XVerseBench_multi.json", [row(0, "A man meets an anime Spider-Man.", man, spider)])
    picture(*(root / f"assets/XVerseBench/{path}.jpg" for path, _ in (man, spider)))


TREES: dict[str, Callable[[Path], None]] = {
    "dreambench++": dreambench_plus,
    "concept101": concept101,
    "concept101-single": concept101,
    "multiid": multiid,
    "xversebench": xversebench,
}


def read(name: str, root: Path, **options: Any) -> CasesFile:
    return benchmark_cases(name, folder=root / "never", data=root, **options)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        root = tmp_path / "data"
        TREES[name](root)
        return root

    return make


def told(found: CasesFile) -> dict[str, str]:
    return {row.where: row.reason for row in found.left_out}


def test_dreambench_plus_is_a_subject_per_picture_with_its_captions(tree: Callable[[str], Path]) -> None:
    root = tree("dreambench++")
    found = read("dreambench++", root)
    assert found.left_out == ()
    assert len(found.cases) == 3 * 9
    first = found.cases[0]
    assert (first.id, first.prompt) == ("live_subject_animal_00-0", "a kitten number 0")
    (subject,) = first.subjects
    assert (subject.id, subject.class_name) == ("live_subject_animal_00_kitten", "Kitten")
    assert subject.reference_image == subject.photos[0] == root / "images/live_subject/animal/00.jpg"
    ids = list(dict.fromkeys(case.subjects[0].id for case in found.cases))
    assert ids == ["live_subject_animal_00_kitten", "object_03_clay_pot", "style_07_ink_painting"]
    assert [case.id for case in read("dreambench++", root, limit=3).cases] == [
        "live_subject_animal_00-0",
        "object_03-1",
        "style_07-2",
    ]


def test_dreambench_plus_pictures_of_its_own_code_find_their_cases(tree: Callable[[str], Path], tmp_path: Path) -> None:
    cases = read("dreambench++", tree("dreambench++")).cases
    picture(tmp_path / "made/tgt_image/object_03_clay_pot/4_0.jpg")
    text(tmp_path / "made/text/object_03_clay_pot/4_0.txt", "a clay pot number 4")
    assert [sample.id for sample in find_samples(tmp_path / "made", cases=cases).samples] == ["object_03-4-0"]


def test_dreambench_plus_lists_what_lacks_its_other_half(tree: Callable[[str], Path]) -> None:
    root = tree("dreambench++")
    (root / "images/object/03.jpg").unlink()
    picture(root / "images/object/04.jpg")
    text(root / "captions/style/07.txt", "ink painting\na boat\n")
    text(root / "captions/style/08.txt", "")
    text(root / "captions/style/09.txt", "only a subject")
    picture(root / "images/style/08.jpg", root / "images/style/09.jpg")
    found, reasons = read("dreambench++", root), told(read("dreambench++", root))
    assert {case.subjects[0].id for case in found.cases} == {"live_subject_animal_00_kitten", "style_07_ink_painting"}
    assert sum(case.id.startswith("style_07") for case in found.cases) == 1
    assert "the picture images/object/03.jpg, found no such file" in reasons["captions/object/03.txt"]
    assert "captions/object/04.txt" in reasons["images/object/04.jpg"]
    assert "expected 9 prompts, got 1" in reasons["captions/style/07.txt"]
    assert "got an empty file" in reasons["captions/style/08.txt"]
    assert "expected prompts after the subject, got none" in reasons["captions/style/09.txt"]
    assert len(reasons) == 5


def test_concept101_composes_prompts_as_mip_adapter_does(tree: Callable[[str], Path]) -> None:
    root = tree("concept101")
    found = read("concept101", root)
    assert [(case.id, case.prompt) for case in found.cases] == [
        ("comb_000-00", "photo of the sofa and chair."),
        ("comb_000-01", "A purple chair beside the sofa."),
        ("comb_001-00", "photo of the chair and sofa."),
        ("comb_001-01", "A purple sofa beside the chair."),
    ]
    sofa, chair = found.cases[0].subjects
    assert (sofa.id, sofa.class_name, chair.id) == ("furniture_sofa1", "sofa", "furniture_chair1")
    assert [path.name for path in sofa.photos] == ["a.JPG", "b.jpg"]
    assert sofa.reference_image == root / "benchmark_dataset/furniture_sofa1/a.JPG"
    assert [path.name for path in chair.photos] == ["0.png", "notes.png"]
    single = read("concept101-single", root).cases
    assert [(case.id, case.prompt) for case in single] == [
        ("concept_000-00", "photo of a sofa."),
        ("concept_000-01", "A sofa on a sofa-shaped rug."),
        ("concept_001-00", "photo of a chair."),
    ]


def test_some_combinations_are_enough_for_pictures_of_mip_adapter(tree: Callable[[str], Path], tmp_path: Path) -> None:
    cases = read("concept101", tree("concept101")).cases[2:]
    picture(tmp_path / "made/comb_1/photo of the chair and sofa._gen.png", tmp_path / "made/comb_0/a_gen.png")
    found = find_samples(tmp_path / "made", cases=cases)
    assert (found.layout, [sample.id for sample in found.samples]) == ("mip", ["comb_001-00-0"])
    assert "one of 1 combinations, which count from 0, got 0" in found.reasons["comb_0/a_gen.png"]


def test_multiid_has_the_three_parts_that_its_script_writes(tree: Callable[[str], Path]) -> None:
    root = tree("multiid")
    found = read("multiid", root)
    assert [(case.id, len(case.subjects)) for case in found.cases] == [
        ("v200_single-0001", 1),
        ("v202-0002", 2),
        ("v200_m-0003", 3),
    ]
    assert found.cases[2].prompt == "person_1 greets person_2 and person_3"
    second = found.cases[2].subjects[1]
    assert (second.id, second.class_name) == ("v200_m-0003-2", "person")
    assert second.reference_image == root / "v200_m/refs/person_2/0003_2.jpg"
    (root / "v202.json").unlink()
    fewer = read("multiid", root)
    assert len(fewer.cases) == 2
    assert "the list v202.json, found no such file" in told(fewer)["v202.json"]


def test_xversebench_goes_by_the_photos_and_captions_of_both_lists(tree: Callable[[str], Path]) -> None:
    root = tree("xversebench")
    found = read("xversebench", root)
    assert [(case.id, case.prompt) for case in found.cases] == [
        ("single-000", "A man reads."),
        ("multi-000", "A man meets an anime Spider-Man."),
    ]
    assert [(subject.id, subject.class_name) for subject in found.cases[1].subjects] == [
        ("human/05_man", "man"),
        ("object/71_anime Spider-Man", "anime Spider-Man"),
    ]
    (root / "assets/XVerseBench/object/71_anime Spider-Man.jpg").unlink()
    fewer = read("xversebench", root)
    assert [case.id for case in fewer.cases] == ["single-000"]
    assert "71_anime Spider-Man.jpg, found no such file" in told(fewer)["eval/tools/XVerseBench_multi.json:1"]


# -- wrong folders -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TREES)
def test_another_folder_is_one_error_that_says_what_it_must_hold_and_where_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    picture(tmp_path / "photos/cat.jpg")
    for root in (tmp_path / "photos", tmp_path / "absent"):
        with pytest.raises(DataError) as caught:
            read(name, root)
        said = str(caught.value)
        assert said.startswith(f"{root}: expected ")
        assert "got no usable case" in said
        assert "published at github.com/" in said or "published at huggingface.co/" in said
        assert any(word in said for word in ("terms", "License", "CC0", "non-commercial"))


@pytest.mark.parametrize("name", TREES)
def test_only_the_test_split_and_only_with_data(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"and the test split, got .* and validation"):
        read(name, tmp_path, split="validation")
    assert BENCHMARKS[name].needs_data


LISTS = {
    "concept101": "dataset_multiconcept.json",
    "concept101-single": "dataset.json",
    "multiid": "v202.json",
    "xversebench": "eval/tools/XVerseBench_multi.json",
}
BAD_LISTS = (
    "",
    "{",
    "null",
    '{"a": 1}',
    "[]",
    "[1]",
    "[[]]",
    '[{"prompt": 3}]',
    "[" * 5000,
    '[{"index": 1e999}]',
    "[[1, 2, 3]]",
)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("content", BAD_LISTS)
def test_a_damaged_list_is_told_and_never_a_case(tree: Callable[[str], Path], name: str, content: str) -> None:
    root = tree(name)
    text(root / LISTS[name], content)
    if name.startswith("concept101"):
        with pytest.raises(DataError, match="no usable case"):
            read(name, root)
    else:
        found = read(name, root)
        assert found.cases
        assert any(LISTS[name] in row.where for row in found.left_out)


HOSTILE = (
    "../outside.jpg",
    "/etc/passwd",
    "a/../../outside.jpg",
    "C:\\windows\\x.jpg",
    "..\\outside.jpg",
    "\0",
    "x" * 5000,
    "",
)


@pytest.mark.parametrize("stated", HOSTILE)
def test_paths_that_lead_out_of_the_folder_are_refused(tree: Callable[[str], Path], stated: str) -> None:
    root = tree("xversebench")
    picture(root.parent / "outside.jpg")
    rows = json.loads((root / "eval/tools/XVerseBench_multi.json").read_text())
    rows[0]["modulation"][0]["src_inputs"][0]["image_path"] = stated
    text(root / "eval/tools/XVerseBench_multi.json", rows)
    found = read("xversebench", root)
    assert [case.id for case in found.cases] == ["single-000"]
    assert len(found.left_out) == 1


def test_links_that_leave_the_folder_are_refused(tree: Callable[[str], Path]) -> None:
    root = tree("concept101")
    picture(root.parent / "outside/secret.jpg")
    inside = root / "benchmark_dataset/furniture_chair1"
    (inside / "0.png").unlink()
    (inside / "0.png").symlink_to(root.parent / "outside/secret.jpg")
    found = read("concept101", root)
    assert [path.name for path in found.cases[0].subjects[1].photos] == ["notes.png"]
    for path in inside.iterdir():
        path.unlink()
    inside.rmdir()
    inside.symlink_to(root.parent / "outside")
    with pytest.raises(DataError, match=r"no usable case .*expected photos in benchmark_dataset/furniture_chair1"):
        read("concept101", root)
    assert [case.id for case in read("concept101-single", root).cases] == ["concept_000-00", "concept_000-01"]


def test_a_linked_prompt_file_or_caption_is_refused(tree: Callable[[str], Path]) -> None:
    root = tree("dreambench++")
    text(root.parent / "secret.txt", "secret\nprompt\n")
    file = root / "captions/object/03.txt"
    file.unlink()
    file.symlink_to(root.parent / "secret.txt")
    found = read("dreambench++", root)
    assert "got a link that leaves it (captions/object/03.txt)" in told(found)["captions/object/03.txt"]


def test_cases_that_come_twice_are_told(tree: Callable[[str], Path]) -> None:
    root = tree("multiid")
    rows = json.loads((root / "v202.json").read_text())
    text(root / "v202.json", rows * 2)
    found = read("multiid", root)
    assert len(found.cases) == 3
    assert "expected each case once, got v202-0002 again" in told(found)["v202.json:2"]


def test_evaluate_tells_what_the_data_set_lacks(
    tree: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness.evaluate.folder.load_encoders", lambda specs, **_: {})
    root = tree("multiid")
    (root / "v202/untar/0002_2.jpg").unlink()
    picture(tmp_path / "made/v200_single-0001.png", tmp_path / "made/v200_m-0003.png")
    flags = ["--benchmark", "multiid", "--data", str(root), "--json"]
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "made"), *flags])
    assert done.exit_code == 0, done.stderr
    summary = json.loads((tmp_path / "made/evaluation/summary.json").read_text())
    (left_out,) = summary["left_out"]
    assert left_out["where"] == "v202.json:1"
    assert "v202/untar/0002_2.jpg, found no such file" in left_out["reason"]
    assert summary["cards"]["multiid@1"]["cases"] == "declared"
