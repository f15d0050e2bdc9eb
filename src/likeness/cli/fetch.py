"""`likeness fetch`: everything published that can be needed, listed; what may be fetched, fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, answer
from likeness.core.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from likeness.core.jobs import Progress
    from likeness.core.published import Published

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness fetch\n\n"
    "likeness fetch hps_v21\n\n"
    "likeness fetch --all --dry-run --json\n\n"
    "likeness fetch hps_v1 --from ~/Downloads/hpc.pt\n\n"
    "likeness fetch dreamsim --from ~/Downloads/dreamsim_ensemble_checkpoint.zip\n\n"
    "likeness fetch dreamsim --from models --base models/checkpoints\n\n"
    "likeness fetch dinov2 --from ~/Downloads/dinov2-base\n\n"
    "likeness fetch aesthetic --from head.pth --base my/clip-vit-large-patch14"
)


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What to fetch; without it, what there is, and stop.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="A copy of the published file or folder, to work offline."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Folder or hub id with what a file lacks: tokenizer, CLIP or DINO. Default: as listed."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Fetch all that a program may fetch, and list what is left for you.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch nothing: say what would be needed.")] = False,
    as_json: Json = False,
) -> None:
    """Published weights, and data, with size, licence and place; downloaded, or what to copy by hand instead."""
    items = published()
    if (name is None or every) and (source is not None or base is not None):
        raise ConfigError("NAME: expected what --from or --base is for, got none; see `likeness fetch`.")
    if name is not None and every:
        raise ConfigError(f"--all: expected it without a name, got {name} too; leave one out.")
    if name is not None and name not in items:
        from likeness.core.spec import closest

        advice = closest(name, items, otherwise="see `likeness fetch`")
        raise ConfigError(f"NAME: expected one of {', '.join(items)}, got {name!r}; {advice}.")
    if dry_run or (name is None and not every):
        return _show(items if name is None else {name: items[name]}, as_json=as_json)
    from likeness.cli.progress import progress_bars, quiet_libraries

    quiet_libraries()
    with progress_bars() as bar:
        if name is None:
            return _fetch_all(items, progress=bar("downloading (MB)"), as_json=as_json)
        folder, was_there = _fetch(name, items[name], source=source, base=base, progress=bar("downloading (MB)"))
    text = f"{name}: {folder}{' (was there)' if was_there else ''}. Next: likeness {_next(name, items[name])}"
    answer({"name": name, "folder": folder, "was_there": was_there}, text=text, as_json=as_json)


def published() -> dict[str, Published]:
    """Everything that can be needed, by name: weights of encoders, then of backbones, then data sets."""
    from likeness.backbones.published import published_backbones
    from likeness.benchmarks.published import DATA_SETS
    from likeness.encoders.published import published_weights

    return {**published_weights(), **published_backbones(), **DATA_SETS}


def _fetch(
    name: str, item: Published, *, source: Path | None, base: str | None, progress: Progress
) -> tuple[Path, bool]:
    """Where it lies now, and whether it was there. Raises: ConfigError, WeightsError, OutputError."""
    if item.way == "convert":
        from likeness.encoders.fetch import fetch as fetch_weights

        return fetch_weights(name, source=source, base=base, progress=progress)
    if base is not None:
        raise ConfigError(f"--base: expected it with a file that is converted, got {name}; leave the flag out.")
    if item.way == "hub":
        from likeness.core.hub import fetch_snapshot

        return fetch_snapshot(name, item, source=source)
    raise WeightsError(_left_to_you(name, item))


def _left_to_you(name: str, item: Published) -> str:
    """What a person must do for what no program fetches."""
    if item.way == "package":
        return f"{name}: expected the package {item.source}, which is not downloaded here; pip install '{item.source}'."
    files = ", ".join(item.files) or "the files"
    what = f"{name}: expected a copy made by hand, since no program may or can fetch it (licence: {item.licence})"
    return f"{what}; get {files} from {item.source} and put them in {item.place}."


def _fetch_all(items: dict[str, Published], *, progress: Progress, as_json: bool) -> None:
    """Each in turn; one that cannot be had does not stop the others. Raises: WeightsError at the end for those."""
    done: dict[str, str] = {}
    failed: dict[str, str] = {}
    by_hand: dict[str, str] = {}
    for name, item in items.items():
        if item.way in ("package", "hand"):
            by_hand[name] = _left_to_you(name, item)
            continue
        try:
            folder, _ = _fetch(name, item, source=None, base=None, progress=progress)
        except WeightsError as error:
            failed[name] = str(error)
        else:
            done[name] = str(folder)
    lines = [*(f"{name}: {folder}" for name, folder in done.items()), "Left for you:", *by_hand.values()]
    lines += ["Not fetched:", *failed.values()] if failed else []
    answer({"fetched": done, "by_hand": by_hand, "failed": failed}, text="\n".join(lines), as_json=as_json)
    if failed:
        what = f"--all: expected {len(done) + len(failed)} downloads, got {len(done)}"
        raise WeightsError(f"{what}; run the same command to continue, or copy by hand what is listed.")


def _next(name: str, item: Published) -> str:
    """The words of a command that uses it."""
    from likeness.metrics import METRICS

    if item.needed_by.startswith("--encoder"):
        encoder = item.needed_by.removeprefix("--encoder ").partition(",")[0]
        own = next((key for key, metric in METRICS.items() if encoder in metric.facts.needs), None)
        return f"evaluate RUN --metric {name if name in METRICS else own}" if own else "evaluate --list"
    first = item.needed_by.partition(",")[0]
    return f"generate {first} ..." if first.startswith("--") else first.removeprefix("likeness ")


def _show(items: dict[str, Published], *, as_json: bool) -> None:
    """The list, for people or machines."""
    from likeness.core.fetched import weights_cache

    lines = [f"What can be needed; fetched weights go to {weights_cache()}"]
    for name, item in items.items():
        lines += [f"  {name:<16} {item.what}", *(f"  {'':<16} {line}" for line in _about(name, item))]
    rows: dict[str, Any] = {name: {**item.to_json(), "is_there": _is_there(name, item)} for name, item in items.items()}
    answer({"fetchable": rows}, text="\n".join(lines), as_json=as_json)


def _about(name: str, item: Published) -> list[str]:
    """Three lines: where it comes from, what is needed of it and what for, where a copy lies."""
    from likeness.core.published import told_size

    there = {True: "there", False: "not there", None: "whether it is there is not known"}[_is_there(name, item)]
    hashes = ", ".join(f"SHA-256 {sha256[:12]}..." for sha256 in item.sha256.values()) or "hash not known here"
    how = {"hub": "hub snapshot", "convert": "converted", "package": "pip install", "hand": "by hand"}[item.way]
    lines = [f"{how}: {item.source}; {told_size(item.num_bytes)}; {hashes}; licence: {item.licence}"]
    lines.append(f"files: {', '.join(item.files) or 'not known here'}; for {item.needed_by}")
    return [*lines, f"place: {item.place}; {there}" + (f"; {item.note}" if item.note else "")]


def _is_there(name: str, item: Published) -> bool | None:
    """Whether it lies where it is looked for, as far as that is a place of this package; None where it is not."""
    from likeness.core.fetched import copied, fetched_folder

    if item.way == "convert":
        return fetched_folder(name).is_dir()
    if item.way == "hub":
        return copied(item.source) is not None or _in_hub_cache(item.source)
    return None


def _in_hub_cache(spec: str) -> bool:
    """Whether the hub's own cache has a snapshot of the id and revision; not whether it is whole."""
    from huggingface_hub import constants

    hub_id, _, revision = spec.partition("@")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    commit = folder / "refs" / (revision or "main")
    name = commit.read_text(encoding="utf-8").strip() if commit.is_file() else revision
    return bool(name) and (folder / "snapshots" / name).is_dir()
