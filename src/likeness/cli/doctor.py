"""`likeness doctor`: what this machine has, what is missing, and the command that gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from likeness.cli.answer import Json, answer

if TYPE_CHECKING:
    from likeness.cli.checks import Check

EXAMPLES = "[bold]Examples[/]\n\nlikeness doctor\n\nlikeness doctor --json | jq .usable"
MARKS = {"ok": ("✓", "green"), "absent": ("–", "yellow"), "broken": ("✗", "red")}


def doctor(as_json: Json = False) -> None:
    """Versions, devices, speed, weights, disk. Ends with 0 when the embedded world can be used, else with 1."""
    groups = examine()
    usable = all(item.status == "ok" for items in groups.values() for item in items if item.needed)
    if as_json:
        facts = {name: [asdict(item) for item in items] for name, items in groups.items()}
        answer({"usable": usable, **facts}, text="", as_json=True)
    else:
        _print_findings(groups, usable=usable)
    raise typer.Exit(0 if usable else 1)


def examine() -> dict[str, list[Check]]:
    """Findings by group; a group whose libraries cannot even be imported is one broken finding."""
    from likeness.cli import checks

    groups: dict[str, Callable[[], list[Check]]] = {
        "packages": checks.check_packages,
        "devices": checks.check_devices,
        "drawing": checks.check_drawing,
        "embedded weights": checks.check_embedded,
        "published weights": checks.check_published,
        "disk": checks.check_disk,
    }
    found: dict[str, list[Check]] = {}
    for name, check in groups.items():
        try:
            found[name] = check()
        except (ImportError, OSError) as error:
            found[name] = [checks.Check(name, "broken", str(error), fix="see the packages above", needed=True)]
    return found


def _print_findings(groups: dict[str, list[Check]], *, usable: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for name, items in groups.items():
        console.print(Text(f"\n{name}", style="bold"))
        for item in items:
            mark, color = MARKS[item.status]
            line = Text(f"  {mark} ", style=color).append(f"{item.name:<40} ", style="default")
            console.print(line.append(item.detail, style="dim"))
            if item.fix:
                console.print(Text(f"    to get it: {item.fix}", style=color))
    verdict = (
        "The embedded world can be used: likeness demo --out demo"
        if usable
        else "The embedded world cannot be used yet: mend what is marked ✗."
    )
    console.print(Text(f"\n{verdict}", style="bold green" if usable else "bold red"))
