"""What a watch sees, against hand-written hooks on whole blocks and the blocks' own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from seeing import Seeing
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import FEATURES, TokenGrid
from likeness.backbones.flux.condition import FluxCondition
from likeness.backbones.flux.tokens import unpack_latents
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.flux.watch import layer_names
from likeness.backbones.lora import adapter_parameters, add_adapter
from likeness.core.errors import ConfigError
from likeness.focus import FieldCollector

PROMPT = "A cat is hugging a duck in the forest."
LAYERS = [f"transformer_blocks.{i}" for i in range(2)] + [f"single_transformer_blocks.{i}" for i in range(3)]
WIDTH, HEADS, TEXT = 256, 4, 32
GRID = TokenGrid(4, 6)
LENGTHS = [24, 8, 16]  # target, references of 2x4 and 4x4 tokens
Seen = dict[str, list[Tensor]]


def picture(seed: int, *, height: int) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((96, height))


@pytest.fixture(scope="module")
def condition(tiny: FluxUno) -> FluxCondition:
    pairs = [[picture(s, height=50), picture(s + 1, height=96)] for s in (0, 2)]
    return tiny.collate([tiny.prepare(p, pair) for p, pair in zip((PROMPT, "A red fox"), pairs, strict=True)])


def run(backbone: FluxUno, condition: FluxCondition, **options: Any) -> Tensor:
    noise = backbone.initial_noise([3, 4], grid=GRID)
    return backbone.predict(noise, torch.tensor([0.6, 0.6]), condition, **options)


def watched(backbone: FluxUno, condition: FluxCondition, features: str) -> Seen:
    """Layer -> target tokens and those of each reference, joined again."""
    watch = Seeing(features)
    with torch.no_grad():
        run(backbone, condition, watch=watch)
    assert watch.grids == {GRID}
    return watch.layers


@pytest.fixture(scope="module")
def block_inputs(tiny: FluxUno, condition: FluxCondition) -> dict[str, dict[str, Tensor]]:
    """Keyword arguments of every block, taken by hooks that share nothing with the code under test."""
    inputs: dict[str, dict[str, Tensor]] = {}
    hooks = []
    for layer in LAYERS:
        block = tiny.network.get_submodule(layer)

        def keep(_block: object, _args: object, kwargs: dict[str, Tensor], *, name: str = layer) -> None:
            inputs[name] = dict(kwargs)

        hooks.append(block.register_forward_pre_hook(keep, with_kwargs=True))
    with torch.no_grad():
        run(tiny, condition)
    for hook in hooks:
        hook.remove()
    return inputs


def modulated(block: Any, inputs: dict[str, Tensor]) -> Tensor:
    """AdaLN by hand: LayerNorm(x) (1 + scale) + shift, of the image tokens only."""
    shift, scale = (
        block_norm(block).linear(functional.silu(inputs["temb"])).chunk(6 if is_double(block) else 3, dim=1)[:2]
    )
    normed = functional.layer_norm(inputs["hidden_states"], (WIDTH,), eps=1e-6)
    return normed * (1 + scale[:, None]) + shift[:, None]


def is_double(block: Any) -> bool:
    return hasattr(block, "norm1")


def block_norm(block: Any) -> Any:
    return block.norm1 if is_double(block) else block.norm


def by_hand(block: Any, inputs: dict[str, Tensor], features: str) -> Tensor:
    tokens = modulated(block, inputs)
    if features in {"query", "key"}:
        letter = features[0]
        projected = getattr(block.attn, f"to_{letter}")(tokens).unflatten(-1, (HEADS, WIDTH // HEADS))
        scaled = projected * torch.rsqrt(projected.square().mean(-1, keepdim=True) + 1e-6)
        return (scaled * getattr(block.attn, f"norm_{letter}").weight).flatten(2)
    if features == "block_output":
        return block(**inputs)[1]
    if features == "attention_output" and is_double(block):
        text = block.norm1_context(inputs["encoder_hidden_states"], emb=inputs["temb"])[0]
        return block.attn(tokens, text, image_rotary_emb=inputs["image_rotary_emb"])[0]
    if features == "attention_output":
        text = modulated(block, {**inputs, "hidden_states": inputs["encoder_hidden_states"]})
        joined = block.attn(torch.cat([text, tokens], dim=1), image_rotary_emb=inputs["image_rotary_emb"])
        return joined[:, TEXT:]
    return tokens


@pytest.mark.parametrize("features", FEATURES)
def test_features_equal_those_computed_by_hand_from_the_blocks_inputs(
    tiny: FluxUno, condition: FluxCondition, block_inputs: dict[str, dict[str, Tensor]], features: str
) -> None:
    seen = watched(tiny, condition, features)
    assert list(seen) == LAYERS == layer_names(tiny.network.config)
    for layer in LAYERS:
        assert [tuple(tokens.shape) for tokens in seen[layer]] == [(2, length, WIDTH) for length in LENGTHS]
        with torch.no_grad():
            expected = by_hand(tiny.network.get_submodule(layer), block_inputs[layer], features)
        torch.testing.assert_close(torch.cat(seen[layer], dim=1), expected, atol=2e-5, rtol=1e-5)


def test_attention_input_is_the_collectors_default_and_features_differ(tiny: FluxUno, condition: FluxCondition) -> None:
    assert FieldCollector(1, masks(1)).features == "attention_input"
    first, *others = (watched(tiny, condition, features)[LAYERS[-1]][0] for features in FEATURES)
    assert all((tokens - first).abs().max() > 1e-3 for tokens in others)


@pytest.mark.parametrize("features", FEATURES)
def test_watching_changes_nothing_and_leaves_nothing(tiny: FluxUno, condition: FluxCondition, features: str) -> None:
    attributes = set(vars(tiny))
    with torch.no_grad():
        plain = run(tiny, condition)
        assert torch.equal(run(tiny, condition, watch=Seeing(features)), plain)
    assert num_hooks(tiny) == 0
    assert set(vars(tiny)) == attributes


def num_hooks(backbone: FluxUno) -> int:
    modules = list(backbone.network.modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def test_block_outputs_are_those_the_network_goes_on_with(tiny: FluxUno, condition: FluxCondition) -> None:
    last = watched(tiny, condition, "block_output")[LAYERS[-1]][0]
    network = tiny.network
    with torch.no_grad():
        temb = network.time_text_embed(torch.full((2,), 600.0), torch.full((2,), 4000.0), condition.text.pooled)
        tokens = network.proj_out(network.norm_out(last, temb))
        torch.testing.assert_close(unpack_latents(tokens, GRID), run(tiny, condition))


@pytest.mark.parametrize("features", FEATURES)
def test_hooks_are_removed_after_an_error(tiny: FluxUno, condition: FluxCondition, features: str) -> None:
    class Failing(Seeing):
        def __call__(self, layer: str, *_: object) -> None:
            raise ArithmeticError(layer)

    with pytest.raises(ArithmeticError, match=r"transformer_blocks\.0"):
        run(tiny, condition, watch=Failing(features))
    assert num_hooks(tiny) == 0


def test_unknown_features_are_refused(tiny: FluxUno, condition: FluxCondition) -> None:
    with pytest.raises(ConfigError, match=r"expected one of attention_input, .*, key, got 'value'"):
        run(tiny, condition, watch=Seeing("value"))


# gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURES)
def test_tokens_carry_gradient_only_where_the_watch_wants_it(
    tiny_folder: Path, condition: FluxCondition, features: str
) -> None:
    """A loss on watched tokens reaches the LoRA of the layers before; checkpointing does not change it."""
    backbone = FluxUno.load(tiny_folder)
    add_adapter(backbone.network, facts=backbone.facts, rank=2, alpha=2.0)
    adapter = adapter_parameters(backbone.network, "focus")
    for key, parameter in adapter.items():
        if "lora_B" in key:
            parameter.data.fill_(0.01)  # at 0, as it starts, no gradient reaches A

    def gradients() -> dict[str, Tensor]:
        watch = Seeing(features, detached=False)
        run(backbone, condition, watch=watch)
        loss = torch.stack([tokens.square().mean() for layer in watch.layers.values() for tokens in layer]).sum()
        found: Any = torch.autograd.grad(loss, list(adapter.values()), allow_unused=True)
        return {key: gradient for key, gradient in zip(adapter, found, strict=True) if gradient is not None}

    plain = gradients()
    assert all(gradient.abs().max() > 0 for key, gradient in plain.items() if key.startswith("transformer_blocks.0"))
    assert any(key.startswith("transformer_blocks.0.attn.to_q.lora_A") for key in plain)
    backbone.network.enable_gradient_checkpointing()
    again = gradients()
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    aside = Seeing(features)
    run(backbone, condition, watch=aside)
    assert not any(tokens.requires_grad for layer in aside.layers.values() for tokens in layer)


# with the collector --------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tiny_folder: Path) -> FluxUno:
    """A tiny FLUX of its own whose attention learns, as a policy's would."""
    backbone = FluxUno.load(tiny_folder)
    for name, parameter in backbone.network.named_parameters():
        parameter.requires_grad_(name.endswith("attn.to_q.weight"))
    return backbone


def masks(rows: int) -> list[Tensor]:
    return [torch.arange(length).expand(rows, length) < length // 2 for length in LENGTHS[1:]]


@pytest.mark.parametrize("features", FEATURES)
def test_checkpointing_counts_each_layer_once_and_keeps_no_graph(
    trained: FluxUno, condition: FluxCondition, features: str
) -> None:
    plain = FieldCollector(1, masks(1), features=features)
    loss = run(trained, condition, watch=plain).square().mean()
    loss.backward()
    gradients = [p.grad.clone() for p in trained.network.parameters() if p.grad is not None]
    trained.network.zero_grad()
    trained.network.enable_gradient_checkpointing()
    calls: dict[str, int] = {}
    for block in (trained.network.get_submodule(layer) for layer in LAYERS):
        block.register_forward_pre_hook(
            lambda module, _: calls.update({str(id(module)): calls.get(str(id(module)), 0) + 1})
        )
    collector = FieldCollector(1, masks(1), features=features)
    run(trained, condition, watch=collector).square().mean().backward()
    assert list(calls.values()) == [2] * 5  # each block ran again
    assert collector.num_layers == plain.num_layers == 5
    assert not collector.scores().requires_grad
    assert torch.equal(collector.scores(), plain.scores())
    again = [p.grad for p in trained.network.parameters() if p.grad is not None]
    assert len(again) == len(gradients) == 5
    assert all(torch.equal(first, second) for first, second in zip(again, gradients, strict=True))


def test_collector_equals_a_loop_over_hand_made_tokens(
    tiny: FluxUno, condition: FluxCondition, block_inputs: dict[str, dict[str, Tensor]]
) -> None:
    collector = FieldCollector(1, masks(1))
    with torch.no_grad():
        run(tiny, condition, watch=collector)
    expected = torch.zeros(2, LENGTHS[0], dtype=torch.float64)
    for layer in LAYERS:
        with torch.no_grad():
            tokens = modulated(tiny.network.get_submodule(layer), block_inputs[layer])[0].double()
        target, *references = tokens.split(LENGTHS)
        for r, reference in enumerate(references):
            pooled = reference[: LENGTHS[r + 1] // 2].mean(0)
            expected[r] += functional.cosine_similarity(target, pooled[None], dim=-1) / len(LAYERS)
    torch.testing.assert_close(collector.scores()[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_masks_of_a_row_do_not_depend_on_the_other_rows(tiny: FluxUno, condition: FluxCondition) -> None:
    both = FieldCollector(2, masks(2))
    noise, t = tiny.initial_noise([3, 4], grid=GRID), torch.tensor([0.6, 0.6])
    with torch.no_grad():
        tiny.predict(noise, t, condition, watch=both)
        for row in range(2):
            alone = FieldCollector(1, masks(1))
            tiny.predict(noise[[row]], t[:1], condition.select([row]), watch=alone)
            # batched matrix products of the network sum in another order; the chosen tokens are the same
            torch.testing.assert_close(alone.scores()[0], both.scores()[row], atol=1e-5, rtol=0)
            for k in (3, 8):
                first, second = (
                    scores.topk(k).indices.sort().values for scores in (alone.scores()[0], both.scores()[row])
                )
                assert torch.equal(first, second)
