"""`likeness fetch`: published pickles, converted once to safetensors in the user's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.core.errors import ConfigError
from likeness.core.fetched import fetched_folder, weights_cache
from likeness.encoders.fetchable import FETCHABLE, Fetchable

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness fetch\n\n"
    "likeness fetch hps_v21\n\n"
    "likeness fetch hps_v1 --from ~/Downloads/hpc.pt\n\n"
    "likeness fetch dreamsim --from ~/Downloads/dreamsim_ensemble_checkpoint.zip\n\n"
    "likeness fetch dreamsim --from models --base models/checkpoints\n\n"
    "likeness fetch aesthetic --from head.pth --base my/clip-vit-large-patch14"
)


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What to fetch; without it, what there is, and stop.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A copy of the published file, or the folder that an archive was extracted to, to work offline.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Folder or hub id with what the file lacks: tokenizer, CLIP or DINO. Default: as listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Weights that are published as pickles, converted once to safetensors that encoders find by NAME."""
    if name is None:
        if source is not None or base is not None:
            raise ConfigError("NAME: expected what --from or --base is for, got none; see `likeness fetch`.")
        return _show_list(as_json=as_json)
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.encoders.fetch import fetch as fetch_weights

    quiet_libraries()
    with progress_bars() as bar:
        found = fetch_weights(name, source=source, base=base, progress=bar("downloading (MB)"))
    facts = {"name": name, "folder": found.folder, "was_there": found.was_there}
    text = f"{name}: {found.folder}{' (was there)' if found.was_there else ''}. "
    answer(facts, text=f"{text}Next: likeness evaluate RUN --metric {name}", as_json=as_json)


def _show_list(*, as_json: bool) -> None:
    lines = [f"What can be fetched, to {weights_cache()}"]
    for name, facts in FETCHABLE.items():
        lines += [f"  {name:<14} {facts.what}", f"  {'':<14} {_source(name, facts)}"]
    rows = {name: {**facts._asdict(), "folder": fetched_folder(name)} for name, facts in FETCHABLE.items()}
    answer({"fetchable": rows}, text="\n".join(lines), as_json=as_json)


def _source(name: str, facts: Fetchable) -> str:
    size = "size unknown" if facts.num_bytes is None else f"{facts.num_bytes / 1e6:.1f} MB"
    how = facts.url or f"by hand from {facts.page}, then --from FILE"
    there = "fetched" if fetched_folder(name).is_dir() else "not fetched"
    return f"{how}; {size}; licence: {facts.licence}; base: {facts.base.partition('@')[0]}; {there}"
