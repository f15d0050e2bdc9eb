"""How a method with several tries draws: the best one on validation people, kept in chosen.json."""

from collections.abc import Mapping
from typing import Any  # TOML and JSON

from analysis import mean_of, read
from lab import Lab, Wanted, measure

from likeness.core.files import read_json, write_json


def choose(lab: Lab, name: str) -> Mapping[str, Any]:
    """The options of the best try of a method on validation people, drawn where they are not; {} without tries."""
    tries = lab.method(name).get("tries", [])
    path = lab.results / "chosen.json"
    known: dict[str, Any] = read_json(path) if path.is_file() else {}
    if not tries or name in known:
        return known.get(name, {}).get("options", {})
    values: list[float] = []
    for number, options in enumerate(tries):
        wanted = Wanted(name, "validation", lab.case_file("validation"), options, str(number))
        measure(wanted, lab)
        values.append(mean_of(read(lab, "validation", wanted.title), lab.plan["analysis"]["choose"]))
    best = max(range(len(tries)), key=lambda i: (values[i], -i))
    write_json(path, {**known, name: {"options": tries[best], "by": lab.plan["analysis"]["choose"], "tries": values}})
    return tries[best]
