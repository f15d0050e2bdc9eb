"""FLUX as its own code writes and computes it: the layout of flux1-dev.safetensors, and a slow float64 forward pass.

Written from the description of the architecture, with none of the package's tables: the oracle for both. UNO's LoRA
processors are the terms `up(down(x))` beside qkv and proj.
Shapes: n tokens (text first, then image), d width, h heads.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Mapping[str, Tensor]


def original_layout(ours: Tensors, *, num_double: int, num_single: int) -> dict[str, Tensor]:
    """The tensors of a diffusers transformer under the names of FLUX's own code."""
    made: dict[str, Tensor] = {}

    def put(name: str, *parts: str) -> None:
        for kind in ("weight", "bias"):
            made[f"{name}.{kind}"] = torch.cat([ours[f"{part}.{kind}"] for part in parts])

    put("img_in", "x_embedder")
    put("txt_in", "context_embedder")
    for own, name in {"time": "timestep", "vector": "text", "guidance": "guidance"}.items():
        for side, number in {"in": 1, "out": 2}.items():
            put(f"{own}_in.{side}_layer", f"time_text_embed.{name}_embedder.linear_{number}")
    for i in range(num_double):
        _put_stream(
            put, f"double_blocks.{i}.img", f"transformer_blocks.{i}", context="", names="to_q to_k to_v to_out.0"
        )
        text = "add_q_proj add_k_proj add_v_proj to_add_out"
        _put_stream(put, f"double_blocks.{i}.txt", f"transformer_blocks.{i}", context="_context", names=text)
    for i in range(num_single):
        own, block = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        put(f"{own}.modulation.lin", f"{block}.norm.linear")
        put(f"{own}.linear1", *(f"{block}.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")))
        put(f"{own}.linear2", f"{block}.proj_out")
    put("final_layer.linear", "proj_out")
    for kind in ("weight", "bias"):  # diffusers keeps scale before shift, FLUX shift before scale
        scale, shift = ours[f"norm_out.linear.{kind}"].chunk(2)
        made[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat([shift, scale])
    norms = {f"{_norm_place(name)}.scale": tensor for name, tensor in ours.items() if ".attn.norm_" in name}
    return {name: tensor.contiguous().clone() for name, tensor in (made | norms).items()}


def _put_stream(put: Callable[..., None], own: str, block: str, *, context: str, names: str) -> None:
    q, k, v, out = (f"{block}.attn.{name}" for name in names.split())
    put(f"{own}_mod.lin", f"{block}.norm1{context}.linear")
    put(f"{own}_attn.qkv", q, k, v)
    put(f"{own}_attn.proj", out)
    put(f"{own}_mlp.0", f"{block}.ff{context}.net.0.proj")
    put(f"{own}_mlp.2", f"{block}.ff{context}.net.2")


def _norm_place(name: str) -> str:
    """Where FLUX's own code keeps a norm of queries or keys, say transformer_blocks.3.attn.norm_added_q.weight."""
    stack, number, _, norm, _ = name.split(".")
    kind = {"q": "query", "k": "key"}[norm[-1]]
    if stack.startswith("single"):
        return f"single_blocks.{number}.norm.{kind}_norm"
    return f"double_blocks.{number}.{'txt' if 'added' in norm else 'img'}_attn.norm.{kind}_norm"


def uno_lora(
    *, width: int, num_double: int, num_single: int, rank: int, seed: int = 0, scale: float = 0.05
) -> dict[str, Tensor]:
    """A LoRA with the names of `dit_lora.safetensors`: 8 tensors a double block, 4 a single one, no alpha."""
    draw = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}

    def pair(name: str, *, out: int, into: int) -> None:
        made[f"{name}.down.weight"] = scale * torch.randn(rank, into, generator=draw)
        made[f"{name}.up.weight"] = scale * torch.randn(out, rank, generator=draw)

    for i in range(num_double):
        for stream in (1, 2):
            pair(f"double_blocks.{i}.processor.qkv_lora{stream}", out=3 * width, into=width)
            pair(f"double_blocks.{i}.processor.proj_lora{stream}", out=width, into=width)
    for i in range(num_single):
        pair(f"single_blocks.{i}.processor.qkv_lora", out=3 * width, into=width)
        pair(f"single_blocks.{i}.processor.proj_lora", out=width, into=5 * width)
    return made


class OriginalFlux:
    """The forward pass of UNO's FLUX on tensors in the original layout, for one sample, in float64."""

    def __init__(self, weights: Tensors, lora: Tensors, *, heads: int, axes: tuple[int, ...]) -> None:
        self.weights = {name: tensor.double() for name, tensor in weights.items()}
        self.lora = {name: tensor.double() for name, tensor in lora.items()}
        self.heads, self.axes = heads, axes

    def __call__(
        self, image: Tensor, text: Tensor, pooled: Tensor, *, t: float, guidance: float, ids: Tensor, keep: int
    ) -> Tensor:
        """The velocity (keep, C) at the first `keep` image tokens; `ids` (n, 3) are those of text, then image."""
        vector = self._mlp("time_in", _sinusoid(t)) + self._mlp("guidance_in", _sinusoid(guidance))
        vector = F.silu(vector + self._mlp("vector_in", pooled.double()))
        img, txt = self._linear("img_in", image.double()), self._linear("txt_in", text.double())
        rope = _angles(ids.double(), self.axes)
        for i in range(self._count("double_blocks")):
            img, txt = self._double(f"double_blocks.{i}", img, txt, vector, rope)
        joined, number = torch.cat([txt, img]), len(txt)
        for i in range(self._count("single_blocks")):
            joined = self._single(f"single_blocks.{i}", joined, vector, rope)
        img = joined[number:][:keep]
        shift, scale = self._linear("final_layer.adaLN_modulation.1", vector).chunk(2)
        return self._linear("final_layer.linear", (1 + scale) * _normed(img) + shift)

    def _count(self, stack: str) -> int:
        return 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith(stack))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        return self._linear(f"{name}.out_layer", F.silu(self._linear(f"{name}.in_layer", x)))

    def _extra(self, name: str, x: Tensor) -> Tensor:
        return (x @ self.lora[f"{name}.down.weight"].T) @ self.lora[f"{name}.up.weight"].T

    def _queries(self, qkv: Tensor, norm: str) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (h, n, d / h) of rows ordered q, k, v; q and k with their RMS norm."""
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(1, 2, 0, 3)
        return self._rms(f"{norm}.query_norm.scale", q), self._rms(f"{norm}.key_norm.scale", k), v

    def _rms(self, name: str, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * self.weights[name]

    def _double(self, name: str, img: Tensor, txt: Tensor, vector: Tensor, rope: Tensor) -> tuple[Tensor, Tensor]:
        streams, parts = {"txt": txt, "img": img}, dict[str, tuple[Tensor, ...]]()
        qkvs: list[tuple[Tensor, Tensor, Tensor]] = []
        for side, x in streams.items():
            parts[side] = self._linear(f"{name}.{side}_mod.lin", vector).chunk(6)
            shift, scale = parts[side][:2]
            seen, stream = (1 + scale) * _normed(x) + shift, 1 if side == "img" else 2
            qkv = self._linear(f"{name}.{side}_attn.qkv", seen) + self._extra(
                f"{name}.processor.qkv_lora{stream}", seen
            )
            qkvs.append(self._queries(qkv, f"{name}.{side}_attn.norm"))
        q, k, v = (torch.cat(both, dim=1) for both in zip(*qkvs, strict=True))
        attended = dict(zip(streams, _attention(q, k, v, rope).split([len(txt), len(img)]), strict=True))
        for side, stream in (("img", 1), ("txt", 2)):
            out, (_, _, gate, shift, scale, gate_mlp) = attended[side], parts[side]
            out = self._linear(f"{name}.{side}_attn.proj", out) + self._extra(
                f"{name}.processor.proj_lora{stream}", out
            )
            x = streams[side] + gate * out
            hidden = self._linear(f"{name}.{side}_mlp.0", (1 + scale) * _normed(x) + shift)
            streams[side] = x + gate_mlp * self._linear(f"{name}.{side}_mlp.2", F.gelu(hidden, approximate="tanh"))
        return streams["img"], streams["txt"]

    def _single(self, name: str, x: Tensor, vector: Tensor, rope: Tensor) -> Tensor:
        shift, scale, gate = self._linear(f"{name}.modulation.lin", vector).chunk(3)
        seen = (1 + scale) * _normed(x) + shift
        qkv, hidden = self._linear(f"{name}.linear1", seen).split([3 * x.shape[1], 4 * x.shape[1]], dim=1)
        qkv = qkv + self._extra(f"{name}.processor.qkv_lora", seen)
        attended = _attention(*self._queries(qkv, f"{name}.norm"), rope)
        both = torch.cat([attended, F.gelu(hidden, approximate="tanh")], dim=1)
        return x + gate * (self._linear(f"{name}.linear2", both) + self._extra(f"{name}.processor.proj_lora", both))


def _normed(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()


def _sinusoid(number: float) -> Tensor:
    """256 numbers: cosines, then sines, of 1000 times the number; in fp32 as in UNO, where angles err by 1e-5."""
    angles = 1000 * number * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
    return torch.cat([angles.cos(), angles.sin()]).double()


def _angles(ids: Tensor, axes: tuple[int, ...]) -> Tensor:
    """One angle (n, d / h / 2) for each pair of neighbouring numbers of a head."""
    rates = [10000.0 ** -(torch.arange(0, size, 2, dtype=torch.float64) / size) for size in axes]
    return torch.cat([ids[:, [axis]] * rate for axis, rate in enumerate(rates)], dim=1)


def _attention(q: Tensor, k: Tensor, v: Tensor, angles: Tensor) -> Tensor:
    turn = torch.polar(torch.ones_like(angles), angles)

    def turned(x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)

    weights = (turned(q) @ turned(k).transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return (weights @ v).transpose(0, 1).flatten(1)
