"""`likeness generate`: pictures for a prompt, a file of cases or a named benchmark."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from likeness.backbones.memory import OFFLOADS, QUANTISATIONS, Memory, Offload, Quantise
from likeness.benchmarks import BENCHMARKS, benchmark_names, copy_truth
from likeness.cli.answer import Json, answer, counted, told_left_out
from likeness.cli.choices import EngineChoice, choice
from likeness.cli.record import command_line, record_command
from likeness.core.errors import ConfigError, DataError, NoCaseError
from likeness.core.kinds import LAYOUT_MODES, LayoutMode
from likeness.core.runs import require_free

if TYPE_CHECKING:
    from likeness.cli.cases import CaseSource
    from likeness.core.jobs import Engine
    from likeness.generate.run import RunSummary
    from likeness.generate.video import VideoSummary

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness generate --prompt 'a cat hugs a dog in the snow' --ref cat.png --ref dog.png --out hug\n\n"
    "likeness generate --benchmark world-multi --limit 20 --out runs/multi\n\n"
    "likeness generate --cases my_cases.jsonl -n 4 --model black-forest-labs/FLUX.1-dev --lora dit_lora.safetensors "
    "--out runs/mine\n\n"
    "likeness generate --benchmark world-single --engine ray --workers 64 --out runs/large\n\n"
    "likeness generate --prompt 'a cat surfs' --ref cat.png --video THUDM/CogVideoX-5b-I2V --out surf\n\n"
    "Stopped half-way? The same command again continues."
)
DEFAULT_MODEL = "flux"  # the embedded one
BENCHMARK_HELP = (
    f"{', '.join(benchmark_names(needs_data=False))}, or with --data {', '.join(benchmark_names(needs_data=True))}."
)

MODEL_HELP = (
    "Embedded name, local folder or hub id; FILE.safetensors+FOLDER, or +HUB_ID, takes the transformer from a single "
    "file and all else from there."
)
LIMIT_HELP = (
    "Only so many cases, balanced over subjects and prompts (of the drawn world, whose order is random: the first). "
    "The same command with a larger limit adds to the run."
)
DRAWING_FLAGS = ("size", "width", "steps", "guidance", "cfg_scale", "reference_cfg_scale", "reference_size", "schedule")
"""Flags that are options of the backbone by the same names."""
MOST_WORKERS, PICTURES_PER_WORKER = 4, 8


def _finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """The value of a flag. Raises: ConfigError that names the flag for inf and nan."""
    if value is not None and not math.isfinite(value):
        raise ConfigError(f"{param.opts[0]}: expected a finite number, got {value}; correct it or leave the flag out.")
    return value


CfgScale = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=_finite,
        help="Classifier-free guidance: up to 1 is none, more obeys the prompt more (default: the model's).",
    ),
]
ReferenceCfgScale = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=_finite,
        help="The same by the references: 0 ignores them, more looks more like them (default: --cfg-scale if given, "
        "else the model's).",
    ),
]
Guidance = Annotated[
    float | None, typer.Option(min=0, callback=_finite, help="Distilled guidance of FLUX.1-dev (default: the model's).")
]
Size = Annotated[
    int | None,
    typer.Option(min=16, help="Side of the pictures in px, the height with --width (default: the model's)."),
]
Width = Annotated[
    int | None, typer.Option(min=16, help="Width in px where it is not --size, which is then the height.")
]
ReferenceSize = Annotated[
    int | None,
    typer.Option(min=16, help="Long side of the references in px (default: the model's; UNO 512 for one, else 320)."),
]
Schedule = Annotated[
    str | None,
    choice(
        ("flux", "uno"), help="Noise levels of FLUX.1: flux, as FluxPipeline (default), or uno, as UNO's own script."
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="Any option of the backbone, say steps=8; may be repeated."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes; the pictures do not depend on it. Default: one per core, at most 4, where an embedded model "
        "draws many pictures on the CPU, else 1.",
    ),
]
Refs = Annotated[list[Path] | None, typer.Option("--ref", help="Reference picture of one subject; repeat for up to 4.")]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**63 - 1, help="Replaces the cases' own seeds (--prompt alone: 0).")
]
OffloadChoice = Annotated[
    Offload | None,
    choice(
        OFFLOADS,
        help="What waits in main memory: model, all parts but the one that runs; group, also all blocks of the network "
        "but one. Pictures do not depend on it. Default: none.",
    ),
]
QuantiseChoice = Annotated[
    Quantise | None,
    choice(QUANTISATIONS, help="Bits of the frozen weights: nf4, int8 or fp8 (extra: quantise). Default: none."),
]
MergeLora = Annotated[
    bool, typer.Option("--merge-lora", help="Add the LoRAs into the weights: faster, rounded once more in 16 bits.")
]
Loras = Annotated[
    list[str] | None,
    typer.Option("--lora", help="Adapter on the model, UNO's for one: file, folder or hub id; repeat for several."),
]


LayoutChoice = Annotated[
    LayoutMode | None,
    choice(
        LAYOUT_MODES,
        help="Of a model that reads boxes. given: where the case's layout says. proposed (default): else where the "
        "subjects of its action stand, or where the model attends to their words. none: the model's own boxes.",
    ),
]
Video = Annotated[
    str | None,
    typer.Option(
        help="Every picture becomes the first frame of a video by this CogVideoX image-to-video model (folder or "
        "hub id, say THUDM/CogVideoX-5b-I2V)."
    ),
]
VideoOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="num_frames, steps, guidance_scale or fps of the videos; may be repeated."),
]


def generate(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Run folder to create, or to continue.")],
    prompt: Annotated[str | None, typer.Option(help="What the picture shows.")] = None,
    ref: Refs = None,
    cases: Annotated[Path | None, typer.Option(help="JSONL of cases, or UNO's JSON list.")] = None,
    benchmark: Annotated[str | None, typer.Option(help=BENCHMARK_HELP)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the benchmark's photographs.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help=LIMIT_HELP)] = None,
    seed: Seed = None,
    num_images: Annotated[int, typer.Option("--num-images", "-n", min=1, help="Pictures per case.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps (default: the model's).")] = None,
    cfg_scale: CfgScale = None,
    reference_cfg_scale: ReferenceCfgScale = None,
    guidance: Guidance = None,
    size: Size = None,
    width: Width = None,
    reference_size: ReferenceSize = None,
    schedule: Schedule = None,
    option: ModelOptions = None,
    layout: LayoutChoice = None,
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = DEFAULT_MODEL,
    loras: Loras = None,
    merge_lora: MergeLora = False,
    quantise: QuantiseChoice = None,
    offload: OffloadChoice = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Workers = None,
    engine: EngineChoice = None,
    video: Video = None,
    video_option: VideoOption = None,
    as_json: Json = False,
) -> None:
    """A run folder: pictures, manifest with seeds and hashes, copies of the references."""
    from likeness.cli.cases import CaseSource
    from likeness.cli.progress import quiet_libraries

    quiet_libraries()
    video_options = _video_options(video, options=video_option or ())
    options = _options({name: ctx.params[name] for name in DRAWING_FLAGS}, more=option or ())
    memory = Memory(offload or "none", quantise or "none", merge_lora)
    asked = _Asked(model, tuple(loras or ()), options, device, dtype, memory, layout)
    source = CaseSource(prompt=prompt, references=tuple(ref or ()), cases=cases, benchmark=benchmark, data=data)
    made = _drawn(asked, source, out=out, limit=limit, seed=seed, num_images=num_images, workers=workers, engine=engine)
    record_command(out, step="generate", line=command_line(ctx, seed=seed or 0 if prompt else None))
    _tell(made, videos=_videos(out, asked, model=video, options=video_options), as_json=as_json)


def _drawn(
    asked: _Asked,
    source: CaseSource,
    *,
    out: Path,
    limit: int | None,
    seed: int | None,
    num_images: int,
    workers: int | None,
    engine: Engine | None,
) -> RunSummary:
    """The run folder with every picture of the cases that can be made."""
    from likeness.cli.cases import find_cases
    from likeness.cli.progress import progress_bars
    from likeness.generate.run import generate_run

    benchmark, built = source.benchmark, out.parent / f"{out.name}-cases"
    if benchmark in BENCHMARKS:
        require_free(out, facts={"kind": "generate", "benchmark": benchmark, "num_images": num_images})
        _require_usable(asked)
    with progress_bars() as bar, _named_by_flags(source.prompt):
        found = find_cases(source, limit=limit, seed=seed, folder=built, progress=bar("drawing cases"))
        count = len(found.cases) * num_images
        made = generate_run(
            found.cases,
            **asked._asdict(),
            out=out,
            num_images=num_images,
            workers=workers or _num_workers(count, model=asked.model, device=asked.device),
            engine=engine,
            benchmark=benchmark,
            left_out=found.left_out,
            progress=bar("drawing"),
            notice=_warn,
        )
    if benchmark is not None:
        copy_truth(built, run=out)
    return made


def _video_options(video: str | None, *, options: Sequence[str]) -> dict[str, object]:
    """What was asked of the videos; no picture is drawn for nothing. Raises: ConfigError, WeightsError."""
    from likeness.generate.video import VideoOptions, check_video_model

    asked = _options({}, more=options, flag="--video-option")
    if video is None and asked:
        raise ConfigError("--video-option: expected --video MODEL beside it, got none; name a model.")
    if video is not None:
        check_video_model(video, VideoOptions.model_validate(asked))
    return asked


def _videos(out: Path, asked: _Asked, *, model: str | None, options: dict[str, object]) -> VideoSummary | None:
    """Every picture of the run has its video, where a model for them was named."""
    if model is None:
        return None
    from likeness.cli.progress import progress_bars
    from likeness.generate.video import make_videos

    place = {"device": asked.device, "dtype": asked.dtype}
    with progress_bars() as bar:
        return make_videos(out, model=model, options=options, **place, progress=bar("drawing videos"))


def _options(flags: dict[str, object], *, more: Sequence[str], flag: str = "--option") -> dict[str, object]:
    """What was asked for by a flag of its own or by `flag`. Raises: ConfigError for no NAME=VALUE, or two of them."""
    options = {name: value for name, value in flags.items() if value is not None}
    for text in more:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{flag}: expected NAME=VALUE, got {text!r}; for example {flag} steps=20.")
        if name in options:
            raise ConfigError(f"{flag} {text}: expected each option once, got {name} again; leave one out.")
        options[name] = value
    return options


def _num_workers(num_pictures: int, *, model: str, device: str) -> int:
    """Processes that pay: an embedded model is small, but each process takes some seconds to start."""
    from likeness.core.devices import pick_device
    from likeness.core.weights import embedded_names

    if model not in embedded_names() or pick_device(device) != "cpu":
        return 1
    return max(1, min(MOST_WORKERS, os.cpu_count() or 1, num_pictures // PICTURES_PER_WORKER))


class _Asked(NamedTuple):
    """What pictures are made with, by the names of `generate_run`."""

    model: str
    loras: tuple[str, ...]
    options: dict[str, object]
    device: str
    dtype: str
    memory: Memory
    layout: LayoutMode | None


def _require_usable(asked: _Asked) -> None:
    """No case is drawn for nothing. Raises: WeightsError, ConfigError for what no picture can be made with."""
    from likeness.backbones.open import kind_of, lora_facts
    from likeness.core.devices import pick_device, pick_dtype_name
    from likeness.core.weights import resolve_adapter, resolve_weights
    from likeness.generate.makers import BACKBONE, maker_for, read_options
    from likeness.generate.placing import layout_mode

    device = pick_device(asked.device)
    pick_dtype_name(device, asked.dtype)
    asked.memory.require_usable(device=device, num_loras=len(asked.loras))
    base, adapters = resolve_weights(asked.model), [resolve_adapter(lora) for lora in asked.loras]
    layout_mode(asked.layout, kind=kind_of(base))
    load = maker_for(BACKBONE, adapters)
    read_options(load, asked.options, folder=base)
    for lora, adapter in zip(asked.loras, adapters, strict=True) if load == BACKBONE else ():
        lora_facts(lora, adapter, base=base)


@contextmanager
def _named_by_flags(prompt: str | None) -> Generator[None, None, None]:
    """Where the one case is that of --prompt, what is wrong with it is told by the flags that gave it."""
    try:
        yield
    except NoCaseError as error:
        if prompt is None:
            raise
        is_reference = error.reason.startswith("reference image: ")
        where = "--ref: " if is_reference else "--prompt: "
        raise DataError(where + error.reason.removeprefix("reference image: ").removeprefix("prompt: ")) from None


def _warn(prompt: str, notes: Sequence[str]) -> None:
    """One line on stderr about words that the model does not see or know; the picture will not show them."""
    print(f"warning: prompt {prompt!r}: {'; '.join(notes)}", file=sys.stderr)


def _told_unknown(notes: Mapping[str, Sequence[str]], *, out: Path) -> str:
    if not notes:
        return ""
    prompts = "1 prompt has" if len(notes) == 1 else f"{len(notes)} prompts have"
    wanted = "words that the model does not know or does not read; pictures will not show them"
    return f'{prompts} {wanted} ("notes" in {out / "manifest.jsonl"}).\n'


def _tell(made: RunSummary, *, videos: VideoSummary | None, as_json: bool) -> None:
    out = made.folder
    facts: dict[str, object] = {
        "out": out,
        "num_images": made.num_images,
        "num_made": made.num_made,
        "num_rejected": len(made.left_out),
    }
    rows = [row.model_dump() for row in made.left_out]
    facts |= {"left_out": rows, "notes": {prompt: list(notes) for prompt, notes in made.notes.items()}}
    if made.loras:
        facts["loras"] = made.loras
    clips = ""
    if videos is not None:
        facts["videos"] = videos._asdict()
        clips = f" {counted(videos.num_videos, 'video')} in {out / 'videos'}."
        clips += "".join(f"\nNote: {note}.\n" for note in videos.notes)
    left_out = told_left_out(rows, where=out / "rejected.jsonl")
    adapters = "".join(f" LoRA {lora['id']}: {_layers(lora)}." for lora in made.loras)
    pictures = f"{counted(made.num_images, 'picture')} in {out}.{adapters}{clips}"
    text = f"{left_out}{_told_unknown(made.notes, out=out)}{pictures} Next: likeness evaluate {out}"
    answer(facts, text=text, as_json=as_json)


def _layers(lora: dict[str, object]) -> str:
    count = lora.get("layers")
    return "its own maker reads it" if count is None else f"changes {count} layer{'' if count == 1 else 's'}"
