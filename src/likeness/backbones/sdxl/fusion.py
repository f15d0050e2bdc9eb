"""Gradient fusion: LoRAs that were learnt apart become one LoRA, which answers each one's inputs as that one did.

For each layer: W = argmin sum_i ||(W0 + dW_i) X_i - W X_i||^2 + ridge ||W - W0 - mean_i dW_i||^2, where X_i are the
layer's inputs when the model draws with LoRA i by its own prompts. Solved exactly: with dW_i = U_i D_i, X_i X_i^T = G_i
W - W0 = sum_i U_i D_i (G_i + ridge / n) (sum_i G_i + ridge)^-1, so the result is again a LoRA, of the sum of the ranks.
Inputs are not kept, only sum_i G_i and D_i G_i of a stage's layers: for SDXL at most 3.3 GB, on the device.
Source: Mix-of-Show (arXiv:2305.18292), 3.3 and its public code: text encoders first, then keys and values of
cross-attention on what the fused encoders give, then the rest of the U-Net while it draws with both.
Differs: closed form for L-BFGS, and a ridge for its early end; where no LoRA has inputs W is the mean of all instead of
W0, so that one LoRA alone stays itself; keys and values learn from all tokens of a prompt, not from the word's alone.

Shapes: n LoRAs, N inputs of a layer, D their width, r rank.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.lora import FILE_NAME, add_changes, tuned_layers, write_tensors
from likeness.backbones.lora_file import TEXT_PARTS, Change, LoraFile
from likeness.backbones.open import backbone_class, open_backbone
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.concept import Concept, read_concept, save_words
from likeness.core.errors import ConfigError, OutputError, WeightsError
from likeness.core.files import replaced_folder
from likeness.core.rng import seed_for
from likeness.core.weights import public_name, resolve_weights

PROMPTS = ("a photo of a {}", "{}")
"""Source: Mix-of-Show's code, its two templates."""
RIDGE = 0.1
"""As a share of the mean eigenvalue of sum_i G_i. With 1e-6 few inputs are answered exactly, others wrong (log.md)."""
FUSED = "fused"
PARTS = (*TEXT_PARTS, "unet")
STAGES = {
    "text": r"text_encoder(_2)?\..*",
    "keys": r"unet\..*attn2\.to_[kv]",
    "rest": r"unet\.(?!.*attn2\.to_[kv]$).*",
}
"""Layers by what they learn from, in the order in which they are fused."""
_SAME_INPUT = ((r"attn1\.to_[qkv]$", "attn1.in"), (r"attn2\.to_[kv]$", "attn2.text"), (r"self_attn\.[qkv]_proj$", "in"))
Changes = Mapping[str, Change]


# least squares -------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What is kept of a layer's inputs: `total` is sum_i G_i, `products` D_i G_i by LoRA; float64."""

    total: Float[Tensor, "D D"]
    products: Mapping[int, Float[Tensor, "_ D"]]


def fused_change(changes: Mapping[int, Change], seen: Seen, *, count: int, ridge: float = RIDGE) -> Change:
    """The change of a layer that answers the inputs of each of `count` LoRAs as its own would, in least squares.

    `changes`: of those LoRAs that change the layer. Raises: ConfigError for a ridge that is not above 0.
    """
    if not ridge > 0:
        raise ConfigError(f"ridge: expected a number above 0, got {ridge}; {RIDGE} is usual.")
    level = ridge * seen.total.diagonal().mean()
    own = {i: _down(change).to(seen.total) for i, change in changes.items()}
    down = torch.cat([seen.products[i] + level / count * each for i, each in own.items()])
    system = seen.total + level * torch.eye(len(seen.total), dtype=torch.float64, device=seen.total.device)
    solved = torch.cholesky_solve(down.T, torch.linalg.cholesky(system)).T
    up = torch.cat([change.up.double() for change in changes.values()], dim=1)
    return Change(solved.float().cpu(), up.float().cpu(), float(len(down)))


def mean_change(changes: Mapping[int, Change], *, count: int) -> Change:
    """The mean over LoRAs of what they do to a layer."""
    down = torch.cat([_down(change) / count for change in changes.values()])
    return Change(down.float(), torch.cat([change.up for change in changes.values()], dim=1), float(len(down)))


def squared_error(changes: Mapping[int, Change], seen: Seen, made: Change | None) -> float:
    """sum_i ||dW_i X_i - dW X_i||^2 for the change `made`, or none."""
    total = seen.total.new_zeros(())
    own = {i: (change.up.to(seen.total), _down(change).to(seen.total)) for i, change in changes.items()}
    for i, (up, down) in own.items():
        total += torch.trace(up.T @ up @ (seen.products[i] @ down.T))
    if made is not None:
        up, down = made.up.to(seen.total), _down(made).to(seen.total)
        total += torch.trace(up.T @ up @ (down @ seen.total @ down.T))
        for i, (theirs, _) in own.items():
            total -= 2 * torch.trace(up.T @ theirs @ (seen.products[i] @ down.T))
    return float(total)


def _down(change: Change) -> Float[Tensor, "r D"]:
    """D of dW = U D, the strength in it."""
    return change.down.double() * (change.alpha / change.rank)


# inputs --------------------------------------------------------------------------------------------------------------


class _Inputs:
    """What the layers of a stage have seen so far; layers that read the same have one total."""

    def __init__(self, layers: Mapping[str, Any], changes: Sequence[Changes]) -> None:
        self._layers, self._changes = layers, changes
        self._leader: dict[str, str] = {}
        for name in layers:
            self._leader.setdefault(_input_of(name), name)
        self._totals: dict[str, Tensor] = {}
        self._products: dict[str, dict[int, Tensor]] = {name: {} for name in layers}

    @contextmanager
    def of(self, lora: int) -> Generator[None, None, None]:
        """Within it inputs are those of LoRA number `lora`."""

        def keep(name: str) -> Callable[..., None]:
            def hook(_: Any, args: tuple[Tensor, ...]) -> None:
                self._add(name, args[0].detach().flatten(0, -2).double(), lora=lora)

            return hook

        hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in self._layers.items()]
        try:
            yield
        finally:
            for each in hooks:
                each.remove()

    def _add(self, name: str, x: Float[Tensor, "N D"], *, lora: int) -> None:
        if self._leader[key := _input_of(name)] == name:
            found = x.T @ x
            self._totals[key] = self._totals[key] + found if key in self._totals else found
        if (change := self._changes[lora].get(name)) is not None:
            found = (x @ _down(change).to(x).T).T @ x
            held = self._products[name]
            held[lora] = held[lora] + found if lora in held else found

    def seen(self, name: str) -> Seen:
        """Of a layer."""
        return Seen(self._totals[_input_of(name)], self._products[name])


def _input_of(layer: str) -> str:
    """The name of what a layer reads."""
    for mark, name in _SAME_INPUT:
        layer = re.sub(mark, name, layer)
    return layer


# the model -----------------------------------------------------------------------------------------------------------


class Fused(NamedTuple):
    """`changes` by layer, behind "unet.", "text_encoder." or "text_encoder_2.".

    `lost`: by stage, the share of what the LoRAs did to their own inputs (squares) that is lost by the fused LoRA
    ("fused") and by the mean of them ("mean").
    """

    changes: dict[str, Change]
    lost: dict[str, dict[str, float]]
    words: tuple[str, ...]


class Drawing(NamedTuple):
    """How inputs are made: pictures of each prompt, their denoising steps (None: the model's), size and seed."""

    prompts: tuple[str, ...] = PROMPTS
    pictures: int = 1
    steps: int | None = None
    size: int | None = None
    seed: int = 0


USUAL = Drawing()


def fuse_loras(
    model: str,
    specs: Sequence[str],
    *,
    out: Path,
    drawing: Drawing = USUAL,
    ridge: float = RIDGE,
    device: str = "auto",
    dtype: str = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Fused:
    """`fuse` for a model by its name. Raises: ConfigError for what was given wrong, WeightsError, OutputError."""
    if len(specs) < 2:
        raise ConfigError(f"LORA: expected two or more, got {len(specs)}; name the folders `lora` of several runs.")
    if wrong := [prompt for prompt in drawing.prompts if prompt.count("{}") != 1]:
        raise ConfigError(f"--prompt: expected a text with one {{}} for the word, got {wrong[0]!r}; correct it.")
    base = resolve_weights(model)
    if not issubclass(backbone_class(base), SdxlBackbone):
        got = backbone_class(base).__name__
        raise ConfigError(f"--model: expected SDXL, on which these LoRAs are learnt, got {got}; name another.")
    backbone = open_backbone(base, device=device, dtype=dtype)
    made = {"base_model": public_name(model), "loras": [public_name(spec) for spec in specs], "seed": drawing.seed}
    return fuse(backbone, specs, out=out, drawing=drawing, ridge=ridge, metadata=made, progress=progress)


def fuse(
    backbone: Any,
    specs: Sequence[str | Path],
    *,
    out: Path,
    drawing: Drawing = USUAL,
    ridge: float = RIDGE,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Fused:
    """`out` holds the words of all LoRAs and one LoRA for them; `backbone` is an SDXL that carries no other.

    Raises: WeightsError for a LoRA without a word, and for words that are twice; ConfigError, also on mps, which has no
    float64; OutputError, also for a folder that holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: expected a new or empty folder, got one with files; choose another.")
    if backbone.device.type == "mps":
        raise ConfigError("--device: expected cpu or cuda, which can solve in float64, got mps; give --device cpu.")
    concepts = [_concept(spec) for spec in specs]
    files = [type(backbone).read_lora(backbone.parts.folder, spec) for spec in specs]
    changes = [_all_changes(file) for file in files]
    for concept in concepts:
        for token, rows in concept.words.items():
            backbone.learn_word(token, rows, layers=concept.layers[token])
    layers = _carry(backbone, changes)
    made, lost = dict[str, Change](), dict[str, dict[str, float]]()
    for number, (stage, mark) in enumerate(STAGES.items()):
        mine = {name: layer for name, layer in layers.items() if re.fullmatch(mark, name)}
        inputs = _Inputs(mine, changes)
        for lora, concept in enumerate(concepts):
            _activate(layers, lora=lora)
            with inputs.of(lora), torch.no_grad():
                _look(backbone, concept, stage=stage, drawing=drawing)
            progress(number * len(concepts) + lora + 1, len(STAGES) * len(concepts))
        found, lost[stage] = _solve(mine, changes, inputs, ridge=ridge)
        _add_fused(backbone, found, name=f"{FUSED}_{stage}")
        made |= found
    with replaced_folder(out) as fresh:
        _save(fresh, concepts, made, metadata={**(metadata or {}), "ridge": ridge})
    return Fused(made, lost, tuple(token for concept in concepts for token in concept.words))


def _save(out: Path, concepts: Sequence[Concept], changes: Changes, *, metadata: Mapping[str, Any]) -> None:
    """The words of all, and a LoRA whose alpha is its rank. Raises: OutputError."""
    words = {token: rows for concept in concepts for token, rows in concept.words.items()}
    layers = {token: count for concept in concepts for token, count in concept.layers.items()}
    save_words(out, words, metadata=metadata, layers=layers)
    pairs = {name: {"lora_A": change.down, "lora_B": change.up} for name, change in changes.items()}
    tensors = {f"{name}.{matrix}.weight": each for name, own in pairs.items() for matrix, each in own.items()}
    write_tensors(out / FILE_NAME, tensors, metadata=metadata)


def _concept(spec: str | Path) -> Concept:
    if (concept := read_concept(spec)) is None or not concept.words:
        wanted = f"{spec}: expected a LoRA with the word of its subject beside it, by which its inputs are made"
        raise WeightsError(f"{wanted}, got none; train it by recipes/ed_lora.toml.")
    return concept


def _all_changes(file: LoraFile) -> dict[str, Change]:
    """Of U-Net and text encoders."""
    parts = {"unet": file.changes, **file.text}
    return {f"{part}.{name}": change for part, changes in parts.items() for name, change in changes.items()}


def _of_part(changes: Changes, part: str) -> dict[str, Change]:
    start = f"{part}."
    return {name.removeprefix(start): change for name, change in changes.items() if name.startswith(start)}


def _carry(backbone: Any, changes: Sequence[Changes]) -> dict[str, Any]:
    """The backbone carries all LoRAs, each by its number; returns every layer that one of them changes."""
    layers: dict[str, Any] = {}
    for part in PARTS:
        network = backbone.parts.stored.get(part)
        for number, own in enumerate(changes):
            if mine := _of_part(own, part):
                add_changes(network, mine, name=str(number))
        names = {id(module): name for name, module in network.named_modules()}
        layers |= {f"{part}.{names[id(layer)]}": layer for layer in tuned_layers(network)}
    return layers


def _activate(layers: Mapping[str, Any], *, lora: int) -> None:
    """Layers that are fused already act so, the others as LoRA number `lora` has them."""
    for layer in layers.values():
        fused = [name for name in layer.lora_A if name.startswith(FUSED)]
        layer._active_adapter = fused or [name for name in layer.lora_A if name == str(lora)]


def _look(backbone: Any, concept: Concept, *, stage: str, drawing: Drawing) -> None:
    """The model reads, and draws if that matters for the stage, the prompts of the concept's words."""
    options = {"size": drawing.size, "cfg_scale": 1.0, "steps": 1 if stage == "keys" else drawing.steps}
    for token in concept.words:
        for template in drawing.prompts:
            prompt = template.format(token)
            if stage == "text":
                backbone.embed_text([prompt])
                continue
            row = backbone.prepare(prompt)
            for number in range(drawing.pictures):
                seed = seed_for("fusion", drawing.seed, template, number) % 2**31
                backbone.paint(row, seed=seed, options=type(backbone.own_options())(**options))


def _solve(
    layers: Mapping[str, Any], changes: Sequence[Changes], inputs: _Inputs, *, ridge: float
) -> tuple[dict[str, Change], dict[str, float]]:
    found: dict[str, Change] = {}
    sums = {"fused": 0.0, "mean": 0.0, "all": 0.0}
    for name in layers:
        own = {lora: each[name] for lora, each in enumerate(changes) if name in each}
        seen = inputs.seen(name)
        found[name] = fused_change(own, seen, count=len(changes), ridge=ridge)
        mean = mean_change(own, count=len(changes))
        for key, made in {"fused": found[name], "mean": mean, "all": None}.items():
            sums[key] += squared_error(own, seen, made)
    return found, {key: sums[key] / sums["all"] if sums["all"] else 0.0 for key in ("fused", "mean")}


def _add_fused(backbone: Any, found: Changes, *, name: str) -> None:
    for part in PARTS:
        if mine := _of_part(found, part):
            add_changes(backbone.parts.stored.get(part), mine, name=name)
