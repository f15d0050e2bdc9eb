"""ComfyUI's output: PNG files whose text chunks "prompt" and "workflow" hold the graph as JSON.

Source: ComfyUI, node SaveImage. The graph is searched for texts, whichever nodes they belong to: one that is the id of
a case decides (such as the file name's prefix), else the prompt, with the name of a loaded photo where several cases
share it. Pictures of one case count in the order of their names.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from likeness.core.errors import DataError
from likeness.core.files import is_inside
from likeness.core.images import png_notes
from likeness.core.records import Case
from likeness.evaluate.layouts.told import OUTSIDE, Told, Wanted

CHUNKS = ("prompt", "workflow")
MOST_TEXTS = 100_000
"""Texts of one graph that are looked at; the largest real workflows have some thousands."""


def told_by_chunk(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places by the graph; None where no PNG has one."""
    graphs = {path: _graph(path, folder) for path in pictures}
    if not any(isinstance(found, dict) for found in graphs.values()):
        return None
    told, wanted, by_id = Told(), Wanted(cases), {case.id: case for case in cases}
    counts: Counter[str] = Counter()

    def place(path: Path) -> tuple[Case, int]:
        found = graphs[path]
        if not isinstance(found, dict):
            raise DataError(found)
        case = _case(set(_texts(found)), wanted=wanted, by_id=by_id)
        counts[case.id] += 1
        return case, counts[case.id] - 1

    for path in pictures:
        told.claim(path, lambda path=path: place(path))
    return told


def _graph(path: Path, folder: Path) -> dict[str, Any] | str:
    """The chunks as JSON, or why there are none."""
    if not is_inside(path, folder):
        return OUTSIDE
    try:
        notes = png_notes(path)
        found = {name: json.loads(notes[name]) for name in CHUNKS if name in notes}
    except DataError as error:
        return str(error)
    except (ValueError, RecursionError):
        return 'expected JSON in the chunks "prompt" and "workflow", got other text; save the picture again.'
    return found or 'expected a PNG with a chunk "prompt" or "workflow", got neither; name it after its case.'


def _texts(graph: Any) -> Iterator[str]:
    """Every text among the values of a graph, without recursion. Raises: DataError for an absurd number of them."""
    pending: list[Any] = [graph]
    count = 0
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        else:
            pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += 1
        if count > MOST_TEXTS:
            raise DataError(f"expected a graph of at most {MOST_TEXTS} values, got more; name the picture by its case.")


def _case(texts: set[str], *, wanted: Wanted, by_id: dict[str, Case]) -> Case:
    """Raises: DataError where no text, or more than one, says which case it is."""
    ids = sorted({name for text in texts for name in (text, text.rpartition("/")[2]) if name in by_id})
    if len(ids) == 1:
        return by_id[ids[0]]
    prompts = sorted(text for text in texts if wanted.knows(text))
    if len(ids) > 1 or len(prompts) > 1:
        got = ", ".join(repr(text[:60]) for text in (ids or prompts)[:3])
        raise DataError(f"expected one case in the graph, got several ({got}); set the prefix to the case's id.")
    if not prompts:
        raise DataError("expected the prompt or the id of a case in the graph, got neither; check the cases.")
    loaded = {Path(text.replace("\\", "/")).name for text in texts}
    try:
        return wanted.find(prompts[0], fits=lambda case: all(s.reference_image.name in loaded for s in case.subjects))
    except DataError:
        return wanted.find(prompts[0])  # says that several share it, or takes the only one
