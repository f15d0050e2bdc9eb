"""Rooms import only what lies below them, light rooms stay light, files and functions stay short."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "likeness"
FILES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))
LEVELS = (
    {"core"},
    {"world", "encoders", "focus"},
    {"data", "backbones", "objectives", "metrics"},
    {"benchmarks"},
    {"train", "generate", "evaluate"},
    {"pretrain"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
CORE_ONLY = {"study", "report"}
HEAVY = {"torch", "diffusers", "transformers", "peft", "skia"}
MAX_FUNCTION, MAX_FILE = 60, 600


def tree_of(file: str) -> ast.Module:
    return ast.parse((SRC / file).read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [""] if node.module not in ("likeness", "pickle") else [f".{alias.name}" for alias in node.names]
            yield from ((node.lineno, f"{node.module}{name}") for name in names)


def room_of(file: str) -> str:
    """The room of a file; files beside the rooms (`__init__.py`, `__main__.py`) belong to the command line."""
    return file.split("/")[0] if "/" in file else "cli"


def may_import(room: str, other: str) -> bool:
    if room == other:
        return True
    if room in CORE_ONLY:
        return other == "core"
    if other in CORE_ONLY:
        return room == "cli"
    return LEVEL[other] < LEVEL[room]


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    room = room_of(file)
    assert room in LEVEL or room in CORE_ONLY, f"{file}: the room {room} has no place in LEVELS"
    for line, name in imports(tree_of(file)):
        if name.startswith("likeness."):
            other = name.split(".")[1]
            if other.startswith("__"):
                continue
            assert may_import(room, other), f"src/likeness/{file}:{line}: {room} must not import {other} ({name})"


def test_the_rule_itself() -> None:
    assert may_import("metrics", "encoders")
    assert may_import("cli", "report")
    assert not may_import("core", "world")
    assert not may_import("world", "encoders")
    assert not may_import("generate", "train")
    assert not may_import("report", "evaluate")
    assert not may_import("evaluate", "report")
    assert [name for _, name in imports(ast.parse("def f():\n    from likeness import world"))] == ["likeness.world"]


def imported_at_once(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What importing the module imports: not what functions or `if TYPE_CHECKING` import."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        pending += list(ast.iter_child_nodes(node))


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in {"core", "cli", *CORE_ONLY}])
def test_light_rooms_import_no_heavy_library(file: str) -> None:
    for line, name in imported_at_once(tree_of(file)):
        assert name.split(".")[0] not in HEAVY, f"src/likeness/{file}:{line}: import {name} inside the function"


def test_light_rooms_load_without_torch() -> None:
    files = [file for file in FILES if room_of(file) in {"core", *CORE_ONLY}]
    modules = [f"likeness.{file.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}" for file in files]
    program = f"import sys, {', '.join(modules)}; print(sorted({HEAVY!r} & set(sys.modules)))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC.parent)!r}); {program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", FILES)
def test_functions_are_short(file: str) -> None:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            where = f"src/likeness/{file}:{node.lineno}"
            assert length <= MAX_FUNCTION, f"{where}: {node.name} has {length} lines; split it"


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file: str) -> None:
    length = len((SRC / file).read_text(encoding="utf-8").splitlines())
    assert length <= MAX_FILE, f"src/likeness/{file}: {length} lines; split it"


@pytest.mark.parametrize("file", FILES)
def test_no_bare_except_and_no_vague_file_name(file: str) -> None:
    assert Path(file).stem not in {"utils", "util", "common", "helpers", "misc"}, f"{file}: name what it holds"
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"src/likeness/{file}:{node.lineno}: name the errors"


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_pickled_and_no_global_numpy_seed_is_set(file: str) -> None:
    tree = tree_of(file)
    for line, name in imports(tree):
        if name != "pickle.UnpicklingError":  # the error alone, which torch's restricted reader raises
            assert name.split(".")[0] not in {"pickle", "dill", "joblib"}, f"src/likeness/{file}:{line}: no pickle"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.random.seed", "random.seed"}:
            pytest.fail(f"src/likeness/{file}:{node.lineno}: pass an rng instead")


@pytest.mark.parametrize("file", FILES)
def test_every_module_and_public_function_has_a_docstring(file: str) -> None:
    tree = tree_of(file)
    assert ast.get_docstring(tree), f"src/likeness/{file}: say what the file is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"src/likeness/{file}:{node.lineno}: {node.name} has no docstring"
