"""Where checkpoints come from: inside the package, the user's cache, a local folder, or the Hugging Face hub.

Only safetensors and text files are ever fetched or read: no pickles.
"""

import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any  # options of the hub's own function

from likeness.core.errors import DataError, WeightsError
from likeness.core.fetched import copied, fetched
from likeness.core.files import read_json
from likeness.core.hash_cache import remembered_sha256
from likeness.core.joined import NETWORKS, completed_folder, joined_folder

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
HUB_TEXTS = ("*.json", "*.txt", "*.model")
_FILE_AND_PARTS = re.compile(r"(?P<file>.+\.safetensors)\+(?P<parts>.+)")
_LFS_POINTER = b"version https://git-lfs"


def embedded_folder() -> Path:
    """The folder of the checkpoints inside the package."""
    return Path(str(resources.files("likeness"))) / "assets" / "embedded"


def embedded_names() -> list[str]:
    """The names of all checkpoints inside the package, sorted."""
    folder = embedded_folder()
    names = {path.relative_to(folder).parts[0] for path in folder.rglob("*.safetensors")}
    return sorted(name for name in names if (folder / name).is_dir())


def embedded(name: str) -> Path:
    """The folder of a checkpoint inside the package, or one of links where it only adds parts to another one there.

    Raises: WeightsError naming those there are; OutputError where links cannot be written to the user's cache.
    """
    if name not in embedded_names():
        known = ", ".join(embedded_names()) or "none"
        raise WeightsError(f"embedded weights: expected one of {known}, got {name!r}; reinstall if it should be there.")
    return completed_folder(embedded_folder() / name)


def resolve_weights(spec: str) -> Path:
    """A local folder with the weights `spec` names, whose safetensors files are whole.

    `spec` is the name of an embedded or a fetched checkpoint, an existing folder, or a hub id "owner/name" or
    "owner/name@revision", of which a copy made by `likeness fetch` or by hand lies in `copied_folder`, or which is
    downloaded once (safetensors, JSON, text and tokenizer files only; of a pipeline without the safetensors beside its
    model_index.json, which repeat its parts in one file). "FILE.safetensors+PARTS" is the transformer or U-Net of a
    single file with all other parts of the folder or hub id PARTS, whose own network is not downloaded.
    Raises: WeightsError when nothing of that name exists, the download fails or brings no safetensors, or a file is
    damaged.
    """
    folder = _joined(spec) or _locate(spec)
    for path in sorted(folder.rglob("*.safetensors")):
        check_safetensors(path)
    return folder


def resolve_adapter(spec: Path | str) -> Path:
    """The file or folder of an adapter; a hub id is downloaded. Raises: WeightsError as `resolve_weights` does."""
    path = Path(spec).expanduser()
    return path if path.is_file() else resolve_weights(str(spec))


def public_name(spec: Path | str) -> str:
    """A hub id or an embedded name as it is, a local path by its last part: nobody learns where it lay."""
    if found := _FILE_AND_PARTS.fullmatch(str(spec)):
        return f"{public_name(found['file'])}+{public_name(found['parts'])}"
    path = Path(spec).expanduser()
    return path.resolve().name if os.path.exists(path) else str(spec)


def weights_facts(spec: Path | str, place: Path) -> dict[str, str]:
    """`id` and `sha256` of the weights that `spec` names and that lie at `place`: moved weights are still the same."""
    return {"id": public_name(spec), "sha256": remembered_sha256(place)}


def resolve_processing(spec: str) -> Path:
    """A folder with the configs and tokenizers that `spec` names; of a hub id no weights are downloaded.

    Of "FILE.safetensors+PARTS" it is that of PARTS, whose configs the file has, too.
    Raises: WeightsError as `resolve_weights` does.
    """
    if joined := _FILE_AND_PARTS.fullmatch(spec):
        return resolve_processing(joined["parts"])
    is_on_hub = _HUB_ID.fullmatch(spec) and not os.path.exists(Path(spec).expanduser())
    return _download(spec, texts_only=True) if is_on_hub and copied(spec) is None else _locate(spec)


def resolve_files(spec: str, files: Sequence[str]) -> Path:
    """A folder with these files of a hub id, by names or patterns: its copy, or what is downloaded once.

    Raises: WeightsError as `resolve_weights` does.
    """
    folder = copied(spec) or _download(spec, files=files)
    for path in sorted(folder.rglob("*.safetensors")):
        check_safetensors(path)
    return folder


def _joined(spec: str) -> Path | None:
    """The folder of a single file and the parts it lacks; None where `spec` means nothing of the kind."""
    found = _FILE_AND_PARTS.fullmatch(spec)
    if found is None:
        return None
    file = Path(found["file"]).expanduser()
    check_safetensors(file)
    return joined_folder(file, _locate(found["parts"], with_network=False))


def _locate(spec: str, *, with_network: bool = True) -> Path:
    if spec in embedded_names():
        return embedded(spec)
    if folder := fetched(spec):
        return folder
    path = Path(spec).expanduser()
    if os.path.isdir(path):  # unlike Path.is_dir, also answers for names no file system accepts
        # absolute: ./flux as Path("flux") would be the embedded one where it is looked up again
        return completed_folder(path.absolute())
    if os.path.isfile(path):
        parts = f"write {path.name}+FOLDER or {path.name}+OWNER/NAME for a pipeline whose other parts lie there"
        raise WeightsError(f"{spec}: expected a folder of weights, got a file; name the folder it lies in, or {parts}.")
    if _HUB_ID.fullmatch(spec):
        return copied(spec) or _download(spec, with_network=with_network)
    known = ", ".join(embedded_names()) or "none"
    wanted = f"an embedded name ({known}), an existing folder or a hub id owner/name"
    raise WeightsError(f"weights: expected {wanted}, got {spec!r}; correct the name.")


def hub_page(spec: str) -> str:
    """The address where a person finds the files of a hub id."""
    hub_id, _, revision = spec.partition("@")
    return f"https://huggingface.co/{hub_id}/tree/{revision or 'main'}"


def _download(spec: str, *, texts_only: bool = False, with_network: bool = True, files: Sequence[str] = ()) -> Path:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    hub_id, _, revision = spec.partition("@")

    def fetch(*patterns: str) -> Path:
        options: dict[str, Any] = {"revision": revision or None, "allow_patterns": list(patterns)}
        if not with_network:
            options["ignore_patterns"] = [f"{part}/*.safetensors" for part in NETWORKS]
        return Path(huggingface_hub.snapshot_download(hub_id, **options))

    try:
        if texts_only:
            return fetch(*HUB_TEXTS)
        folder = fetch(*files) if files else fetch(*HUB_TEXTS, _weights_of(fetch(*HUB_TEXTS)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        wanted = f"{spec}: expected weights on the hub or in the cache {constants.HF_HUB_CACHE}"
        advice = "check name, login and network, or give the path of a local copy instead"
        advice += " (`likeness fetch` lists the files)"
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{wanted}, got {type(error).__name__}: {reason}; {advice}.") from error
    if not any(folder.rglob("*.safetensors")):
        wanted = f"{spec}: expected safetensors (pickles are never read), got a revision without any"
        advice = f"name one that has them ({hub_id}@refs/pr/N, see the community tab on the hub)"
        raise WeightsError(f"{wanted}; {advice} or give the path of a converted local copy.")
    return folder


def _weights_of(texts: Path) -> str:
    """The pattern of the weights beside these texts; "*" also matches "/"."""
    return "*/*.safetensors" if (texts / "model_index.json").is_file() else "*.safetensors"


def check_safetensors(path: Path | str) -> None:
    """The file's header is sound and its size is exactly what the header declares; no tensor is read.

    Raises: WeightsError for missing, truncated, overlong or foreign files, and for Git LFS pointers.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            file.seek(0)
            header = file.read(8 + length) if length <= size - 8 else file.read(64)
    except OSError as error:
        raise WeightsError(f"{path}: expected weights, got {error.strerror or error}; check the path.") from error
    if header.startswith(_LFS_POINTER):
        raise WeightsError(f"{path}: expected weights, got a Git LFS pointer; run `git lfs pull`.")
    declared = _declared_size(header, length=length)
    if declared != size:
        got = "a damaged header" if declared is None else f"{size} bytes where its header declares {declared}"
        raise WeightsError(f"{path}: expected a whole safetensors file, got {got}; download it again.")


def _declared_size(header: bytes, *, length: int) -> int | None:
    if len(header) != 8 + length:
        return None
    try:
        tensors = json.loads(header[8:])
        ends = [int(tensors[name]["data_offsets"][1]) for name in tensors if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None
    return 8 + length + max(ends, default=0)


CONFIGS = (
    *("config.json", "model_index.json", "preprocessor_config.json", "scheduler_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json"),
)
"""Files of stock folders that hold an object which says something."""


def require_configs(folder: Path) -> None:
    """Every config in the folder is a JSON object that is not empty, for libraries that take defaults or fail late.

    Raises: WeightsError naming the file.
    """
    for path in (folder / name for name in CONFIGS):
        if not path.is_file():
            continue
        try:
            value = read_json(path)
        except DataError as error:
            raise WeightsError(f"{path}: expected a JSON object, got damage ({error}); download it again.") from None
        if not isinstance(value, dict) or not value:
            got = "an empty object" if isinstance(value, dict) else type(value).__name__
            raise WeightsError(f"{path}: expected a JSON object with settings, got {got}; download it again.")
