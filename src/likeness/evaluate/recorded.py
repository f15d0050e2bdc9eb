"""The encoders that an evaluation was made with, found again by their recorded ids."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple  # Any: what an encoder sees is its own type

from likeness.core.errors import WeightsError
from likeness.encoders import ENCODERS, load_encoder


class FoundAgain(NamedTuple):
    """Encoders by name that have their recorded ids; the ids of those that have another one; why the rest is absent."""

    same: dict[str, Any]
    other: dict[str, str]
    absent: dict[str, str]


def find_encoders(ids: Mapping[str, str], *, named: Mapping[str, str], device: str) -> FoundAgain:
    """The encoders with the recorded `ids` by name, from the weights `named` where there are any.

    Of the weights that an id can stand for, those are tried that it mentions: a local folder must be named, since an
    id does not say where it lay.
    """
    found = FoundAgain({}, {}, {})
    for name, made in ids.items():
        if name not in ENCODERS:
            found.absent[name] = f"this version of likeness has no encoder {name}"
            continue
        _find(name, made, specs=[named[name]] if name in named else list(_specs(name, made)), device=device, into=found)
    return found


def _find(name: str, made: str, *, specs: list[str], device: str, into: FoundAgain) -> None:
    others: list[str] = []
    reasons: list[str] = []
    for spec in specs:
        try:
            encoder = load_encoder(name, spec, device=device)
        except WeightsError as error:
            reasons.append(str(error))
            continue
        if encoder.id == made:
            into.same[name] = encoder
            return
        others.append(encoder.id)
    if others:
        into.other[name] = others[0]
    else:
        local = f"its weights are not known by name ({made.partition(';')[0]}); add --encoder {name}=FOLDER"
        into.absent[name] = f"encoder {name}: {reasons[0] if reasons else local}"


def _specs(name: str, made: str) -> Iterator[str]:
    """Weights that the id mentions: those of the table, best first, and the name before its hash."""
    facts = ENCODERS[name]
    known = dict.fromkeys(spec for spec in (facts.world, facts.embedded, facts.photo, facts.published) if spec)
    mentioned = [spec for spec in known if all(_mentions(made, part) for part in spec.split("+"))]
    yield from mentioned
    spec = made.partition(";")[0].partition(" ")[2].rpartition("@")[0]
    if "/" in spec and " " not in spec and spec not in mentioned:
        yield spec


def _mentions(made: str, spec: str) -> bool:
    """Whether an id has the name of the weights as a whole word."""
    return re.search(rf"(?<![\w./-]){re.escape(spec)}(?![\w./-])", made, flags=re.IGNORECASE) is not None
