"""`likeness cards`: the protocol cards, and one of them with its published table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, aligned, answer

if TYPE_CHECKING:
    from likeness.benchmarks.cards import Card

EXAMPLES = "[bold]Examples[/]\n\nlikeness cards\n\nlikeness cards dreambench/uno-single@1"


def cards(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A card with its version, such as dreambench/kosmosg@1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What exactly a published number is: cases, prompt, photos, encoders and scale, with published values."""
    from likeness.benchmarks.cards import card_named
    from likeness.benchmarks.cards import cards as all_cards

    if name is None:
        found = all_cards()
        rows = {key: {"title": card.title, "sha256": card.sha256} for key, card in found.items()}
        width = max(map(len, found))
        lines = [f"{key:<{width}}  {card.title}" for key, card in found.items()]
        return answer({"cards": rows}, text="\n".join(lines), as_json=as_json)
    card = card_named(name)
    answer({"id": card.id, "sha256": card.sha256, **card.model_dump(mode="json")}, text=told(card), as_json=as_json)


def told(card: Card) -> str:
    """The card as text: what it fixes, its columns, and the published table."""
    number = "a number not known" if card.cases.count is None else str(card.cases.count)
    pinned = f"hash {card.cases.sha256[:12]}" if card.cases.sha256 else f"not pinned: {card.cases.unpinned}"
    lines = [
        f"{card.id}: {card.title}",
        f"  hash       {card.sha256[:12]}",
        f"  cases      {number} of {card.cases.benchmark}, {card.cases.select.replace('_', ' ')} ({pinned})",
        f"  prompt     {card.prompt}",
        f"  photos     {card.reference_set.replace('_', ' ')}",
        f"  pictures   {card.pictures_per_case} per case",
        *(f"  weights    {name} {digest[:12]}" for name, digest in card.weights_sha256.items()),
        *(f"  used by    {table.paper}, table {table.table}" for table in card.tables),
        *(f"  note       {note}" for note in card.notes),
        "",
        *(f"  {line}" for metric in card.metrics for line in _column(metric)),
    ]
    return "\n".join(lines) + (f"\n\nPublished, not rerun\n{_published(card)}" if card.published else "")


def _column(metric: Any) -> list[str]:
    mark = "" if metric.higher_is_better else " (lower is better)"
    if metric.not_measured:
        return [f"{metric.column}{mark}: not measured here, because {metric.not_measured}"]
    seen = f"{metric.encoder} {metric.weights or 'of any weights'}" if metric.encoder else "any encoder"
    seen += f", {metric.preprocessing}" if metric.preprocessing else ""
    mean = "mean over subjects" if metric.aggregation == "subjects" else "flat mean"
    return [f"{metric.column}{mark}: {metric.metric}, {metric.scale}, {mean}, by {seen}"]


def _published(card: Card) -> str:
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = [metric.column for metric in card.metrics]
    table = Table(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("method", *columns, "source"):
        table.add_column(name, justify="right" if name in columns else "left", no_wrap=True)
    for row in card.published:
        values = [f"{row.values[name]:g}" if name in row.values else "-" for name in columns]
        source = f"{row.source} ({row.note})" if row.note else row.source
        table.add_row(*(Text(cell) for cell in (row.method, *values, source)))
    return aligned(table)
