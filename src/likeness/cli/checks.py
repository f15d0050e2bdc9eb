"""What `likeness doctor` looks at, one function per question; each answers with findings and never raises."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Status = Literal["ok", "absent", "broken"]
EMBEDDED = {
    "flux": "draws the pictures",
    "clip": "prompt and subject fidelity",
    "dino": "subject fidelity",
    "probe": "attributes, actions, scenes",
}
PUBLISHED = {
    "black-forest-labs/FLUX.1-dev": (
        "accept the licence on its hub page, `hf auth login`, then `hf download black-forest-labs/FLUX.1-dev "
        '--include model_index.json --include "*/*"`'
    ),
    "bytedance-research/UNO": "`hf download bytedance-research/UNO dit_lora.safetensors`",
    "openai/clip-vit-base-patch32@refs/pr/15": "`hf download openai/clip-vit-base-patch32 --revision refs/pr/15`",
    "facebook/dino-vits16@refs/pr/1": "`hf download facebook/dino-vits16 --revision refs/pr/1`",
}
MATMUL_SIDE = 768
MATMUL_SECONDS = 0.4
BF16_PAYS = 1.2  # times faster than fp32 from which bf16 is recommended


@dataclass(frozen=True)
class Check:
    """One thing looked at. `needed` marks what the embedded world cannot run without; `fix` is the way to mend it."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    needed: bool = False


def _judged(name: str, detail: str, *, fits: bool, fix: str, needed: bool = False) -> Check:
    """ok where it fits, else broken with the way to mend it."""
    return Check(name, "ok" if fits else "broken", detail, fix="" if fits else fix, needed=needed)


def check_packages() -> list[Check]:
    """Python and every required package, with the version found and the versions wanted."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in _requirements()]
    return [
        Check("python", "ok", sys.version.split()[0], needed=True),
        *(_check_package(item.name, versions=str(item.specifier)) for item in wanted if item.marker is None),
        _check_tensorboard(),
    ]


def _check_tensorboard() -> Check:
    """`likeness train` writes for it where it is installed."""
    try:
        return Check("tensorboard", "ok", metadata.version("tensorboard"))
    except metadata.PackageNotFoundError:
        fix = "only for live curves: `pip install tensorboard`; RUN/log.jsonl and RUN/report.html need no such thing"
        return Check("tensorboard", "absent", "not installed", fix=fix)


def _requirements() -> list[str]:
    try:
        return metadata.requires("likeness") or []
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        import tomllib

        project = Path(__file__).parents[3] / "pyproject.toml"
        text = project.read_text(encoding="utf-8") if project.is_file() else "project.dependencies = []"
        return tomllib.loads(text)["project"]["dependencies"]


def _check_package(name: str, *, versions: str) -> Check:
    from packaging.specifiers import SpecifierSet

    fix = f"`pip install '{name}{versions}'`"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "broken", "not installed", fix=fix, needed=True)
    fits = SpecifierSet(versions).contains(found, prereleases=True)
    return _judged(name, found if fits else f"{found}, wanted {versions}", fits=fits, fix=fix, needed=True)


def check_devices() -> list[Check]:
    """Every device, and the measured speed of fp32 and bf16 on the preferred one with the precision to use."""
    from likeness.core.devices import describe_devices

    devices = describe_devices()
    found: list[Check] = []
    for device in devices:
        bf16 = "bf16 in hardware" if device.fast_bf16 else "no bf16 in hardware"
        found.append(Check(device.name, "ok", f"{device.description}, {_gigabytes(device.memory_bytes)}, {bf16}"))
    return [*found, _check_precision(devices[0].name)]


def _check_precision(device: str) -> Check:
    import torch

    fp32 = _matmul_gigaflops(device, dtype=torch.float32)
    bf16 = _matmul_gigaflops(device, dtype=torch.bfloat16)
    best = "bfloat16" if bf16 > BF16_PAYS * fp32 else "float32"
    detail = f"{device}: fp32 {fp32:.0f} GFLOP/s, bf16 {bf16:.0f} GFLOP/s; recommended --dtype {best}"
    return Check("precision", "ok", detail)


def _matmul_gigaflops(device: str, *, dtype: torch.dtype) -> float:
    import torch

    a = torch.ones(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype)
    _ = float((a @ a)[0, 0])  # the first product pays for set-up
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < MATMUL_SECONDS:
        _ = float((a @ a)[0, 0])  # reading one number waits for the device
        products += 1
    return 2 * MATMUL_SIDE**3 * products / (time.perf_counter() - start) / 1e9


def check_drawing() -> list[Check]:
    """Whether skia, which draws the embedded world, can be imported."""
    from likeness.world.skia_advice import SKIA_FIX

    try:
        import skia
    except (ImportError, OSError) as error:
        return [Check("drawing (skia)", "broken", str(error), fix=SKIA_FIX, needed=True)]
    return [Check("drawing (skia)", "ok", str(skia.__version__), needed=True)]


def check_embedded() -> list[Check]:
    """The checkpoints inside the package: size, content hash and calibration card."""
    from likeness.core.weights import embedded_names

    names = list(dict.fromkeys([*EMBEDDED, *embedded_names()]))
    return [_check_embedded(name, present=name in embedded_names()) for name in names]


def _check_embedded(name: str, *, present: bool) -> Check:
    from likeness.core.errors import LikenessError
    from likeness.core.hashing import folder_sha256, short
    from likeness.core.weights import resolve_weights

    label, needed = f"embedded {name}", name in EMBEDDED
    fix = "reinstall likeness, or `git lfs pull` in a checkout, or `likeness world pretrain`"
    if not present:
        return Check(label, "broken", f"not in the package ({EMBEDDED[name]})", fix=fix, needed=needed)
    try:
        folder = resolve_weights(name)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        detail = f"{size / 1e6:.1f} MB, sha256 {short(folder_sha256(folder))}, {_card(folder)}"
    except LikenessError as error:
        return Check(label, "broken", str(error), fix=fix, needed=needed)
    return Check(label, "ok", detail, needed=needed)


def _card(folder: Path) -> str:
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.json")]
    cards = sorted(name for name in found if Path(name).stem in {"calibration", "card", "scores"})
    return f"calibration {', '.join(cards)}" if cards else "no calibration card"


def check_published() -> list[Check]:
    """The hub cache, and which of the published checkpoints lie in it."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    writable = os.access(nearest, os.W_OK)
    detail = f"{cache}{'' if writable else ', not writable'}"
    head = _judged("hub cache", detail, fits=writable, fix="set HF_HOME to a folder you can write to")
    return [head, *(_check_hub(name, cache=cache) for name in PUBLISHED)]


def _check_hub(name: str, *, cache: Path) -> Check:
    hub_id, _, revision = name.partition("@")
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    if not folder.is_dir():
        return Check(name, "absent", "not in the hub cache", fix=PUBLISHED[name])
    commit = folder / "refs" / (revision or "main")
    if commit.is_file() and any((folder / "snapshots" / commit.read_text().strip()).rglob("*.safetensors")):
        return Check(name, "ok", str(folder))
    detail = f"{folder} has no safetensors of this revision, and pickles are never read"
    return Check(name, "broken", detail, fix=PUBLISHED[name])


def check_disk() -> list[Check]:
    """Free space where the command was called."""
    free = shutil.disk_usage(".").free
    fix = "free 2 GB, or work on another disk"
    return [_judged("free disk here", _gigabytes(free), fits=free > 2e9, fix=fix)]


def _gigabytes(size: int | None) -> str:
    return "memory not told" if size is None else f"{size / 1e9:.0f} GB"
