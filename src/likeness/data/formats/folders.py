"""Readers of layouts made of folders and text files; each docstring shows the layout.

Nothing is unpickled: `patch_quality.pkl` and the like are not opened.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl
from likeness.core.kinds import CATEGORIES, Category
from likeness.core.rows import LeftOut
from likeness.data.formats.rows import LayoutRow, pictures_by_stem, text_beside

__all__ = ["dreambench_plus", "geneval", "kohya", "patchdpo", "simpletuner", "stellar", "uno"]


def kohya(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/1_name/w/a.png with a.txt or a.caption, and SOURCE/1_name/l/a.png.

    Source: kohya-ss/sd-scripts, pull request 1427 (`preference = true` subsets).
    """
    winners = sorted(path for path in (source, *source.rglob("*")) if (path / "w").is_dir() and (path / "l").is_dir())
    if not winners:
        raise DataError(f"{source}: expected folders w and l side by side, got none; check the path.")
    for folder in winners:
        losers = pictures_by_stem(folder / "l")
        for stem, path in pictures_by_stem(folder / "w").items():
            prompt = text_beside(path) or text_beside(folder / "l" / f"{stem}.png")
            if prompt is None:
                yield LeftOut.at(path, f"expected a caption in {path.stem}.txt or {path.stem}.caption, got none.")
            elif stem not in losers:
                yield LeftOut.at(path, f"expected a picture {stem} in {folder / 'l'}, got none.")
            else:
                class_name = re.sub(r"^\d+_", "", folder.name)
                yield LayoutRow(str(path), stem, prompt, path, losers[stem], class_name=class_name)


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
        wanted = backend.get("conditioning_data") or []
        linked = [backends[name] for name in ([wanted] if isinstance(wanted, str) else wanted) if name in backends]
        losers = _of_type(linked, "reference_strict", folder=path.parent)
        if losers is not None:
            found = True
            yield from _simpletuner_rows(backend, losers, _of_type(linked, "mask", folder=path.parent), path.parent)
    if not found:
        raise DataError(f"{path}: expected a data set whose conditioning_data is reference_strict, got none.")


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
    for stem, path in pictures_by_stem(_data_folder(backend, folder)).items():
        prompt = _simpletuner_caption(backend, path)
        if stem not in losers:
            yield LeftOut.at(path, f"expected a picture {stem} in {rejected}, got none.")
        elif not prompt:
            yield LeftOut.at(path, f"expected a caption by {backend.get('caption_strategy', 'textfile')}, got none.")
        else:
            yield LayoutRow(str(path), stem, prompt, path, losers[stem], mask=covers.get(stem))


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
    for stem, path in targets.items():
        collection, _, _ = stem.partition("/")
        words = collection.split("_")
        kind: Category | None = next((known for word in words for known in CATEGORIES if known == word), None)
        prompt = text_beside(source / "text" / f"{stem}.png")
        if kind is None:
            yield LeftOut.at(path, f"expected an animal, human or object in the folder's name, got {collection}.")
        elif stem not in references or not prompt:
            yield LeftOut.at(path, f"expected src_image/{stem} and text/{stem}.txt, got one or none of them.")
        else:
            subject = re.sub(r"^.*?_\d+_", "", collection).replace("_", " ")
            own = (references[stem],)
            yield LayoutRow(str(path), stem, prompt, path, references=own, class_name=subject, category=kind)


def geneval(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """SOURCE/00000/metadata.jsonl ({"prompt"}) and SOURCE/00000/samples/0000.png. Source: djghosh13/geneval."""
    folders = sorted(path.parent for path in source.glob("*/metadata.jsonl"))
    if not folders:
        raise DataError(f"{source}: expected folders with metadata.jsonl and samples, got none; check the path.")
    for folder in folders:
        rows = read_jsonl(folder / "metadata.jsonl")
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
    for stem, path in pictures_by_stem(source).items():
        beside = path.with_suffix(".json")
        row = read_json(beside) if beside.is_file() else {}
        prompt = row.get("prompt") or row.get("caption") if isinstance(row, dict) else None
        if not isinstance(prompt, str):
            yield LeftOut.at(path, f"expected a prompt in {beside.name}, got none.")
        else:
            yield LayoutRow(str(path), stem, prompt, path, class_name="person", category="human")
