"""Folders that only add parts to another: complete, the same each time, and whole when two processes make them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scripts import child_environment

from likeness.core.errors import WeightsError
from likeness.core.hashing import folder_sha256
from likeness.core.joined import BASE, completed_folder
from likeness.core.weights import embedded, embedded_names, resolve_weights

COUNT = 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "likeness" / "joined"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A pipeline's folder `plain`, and `more`, which has its own adapter and settings."""
    root = tmp_path / "weights"
    for name in ("plain/unet", "plain/old_adapter", "more/adapter"):
        (root / name).mkdir(parents=True)
        save_file({"a": np.full(3, len(name), dtype=np.float32)}, root / name / "model.safetensors")
    (root / "plain" / "model_index.json").write_text('{"_class_name": "P"}')
    (root / "plain" / "likeness.json").write_text('{"size": 1}')
    (root / "more" / "likeness.json").write_text('{"size": 2}')
    (root / "more" / BASE).write_text('{"base": "plain", "without": ["old_adapter"]}')
    return root


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_without_a_base_is_itself(folders: Path, cache: Path) -> None:
    assert completed_folder(folders / "plain") == folders / "plain"
    assert not cache.exists()


def test_it_has_the_files_of_both_and_its_own_win(folders: Path) -> None:
    made = completed_folder(folders / "more")
    wanted = ["adapter/model.safetensors", "likeness.json", "model_index.json", "unet/model.safetensors"]
    assert files(made) == wanted
    assert all((made / name).is_symlink() for name in wanted)
    assert (made / "likeness.json").read_text() == '{"size": 2}'
    assert resolve_weights(str(folders / "more")) == made == completed_folder(folders / "more")


def test_its_hash_is_that_of_a_plain_copy_wherever_it_lies(folders: Path, tmp_path: Path) -> None:
    made = completed_folder(folders / "more")
    plain = Path(shutil.copytree(made, tmp_path / "copy"))
    assert not any(path.is_symlink() for path in plain.rglob("*"))
    moved = Path(shutil.copytree(folders, tmp_path / "moved"))
    again = completed_folder(moved / "more")
    assert again != made
    assert folder_sha256(made) == folder_sha256(plain) == folder_sha256(again)


def test_what_changes_in_the_base_changes_in_it(folders: Path) -> None:
    before = folder_sha256(completed_folder(folders / "more"))
    (folders / "plain" / "model_index.json").write_text('{"_class_name": "Q"}')
    assert folder_sha256(completed_folder(folders / "more")) != before


def test_what_was_damaged_is_made_again(folders: Path) -> None:
    made = completed_folder(folders / "more")
    before = folder_sha256(made)
    (made / "likeness.json").unlink()
    (made / "likeness.json").write_text("{}")
    assert folder_sha256(completed_folder(folders / "more")) == before
    (made / "adapter" / "model.safetensors").unlink()
    assert folder_sha256(completed_folder(folders / "more")) == before
    assert os.listdir(made.parent) == [made.name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"base": "none"}', "expected a pipeline's folder none beside more"),
        ('{"base": 3}', "base: .*, got 3"),
        ('{"without": []}', "base: .*equired"),
        ('{"base": "plain", "witout": []}', "witout"),
    ],
)
def test_a_wrong_base_is_named(folders: Path, text: str, told: str) -> None:
    (folders / "more" / BASE).write_text(text)
    with pytest.raises(WeightsError, match=told) as caught:
        completed_folder(folders / "more")
    assert str(folders / "more" / BASE) in str(caught.value)


def test_two_processes_at_once_make_the_same_folders(folders: Path, cache: Path) -> None:
    for number in range(COUNT):
        shutil.copytree(folders / "more", folders / f"more{number}")
    program = (
        "import sys; from pathlib import Path; from likeness.core.hashing import folder_sha256;"
        "from likeness.core.joined import completed_folder; print('ready', flush=True); sys.stdin.readline();"
        f"[print(folder_sha256(completed_folder(Path({str(folders)!r}) / f'more{{n}}'))) for n in range({COUNT})]"
    )
    command = [sys.executable, "-c", program]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": child_environment()}
    both = [subprocess.Popen(command, **options) for _ in range(2)]  # pyright: ignore[reportCallIssue, reportArgumentType]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(set(said[0])) == 1
    assert len(said[0]) == COUNT == len(os.listdir(cache))


def test_an_embedded_one_is_found_by_its_name(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.core.weights.embedded_folder", lambda: folders)
    assert embedded_names() == ["more", "plain"]
    assert embedded("more") == resolve_weights("more") == completed_folder(folders / "more")
    assert embedded("plain") == folders / "plain"
