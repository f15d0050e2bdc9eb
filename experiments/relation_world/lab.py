"""The experiment on this machine: models with other local encoders, LoRAs, pictures, and the committed scores of rows.

Working files may be lost at any time; what is committed are the files of scores. A row whose scores are whole is never
drawn again. Everything continues what it finds half done.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # TOML and JSON

import world_runs
from batched import draw_batched
from cases import RELATIONS, build_cases, case_facts
from scores import Scores, read_run, read_scores, write_scores

from likeness.backbones.sdxl.local_settings import FOLDER_NAME, SETTINGS_NAME, read_local_settings
from likeness.core.files import read_json, write_json
from likeness.core.hashing import folder_sha256
from likeness.core.kinds import Split
from likeness.core.records import read_cases
from likeness.core.stats.intervals import mean_interval
from likeness.core.weights import embedded, resolve_weights
from likeness.data.relations.world import make_world_relations

STRENGTH = 1.0
"""Of every LoRA."""
RATE = "train.learning_rate"
LOCAL: Mapping[str, Mapping[str, str]] = {
    "linear": {"injection": "linear"},
    "addition": {"injection": "addition"},
    "own": {"encoder": "local"},
    "clip": {"encoder": "clip"},
}
"""What `local` of a row changes of the model's settings for local tokens; "own" and "clip" have other weights, too."""


@dataclass(frozen=True)
class Lab:
    """The plan, where working files and results lie, and how many relations it is about (all but in tests)."""

    plan: Mapping[str, Any]
    out: Path
    results: Path
    workers: int = 1
    relations: Sequence[str] = RELATIONS

    def cases(self, phase: Split) -> Path:
        """The case file of a phase."""
        return build_cases(self.out / "cases" / phase, per_relation=self.plan["cases"][phase], split=phase)

    def scores_file(self, row: str, phase: Split) -> Path:
        """Where the scores of a row lie."""
        return self.results / "scores" / phase / f"{row}.csv.gz"

    def scores(self, row: str, phase: Split) -> Scores | None:
        """The scores of a row, None unless they are whole."""
        path = self.scores_file(row, phase)
        found = read_scores(path) if path.is_file() else None
        wanted = [case.id for case in read_cases(self.cases(phase)).cases if case.action in self.relations]
        return found if found is not None and found.has(wanted, strength=STRENGTH) else None

    def examples(self, relation: str) -> Path:
        """What a relation is learnt from."""
        out, table = self.out / "examples" / relation, self.plan["examples"]
        make_world_relations(table["n"], out=out, seed=table["seed"], actions=[relation], size=table["size"])
        return out


# -- models ----------------------------------------------------------------------------------------------------
def model_of(lab: Lab, row: Mapping[str, Any]) -> str:
    """What a row draws with: a model by name, or a copy with another local encoder, made once."""
    name, local = row.get("base", lab.plan["base"]), row.get("local")
    if local is None:
        return name
    folder = lab.out / "models" / local
    if not folder.is_dir():
        part = folder.with_name(f"{local}.part{os.getpid()}")
        shutil.copytree(resolve_weights(name), part)
        change_local_encoder(part, local)
        try:
            part.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(part)
    return str(folder)


def change_local_encoder(model: Path, local: str) -> None:
    """The model's local_encoder is as asked: with another injection, its own image encoder, or the embedded CLIP."""
    place = model / FOLDER_NAME
    settings = {**read_local_settings(place).model_dump(), **LOCAL[local]}
    if local in ("own", "clip"):
        shutil.rmtree(place)
        shutil.copytree(model / "image_encoder" if local == "own" else embedded("clip"), place)
    if local == "own":
        shutil.copyfile(model / "feature_extractor" / "preprocessor_config.json", place / "preprocessor_config.json")
    write_json(place / SETTINGS_NAME, settings)


# -- a row -----------------------------------------------------------------------------------------------------
def do_row(lab: Lab, name: str, phase: Split, *, rate: float, other: Mapping[str, Any] | None = None) -> Scores:
    """Every LoRA of the row is trained, every case drawn and measured; `other` stands for the plan's row."""
    if (known := lab.scores(name, phase)) is not None:
        return known
    row: Mapping[str, Any] = lab.plan["rows"][name] if other is None else other
    begun, model, runs = time.monotonic(), model_of(lab, row), list[Path]()
    adapters: dict[str, str] = {}
    for relation in lab.relations:
        loras: list[Path] = []
        if "changes" in row:
            loras = [train(lab, row, relation, model=model, name=name, rate=rate)]
            adapters[relation] = folder_sha256(loras[0])
        runs.append(lab.out / "pictures" / phase / name / relation)
        _draw(lab, row, relation, phase=phase, model=model, loras=loras, run=runs[-1])
    drawn = time.monotonic()
    run = _together(runs, lab.out / "pictures" / phase / name / "all")
    rows = _measure(lab, run, cases=lab.cases(phase))
    scores = Scores(_meta(row, run, adapters=adapters, rate=rate), rows)
    write_scores(lab.scores_file(name, phase), scores)
    seconds = f"{drawn - begun:.0f} s to train and draw, {time.monotonic() - drawn:.0f} s to measure"
    print(f"{phase}, {name}: {len(scores.rows)} pictures, {seconds}", flush=True)
    return scores


def train(lab: Lab, row: Mapping[str, Any], relation: str, *, model: str, name: str, rate: float) -> Path:
    """The folder of the LoRA of a relation; the search and the test share those of equal settings."""
    place = {"model.base": model, "data.relations": lab.examples(relation).as_posix(), RATE: rate}
    seed = {"train.seed": lab.plan["seed"] + RELATIONS.index(relation), "data.size": lab.plan["examples"]["size"]}
    out = lab.out / "adapters" / f"{name.partition('-')[0]}-{rate:g}" / relation
    return world_runs.train(
        {**lab.plan["train"], **place, **seed, **row["changes"]}, recipe=lab.plan["recipe"], out=out
    )


def _draw(
    lab: Lab, row: Mapping[str, Any], relation: str, *, phase: Split, model: str, loras: Sequence[Path], run: Path
) -> None:
    """Pictures of the relation's cases; run.json is written last."""
    if not (run / "run.json").is_file():
        path = lab.cases(phase)
        chosen = [case.id for case in read_cases(path).cases if case.action == relation]
        options = {**lab.plan["drawing"], **row["options"]}
        draw_batched(run, cases=path, base=model, options=options, loras=loras, chosen=chosen)


def _together(runs: Sequence[Path], out: Path) -> Path:
    """One run folder with the pictures of all."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "images").mkdir(parents=True)
    for picture in (each for run in runs for each in sorted((run / "images").iterdir())):
        shutil.copyfile(picture, out / "images" / picture.name)
    shutil.copyfile(runs[0] / "run.json", out / "run.json")
    return out


def _measure(lab: Lab, run: Path, *, cases: Path) -> dict[Any, dict[str, str]]:
    from likeness.evaluate import evaluate_run

    encoders = world_runs.world_encoders(*lab.plan["encoders"])
    whole = len(lab.relations) == len(RELATIONS)
    shared: Any = {"metrics": lab.plan["metrics"], "features": lab.out / "features", "allow_missing": not whole}
    evaluate_run(run, benchmark="relation_world", encoders=encoders, cases=cases, bounds=False, workers=1, **shared)
    return read_run(run, metrics=lab.plan["metrics"], strength=STRENGTH)


def _meta(row: Mapping[str, Any], run: Path, *, adapters: Mapping[str, str], rate: float) -> dict[str, Any]:
    from likeness.core.devices import pick_device, processor

    made = read_json(run / "run.json")
    trained = {"adapters_sha256": dict(adapters), "learning_rate": rate} if adapters else {}
    place: dict[str, Any] = {"processor": processor(pick_device()), "versions": made["versions"]}
    place["encoders"] = read_json(run / "evaluation" / "summary.json")["encoders"]
    return {"row": dict(row), "model": made["model"], "settings": made["settings"], **trained, **place}


# -- the choice ------------------------------------------------------------------------------------------------
def chosen_rate(lab: Lab) -> float:
    """The learning rate of all LoRAs, chosen on validation cases and written to chosen.json."""
    path, table = lab.results / "chosen.json", lab.plan["search"]
    if not path.is_file():
        means: dict[str, float] = {}
        for rate in table["rates"]:
            found = do_row(
                lab, search_name(table["row"], rate), "validation", rate=rate, other=lab.plan["rows"][table["row"]]
            )
            means[f"{rate:g}"] = mean_of(lab, found, table["metric"], phase="validation")
        write_json(path, {"metric": table["metric"], "means": means, "rate": choose(means, tie=table["tie"])})
    return float(read_json(path)["rate"])


def search_name(row: str, rate: float) -> str:
    """The name of the scores of a try."""
    return f"{row}-{rate:g}"


def choose(means: Mapping[str, float], *, tie: float) -> float:
    """The first rate, in the order given, within `tie` of the best."""
    best = max(means.values())
    return float(next(rate for rate, mean in means.items() if mean >= best - tie))


def mean_of(lab: Lab, scores: Scores, metric: str, *, phase: Split) -> float:
    """The mean over combinations of subjects."""
    facts, values = case_facts(lab.cases(phase)), scores.values(metric, strength=STRENGTH)
    return mean_interval(list(values.values()), [facts[case].subjects for case in values]).mean
