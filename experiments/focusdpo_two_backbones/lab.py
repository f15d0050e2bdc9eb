"""The experiment on this machine: working files, committed scores, and how one piece is done.

Working files (pairs, adapters, pictures) may be lost at any time; what is committed are the files of scores. A picture
whose scores are there is never drawn again, and an adapter is trained again only where pictures of it are missing.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any  # TOML and JSON

import world_runs
from curves import Curve, Point
from design import Piece
from scores import Scores, read_run, read_scores, write_scores

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, read_json
from likeness.core.hashing import file_sha256
from likeness.core.stats.intervals import mean_interval

ADAPTER = "pytorch_lora_weights.safetensors"
SPLITS = {"validation": "validation", "test": "test"}


@dataclass(frozen=True)
class CaseFacts:
    """What a case is alike by: the subjects it shows, and its prompt."""

    subjects: frozenset[str]
    prompt: str
    benchmark: str


class TimeIsOverError(Exception):
    """Raised between two pieces of work when nothing new may be begun."""


@dataclass(frozen=True)
class Lab:
    """The plan and where everything lies; `deadline` is in seconds of `time.time`, None for no end."""

    plan: Mapping[str, Any]
    out: Path
    results: Path
    workers: int = 1
    deadline: float | None = None

    @property
    def is_late(self) -> bool:
        """Whether nothing new may be begun."""
        return self.deadline is not None and time.time() >= self.deadline

    def watch(self, done: int, wanted: int) -> None:
        """A progress that tells now and then. Raises: TimeIsOverError when it is late and something is left."""
        if done % 48 == 0 or done == wanted:
            print(f"pairs: {done}/{wanted}", flush=True)
        if self.is_late and done < wanted:
            raise TimeIsOverError

    def path(self, piece: Piece) -> Path:
        """Its file of scores."""
        return self.results / "scores" / piece.file

    def limits(self, phase: str) -> dict[str, int]:
        """Benchmark -> its number of cases."""
        return self.plan["test"]["cases"] if phase == "test" else self.plan["validation"]

    def case_file(self, phase: str, benchmark: str) -> Path:
        """The case file of a benchmark, drawn when it is first asked for."""
        folder, limit = self.out / "cases" / phase / benchmark, self.limits(phase)[benchmark]
        return world_runs.build_cases(benchmark, folder=folder, limit=limit, split=SPLITS[phase])

    def case_facts(self, phase: str) -> dict[str, CaseFacts]:
        """Case id -> what it is alike by, of every case of a phase."""
        from likeness.core.records import read_cases

        return {
            case.id: CaseFacts(frozenset(subject.id for subject in case.subjects), case.prompt, benchmark)
            for benchmark in self.limits(phase)
            for case in read_cases(self.case_file(phase, benchmark)).cases
        }

    def pairs(self, kind: str) -> Path:
        """The folder of a kind of pairs."""
        return self.out / "pairs" / kind


class Ledger:
    """What scores there are, as `design.Known`; files are read again where they changed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._read: dict[Path, tuple[int, Scores]] = {}
        self._facts: dict[str, dict[str, CaseFacts]] = {}
        self._means: dict[tuple[Path, int, float], dict[str, float]] = {}

    def facts(self, phase: str) -> dict[str, CaseFacts]:
        """`Lab.case_facts`, once."""
        if phase not in self._facts:
            self._facts[phase] = self.lab.case_facts(phase)
        return self._facts[phase]

    def scores(self, piece: Piece) -> Scores | None:
        """The scores of a piece, None where nothing of it was drawn."""
        path = self.lab.path(piece)
        if not path.is_file():
            return None
        stamp = path.stat().st_mtime_ns
        if path not in self._read or self._read[path][0] != stamp:
            self._read[path] = stamp, read_scores(path)
        return self._read[path][1]

    def is_done(self, piece: Piece) -> bool:
        """Whether every picture of the piece has its scores."""
        scores = self.scores(piece)
        if scores is None:
            return False
        cases = list(self.facts(piece.phase))
        return all(scores.has(cases, strength=strength) for strength in piece.strengths)

    def curve(self, piece: Piece, *, strengths: Sequence[float]) -> Curve:
        """The means of a validation piece at 0, which is the base, and at `strengths`. Raises: DataError."""
        base = Piece("validation", piece.backbone, "", "base", "0", 0, None, (0.0,))
        return [self._point(base, 0.0), *(self._point(piece, float(strength)) for strength in strengths)]

    def matched_beta(self, piece: Piece) -> float:
        """As its training told. Raises: DataError where it told none."""
        scores = self.scores(piece)
        beta = None if scores is None else scores.meta.get("matched_beta")
        if beta is None:
            raise DataError(
                f"{self.lab.path(piece)}: expected the matched beta of its training, got none; draw it anew."
            )
        return float(beta)

    def _point(self, piece: Piece, strength: float) -> Point:
        scores = self.scores(piece)
        if scores is None:
            raise DataError(f"{self.lab.path(piece)}: expected scores, got no file; run the phase before.")
        key = self.lab.path(piece), self._read[self.lab.path(piece)][0], strength
        if key not in self._means:
            facts = self.facts(piece.phase)
            metrics = next(iter(scores.rows.values()))
            self._means[key] = {m: _mean(scores.values(m, strength=strength), facts) for m in metrics}
        return Point(strength, self._means[key])


def _mean(values: Mapping[str, float], facts: Mapping[str, CaseFacts]) -> float:
    """The mean over combinations of subjects, as everywhere in the package."""
    return mean_interval(list(values.values()), [facts[case].subjects for case in values]).mean


# -- one piece -------------------------------------------------------------------------------------------------
def do_piece(piece: Piece, *, lab: Lab) -> bool:
    """Every picture of the piece is drawn and measured; False where time ran out first, and what is done is kept."""
    work = _Work(piece, lab)
    for strength in piece.strengths:
        for benchmark in lab.limits(piece.phase):
            if not work.has(benchmark, strength=strength):
                if lab.is_late:
                    return False
                work.draw(benchmark, strength=strength)
    return True


class _Work:
    """A piece on its way."""

    def __init__(self, piece: Piece, lab: Lab) -> None:
        self.piece, self.lab = piece, lab
        self.path = lab.path(piece)
        self.scores = read_scores(self.path) if self.path.is_file() else Scores({}, {})

    def has(self, benchmark: str, *, strength: float) -> bool:
        """Whether the scores hold every case of the benchmark."""
        from likeness.core.records import read_cases

        cases = read_cases(self.lab.case_file(self.piece.phase, benchmark)).cases
        return self.scores.has([case.id for case in cases], strength=strength)

    def draw(self, benchmark: str, *, strength: float) -> None:
        """Pictures of the benchmark at a strength; their scores are kept, they are not."""
        piece, lab = self.piece, self.lab
        model, more = lab.plan["backbones"][piece.backbone], lab.plan["test"]["by_place"]
        by_place = piece.phase == "test" and benchmark in more["benchmarks"]
        metrics = [*lab.plan["metrics"], *(more["metrics"] if by_place else ())]
        run = lab.out / "pictures" / piece.file.with_suffix("").with_suffix("") / f"{strength:.4f}" / benchmark
        loras = [] if piece.changes is None else [scaled(self.adapter, strength=strength)]
        begun = time.monotonic()
        world_runs.draw_and_measure(
            run,
            cases=lab.case_file(piece.phase, benchmark),
            benchmark=benchmark,
            base=model["base"],
            options=model["options"],
            loras=loras,
            more_encoders=tuple(more["encoders"]) if by_place else (),
            features=lab.out / "features",
            metrics=metrics,
            batched=True,
        )
        seconds = time.monotonic() - begun
        absent = () if by_place or piece.phase != "test" else more["metrics"]
        rows = read_run(run, metrics=metrics, absent=absent, strength=round(strength, 4))
        self.scores = Scores(self._meta(run), {**self.scores.rows, **rows})
        write_scores(self.path, self.scores)
        shutil.rmtree(run)
        print(f"{piece.file} at {strength:g}: {len(rows)} of {benchmark}, {seconds:.0f} s", flush=True)

    @cached_property
    def adapter(self) -> Path:
        """The folder of the adapter, trained where it is not there."""
        piece, lab = self.piece, self.lab
        model = lab.plan["backbones"][piece.backbone]["base"]
        place = {"model.base": model, "data.pairs": lab.pairs(piece.pairs).as_posix(), "train.seed": piece.seed}
        changes = {**place, **lab.plan["train"], **dict(piece.changes or ())}
        begun = time.monotonic()
        found = world_runs.train(changes, recipe=lab.plan["recipe"], out=lab.out / "adapters" / piece.adapter)
        print(f"{piece.adapter}: trained, {time.monotonic() - begun:.0f} s", flush=True)
        return found

    def _meta(self, run: Path) -> dict[str, Any]:
        """How the pictures were made. Raises: DataError where those before were made otherwise."""
        from likeness.core.devices import pick_device, processor

        piece, made = self.piece, read_json(run / "run.json")
        same = {
            "backbone": piece.backbone,
            "pairs": piece.pairs,
            "method": piece.method,
            "attempt": piece.attempt,
            "seed": piece.seed,
            "changes": None if piece.changes is None else dict(piece.changes),
            "base_sha256": made["model"]["sha256"],
            "options": made["settings"],
        }
        before, known = self.scores.meta, self.scores.meta.get("encoders", {})
        same["encoders"] = known | read_json(run / "evaluation" / "summary.json")["encoders"]
        wanted = {**before, "encoders": same["encoders"] | known}  # other pictures may have needed others
        if before and (other := next((key for key in same if same[key] != wanted[key]), None)):
            what = f"{self.path}: expected {other} {before[other]!r} as its first pictures had, got {same[other]!r}"
            raise DataError(f"{what}; delete the file and draw all of them again.")
        adapters = [] if piece.changes is None else [file_sha256(self.adapter / ADAPTER)]
        told = {"adapters_sha256": adapters, "processors": [processor(pick_device())], "versions": [made["versions"]]}
        met = {key: [*(old := before.get(key, [])), *(v for v in value if v not in old)] for key, value in told.items()}
        beta = self._matched_beta() if piece.method == "focus_dpo" else None
        return {**same, **met, **({} if beta is None else {"matched_beta": before.get("matched_beta", beta)})}

    def _matched_beta(self) -> float | None:
        from likeness.report.training import read_training_run

        return read_training_run(self.adapter.parent).matched_beta


def scaled(adapter: Path, *, strength: float) -> Path:
    """A file beside the adapter that changes every layer `strength` times as much; 1 is the adapter itself.

    The matrices B are multiplied, so that the settings of the adapter stay true.
    """
    if strength == 1:
        return adapter / ADAPTER
    from safetensors import safe_open
    from safetensors.torch import save

    path = adapter.parent / "scaled" / f"{strength:.4f}.safetensors"
    with safe_open(adapter / ADAPTER, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        metadata = file.metadata()
    for name in (name for name in tensors if ".lora_B." in name):
        tensors[name] = tensors[name] * strength
    atomic_write_bytes(path, save(tensors, metadata=metadata))
    return path
