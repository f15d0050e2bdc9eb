"""Pairs that people and the judge agree on: people's ratings enter a pair set, and the quality gate reads both.

Source: FocusDPO (arXiv:2509.01181v1), section 4: at least 9 of 10 for the preferred picture, at most 6 for the rejected
one, by the automatic judge and by people alike.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import numbered_lines, read_text, write_jsonl
from likeness.core.pairs import PreferencePair, pair_row, read_pairs
from likeness.core.rows import Frozen, LeftOut, json_object
from likeness.data.judging.gate import Thresholds, refuse_preferred, refuse_rejected, require_sound

__all__ = ["Gated", "gate_pairs"]


class _Rating(Frozen):
    """A row of ratings.jsonl, as `likeness study export --to ratings` writes it."""

    pair: str
    preferred: int
    rejected: int
    raters: int = 1


class Gated(NamedTuple):
    """How many pairs the file holds now, and which were left out: not rated, or refused by the gate."""

    num_pairs: int
    left_out: tuple[LeftOut, ...]


def gate_pairs(folder: Path, *, ratings: Path, out: Path, thresholds: Thresholds | None = None) -> Gated:
    """The file `out` has the rated pairs of the set that pass the gate by judge and people, with people's scores.

    Written beside pairs.jsonl, it names the same pictures. Pairs without the judge's answers pass by people alone.
    Raises: ConfigError for a file elsewhere; DataError for a damaged file, a rating of a pair that is not there, or no
    pair that passes.
    """
    limits = thresholds or Thresholds()
    require_sound(limits)
    folder = folder if folder.is_dir() else folder.parent
    if out.resolve().parent != folder.resolve():
        wanted = f"--out: expected a file in {folder}, whose pictures its rows name"
        raise ConfigError(f"{wanted}, got {out}; move it there.")
    pairs, rated = {pair.id: pair for pair in read_pairs(folder).pairs}, _read(ratings)
    if strangers := sorted(rated.keys() - pairs.keys()):
        raise DataError(
            f"{ratings}: expected ratings of pairs of {folder}, got {strangers[0]!r}; name the set that was rated."
        )
    kept: list[PreferencePair] = []
    left_out: list[LeftOut] = []
    for name, pair in pairs.items():
        if name not in rated:
            left_out.append(LeftOut.at(name, "expected people's ratings, got none."))
            continue
        scored = _scored(pair, rated[name])
        reason = refuse_preferred(scored.qa.preferred, thresholds=limits)
        reason = reason or refuse_rejected(scored.qa.rejected, disrupted=pair.disrupted, thresholds=limits)
        if reason:
            left_out.append(LeftOut.at(name, reason))
        else:
            kept.append(scored)
    if not kept:
        raise DataError(f"{ratings}: expected a pair that passes the gate, got none; first: {left_out[0].reason}")
    write_jsonl(out, [pair_row(pair, folder=folder) for pair in kept])
    return Gated(len(kept), tuple(left_out))


def _read(path: Path) -> Mapping[str, _Rating]:
    rows = [_Rating.of_row(json_object(line)) for _, line in numbered_lines(read_text(path))]
    return {row.pair: row for row in rows}


def _scored(pair: PreferencePair, rating: _Rating) -> PreferencePair:
    """The pair with people's scores beside the judge's."""
    row = pair.model_dump()
    row["qa"]["preferred"]["human"], row["qa"]["rejected"]["human"] = rating.preferred, rating.rejected
    return PreferencePair.of_row(row)
