"""Any sets of prompts described in one JSON, which `likeness data prompt-report` draws."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple  # Any: JSON

import numpy as np

from likeness.core.errors import ConfigError
from likeness.core.jobs import Progress, unseen
from likeness.data.prompts.counts import KINDS, coverage, told_counts, word_counts_of, words_of
from likeness.data.prompts.density import COVARIANCES, SIZES, best_mixture, map_of, nearest
from likeness.data.prompts.embedded import Reader, embedded
from likeness.data.prompts.files import PromptSet, sentence
from likeness.data.prompts.tagger import Tagger

__all__ = ["Space", "describe"]


class Space(NamedTuple):
    """What the sentence space is measured with; `features` finds the vectors of texts."""

    encoder: Reader
    store: Any  # a Path
    sizes: tuple[int, ...] = SIZES
    covariances: tuple[str, ...] = COVARIANCES
    most_mapped: int = 1000


def describe(
    sets: Sequence[PromptSet],
    *,
    tagger: Tagger,
    space: Space | None,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    progress: Progress = unseen,
) -> dict[str, Any]:
    """`sets`, `coverage` and, with a sentence space, `mixture`, `map` and `neighbours`; the first set is the reference.

    Without a space these are null. Raises: ConfigError for two sets of one name.
    """
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise ConfigError(f"SET: expected sets of different names, got {', '.join(names)}; rename a file.")
    told: list[dict[str, Any]] = []
    nouns: dict[str, list[str]] = {}
    for done, each in enumerate(sets, start=1):
        words = words_of(each, tagger)
        people = sum(1 for who in each.people if who)
        facts = {"name": each.name, "num_prompts": len(each.texts), "num_different": len(set(each.texts))}
        told.append(facts | {"num_people": people or None, "counts": told_counts(word_counts_of(words))})
        nouns[each.name] = sorted(
            {
                word.text
                for rows in words.values()
                for row in rows
                for word in row
                if word.part in (KINDS["nouns"] or ())
            }
        )
        progress(done, len(sets))
    covered = [
        {"set": name, "vocabulary": known, **coverage(words, entries)._asdict()}
        for known, entries in (vocabularies or {}).items()
        for name, words in nouns.items()
    ]
    seen = (
        _in_space(sets, space, seed=seed)
        if space
        else {"encoder": None, "mixture": None, "map": None, "neighbours": None}
    )
    return {"seed": seed, "sets": told, "coverage": covered, **seen}


def _in_space(sets: Sequence[PromptSet], space: Space, *, seed: int) -> dict[str, Any]:
    texts = {each.name: [sentence(text) for text in dict.fromkeys(each.texts)] for each in sets}
    found = {name: embedded(some, space.encoder, store=space.store) for name, some in texts.items()}
    first, *others = texts
    mixture = best_mixture(found[first], sizes=space.sizes, covariances=space.covariances, seed=seed)
    likelihood = [{"set": name, "mean": mixture.likelihood(rows), "n": len(rows)} for name, rows in found.items()]
    places = map_of(found, most=space.most_mapped, seed=seed)
    near = {
        name: [
            {"prompt": each.prompt, "found": [{"prompt": text, "cosine": cosine} for text, cosine in each.found]}
            for each in nearest(found[first], found[name], texts=texts[first], among=texts[name], seed=seed)
        ]
        for name in others
    }
    return {
        "encoder": space.encoder.id,
        "mixture": {
            "fitted_to": first,
            "best": mixture.best._asdict(),
            "tried": [fit._asdict() for fit in mixture.tried],
            "likelihood": likelihood,
        },
        "map": {name: np.round(rows, 3).tolist() for name, rows in places.items()},
        "neighbours": near,
    }
