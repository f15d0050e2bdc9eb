"""Which renders a relation without references: its verb, ReVersion's word, or DreamRelation's LoRA? (Its Fig. 10.)

    python experiments/relation_inversion/run.py --out FOLDER
    python experiments/relation_inversion/run.py --relation hug --relation chase --steps 100 --pictures 16 --out FOLDER

For every relation of two subjects of the drawn world, ten examples of the training split teach a word and a LoRA, by
the recipes. Then all methods draw the same test prompts with the same seeds, without references:

    verb        the untrained model, told the prompt
    untrained   the untrained model, with "and" in the place of the verb: what the word begins as
    word        the word in that place
    lora        the LoRA, told the prompt
    truth       the drawn pictures themselves: what the scorer can see

A picture is right where the grounded scorer (encoders/relations.py) finds both subjects and holds the stated relation
for likelier than every other relation of two subjects that the world has, and than "next to". The eight rivals of RFS-G
are too easy here: they held all of four pictures without a verb for right. FOLDER/results.json has shares with
Wilson's intervals, differences paired by picture with intervals by subject and prompt, and what each training took. A
run continues what it finds.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON, backbones

from likeness.backbones.open import open_backbone
from likeness.core.files import read_json, write_json
from likeness.core.images import load_image, save_png
from likeness.core.rng import seed_for
from likeness.core.stats.paired import joined
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RelationExample
from likeness.data.relations.world import TWO_SUBJECT_ACTIONS, make_world_relations
from likeness.encoders import ENCODERS
from likeness.encoders.relations import RelationEncoder
from likeness.metrics.triplets import with_article
from likeness.report.training import wilson
from likeness.train.run import tune
from likeness.world.relations import RELATIONS

RECIPES = Path(__file__).parents[2] / "recipes"
MODEL, EXEMPLARS, AT_ONCE = "sdxl", 10, 16
TOKEN, BEGINNING, BESIDE = "<R>", "and", "next to"
LEARNT = {"word": "reversion", "lora": "relations"}
"""Method -> its recipe."""
METHODS = ("verb", "untrained", *LEARNT)
DIFFERENCES = (("word", "untrained"), ("word", "verb"), ("lora", "verb"), ("lora", "word"))


class Asked(NamedTuple):
    """A test picture: its prompt, predicate, the class words and ids of its subjects, and the drawn picture."""

    id: str
    prompt: str
    predicate: str
    classes: tuple[str, str]
    subjects: frozenset[str]
    truth: Path


def prompt_of(asked: Asked, *, method: str) -> str:
    """What the method is told."""
    told = {"word": TOKEN, "untrained": BEGINNING}.get(method)
    return asked.prompt if told is None else re.sub(rf"\b{re.escape(asked.predicate)}\b", told, asked.prompt, count=1)


def asked_of(relation: str, *, pictures: int, out: Path) -> list[Asked]:
    """The test pictures of a relation."""
    folder = out / "sets" / f"{relation}-test"
    make_world_relations(pictures, out=folder, split="test", actions=[relation])
    return [_asked(example) for example in read_relations(folder).examples]


def _asked(example: RelationExample) -> Asked:
    one, two = example.subjects
    ids = frozenset(subject.id for subject in example.subjects)
    return Asked(example.id, example.prompt, str(example.predicate), (one.phrase, two.phrase), ids, example.target)


def learn(relation: str, *, method: str, steps: int, out: Path) -> tuple[list[Path], dict[str, Any]]:
    """What `--lora` takes for a method, nothing for one without a training, and what the training took."""
    if method not in LEARNT:
        return [], {}
    examples, run = out / "sets" / f"{relation}-train", out / "runs" / f"{relation}-{method}"
    make_world_relations(EXEMPLARS, out=examples, actions=[relation])
    key = {"word": "exemplars", "lora": "relations"}[method]
    changes = [f"data.{key}={json.dumps(str(examples))}", f"train.steps={steps}", "samples.every=0"]
    began = time.process_time()
    trained = tune(RECIPES / f"{LEARNT[method]}.toml", out=run, changes=changes, device="cpu").trained
    cost = run / "cost.json"
    if not cost.is_file():  # of a run in several sittings, the last one
        log = (run / "log.jsonl").read_text().splitlines()
        seconds = {"processor": time.process_time() - began, "steps": sum(json.loads(row)["seconds"] for row in log)}
        size = sum(file.stat().st_size for file in trained.iterdir())
        write_json(cost, {"steps": len(log), "bytes": size, "seconds": seconds})
    return [trained], read_json(cost)


def draw(asked: Sequence[Asked], *, method: str, loras: Sequence[Path], folder: Path) -> None:
    """A picture of every prompt, each of its own seed, which all methods share; those there already are kept."""
    missing = [each for each in asked if not (folder / f"{each.id}.png").is_file()]
    if not missing:
        return
    backbone: Any = open_backbone(MODEL, device="cpu", dtype="float32", loras=loras)
    for first in range(0, len(missing), AT_ONCE):
        some = missing[first : first + AT_ONCE]
        rows = [backbone.prepare(prompt_of(each, method=method)) for each in some]
        images = backbone.paint_batch(rows, seeds=[seed_for("picture", each.id) for each in some])
        for each, image in zip(some, images, strict=True):
            save_png(image, folder / f"{each.id}.png")


def judged(asked: Sequence[Asked], files: Sequence[Path], *, relation: str, kept: Path, scorer: Any) -> dict[str, bool]:
    """Picture id -> whether it is right."""
    if kept.is_file():
        return read_json(kept)
    questions = [question_of(each, relation=relation) for each in asked]
    answers = scorer.ask([load_image(file) for file in files], questions)
    found = {each.id: is_right(answer.log_odds) for each, answer in zip(asked, answers, strict=True)}
    write_json(kept, found)
    return found


def question_of(asked: Asked, *, relation: str) -> str:
    """What the scorer is asked: subject, object, the relation and its rivals, a line each."""
    others = [RELATIONS[name].relation for name in TWO_SUBJECT_ACTIONS if name != relation]
    subject, thing = asked.classes
    return "\n".join([with_article(subject), thing, RELATIONS[relation].relation, *others, BESIDE])


def is_right(log_odds: Sequence[float]) -> bool:
    """Whether both subjects were found, and the first relation is the likeliest."""
    return bool(log_odds) and log_odds[0] > max(log_odds[1:])


def summary(right: dict[str, dict[str, bool]], asked: Sequence[Asked], *, relations: dict[str, str]) -> dict[str, Any]:
    """Shares and differences over all pictures; `relations` has the relation of each picture."""
    values = {method: {name: float(hit) for name, hit in hits.items()} for method, hits in right.items()}
    groups: Any = {each.id: each.subjects for each in asked}
    shares = {name: plain(wilson(sum(each.values()) / len(each), len(each))) for name, each in values.items()}
    told = {name: joined(values[name[0]], values[name[1]], groups, prompts=relations) for name in DIFFERENCES}
    return {"shares": shares, "differences": {f"{a} - {b}": plain(each.compared()) for (a, b), each in told.items()}}


def plain(found: Any) -> Any:
    """A record as JSON, where what could not be computed is null."""
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    return {name: plain(each) for name, each in found._asdict().items()} if hasattr(found, "_asdict") else found


def study(relations: Sequence[str], *, steps: int, pictures: int, out: Path, tell: Callable[[str], None]) -> None:
    """All relations, each from its examples to its scores."""
    scorer = RelationEncoder.load(str(ENCODERS["relations"].embedded))
    right: dict[str, dict[str, bool]] = {method: {} for method in (*METHODS, "truth")}
    everything, of, costs = list[Asked](), dict[str, str](), dict[str, dict[str, Any]]()
    for relation in relations:
        asked = asked_of(relation, pictures=pictures, out=out)
        everything, of = everything + asked, of | {each.id: relation for each in asked}
        for method in (*METHODS, "truth"):
            files = [each.truth for each in asked]
            if method != "truth":
                loras, cost = learn(relation, method=method, steps=steps, out=out)
                costs.setdefault(method, {})[relation] = cost
                folder = out / "pictures" / f"{relation}-{method}"
                draw(asked, method=method, loras=loras, folder=folder)
                files = [folder / f"{each.id}.png" for each in asked]
            kept = out / "right" / f"{relation}-{method}.json"
            hits = judged(asked, files, relation=relation, kept=kept, scorer=scorer)
            right[method] |= hits
            tell(f"{relation} {method}: {sum(hits.values())} of {len(hits)} right")
        found = summary(right, everything, relations=of)
        facts = {"relations": list(relations[: relations.index(relation) + 1]), "pictures": pictures, "model": MODEL}
        write_json(out / "results.json", {**facts, **found, "costs": {name: costs[name] for name in LEARNT}})


def main() -> None:
    """The comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relation", action="append", choices=TWO_SUBJECT_ACTIONS)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    known = asked.relation or list(TWO_SUBJECT_ACTIONS)
    study(known, steps=asked.steps, pictures=asked.pictures, out=asked.out, tell=lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
