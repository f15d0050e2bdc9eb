"""A run folder belongs to one identity and one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scripts import child_environment

from likeness.core.errors import DataError, OutputError
from likeness.core.files import read_json
from likeness.core.runs import grow_run, hold_run, open_run, package_versions, require_free

IDENTITY = {"model": {"id": "tiny", "sha256": "ab"}, "settings": {"steps": 25, "size": None}}


def test_new_folder_gets_its_identity_and_the_same_run_continues(tmp_path: Path) -> None:
    folder = open_run(tmp_path / "a" / "run", identity=IDENTITY)
    assert read_json(folder / "run.json") == IDENTITY
    before = (folder / "run.json").read_bytes()
    (folder / "image.png").write_bytes(b"x")
    reordered = {"settings": {"size": None, "steps": 25}, "model": {"sha256": "ab", "id": "tiny"}}
    assert open_run(folder, identity=reordered) == folder
    assert (folder / "run.json").read_bytes() == before


def test_other_run_lists_exactly_the_differing_keys(tmp_path: Path) -> None:
    open_run(tmp_path, identity=IDENTITY)
    other = {"model": {"id": "tiny", "sha256": "cd"}, "settings": {"steps": 25, "size": None, "cfg": 2}}
    with pytest.raises(OutputError, match="another run") as caught:
        open_run(tmp_path, identity=other)
    message = str(caught.value)
    assert "model.sha256: 'ab' there, 'cd' here; settings.cfg: '(absent)' there, 2 here" in message
    assert "steps" not in message
    assert "model.id" not in message


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(OutputError, match=r"thesis\.docx"):
        open_run(tmp_path, identity=IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_what_is_known_early_is_compared_early_and_writes_nothing(tmp_path: Path) -> None:
    require_free(tmp_path / "new", facts={"kind": "a"})
    assert not (tmp_path / "new").exists()
    open_run(tmp_path / "run", identity={"kind": "a", "seed": 1})
    require_free(tmp_path / "run", facts={"kind": "a"})
    with pytest.raises(OutputError, match="kind: 'a' there, 'b' here"):
        require_free(tmp_path / "run", facts={"kind": "b"})
    with pytest.raises(OutputError, match=r"limit: '\(absent\)' there, 3 here"):
        require_free(tmp_path / "run", facts={"limit": 3})
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"notes\.txt"):
        require_free(tmp_path, facts={})


def test_folder_left_by_a_kill_before_run_json_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".0123.tmp").write_text("{")
    open_run(tmp_path, identity=IDENTITY)
    with hold_run(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_damaged_run_json_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"model"')
    with pytest.raises(OutputError, match="damage"):
        open_run(tmp_path, identity=IDENTITY)


def test_folder_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can be created"):
        open_run(tmp_path / "file" / "run", identity=IDENTITY)


def test_identity_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        open_run(tmp_path / "run", identity={"loss": float("nan")})
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="file locks here are POSIX")
def test_second_process_is_refused_while_the_first_holds(tmp_path: Path) -> None:
    open_run(tmp_path, identity=IDENTITY)
    code = f"from likeness.core.runs import hold_run\nwith hold_run({str(tmp_path)!r}): print('held')"

    def attempt() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=child_environment())

    with hold_run(tmp_path):
        refused = attempt()
    assert refused.returncode == 1
    assert "another process is writing" in refused.stderr
    assert attempt().stdout == "held\n"


def test_versions_name_what_is_missing() -> None:
    found = package_versions("torch", "no-such-package")
    assert list(found) == ["likeness", "python", "torch", "no-such-package"]
    assert (found["torch"], found["no-such-package"]) == (torch.__version__, "not installed")


def test_a_run_grows_in_one_key_only_and_only_as_it_may(tmp_path: Path) -> None:
    larger = IDENTITY | {"num_cases": 5}
    grow_run(tmp_path, identity=larger, key="num_cases", may_grow=lambda _: True)
    assert not (tmp_path / "run.json").exists()  # there is nothing to grow
    open_run(tmp_path, identity=IDENTITY | {"num_cases": 3})
    grow_run(tmp_path, identity=larger, key="num_cases", may_grow=lambda old: old > 5)
    grow_run(tmp_path, identity=larger | {"settings": {}}, key="num_cases", may_grow=lambda _: True)
    assert read_json(tmp_path / "run.json")["num_cases"] == 3
    grow_run(tmp_path, identity=larger, key="num_cases", may_grow=lambda old: old < 5)
    assert read_json(tmp_path / "run.json") == larger
    with hold_run(tmp_path), pytest.raises(OutputError, match="another process"):
        grow_run(tmp_path, identity=IDENTITY | {"num_cases": 9}, key="num_cases", may_grow=lambda _: True)


def test_what_a_run_tells_beside_its_identity_is_never_compared(tmp_path: Path) -> None:
    open_run(tmp_path / "new", identity=IDENTITY, told={"steps": 25})
    assert read_json(tmp_path / "new" / "run.json") == {**IDENTITY, "steps": 25}
    open_run(tmp_path / "new", identity=IDENTITY, told={"steps": 8})
    open_run(tmp_path / "old", identity=IDENTITY)
    open_run(tmp_path / "old", identity=IDENTITY, told={"steps": 25})
    assert read_json(tmp_path / "old" / "run.json") == IDENTITY
    with pytest.raises(OutputError, match="another run"):
        open_run(tmp_path / "new", identity={**IDENTITY, "seed": 99}, told={"steps": 25})
