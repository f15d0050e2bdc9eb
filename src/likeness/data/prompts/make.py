"""`likeness data stellar-prompts`: candidates, filtered, sampled, handed to people, and written with what was done.

    OUT/stellar_t.json      {"000": {"prompts": [...], "detectables": ..., "categories": ..., "relations": ...}, ...}
    OUT/objects.txt         every word that a prompt asks a detector for
    OUT/prompts.jsonl       the sampled prompts in the order of insertion, each with its radius and similarity
    OUT/summary.json        counts and settings

Equal settings, encoder and seed give equal bytes.
"""

from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_text, write_json, write_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Progress, unseen
from likeness.data.formats.stellar_files import Prompt
from likeness.data.prompts.embedded import Reader, embedded
from likeness.data.prompts.files import TEMPLATES, read_prompts, sentence, write_people
from likeness.data.prompts.grammar import NUM_CANDIDATES, candidates, objects
from likeness.data.prompts.sampling import assigned, furthest_points, largest_cosine, most_similar

__all__ = ["NUM_TEST", "OWN_REFERENCE", "Made", "make_prompts", "own_reference"]

NUM_TEST = 200
"""People of the test split, numbered from 000; those of the validation split are numbered from 200."""
OWN_REFERENCE = "reference.txt"
"""The free prompts that candidates are compared with where no others are named: ours, in place of Stellar-H."""


class Made(NamedTuple):
    """What was made: the folder, and how many prompts each step left."""

    folder: Path
    counts: dict[str, int]
    summary: dict[str, Any]


def own_reference() -> Path:
    """The file of our own free prompts."""
    return Path(str(resources.files("likeness.data.prompts") / OWN_REFERENCE))


def make_prompts(
    out: Path,
    *,
    encoder: Reader,
    store: Path,
    reference: Path | None = None,
    num_candidates: int = NUM_CANDIDATES,
    num_prompts: int = 10_000,
    people: int = NUM_TEST,
    each: int = 50,
    validation_each: int = 0,
    seed: int = 0,
    progress: Progress = unseen,
) -> Made:
    """OUT as shown above: `each` prompts for a person of the test split, `validation_each` for as many of the other.

    The first `num_prompts` furthest points are for the test split; those of the validation split come after them.
    Raises: ConfigError for numbers that do not fit, DataError for a reference without prompts; OutputError.
    """
    _require_enough(num_candidates, num_prompts=num_prompts, people=people, each=each)
    references = list(dict.fromkeys(map(sentence, read_prompts(reference or own_reference()).texts)))
    prompts = candidates(num_candidates, seed=seed)
    features = embedded([sentence(prompt.text) for prompt in prompts], encoder, store=store, progress=progress)
    similarity = largest_cosine(features, embedded(references, encoder, store=store))
    kept = most_similar(similarity)
    wanted = num_prompts + people * validation_each
    if wanted > len(kept):
        raise ConfigError(
            f"-n: expected at most {len(kept)} prompts, those that passed the filter, got {wanted}; ask for fewer."
        )
    found = furthest_points(features[kept], wanted)
    chosen = [prompts[place] for place in kept[found.places]]
    split = {0: (chosen[:num_prompts], each), NUM_TEST: (chosen[num_prompts:], validation_each)}
    given = {
        f"{first + who:03d}": some
        for first, part in split.items()
        for who, some in enumerate(_given(*part, people=people, seed=seed))
    }
    write_people(out / TEMPLATES, given)
    atomic_write_text(out / "objects.txt", "".join(f"{word}\n" for word in objects()))
    told = zip(chosen, found.radius.tolist(), similarity[kept[found.places]].tolist(), strict=True)
    write_jsonl(out / "prompts.jsonl", (_row(*row) for row in told))
    counts = {"candidates": len(prompts), "kept": len(kept), "sampled": len(chosen), "people": len(given)}
    summary = {
        **counts,
        "reference": (reference or own_reference()).name,
        "num_references": len(references),
        "references_sha256": json_sha256(references),
        "encoder": encoder.id,
        "seed": seed,
        "each": each,
        "validation_each": validation_each,
        "radius": {"first": float(found.radius[0]), "last": float(found.radius[-1])},
        "least_similarity": float(similarity[kept].min()),
    }
    write_json(out / "summary.json", summary)
    return Made(out, counts, summary)


def _given(prompts: list[Prompt], each: int, *, people: int, seed: int) -> list[list[Prompt]]:
    """The prompts of each person; none at all where each gets none."""
    if not each:
        return []
    return [[prompts[place] for place in row] for row in assigned(len(prompts), people=people, each=each, seed=seed)]


def _require_enough(num_candidates: int, *, num_prompts: int, people: int, each: int) -> None:
    if not 1 <= people <= NUM_TEST:
        raise ConfigError(f"--people: expected 1 to {NUM_TEST}, got {people}; the layout has no more numbers.")
    if not each <= num_prompts <= people * each:
        wanted = f"from {each} to {people * each} (--people times --each)"
        raise ConfigError(f"-n: expected {wanted}, got {num_prompts}; some prompts would be handed to nobody.")
    if num_prompts > num_candidates:
        raise ConfigError(f"--candidates: expected at least {num_prompts}, got {num_candidates}; ask for more.")


def _row(prompt: Prompt, radius: float, similarity: float) -> dict[str, Any]:
    facts = {"prompt": prompt.text, "detectables": prompt.detectables, "categories": prompt.categories}
    return facts | {"relations": prompt.relations, "radius": radius, "similarity": similarity}
