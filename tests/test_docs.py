"""Documents say what is true: commands parse, names are documented, links lead somewhere, the flag list is current.

`python tests/test_docs.py` prints docs/commands.md anew.
"""

import ast
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from likeness.cli import app

ROOT = Path(__file__).parents[1]
ROOMS = ROOT / "src" / "likeness"
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
MAY_BE_ABSENT = {"docs/pictures/readme.png"}  # made by the trained model and committed with it
FOLDERS = (".", "docs", "docs/metrics", "benchmarks/perf")
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md") if path.is_file())


def commands() -> dict[str, Any]:
    """Every command that does something, by its words."""

    def walk(command: Any, words: str) -> dict[str, Any]:
        children = getattr(command, "commands", None)
        if children is None:
            return {words: command}
        found: dict[str, Any] = {}
        for name, child in children.items():
            found |= walk(child, f"{words} {name}".strip())
        return found

    return walk(typer.main.get_command(app), "")


def commands_page() -> str:
    """docs/commands.md: every command with what its result is and every flag with its default."""
    parts = [
        "# Commands\n\nWritten by `python tests/test_docs.py > docs/commands.md`; a test checks that it is current.\n"
    ]
    for words, command in sorted(commands().items()):
        summary = inspect.cleandoc(command.help or "")
        rows = [_row(param) for param in command.params if param.name != "help"]
        parts.append(
            f"## likeness {words}\n\n{summary}\n\n| flag | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _row(param: Any) -> str:
    is_argument = param.param_type_name == "argument"
    names = f"`{param.metavar}`" if is_argument else ", ".join(f"`{name}`" for name in param.opts)
    default = param.default
    shown = "required" if param.required else "" if default is None or default is False else f"`{default}`"
    known = f" One of {', '.join(choices_of(param))}." if choices_of(param) else ""
    return f"| {names} | {shown} | {param.help.replace('|', chr(92) + '|')}{known} |"


def choices_of(param: Any) -> list[str]:
    """The names that an option takes, where it takes no others."""
    listed = re.fullmatch(r"<(.+)>", param.metavar or "")
    return listed[1].split("|") if listed and param.param_type_name == "option" else []


def text_of_pages() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


def documented_commands() -> list[tuple[str, str]]:
    """(place, command line) of every `likeness ...` in the pages' code and in the commands' own examples."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        code = [line.strip() for line in lines if line.startswith("    ")]
        inline = [span for line in lines for span in re.findall(r"`(likeness [^`]+)`", line)]
        found += [(page.name, line) for line in [*code, *inline] if line.startswith("likeness ")]
    for words, command in commands().items():
        lines = [line.strip() for line in (command.epilog or "").splitlines()]
        found += [(f"--help of {words}", line) for line in lines if line.startswith("likeness ")]
    return found


def parse(line: str) -> None:
    """The line's words and flags are accepted, without running anything. Raises: UsageError."""
    words = shlex.split(line.partition("|")[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    name = "likeness"
    while words and words[0] in getattr(command, "commands", {}):
        name = words.pop(0)
        command = command.commands[name]
    if words not in (["--help"], ["--version"], []):
        command.make_context(name, words)


@pytest.mark.parametrize(("place", "line"), documented_commands())
def test_every_command_in_the_documents_parses(place: str, line: str) -> None:
    known = {words.split()[0] for words in commands()}
    assert line.split()[1].startswith("-") or line.split()[1] in known, f"{place}: no such command"
    if "..." in line or len(line.split()) == 2 or {"RUN", "N"} & set(line.split()):
        return  # a command spoken about, not one to run
    parse(line)


def test_the_parser_of_this_test_refuses_what_the_command_would() -> None:
    for line in ("likeness generate --prompt x", "likeness generate --out x --colour red", "likeness demo --cases 0"):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - a UsageError of click or of typer, by typer's version
            parse(line)
        assert "UsageError" in [kind.__name__ for kind in caught.type.__mro__]


def test_the_tour_shows_every_command() -> None:
    shown = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/guide.md"))
    assert [words for words in commands() if f"    likeness {words}" not in shown] == []
    beginning = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:10]
    assert [line for line in beginning if line.startswith(("    make demo", "    make test"))] == [
        line for line in beginning if line.startswith("    ")
    ]


def test_the_numbers_of_the_pages_are_the_stored_ones() -> None:
    stored = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
    means = {figure["name"]: figure["mean"] for figure in stored["figures"]}
    for page, least in (("README.md", 5), ("docs/results.md", len(means))):
        text = (ROOT / page).read_text(encoding="utf-8")
        cells = [line.removeprefix("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        rows = [row for row in cells if row[0] in means]
        assert len(rows) >= least
        assert all(float(row[1]) == pytest.approx(means[row[0]], abs=0.006) for row in rows)


def test_the_coverage_table_is_the_stored_one() -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    told = page.split("<!-- coverage:begin -->\n")[1].split("<!-- coverage:end -->")[0]
    stored = ROOT / "docs" / "coverage.json"
    if not stored.is_file():
        assert told.startswith("Not measured yet")
        return
    rows = json.loads(stored.read_text(encoding="utf-8"))["rows"]
    assert [line for line in told.splitlines() if line.startswith("| ")][1:] == [
        f"| {row['design']} | {row['shape']} | {row['ours']:.3f} | {row['percentile']:.3f} | {row['pigeonhole']:.3f} |"
        for row in rows
    ]


def test_every_metric_benchmark_and_backbone_is_documented() -> None:
    from likeness.backbones import BACKBONES
    from likeness.benchmarks import BENCHMARKS
    from likeness.metrics import METRICS

    text = text_of_pages()
    metrics = [metric.facts.name for metric in METRICS.values()]
    assert [name for name in (*metrics, *BENCHMARKS, *BACKBONES) if name not in text] == []


def test_the_help_of_benchmark_flags_names_them_all() -> None:
    from likeness.benchmarks import BENCHMARKS
    from likeness.cli.generate import BENCHMARK_HELP

    assert [name for name in BENCHMARKS if name not in BENCHMARK_HELP] == []


def test_the_list_of_flags_is_current() -> None:
    assert COMMANDS_PAGE.read_text(encoding="utf-8") == commands_page(), "python tests/test_docs.py > docs/commands.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not link.startswith(("http", "#"))]
    missing = [link for link in local if not (page.parent / link).exists() and link not in MAY_BE_ABSENT]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_places_exist(page: Path) -> None:
    """`room/.../file.py` and `room/.../file.py:name` name a file of the package and a definition in it."""
    rooms = "|".join(room.name for room in rooms_of_the_house())
    places = re.findall(rf"`((?:{rooms})(?:/\w+)*/\w+\.py)(?::(\w+))?`", page.read_text(encoding="utf-8"))
    missing = [f"{file}:{name}" for file, name in places if not is_defined(ROOMS / file, name=name)]
    assert missing == []


def is_defined(path: Path, *, name: str) -> bool:
    pattern = rf"^(def|class) {name}\b|^{name}\b.*=" if name else ""
    return path.is_file() and re.search(pattern, path.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None


def rooms_of_the_house() -> list[Path]:
    return sorted(folder for folder in ROOMS.iterdir() if any(folder.glob("*.py")))


@pytest.mark.parametrize("room", rooms_of_the_house(), ids=lambda path: path.name)
def test_every_room_says_what_it_is(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    assert f"`{room.name}`" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"      {room.name}/ " in (ROOT / "docs" / "map.md").read_text(encoding="utf-8")


def test_files_in_the_layout_exist() -> None:
    layout = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    room: str | None = None
    missing: list[str] = []
    for line in (line for line in layout.splitlines() if line.startswith("    ")):
        if heading := re.match(r"(?:      (\w+)/ |    \S)", line):
            room = heading[1]  # None beside the package
        if room is None:
            continue
        missing += [f"{room}/{name}" for name in re.findall(r"[\w/]+\.py", line) if not (ROOMS / room / name).is_file()]
    assert missing == []


if __name__ == "__main__":
    print(commands_page(), end="")
