"""ELITE: local attention against a rewrite in loops, what each of the two mappings trains, runs, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import preference_runs
import pytest
import torch
from diffusers.models.attention_processor import Attention
from PIL import Image
from safetensors.torch import load_file
from tiny_sdxl import num_parameters
from tiny_stellar import write_portraits, write_stellar_recipe
from torch import nn
from typer.testing import CliRunner

from likeness.backbones.sdxl.elite import Elite, EliteOptions, load_elite
from likeness.backbones.sdxl.local_mapping import Local, LocalAttention, LocalMapper, LocalMapping
from likeness.backbones.sdxl.picture_words import Branch, InversionFacts
from likeness.backbones.sdxl.stellarnet import load_stellarnet
from likeness.cli import app
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.images import save_png
from likeness.train.config import read_train_config
from likeness.train.inversion.elite import EliteTask
from likeness.train.inversion.subjects import PhotoSubjects, SubjectsTable, subjects_of
from likeness.train.run import tune
from likeness.train.task import Draw

KEYS_VALUES = "pytorch_custom_diffusion_weights.safetensors"


def write_elite_recipe(path: Path, *, weights: Path, over: Path | None = None) -> Path:
    text = write_stellar_recipe(path, weights=weights).read_text().replace("stellarnet", "elite")
    for line in ("rank = 2\n", "alpha = 2.0\n", "lora_rate = 0.5\n"):
        text = text.replace(line, "")
    named = "" if over is None else f"inversion = {json.dumps(over.as_posix())}\n"
    path.write_text(
        text.replace("hidden = 12\n", f"hidden = 12\n{named}")
        .replace("steps = 4", "steps = 2")
        .replace("save_every = 2", "save_every = 1")
    )
    return path


@pytest.fixture(scope="module")
def runs(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs of both mappings, with recipes beside them; image encoders are linked where generation looks."""
    folder = tmp_path_factory.mktemp("elite")
    for name, over in (("global", None), ("local", folder / "global" / "inversion")):
        recipe = write_elite_recipe(folder / f"{name}.toml", weights=weights, over=over)
        tune(recipe, out=folder / name, device="cpu")
        for encoder in ("first", "second"):
            (folder / name / "inversion" / encoder).symlink_to(weights / encoder)
    return {name: folder / name for name in ("global", "local")}


class Prepared:
    def __init__(
        self, recipe: Path, *, weights: Path, changes: Sequence[str] = (), precision: torch.dtype = torch.float32
    ) -> None:
        config = read_train_config(recipe, changes=changes)
        self.task: Any = EliteTask.find(config, model=weights / "sdxl", precision=precision)
        self.sdxl: Any = self.task.open_network(weights / "sdxl", device="cpu", precision=precision)
        self.trained = self.task.make_trainable(self.sdxl)

    def batch(self) -> Any:
        draw, shape = torch.Generator().manual_seed(3), self.task.shapes[0][0]
        draws = [Draw(torch.randn(shape, generator=draw), t) for t in (0.2, 0.7)]
        return self.task.batch([0, 4], draws, backbone=self.sdxl)

    def step(self, batch: Any) -> Any:
        return self.task.step(batch, backbone=self.sdxl, trainable=self.trained)


# local attention -----------------------------------------------------------------------------------------------------

HEADS, HEAD, WIDTH, CONTEXT = 2, 4, 8, 6


def small_facts() -> InversionFacts:
    branch = Branch(encoder="e", sha256="0" * 64, depths=(2, 1), width=5, word_width=3)
    return InversionFacts(kind="elite", branches=(branch, branch), hidden=7, layers=3)


class OneBlock(nn.Module):
    """A U-Net that is one cross-attention."""

    def __init__(self) -> None:
        super().__init__()
        block: Any = nn.Module()
        block.attn2 = Attention(query_dim=WIDTH, cross_attention_dim=CONTEXT, heads=HEADS, dim_head=HEAD)
        self.down_blocks, self.config = nn.ModuleList([block]), SimpleNamespace(cross_attention_dim=CONTEXT)

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        block: Any = self.down_blocks[0]
        return block.attn2(x, encoder_hidden_states=text)


def in_loops(attn: Any, x: Any, text: Any, to_k: Any, to_v: Any, tokens: Any, columns: Any, scale: float) -> Any:
    """The equation, a picture, a head and a place at a time."""
    joined = torch.zeros(*x.shape[:2], HEADS * HEAD, dtype=torch.float64)
    for b in range(len(x)):
        q, k, v = attn.to_q(x[b]), attn.to_k(text[b]), attn.to_v(text[b])
        local_k, local_v = to_k(tokens[b]), to_v(tokens[b])
        shares, locals_ = {}, {}
        for head in range(HEADS):
            part = slice(head * HEAD, (head + 1) * HEAD)
            for place in range(x.shape[1]):
                weights = torch.softmax(k[:, part] @ q[place, part] / math.sqrt(HEAD), 0)
                joined[b, place, part] = weights @ v[:, part]
                shares[head, place] = float(weights[columns[b]].sum())
                near = torch.softmax(local_k[:, part] @ q[place, part] / math.sqrt(HEAD), 0)
                locals_[head, place] = near @ local_v[:, part]
        top = max(shares.values())
        for (head, place), found in locals_.items():
            part = slice(head * HEAD, (head + 1) * HEAD)
            joined[b, place, part] += scale * shares[head, place] / max(top, 1e-300) * found
    return attn.to_out[0](joined)


def test_local_attention_is_the_equation() -> None:
    torch.manual_seed(0)
    unet = OneBlock().double()
    mapping = LocalMapping.fresh(small_facts(), unet, init_seed=1).double()
    attn: Any = unet.down_blocks[0].attn2
    for module, own in zip(mapping.pair_of("down_blocks.0"), (attn.to_k, attn.to_v), strict=True):
        assert torch.equal(module.state_dict()["weight"], own.weight)
        nn.init.normal_(module.weight)  # pyright: ignore[reportArgumentType] a Linear's
    x, text = torch.randn(3, 9, WIDTH).double(), torch.randn(3, 5, CONTEXT).double()
    columns = torch.zeros(3, 5, dtype=torch.bool)
    columns[0, 2] = columns[1, 3] = True  # the third prompt is empty
    states = [torch.randn(3, 5, 5).double() for _ in range(2)]
    with torch.no_grad():
        tokens = mapping(states, torch.tensor([[True, False, True, True]] * 3))
        assert (tokens[:, 1] == 0).all()
        plain = unet(x, text)
        attention = LocalAttention(unet, mapping)
        assert torch.equal(unet(x, text), plain)
        attention.told = Local(tokens, columns, 0.6)
        found, attention.told = unet(x, text), None
        wanted = in_loops(attn, x, text, *mapping.pair_of("down_blocks.0"), tokens, columns, 0.6)
        # focus is fp32: a share of 1e-7
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[2], plain[2], rtol=0, atol=1e-12)
        attention.told = Local(tokens[1:2], columns[1:2], 0.6)
        torch.testing.assert_close(unet(x[1:2], text[1:2]), found[1:2], rtol=1e-6, atol=1e-7)


def test_tokens_are_means_over_depths_and_sizes_are_elites() -> None:
    torch.manual_seed(0)
    facts = small_facts()
    mapper = LocalMapper(facts.branches[0], hidden=7, layers=3)
    states = [torch.randn(1, 4, 5) for _ in range(2)]
    with torch.no_grad():
        for patch in range(3):
            each = [
                mapper.get_submodule(f"mapping_{n}")(state[0, 0])
                + mapper.get_submodule(f"mapping_patch_{n}")(state[0, 1 + patch])
                for n, state in enumerate(states)
            ]
            torch.testing.assert_close(mapper(states)[0, patch], (each[0] + each[1]) / 2)
    with torch.device("meta"):
        branch = Branch(encoder="e", sha256="", depths=(24, 4, 8, 12, 16), width=1024, word_width=768)
        assert num_parameters(LocalMapper(branch, hidden=1024, layers=3)) == 28_904_960


# steps ---------------------------------------------------------------------------------------------------------------


def moved(own: Prepared) -> set[str]:
    own.step(own.batch()).loss.backward()
    named = dict(own.trained.named)
    mine = {id(parameter) for parameter in named.values()}
    others = [*own.sdxl.network.parameters(), *own.sdxl.parts.text_encoder.parameters()]
    assert not any(p.requires_grad for p in others if id(p) not in mine)
    return {name for name, parameter in named.items() if parameter.grad is not None and bool(parameter.grad.any())}


def test_the_global_mapping_trains_words_keys_and_values(runs: dict[str, Path], weights: Path) -> None:
    own = Prepared(runs["global"].with_suffix(".toml"), weights=weights)
    found = moved(own)
    assert found == {name for name, _ in own.trained.named}
    kinds = {name.split(".")[0] if name.startswith("words") else name.rsplit(".", 2)[1] for name in found}
    assert kinds == {"words", "to_k", "to_v"}


def test_the_local_mapping_trains_alone_and_its_loss_is_of_the_subject(runs: dict[str, Path], weights: Path) -> None:
    recipe = runs["local"].with_suffix(".toml")
    own = Prepared(recipe, weights=weights, changes=["objective.value_weight=0.3"])
    assert moved(own) == {name for name, _ in own.trained.named}
    assert {name.split(".")[0] for name, _ in own.trained.named} == {"local"}
    batch = own.batch()
    step = own.step(batch)
    mapping: Any = own.task._mapping
    tokens = mapping(batch.patches, batch.is_subject)
    values = [tokens @ layer.weight.T for name, layer in mapping.named_children() if name.endswith("to_v")]
    size = torch.stack([each.abs().mean(dim=(1, 2)) for each in values]).mean(0)
    torch.testing.assert_close(step.logged["value_size"], size)
    torch.testing.assert_close(step.loss, (step.logged["error"] + 0.3 * size).mean())
    mask = torch.from_numpy(own.task.read([4])[0].mask)
    assert torch.equal(batch.is_subject[1].unflatten(0, (4, 4)), mask[::16, ::16])


def test_checkpointing_changes_no_gradient(runs: dict[str, Path], weights: Path) -> None:
    recipe, found = runs["local"].with_suffix(".toml"), []
    for value in ("true", "false"):
        own = Prepared(recipe, weights=weights, changes=[f"train.gradient_checkpointing={value}"])
        own.sdxl.network.train()
        own.step(own.batch()).loss.backward()
        found.append([parameter.grad for _, parameter in own.trained.named])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["global", "local"])
def test_in_bf16_steps_and_pictures_are_made_too(runs: dict[str, Path], weights: Path, name: str) -> None:
    own = Prepared(runs[name].with_suffix(".toml"), weights=weights, precision=torch.bfloat16)
    assert own.step(own.batch()).loss.isfinite()
    assert own.task.draw(own.task.read([0])[0], seed=1, backbone=own.sdxl).size == (64, 64)


# runs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param("global", marks=pytest.mark.slow), "local"])
def test_a_run_in_two_sittings_ends_with_the_same_bytes(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    recipe = runs[name].with_suffix(".toml")
    tune(recipe, out=tmp_path / "parts", changes=["train.steps=1"], device="cpu")
    tune(recipe, out=tmp_path / "parts", device="cpu")
    for place in ("inversion", "state"):
        files = {path.name for path in (runs[name] / place).iterdir() if path.is_file()}
        assert files == {path.name for path in (tmp_path / "parts" / place).iterdir()}
        for file in files:
            assert (tmp_path / "parts" / place / file).read_bytes() == (runs[name] / place / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["global", "local"])
def test_ten_killed_runs_end_with_the_same_bytes(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    recipe = tmp_path / "run.toml"
    recipe.write_text(runs[name].with_suffix(".toml").read_text().replace("steps = 2", "steps = 6"))
    preference_runs.kill_runs(recipe, tmp_path, count=10, seed=0)
    assert "inversion/inversion.safetensors" in preference_runs.results(tmp_path / "whole")


def test_the_local_mapping_leaves_the_global_one_as_it_is(runs: dict[str, Path]) -> None:
    for name in ("inversion.safetensors", "inversion.json", KEYS_VALUES):
        assert len({(run / "inversion" / name).read_bytes() for run in runs.values()}) == 1
    assert not (runs["global"] / "inversion" / "local.safetensors").exists()
    row = json.loads((runs["local"] / "log.jsonl").read_text().splitlines()[-1])
    assert row["word_size"] is None
    assert row["loss"] == pytest.approx(row["error"] + 1e-4 * row["value_size"], rel=1e-5)
    assert load_file(runs["local"] / "inversion" / "local.safetensors").keys() >= {"mapper.mapping_0.0.weight"}


def test_what_is_no_global_mapping_is_told(runs: dict[str, Path], run: Path, tmp_path: Path) -> None:
    recipe = runs["global"].with_suffix(".toml")
    named = f"model.inversion={json.dumps((run / 'inversion').as_posix())}"
    with pytest.raises(ConfigError, match="expected the folder `inversion` of a run of ELITE"):
        tune(recipe, out=tmp_path / "run", changes=[named], device="cpu")
    with pytest.raises(ConfigError, match="expected encoders, depths and sizes as"):
        tune(runs["local"].with_suffix(".toml"), out=tmp_path / "run", changes=["model.depths=[1, 0, 2]"], device="cpu")


# rows ----------------------------------------------------------------------------------------------------------------


def test_rows_are_subjects_of_any_class(tmp_path: Path) -> None:
    drawn: Any = subjects_of(SubjectsTable(count=12, size=64))
    assert len({drawn.who(row).species for row in range(12)}) > 4
    assert 0.02 < drawn.read(0).mask.mean() < 0.9
    folder = write_portraits(tmp_path / "faces")
    assert len(subjects_of(SubjectsTable(source="folder", folder=str(folder), size=64))) == 3
    photos = tmp_path / "dog"
    photos.mkdir()
    for name in ("1", "2"):
        Image.new("RGB", (40, 40), "red").save(photos / f"{name}.png")
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(photos / "1.mask.png")
    mixed = subjects_of(SubjectsTable(source="photos", photos=["world:cat-aac7b981", str(photos)], size=64))
    assert isinstance(mixed, PhotoSubjects)
    assert (len(mixed), len(mixed.left_out)) == (4, 1)
    assert "expected a mask, got none" in mixed.left_out[0].reason
    assert mixed.facts() != subjects_of(SubjectsTable(source="photos", photos=["world:cat-aac7b981"], size=64)).facts()
    (photos / "1.mask.png").unlink()
    with pytest.raises(DataError, match="expected photos with masks, got none of 2"):
        subjects_of(SubjectsTable(source="photos", photos=[str(photos)], size=64))
    for wrong in ({"source": "photos"}, {"photos": ["x"]}, {"source": "folder"}):
        with pytest.raises(ValueError, match=r"expected (some|one) for source"):
            SubjectsTable.model_validate(wrong)


# pictures ------------------------------------------------------------------------------------------------------------


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8))


def half() -> Image.Image:
    mask = Image.new("L", (48, 48))
    mask.paste(255, (0, 0, 24, 48))
    return mask


@pytest.fixture(scope="module")
def makers(runs: dict[str, Path], weights: Path) -> dict[str, Elite]:
    load: Any = {"device": "cpu", "dtype": "float32"}
    return {name: load_elite(weights / "sdxl", **load, loras=[run / "inversion"]) for name, run in runs.items()}


def test_lambda_mask_and_word_decide_the_picture(makers: dict[str, Elite]) -> None:
    def drawn(name: str, seen: Image.Image, **options: Any) -> bytes:
        return makers[name].generate("a S* waves", [seen], seed=1, options=EliteOptions(**options)).tobytes()

    masked = makers["local"].crop_reference(picture(), half())
    first = drawn("local", picture())
    others = [
        drawn("local", masked),
        drawn("local", picture(1)),
        drawn("local", picture(), local_scale=4.0),
        drawn("global", picture()),
        drawn("local", picture(), word="1"),
    ]
    assert len({first, *others}) == 6
    assert drawn("local", picture()) == first  # no option stays
    assert drawn("local", masked, local_scale=0.0) == drawn("global", masked) == drawn("global", picture())


@pytest.mark.parametrize(("word", "count"), [("0", 1), ("full", 3)])
def test_every_word_of_every_place_reads_local_tokens(
    makers: dict[str, Elite], monkeypatch: pytest.MonkeyPatch, word: Any, count: int
) -> None:
    told: list[Local] = []

    def kept(*each: Any) -> Local:
        told.append(Local(*each))
        return told[-1]

    monkeypatch.setattr("likeness.backbones.sdxl.elite.Local", kept)
    makers["local"].generate("S* S* waves", [picture()], seed=1, options=EliteOptions(word=word, steps=1))
    assert told[0].columns[0].nonzero().flatten().tolist() == list(range(1, 1 + 2 * count))


def test_words_are_put_before_any_class(makers: dict[str, Elite]) -> None:
    made = [
        makers["local"].generate(prompt, [picture()], seed=1, options=EliteOptions(class_word="cat")).tobytes()
        for prompt in ("a cat waves", "a S* cat waves")
    ]
    assert made[0] == made[1]
    with pytest.raises(DataError, match="the word dog"):
        makers["local"].generate("a cat waves", [picture()], seed=1, options=EliteOptions(class_word="dog"))
    assert not makers["local"].prompt_is_truncated("a cat")
    with pytest.raises(DataError, match="got no pixel inside"):
        makers["local"].crop_reference(picture(), Image.new("L", (48, 48)))


def test_generate_reads_the_folder_of_a_run(runs: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    save_png(picture(), tmp_path / "cat.png")
    words = ["generate", "--model", str(weights / "sdxl"), "--lora", str(runs["local"] / "inversion")]
    more = ["--option", "local_scale=0.6", "--option", "class_word=cat", "--ref", str(tmp_path / "cat.png")]
    asked = [*words, *more, "--device", "cpu", "--dtype", "float32", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*asked, "--prompt", "a cat on the beach"])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert row["settings"]["maker"] == "likeness.backbones.sdxl.elite:load_elite"
    assert row["settings"]["local_scale"] == 0.6


def test_a_mapping_of_another_model_is_refused(runs: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inversion"
    folder.mkdir()
    for path in (runs["local"] / "inversion").iterdir():
        (folder / path.name).symlink_to(path.resolve())
    (folder / "local.safetensors").unlink()
    (folder / "local.safetensors").write_bytes((folder / "inversion.safetensors").read_bytes())
    load: Any = {"device": "cpu", "dtype": "float32", "loras": [folder]}
    with pytest.raises(WeightsError, match="expected the local mapping of this model"):
        load_elite(weights / "sdxl", **load)
    with pytest.raises(WeightsError):
        load_stellarnet(weights / "sdxl", **load)  # there is no LoRA
