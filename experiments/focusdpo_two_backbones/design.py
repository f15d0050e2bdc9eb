"""Which adapters the experiment trains and at which strengths their pictures are drawn: the plan, piece by piece.

A piece is one adapter (or the base model) with a file of scores. Which pieces of the validation phase there are depends
on scores: readings of FocusDPO stand on the try chosen for it, beta-matched DPO on the chosen reading.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol  # TOML

from curves import FIDELITY, AtLevel, Curve, at_level, choose

BASE, FOCUS, MATCHED = "base", "focus_dpo", "dpo_matched"
BEST = "focus_best"
"""FocusDPO in its chosen reading; FOCUS is the method as it was read first."""
BETA, RATE = "objective.beta", "train.learning_rate"

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """One adapter, or with `changes` None the base, and the strengths that are wanted of it."""

    phase: str
    backbone: str
    pairs: str
    method: str
    attempt: str
    seed: int
    changes: tuple[tuple[str, Any], ...] | None
    strengths: tuple[float, ...]

    @property
    def adapter(self) -> Path:
        """Where the training lies below the folder of adapters; both phases share it."""
        return Path(self.backbone) / self.pairs / f"{self.method}-{self.attempt}-seed{self.seed}"

    @property
    def file(self) -> Path:
        """Where its scores lie below the folder of scores."""
        if self.changes is None:
            return Path(self.phase) / self.backbone / f"{BASE}.csv.gz"
        return Path(self.phase) / f"{self.adapter}.csv.gz"


@dataclass(frozen=True)
class Chosen:
    """What was chosen of a method on one kind of pairs: the try, its settings, and where its curve has the level."""

    method: str
    attempt: str
    changes: Changes
    found: AtLevel

    def to_json(self) -> dict[str, Any]:
        """For chosen.json."""
        means = {name: round(mean, 5) for name, mean in self.found.means.items() if mean == mean}
        facts = {"method": self.method, "attempt": self.attempt, "changes": dict(self.changes)}
        return {**facts, "strength": round(self.found.strength, 4), "reached": self.found.reached, "means": means}


class Known(Protocol):
    """What scores there are."""

    def is_done(self, piece: Piece) -> bool:
        """Whether every picture of the piece has its scores."""
        ...

    def curve(self, piece: Piece, *, strengths: Sequence[float]) -> Curve:
        """The means of a validation piece at 0, which is the base, and at `strengths`."""
        ...

    def matched_beta(self, piece: Piece) -> float:
        """The beta at which DPO has the mean |inside| that the training of this piece had."""
        ...


@dataclass(frozen=True)
class Design:
    """The plan, plan.toml as read, for one backbone."""

    plan: Mapping[str, Any]
    backbone: str

    # validation ------------------------------------------------------------------------------------------------------
    def base(self, phase: str) -> Piece:
        """The model without an adapter."""
        return Piece(phase, self.backbone, "", BASE, "0", 0, None, (0.0,))

    def search(self, pairs: str) -> dict[str, list[Piece]]:
        """Method -> its tries on these pairs, in the order of the plan."""
        return {
            method: [
                self._piece(pairs, method, str(number), {**self._own(method), **changes})
                for number, changes in enumerate(self.plan["grid"][table["grid"]])
            ]
            for method, table in self.plan["methods"].items()
        }

    def readings(self, pairs: str, chosen: Chosen) -> list[Piece]:
        """FocusDPO as it was read first, and in its other readings with the same settings."""
        others = [
            self._piece(pairs, FOCUS, f"{chosen.attempt}_{name}", _read(chosen.changes, table))
            for name, table in self.plan["readings"].items()
        ]
        return [self._piece(pairs, FOCUS, chosen.attempt, chosen.changes), *others]

    def matched(self, pairs: str, best: Chosen, *, beta: float) -> Piece:
        """DPO at the learning rate of FocusDPO's chosen reading and the beta that gives it the same |inside|."""
        changes = {"objective.kind": "dpo", RATE: best.changes[RATE], BETA: float(f"{beta:.4g}")}
        return self._piece(pairs, MATCHED, "0", changes)

    def validation(self, known: Known) -> Iterator[Piece]:
        """The pieces that can be done now; those that depend on these come when they are done."""
        base = self.base("validation")
        yield base
        for pairs in self.plan["search"]["pairs"] if known.is_done(base) else ():
            tries = self.search(pairs)
            yield from (piece for some in tries.values() for piece in some)
            if all(known.is_done(piece) for piece in tries[FOCUS]):
                yield from self.readings(pairs, self._choice(tries[FOCUS], known=known))
            if (chosen := self.chosen_of(pairs, known=known)) is not None:
                yield from (self._full(pairs, each) for each in chosen.values())
        yield from self._further(known)

    def _further(self, known: Known) -> Iterator[Piece]:
        """Kinds of pairs without a search of their own: with the settings chosen on another kind."""
        for pairs in self.plan["search"]["borrowed"]:
            if (chosen := self.chosen_of(pairs, known=known)) is not None:
                yield from (self._full(pairs, each) for each in chosen.values())

    def chosen_of(self, pairs: str, *, known: Known) -> dict[str, Chosen] | None:
        """Method -> what was chosen, with BEST and MATCHED; None until everything it hangs on is done.

        Pairs without a search have what was chosen on the pairs that they borrow from, of the methods of the test, at
        strengths of their own.
        """
        if (source := self.plan["search"]["borrowed"].get(pairs)) is not None:
            chosen = self.chosen_of(source, known=known) or {}
            some = {name: each for name, each in chosen.items() if name in self.plan["test"]["methods"]}
            return self._refined(pairs, some, known=known) if some else None
        tries = self.search(pairs)
        if not known.is_done(self.base("validation")) or not _all_done(tries, known=known):
            return None
        chosen = {method: self._choice(some, known=known) for method, some in tries.items()}
        readings = self.readings(pairs, chosen[FOCUS])
        if not all(known.is_done(piece) for piece in readings):
            return None
        best = self._choice(readings, known=known)
        best_piece = next(piece for piece in readings if piece.attempt == best.attempt)
        matched = self.matched(pairs, best, beta=known.matched_beta(best_piece))
        chosen |= {BEST: best, MATCHED: Chosen(MATCHED, "0", dict(matched.changes or ()), best.found)}
        return self._refined(pairs, chosen, known=known)

    def is_refined(self, pairs: str, chosen: Mapping[str, Chosen], *, known: Known) -> bool:
        """Whether the whole curve of everything chosen was drawn, so that its strength is final."""
        return all(known.is_done(self._full(pairs, each)) for each in chosen.values())

    def curve(self, pairs: str, chosen: Chosen, *, known: Known) -> Curve:
        """The whole curve of what was chosen."""
        piece = self._full(pairs, chosen)
        return known.curve(piece, strengths=piece.strengths)

    # test ------------------------------------------------------------------------------------------------------------
    def test(self, chosen: Mapping[str, Mapping[str, Any]]) -> Iterator[Piece]:
        """The pieces of the test phase; `chosen` is this backbone's part of chosen.json: pairs -> method -> choice."""
        yield self.base("test")
        for seed in self.plan["test"]["seeds"]:
            for pairs in self.plan["test"]["pairs"]:
                seen: set[tuple[str, str]] = set()
                for method in (each for each in self.plan["test"]["methods"] if pairs in chosen):
                    found = chosen[pairs][method]
                    if (who := (found["method"], found["attempt"])) not in seen:
                        seen.add(who)
                        place = "test", self.backbone, pairs, *who, seed
                        yield Piece(*place, tuple(found["changes"].items()), (found["strength"],))

    def piece(self, pairs: str, chosen: Chosen) -> Piece:
        """The piece of the validation phase with the strengths that every try has."""
        return self._piece(pairs, chosen.method, chosen.attempt, chosen.changes)

    # parts -----------------------------------------------------------------------------------------------------------
    def _own(self, method: str) -> dict[str, Any]:
        table = self.plan["methods"][method]
        return {"objective.kind": table["kind"], **table.get("changes", {})}

    def _piece(self, pairs: str, method: str, attempt: str, changes: Changes, *, is_full: bool = False) -> Piece:
        strengths = self.plan["strengths"]["all" if is_full else "search"]
        seed = self.plan["search"]["seed"]
        place = "validation", self.backbone, pairs, method, attempt, seed
        return Piece(*place, tuple(changes.items()), tuple(float(each) for each in strengths))

    def _full(self, pairs: str, chosen: Chosen) -> Piece:
        is_full = pairs not in self.plan["search"]["borrowed"]
        return self._piece(pairs, chosen.method, chosen.attempt, chosen.changes, is_full=is_full)

    def level(self, known: Known) -> float:
        """The CLIP-T at which methods are compared: the plan's cost below that of base."""
        base = self.base("validation")
        return known.curve(base, strengths=())[0].means[FIDELITY] - self.plan["compare"]["cost"]

    def _choice(self, pieces: Sequence[Piece], *, known: Known) -> Chosen:
        """The try chosen by the rule, at the strengths that every try has."""
        level, strengths = self.level(known), self.plan["strengths"]["search"]
        found = {p.attempt: at_level(known.curve(p, strengths=strengths), level) for p in pieces}
        name = choose(found, tie=self.plan["compare"]["tie"])
        piece = next(p for p in pieces if p.attempt == name)
        return Chosen(piece.method, name, dict(piece.changes or ()), found[name])

    def _refined(self, pairs: str, chosen: Mapping[str, Chosen], *, known: Known) -> dict[str, Chosen]:
        """The same tries, at the strength of their whole curves as far as these were drawn."""
        level, refined = self.level(known), dict[str, Chosen]()
        for name, each in chosen.items():
            found = (
                at_level(self.curve(pairs, each, known=known), level)
                if known.is_done(self._full(pairs, each))
                else each.found
            )
            refined[name] = Chosen(each.method, each.attempt, each.changes, found)
        return refined


def _all_done(tries: Mapping[str, Sequence[Piece]], *, known: Known) -> bool:
    return all(known.is_done(piece) for some in tries.values() for piece in some)


def _read(changes: Changes, table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in another reading, whose errors may ask for another beta."""
    return {**changes, **table["changes"], BETA: changes[BETA] * table.get("beta_factor", 1.0)}
