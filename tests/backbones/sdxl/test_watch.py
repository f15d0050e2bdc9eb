"""What a watch sees of the U-Net, against its own matrices by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from seeing import Seeing
from torch import Tensor

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.watch import FEATURES
from likeness.core.errors import ConfigError
from likeness.focus import FieldCollector

GRIDS = {
    "down_blocks.1": (3, 5),
    "down_blocks.2": (2, 3),
    "mid_block": (2, 3),
    "up_blocks.0": (2, 3),
    "up_blocks.1": (3, 5),
}


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def condition(sdxl: SdxlIpAdapter) -> Any:
    return sdxl.collate([sdxl.prepare("a cat hugs a dog", [picture(0), picture(1)])])


def latents(*, rows: int = 6, columns: int = 10) -> Tensor:
    return torch.randn(1, 4, rows, columns, generator=torch.Generator().manual_seed(0))


def watched(sdxl: SdxlIpAdapter, condition: Any, features: str) -> Seeing:
    watch = Seeing(features)
    with torch.no_grad():
        sdxl.predict(latents(), torch.tensor(0.5), condition, watch)
    return watch


def stage(layer: str) -> str:
    return "mid_block" if layer.startswith("mid_block") else ".".join(layer.split(".")[:2])


class Recorder:
    """Inputs and outputs of some modules in one pass, kept by plain hooks of the test's own."""

    def __init__(self, modules: dict[str, torch.nn.Module]) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._hooks = [module.register_forward_hook(self._keeper(name)) for name, module in modules.items()]

    def _keeper(self, name: str) -> Any:
        def keep(_module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            self.inputs[name], self.outputs[name] = args[0], output

        return keep

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


def recorded(sdxl: SdxlIpAdapter, condition: Any, ending: str) -> Recorder:
    found = {
        name.removesuffix(f".{ending}").removesuffix(ending): module
        for name, module in sdxl.network.named_modules()
        if name.endswith(ending) and "transformer_blocks" in name
    }
    made = Recorder(found)
    with torch.no_grad():
        sdxl.predict(latents(), torch.tensor(0.5), condition)
    made.remove()
    return made


def block(sdxl: SdxlIpAdapter, name: str) -> Any:
    return sdxl.network.get_submodule(name)


def test_layers_come_in_the_order_of_a_pass_with_their_grids(sdxl: SdxlIpAdapter, condition: Any) -> None:
    watch = watched(sdxl, condition, "query")
    stages = [stage(layer) for layer in watch.layers]
    assert list(dict.fromkeys(stages)) == ["down_blocks.1", "down_blocks.2", "mid_block", "up_blocks.0", "up_blocks.1"]
    assert watch.grids == {(3, 5), (2, 3)}
    for layer, (target, *_references) in watch.layers.items():
        rows, columns = GRIDS[stage(layer)]
        assert target.shape[1] == rows * columns


def test_queries_and_the_keys_of_the_image_tokens(sdxl: SdxlIpAdapter, condition: Any) -> None:
    watch, seen = watched(sdxl, condition, "query"), recorded(sdxl, condition, "attn2.to_q")
    assert watch.layers.keys() == seen.outputs.keys()
    for layer, (target, *references) in watch.layers.items():
        assert torch.equal(target, seen.outputs[layer])
        matrix = block(sdxl, layer).attn2.processor.to_k_ip[0].weight
        for tokens, given in zip(references, condition.references, strict=True):
            torch.testing.assert_close(tokens, given @ matrix.T, rtol=1e-4, atol=1e-5)


def test_inputs_and_the_directions_that_the_keys_ask_for(sdxl: SdxlIpAdapter, condition: Any) -> None:
    """x . direction is the layer's q . k."""
    inputs, queries = watched(sdxl, condition, "attention_input"), watched(sdxl, condition, "query")
    for layer, (target, *directions) in inputs.layers.items():
        asked, *keys = queries.layers[layer]
        assert target.shape == asked.shape
        for direction, key in zip(directions, keys, strict=True):
            torch.testing.assert_close(target @ direction.mT, asked @ key.mT, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("features", "ending"), [("attention_output", "attn2"), ("block_output", "")])
def test_outputs_and_what_the_image_tokens_would_add(
    sdxl: SdxlIpAdapter, condition: Any, features: str, ending: str
) -> None:
    watch = watched(sdxl, condition, features)
    for layer, (target, *references) in watch.layers.items():
        hook = Recorder({"it": sdxl.network.get_submodule(f"{layer}.{ending}".removesuffix("."))})
        with torch.no_grad():
            sdxl.predict(latents(), torch.tensor(0.5), condition)
        hook.remove()
        assert torch.equal(target, hook.outputs["it"])
        attention = block(sdxl, layer).attn2
        for tokens, given in zip(references, condition.references, strict=True):
            expected = attention.to_out[0](given @ attention.processor.to_v_ip[0].weight.T)
            torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", FEATURES)
def test_a_watch_changes_no_bit_and_follows_its_gradient(sdxl: SdxlIpAdapter, condition: Any, features: str) -> None:
    x_t = latents().requires_grad_()
    plain = sdxl.predict(x_t, torch.tensor(0.5), condition)
    watch = Seeing(features, detached=False)
    assert torch.equal(sdxl.predict(x_t, torch.tensor(0.5), condition, watch), plain)
    target = next(iter(watch.layers.values()))[0]
    (gradient,) = torch.autograd.grad(target.square().sum(), x_t)
    assert gradient.abs().max() > 0
    detached = Seeing(features)
    sdxl.predict(x_t, torch.tensor(0.5), condition, detached)
    assert not any(tokens.requires_grad for layer in detached.layers.values() for tokens in layer)


def test_other_features_are_refused(sdxl: SdxlIpAdapter, condition: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected one of query, attention_input, .*, got 'key'"):
        sdxl.predict(latents(), torch.tensor(0.5), condition, Seeing("key"))


def test_the_field_is_the_mean_of_layers_on_the_latent_grid(sdxl: SdxlIpAdapter, condition: Any) -> None:
    """Note, section 4.1: cosine of query and mean key, each layer resized bilinearly, all layers with equal weight."""
    masks = [torch.ones(1, tokens.shape[1], dtype=torch.bool) for tokens in condition.references]
    field = FieldCollector(1, masks, features="query", grid=(6, 10))
    with torch.no_grad():
        sdxl.predict(latents(), torch.tensor(0.5), condition, field)
    watch, maps = watched(sdxl, condition, "query"), list[Tensor]()
    for layer, (target, *references) in watch.layers.items():
        for reference in references:
            pooled = reference.double().mean(dim=1)
            cosine = torch.nn.functional.cosine_similarity(target.double(), pooled[:, None], dim=-1)
            grid = cosine.reshape(1, 1, *GRIDS[stage(layer)])
            maps.append(torch.nn.functional.interpolate(grid, (6, 10), mode="bilinear").flatten())
    expected = torch.stack([torch.stack(maps[i::2]).mean(dim=0) for i in range(2)])
    torch.testing.assert_close(field.scores()[0].double(), expected, rtol=0, atol=1e-5)
    assert field.num_layers == len(watch.layers)
    assert (expected[0] - expected[1]).abs().max() > 0.01
