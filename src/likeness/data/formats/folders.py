"""Readers of layouts made of folders and text files; each docstring shows the layout.

Nothing is unpickled: `patch_quality.pkl` and the like are not opened.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl
from likeness.core.kinds import CATEGORIES, Category
from likeness.core.rows import LeftOut
from likeness.data.formats.rows import LayoutRow, attempt, pictures_by_stem, repeated_stems, text_beside

__all__ = ["dreambench_plus", "geneval", "kohya", "patchdpo", "simpletuner", "stellar", "uno"]


def kohya(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/1_name/w/a.png with a.txt or a.caption, and SOURCE/1_name/l/a.png.

    Or the usual SOURCE/10_name/a.png with a.txt, whose pictures are the preferred ones; --rejected holds the others.
    Source: kohya-ss/sd-scripts, its data set folders and pull request 1427 (`preference = true` subsets).
    """
    folders = sorted(path for path in (source, *source.rglob("*")) if path.is_dir())
    pairs = [path for path in folders if (path / "w").is_dir() and (path / "l").is_dir()]
    usual = [path for path in folders if _REPEATS.match(path.name) and pictures_by_stem(path)]
    if not pairs and not usual:
        wanted = "folders w and l side by side, or a folder such as 10_dog with pictures and captions"
        raise DataError(f"{source}: expected {wanted}, got none; check the path.")
    for folder in pairs or usual:
        winners, losers = (folder / "w", folder / "l") if pairs else (folder, None)
        yield from repeated_stems(winners)
        others = {} if losers is None else pictures_by_stem(losers)
        if losers is not None:
            yield from repeated_stems(losers)
        for stem, path in pictures_by_stem(winners).items():
            make = partial(_kohya_row, path, stem=stem, losers=losers, others=others, name=folder.name)
            yield attempt(path, make)


_REPEATS = re.compile(r"^\d+_")
"""How often kohya shows the pictures of a folder, before its name."""


def _kohya_row(
    path: Path, *, stem: str, losers: Path | None, others: dict[str, Path], name: str
) -> LayoutRow | LeftOut:
    prompt = text_beside(path) or (losers and text_beside(losers / f"{stem}.png"))
    if not prompt:
        return LeftOut.at(path, f"expected a caption in {path.stem}.txt or {path.stem}.caption, got none.")
    if losers is not None and stem not in others:
        return LeftOut.at(path, f"expected a picture {stem} in {losers}, got none.")
    return LayoutRow(str(path), stem, prompt, path, others.get(stem), class_name=_REPEATS.sub("", name))


def simpletuner(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """A data backend file (or the folder of multidatabackend.json) in which a data set lists conditioning data.

    The conditioning data set of type reference_strict holds the rejected pictures, one of type mask the prior masks,
    under the same names. Only local data sets are read, with captions in text files, file names or instance prompts.
    Source: SimpleTuner's documentation of Flow-DPO and of its data loader.
    """
    path = source / "multidatabackend.json" if source.is_dir() else source
    backends = {str(row.get("id")): row for row in _list_of_objects(path)}
    found = False
    for backend in backends.values():
        linked = [backends[name] for name in _names(backend.get("conditioning_data")) if name in backends]
        losers = _of_type(linked, "reference_strict", folder=path.parent)
        if losers is not None:
            found = True
            yield from _simpletuner_rows(backend, losers, _of_type(linked, "mask", folder=path.parent), path.parent)
    if not found:
        raise DataError(f"{path}: expected a data set whose conditioning_data is reference_strict, got none.")


def _names(value: Any) -> list[str]:
    """One name, or a list of names; whatever else it holds names nothing."""
    items: list[Any] = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]


def _list_of_objects(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}; check the file.")
    return rows


def _of_type(backends: list[dict[str, Any]], kind: str, *, folder: Path) -> Path | None:
    """The pictures' folder of the first linked data set of a conditioning type."""
    return next((_data_folder(b, folder) for b in backends if b.get("conditioning_type") == kind), None)


def _data_folder(backend: dict[str, Any], folder: Path) -> Path:
    if backend.get("type", "local") != "local" or not isinstance(backend.get("instance_data_dir"), str):
        raise DataError(f"data set {backend.get('id')}: expected type local with instance_data_dir; download it first.")
    return folder / backend["instance_data_dir"]


def _simpletuner_rows(
    backend: dict[str, Any], rejected: Path, masks: Path | None, folder: Path
) -> Iterator[LayoutRow | LeftOut]:
    losers = pictures_by_stem(rejected)
    covers = pictures_by_stem(masks) if masks is not None else {}
    own = _data_folder(backend, folder)
    for place in (own, rejected, *([masks] if masks is not None else [])):
        yield from repeated_stems(place)

    def make(stem: str, path: Path) -> LayoutRow | LeftOut:
        prompt = _simpletuner_caption(backend, path)
        if stem not in losers:
            return LeftOut.at(path, f"expected a picture {stem} in {rejected}, got none.")
        if not prompt:
            return LeftOut.at(path, f"expected a caption by {backend.get('caption_strategy', 'textfile')}, got none.")
        return LayoutRow(str(path), stem, prompt, path, losers[stem], mask=covers.get(stem))

    for stem, path in pictures_by_stem(own).items():
        yield attempt(path, partial(make, stem, path))


def _simpletuner_caption(backend: dict[str, Any], path: Path) -> str | None:
    match backend.get("caption_strategy", "textfile"):
        case "filename":
            return path.stem.replace("_", " ")
        case "instanceprompt":
            return str(backend.get("instance_prompt") or "")
        case _:
            return text_beside(path, suffixes=(".txt",))


def patchdpo(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/sample0/a dog_entity_0.png and "a dog_gen_0.png" (training), or SOURCE/<subject>/<prompt>.png (results).

    In training data the entity picture is both the reference and the preferred picture.
    Source: PatchDPO's public data loader. Differs: prompts may hold underscores, since the name is read from its end.
    """
    named = re.compile(r"(?P<prompt>.+)_(?P<kind>entity|gen)_(?P<number>\d+)")
    pictures = pictures_by_stem(source)
    yield from repeated_stems(source)
    for stem, path in pictures.items():
        match = named.fullmatch(path.stem)
        if match is None:
            yield LayoutRow(str(path), stem, path.stem.replace("_", " "), path, class_name=path.parent.name)
        elif match["kind"] == "gen":
            entity = pictures.get(f"{stem[: -len(path.stem)]}{match['prompt']}_entity_0")
            if entity is None:
                yield LeftOut.at(path, f"expected {match['prompt']}_entity_0 beside it, got none.")
            else:
                yield LayoutRow(str(path), stem, match["prompt"], entity, path, (entity,))


def uno(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """A JSON list [{"prompt", "image_paths": [references], "image_tgt_path": target}], paths relative to the file.

    The target is the preferred picture; a key image_rejected_path of ours, where there is one, the rejected one.
    Source: UNO's training list (bytedance/UNO).
    """
    for number, row in enumerate(_list_of_objects(source), start=1):
        where = f"{source}:{number}"
        paths, target, prompt = row.get("image_paths") or [], row.get("image_tgt_path"), row.get("prompt")
        if not isinstance(prompt, str) or not isinstance(target, str) or not isinstance(paths, list) or not paths:
            yield LeftOut.at(where, "expected prompt, image_paths and image_tgt_path, got a row without one of them.")
            continue
        loser = row.get("image_rejected_path")
        references = tuple(source.parent / str(path) for path in paths)
        rejected = source.parent / loser if isinstance(loser, str) else None
        yield LayoutRow(where, Path(target).stem, prompt, source.parent / target, rejected, references)


def dreambench_plus(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/tgt_image/<kind>_<number>_<subject>/0_0.jpg with the same names below src_image and text (.txt).

    Styles are no subjects and are left out. Source: DreamBench++, README (results of one method).
    """
    targets = pictures_by_stem(source / "tgt_image")
    if not targets:
        raise DataError(f"{source}: expected pictures in tgt_image, got none; name the folder of one method.")
    references = pictures_by_stem(source / "src_image")
    for folder in ("tgt_image", "src_image"):
        yield from repeated_stems(source / folder)
    for stem, path in targets.items():
        yield attempt(path, partial(_dreambench_row, source, stem=stem, path=path, references=references))


def _dreambench_row(source: Path, *, stem: str, path: Path, references: dict[str, Path]) -> LayoutRow | LeftOut:
    collection, _, _ = stem.partition("/")
    words = collection.split("_")
    kind: Category | None = next((known for word in words for known in CATEGORIES if known == word), None)
    prompt = text_beside(source / "text" / f"{stem}.png")
    if kind is None:
        return LeftOut.at(path, f"expected an animal, human or object in the folder's name, got {collection}.")
    if stem not in references or not prompt:
        return LeftOut.at(path, f"expected src_image/{stem} and text/{stem}.txt, got one or none of them.")
    subject = re.sub(r"^.*?_\d+_", "", collection).replace("_", " ")
    return LayoutRow(str(path), stem, prompt, path, references=(references[stem],), class_name=subject, category=kind)


def geneval(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/00000/metadata.jsonl ({"prompt"}) and SOURCE/00000/samples/0000.png. Source: djghosh13/geneval."""
    folders = sorted(path.parent for path in source.glob("*/metadata.jsonl"))
    if not folders:
        raise DataError(f"{source}: expected folders with metadata.jsonl and samples, got none; check the path.")
    for folder in folders:
        try:
            rows = read_jsonl(folder / "metadata.jsonl")
        except DataError as error:
            yield LeftOut.at(folder / "metadata.jsonl", error)
            continue
        yield from repeated_stems(folder / "samples")
        prompt = rows[0].get("prompt") if rows and isinstance(rows[0], dict) else None
        if not isinstance(prompt, str):
            yield LeftOut.at(folder / "metadata.jsonl", "expected one object with a prompt, got none.")
            continue
        for stem, path in pictures_by_stem(folder / "samples").items():
            yield LayoutRow(str(path), f"{folder.name}/{stem}", prompt, path)


def stellar(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/<id>-<k>-<pp>.png (or <id>-<k>.png) with a JSON of the same stem that holds the prompt.

    Source: Stellar's folder of one method.
    """
    yield from repeated_stems(source)
    for stem, path in pictures_by_stem(source).items():
        yield attempt(path, partial(_stellar_row, stem, path))


def _stellar_row(stem: str, path: Path) -> LayoutRow | LeftOut:
    beside = path.with_suffix(".json")
    row = read_json(beside) if beside.is_file() else {}
    prompt = row.get("prompt") or row.get("caption") if isinstance(row, dict) else None
    if not isinstance(prompt, str):
        return LeftOut.at(path, f"expected a prompt in {beside.name}, got none.")
    return LayoutRow(str(path), stem, prompt, path, class_name="person", category="human")
