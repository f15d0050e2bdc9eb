"""The predicate of a prompt where nobody wrote it down: the words between its first two subjects."""

import re
from collections.abc import Sequence

__all__ = ["BETWEEN", "in_order_of", "predicate_between"]

BETWEEN = "the words between the subjects"
"""How such a predicate came about, as `sources` tells."""
_LEADING = re.compile(r"^(?:(?:is|are|was|were|am)\s+)+", re.IGNORECASE)
_TRAILING = re.compile(r"(?:\s+(?:a|an|the|his|her|its|their))+$", re.IGNORECASE)


def predicate_between(prompt: str, phrases: Sequence[str]) -> str | None:
    """ "hugging" of "A cat is hugging a dog": what stands between the first two phrases, without "is" and articles.

    The words are a piece of the prompt as it is. None where there are fewer than two phrases, one is not in the prompt,
    or nothing but "and" stands between them.
    """
    found = sorted(match.span() for phrase in phrases if (match := _phrase(prompt, phrase)))
    if len(phrases) < 2 or len(found) < len(phrases):
        return None
    between = prompt[found[0][1] : found[1][0]].strip()
    words = _TRAILING.sub("", _LEADING.sub("", f"{between}")).strip(" ,.;:")
    return words if re.search(r"[^\W\d_]", words) and words.lower() not in ("and", "a", "an", "the") else None


def in_order_of(prompt: str, phrases: Sequence[str]) -> list[str]:
    """The phrases in the order in which the prompt names them; those that it does not come last, by name."""

    def place(phrase: str) -> tuple[int, str]:
        match = _phrase(prompt, phrase)
        return (match.start() if match else len(prompt), phrase)

    return sorted(phrases, key=place)


def _phrase(prompt: str, phrase: str) -> re.Match[str] | None:
    return re.search(rf"\b{re.escape(phrase)}\b", prompt, re.IGNORECASE)
