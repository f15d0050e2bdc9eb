"""The StellarNet task: what a step minimises, two learning rates, runs, kills, and pictures by what was trained."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import preference_runs as runs
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_stellar import SIZE, write_portraits, write_stellar_recipe
from typer.testing import CliRunner

from likeness.backbones.lora import FILE_NAME
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.stellarnet import StellarNet, StellarOptions, load_stellarnet
from likeness.cli import app
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.images import save_png
from likeness.report import build_training_page
from likeness.train.config import read_train_config
from likeness.train.inversion.rows import fitted
from likeness.train.inversion.task import PROMPTS, PortraitBatch, StellarNetTask, prompt_of
from likeness.train.run import tune
from likeness.train.task import Draw
from likeness.train.trainable.words import WordsAndLora


class Prepared:
    """A task with a network of its own and what it trains."""

    def __init__(self, recipe: Path, *, weights: Path, changes: Sequence[str] = ()) -> None:
        config = read_train_config(recipe, changes=changes)
        self.task = StellarNetTask.find(config, model=weights / "sdxl", precision=torch.float32)
        self.sdxl: Any = self.task.open_network(weights / "sdxl", device="cpu", precision=torch.float32)
        trained = self.task.make_trainable(self.sdxl)
        assert isinstance(trained, WordsAndLora)
        self.trained = trained

    def batch(self, rows: Sequence[int], times: Sequence[float]) -> PortraitBatch:
        draw = torch.Generator().manual_seed(3)
        shape = self.task.shapes[0][0]
        return self.task.batch(rows, [Draw(torch.randn(shape, generator=draw), t) for t in times], backbone=self.sdxl)


@pytest.fixture(scope="module")
def prepared(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    recipe = write_stellar_recipe(tmp_path_factory.mktemp("one") / "run.toml", weights=weights)
    return Prepared(recipe, weights=weights, changes=["objective.word_weight=0.3"])


# a step --------------------------------------------------------------------------------------------------------------


def test_a_batch_holds_portraits_masks_and_what_encoders_see(prepared: Prepared) -> None:
    batch = prepared.batch([0, 4], [0.2, 0.7])
    portrait = fitted(prepared.task.portraits.read(4), size=SIZE)
    pixels = torch.from_numpy(np.array(portrait.image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(batch.latents[[1]], prepared.sdxl.encode(pixels), rtol=0, atol=1e-5)
    assert torch.equal(batch.mask[1], torch.from_numpy(portrait.mask[::8, ::8]))
    assert [[tuple(state.shape) for state in branch] for branch in batch.states] == [
        [(2, 17, 16)] * 3,
        [(2, 17, 24)] * 3,
    ]
    assert batch.eps.shape == batch.latents.shape
    assert set(batch.prompts) <= set(PROMPTS)


def test_a_step_is_the_error_of_the_person_and_the_size_of_the_words(prepared: Prepared) -> None:
    """Put together again from the parts, with the network's own answer, in float64."""
    batch, sdxl = prepared.batch([0, 4], [0.2, 0.7]), prepared.sdxl
    step = prepared.task.step(batch, backbone=sdxl, trainable=prepared.trained)
    with torch.no_grad():
        words = prepared.trained.words(batch.states)
        alpha = sdxl.parts.scheduler.alphas_cumprod.double()[torch.tensor([200, 700])].reshape(-1, 1, 1, 1)
        x_t = alpha.sqrt() * batch.latents.double() + (1 - alpha).sqrt() * batch.eps.double()
        ids, told = [], []
        cut: Any = {"truncation": True, "return_tensors": "pt"}
        for prompt in batch.prompts:
            text = sdxl.parts.tokenizer(prompt.replace("S*", "a a a"), padding="max_length", **cut)
            ids.append(text.input_ids[0])
            told.append(sdxl.parts.tokenizer(prompt.split("S*")[0], add_special_tokens=False).input_ids)
        embeds, pooled = [], None
        for encoder, own in zip((sdxl.parts.text_encoder, sdxl.parts.text_encoder_2), words, strict=True):
            table = encoder.get_input_embeddings()

            def replaced(_: Any, __: Any, out: torch.Tensor, own: torch.Tensor = own) -> torch.Tensor:
                out = out.clone()
                for row, before in enumerate(told):
                    out[row, 1 + len(before) : 4 + len(before)] = own[row]
                return out

            handle = table.register_forward_hook(replaced)
            seen = encoder(torch.stack(ids), output_hidden_states=True)
            handle.remove()
            embeds.append(seen.hidden_states[-2])
            pooled = seen[0]
        sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 2, dtype=torch.float32)
        for layer in sdxl._image_attention:
            layer.scale = [0.0]
        added = {"text_embeds": pooled, "time_ids": sizes, "image_embeds": [torch.zeros(2, 1, 0, 64)]}
        shown: Any = {"encoder_hidden_states": torch.cat(embeds, -1), "added_cond_kwargs": added}
        answer = sdxl.network(x_t.float(), torch.tensor([200, 700]), **shown).sample.double()
    squared = ((answer - batch.eps.double()) ** 2).mean(dim=1)
    error = (squared * batch.mask).sum(dim=(1, 2)) / batch.mask[0].numel()
    size = sum(own.double().abs().mean(dim=(1, 2)) for own in words) / 2
    torch.testing.assert_close(step.logged["error"].double(), error, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.logged["word_size"].double(), size, rtol=1e-5, atol=0)
    torch.testing.assert_close(step.loss.double(), (error + 0.3 * size).mean(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.logged["area"], batch.mask.float().mean(dim=(1, 2)))


def test_only_mappers_and_lora_get_a_gradient(weights: Path, recipe: Path) -> None:
    own = Prepared(recipe, weights=weights)
    own.task.step(own.batch([0, 1], [0.3, 0.6]), backbone=own.sdxl, trainable=own.trained).loss.backward()
    named = dict(own.trained.named)
    moved = {name for name, parameter in named.items() if parameter.grad is not None and bool(parameter.grad.any())}
    assert {name for name in named if "lora_A" not in name} - moved == set()  # A waits for B, which is 0 at first
    assert not any("_ip" in name for name in named)
    others = [*own.sdxl.network.parameters(), *own.sdxl.parts.text_encoder.parameters()]
    assert not any(p.requires_grad for p in others if all(p is not mine for mine in named.values()))
    with own.trained.off():
        pass


def test_checkpointing_changes_no_loss(weights: Path, recipe: Path, prepared: Prepared) -> None:
    own = Prepared(recipe, weights=weights, changes=["train.gradient_checkpointing=true", "objective.word_weight=0.3"])
    batch = own.batch([0, 4], [0.2, 0.7])
    losses = [each.task.step(batch, backbone=each.sdxl, trainable=each.trained).loss for each in (own, prepared)]
    losses[0].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)


def test_prompts_are_drawn_alike_and_one_twice_as_often() -> None:
    noise = torch.randn(20_000, 1, 2, generator=torch.Generator().manual_seed(0))
    counts = Counter(prompt_of(each, drop=0.25) for each in noise)
    assert counts.keys() == {"", *PROMPTS}
    for prompt, count in counts.items():
        share = 0.25 if not prompt else 0.75 * (2 if prompt == "plain photo of a S* person face" else 1) / 8
        assert abs(count - 20_000 * share) < 5 * math.sqrt(20_000 * share)
    assert "" not in {prompt_of(each, drop=0.0) for each in noise[:1000]}


# a run ---------------------------------------------------------------------------------------------------------------


def test_the_folder_of_a_run_names_what_it_belongs_to(run: Path, weights: Path) -> None:
    told = json.loads((run / "inversion" / "inversion.json").read_text())
    assert [branch["encoder"] for branch in told["branches"]] == ["first", "second"]
    assert [branch["depths"] for branch in told["branches"]] == [[2, 0, 1], [2, 1, 0]]
    made = told["made"]
    assert (made["base_model"], made["step"]) == ("sdxl", 4)
    assert made["config"]["model"]["image_encoder"] == "first"
    texts = [(run / name).read_text() for name in ("run.json", "inversion/inversion.json")]
    assert not any(str(weights) in text for text in texts)
    names = set(load_file(run / "inversion" / "inversion.safetensors"))
    assert {f"text_encoder{end}.mapping{kind}_2.3.weight" for end in ("", "_2") for kind in ("", "_patch")} <= names
    assert not any("_ip" in name for name in load_file(run / "inversion" / "pytorch_lora_weights.safetensors"))


def test_the_log_and_the_page_tell_the_run(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["num_portraits_seen"] for row in rows] == [2, 4, 6, 8]
    for row in rows:
        assert row["loss"] == pytest.approx(row["error"] + 0.01 * row["word_size"], rel=1e-5)
        assert 0 < row["area"] < 1
    build_training_page(run)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "StellarNet" in html
    assert "a photo of a S* person" in html
    assert {path.parent.name for path in run.glob("samples/0*/*.png")} == {"000000", "000004"}


def test_rates_are_shares_of_the_runs(weights: Path, recipe: Path, tmp_path: Path) -> None:
    """One step of Adam moves what has a gradient by its learning rate, whatever the gradient; batches of 2, scaled."""
    changes = ["train.steps=1", "train.weight_decay=0.0", "train.learning_rate=1e-3", "train.warmup=0"]
    made = tune(recipe, out=tmp_path / "run", changes=[*changes, "model.scale_lr=true"], device="cpu")
    assert made.last["learning_rate"] == 1e-3
    first = Prepared(recipe, weights=weights).trained.words.state_dict()
    saved, lora = (load_file(made.trained / name) for name in ("inversion.safetensors", FILE_NAME))
    moved = torch.cat([(saved[each] - first[each]).abs().flatten() for each in saved])
    ups = torch.cat([each.abs().flatten() for key, each in lora.items() if "lora_B" in key])
    assert float(moved.max()) == pytest.approx(2e-3, rel=0.02)
    assert float(ups.max()) == pytest.approx(1e-3, rel=0.02)


def test_a_run_in_two_sittings_ends_with_the_same_bytes(recipe: Path, run: Path, tmp_path: Path) -> None:
    tune(recipe, out=tmp_path / "parts", changes=["train.steps=2"], device="cpu")
    tune(recipe, out=tmp_path / "parts", device="cpu")
    links = frozenset(("inversion/first", "inversion/second"))
    whole = {key: value for key, value in results(run).items() if key not in links}
    assert results(tmp_path / "parts") == whole


def results(run: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    files = [path for place in ("inversion", "state") for path in (run / place).iterdir() if path.is_file()]
    told: dict[str, Any] = {path.relative_to(run).as_posix(): path.read_bytes() for path in files}
    return told | {"log": [{key: value for key, value in row.items() if key != "seconds"} for row in rows]}


def kill_and_finish(recipe: Path, folder: Path, *, count: int, seed: int) -> None:
    """Saves after every step, so that many kills fall into a save."""
    text = recipe.read_text().replace("steps = 4", "steps = 6").replace("save_every = 2", "save_every = 1")
    recipe.write_text(text)
    runs.kill_runs(recipe, folder, count=count, seed=seed)
    assert "inversion/inversion.safetensors" in runs.results(folder / "whole")


def test_a_killed_run_ends_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    kill_and_finish(recipe, tmp_path, count=1, seed=0)


@pytest.mark.slow
def test_ten_killed_runs_end_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    kill_and_finish(recipe, tmp_path, count=10, seed=1)


def test_words_learn_to_tell_people_apart(weights: Path, tmp_path: Path) -> None:
    """The same noise and time: after training, the loss of a fixed batch is lower."""
    recipe = write_stellar_recipe(tmp_path / "run.toml", weights=weights, data="count = 2")
    before = Prepared(recipe, weights=weights)
    batch = before.batch([0, 1], [0.4, 0.6])
    with torch.no_grad():
        first = before.task.step(batch, backbone=before.sdxl, trainable=before.trained).loss
    optimizer = torch.optim.Adam([parameter for _, parameter in before.trained.named], lr=3e-3)
    for _ in range(12):
        loss = before.task.step(batch, backbone=before.sdxl, trainable=before.trained).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = before.task.step(batch, backbone=before.sdxl, trainable=before.trained).loss
    assert float(last) < 0.97 * float(first)


def test_a_folder_of_portraits_trains_and_tells_what_it_leaves_out(weights: Path, tmp_path: Path) -> None:
    folder = write_portraits(tmp_path / "faces")
    Image.new("L", (20, 20)).save(folder / "1_bg.png")
    data = f'source = "folder"\nfolder = {json.dumps(str(folder))}\nfaces = "none"'
    recipe = write_stellar_recipe(tmp_path / "run.toml", weights=weights, data=data)
    made = tune(recipe, out=tmp_path / "run", changes=["train.steps=1"], device="cpu")
    assert (made.num_rows, made.noun, made.lora) == (2, "portraits", None)
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "left_out.jsonl").read_text().splitlines()]
    assert "1.png: expected a mask of 1% to 99%" in row["reason"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["samples.every=2"], "samples.every: expected 0"),
        (["model.depths=[2, 1]"], "model.depths: expected as many as model.depths_2, got 2 and 3"),
        (["model.depths=[9, 1, 1]"], r"expected numbers of 0 to 2, the blocks of first, got \[9, 1, 1\]"),
        (["data.size=50"], "size: expected multiples of 8 px"),
    ],
)
def test_what_cannot_be_trained_is_told(recipe: Path, tmp_path: Path, changes: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tune(recipe, out=tmp_path / "run", changes=changes, device="cpu")


def test_a_model_that_is_no_sdxl_is_told(recipe: Path, tmp_path: Path) -> None:
    flux = runs.write_model(tmp_path / "flux")
    with pytest.raises(ConfigError, match=r"expected a folder of SDXL.*got FluxUno"):
        tune(recipe, out=tmp_path / "run", changes=[f"model.base={json.dumps(str(flux))}"], device="cpu")


# pictures ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker(run: Path, weights: Path) -> StellarNet:
    return load_stellarnet(weights / "sdxl", device="cpu", dtype="float32", loras=[run / "inversion"])


def portrait(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8))


def drawn(
    maker: StellarNet, prompt: str = "a S* person", *, seed: int = 1, reference: int = 0, **options: Any
) -> bytes:
    return maker.generate(prompt, [portrait(reference)], seed=seed, options=StellarOptions(**options)).tobytes()


def test_person_prompt_seed_and_options_decide_the_picture(maker: StellarNet) -> None:
    first = drawn(maker)
    assert drawn(maker) == first == drawn(maker, "a person")
    others = [
        drawn(maker, seed=2),
        drawn(maker, reference=1),
        drawn(maker, "a S* person waves"),
        drawn(maker, word="1"),
        drawn(maker, word="full"),
        drawn(maker, lora_scale=0.0),
    ]
    assert len({first, *others}) == 7
    assert drawn(maker) == first  # no option stays


def test_without_lora_and_with_an_ordinary_word_it_is_the_plain_model(
    maker: StellarNet, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SdxlIpAdapter.load(weights / "sdxl")
    parts = plain.parts
    own = []
    for tokenizer, encoder in ((parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2)):
        (word,) = tokenizer("cat", add_special_tokens=False).input_ids
        own.append(encoder.get_input_embeddings().weight[[word]][None].detach())
    monkeypatch.setattr(maker._words, "forward", lambda _: own)
    made = maker.generate("a S* hugs a dog", [portrait()], seed=3, options=StellarOptions(lora_scale=0.0))
    expected = plain.generate("a cat hugs a dog", seed=3)
    assert np.abs(np.asarray(made).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_a_mask_blackens_the_background(maker: StellarNet) -> None:
    mask = Image.new("L", (48, 48))
    mask.paste(255, (8, 8, 40, 40))
    seen = np.asarray(maker.crop_reference(portrait(), mask))
    assert (seen[:8] == 0).all()
    assert np.array_equal(seen[8:40, 8:40], np.asarray(portrait())[8:40, 8:40])
    with pytest.raises(DataError, match="got no pixel inside"):
        maker.crop_reference(portrait(), Image.new("L", (48, 48)))


def test_what_cannot_be_drawn_is_told(maker: StellarNet, run: Path, weights: Path, tmp_path: Path) -> None:
    for references in ([], [portrait(), portrait(1)]):
        with pytest.raises(DataError, match=f"expected one portrait, got {len(references)}"):
            maker.generate("a S* person", references, seed=0)
    with pytest.raises(ConfigError, match="expected a number below 3, got 4"):
        drawn(maker, word="4")
    with pytest.raises(ConfigError, match="word: expected"):
        StellarOptions(word="5")  # pyright: ignore[reportArgumentType] as from a command line
    flux = runs.write_model(tmp_path / "flux")
    with pytest.raises(ConfigError, match="expected a folder of SDXL"):
        load_stellarnet(flux, device="cpu", dtype="float32", loras=[run / "inversion"])
    assert maker.prompt_is_truncated("a person " + "in the snow " * 20)
    assert not maker.prompt_is_truncated("a person")


def test_generate_reads_the_folder_of_a_run(run: Path, weights: Path, tmp_path: Path) -> None:
    save_png(portrait(), tmp_path / "face.png")
    words = ["generate", "--model", str(weights / "sdxl"), "--lora", str(run / "inversion"), "--option", "word=full"]
    asked = [*words, "--ref", str(tmp_path / "face.png"), "--device", "cpu", "--dtype", "float32"]
    result = CliRunner().invoke(app, [*asked, "--prompt", "a photo of a S* person", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert (row["settings"]["maker"], row["settings"]["word"]) == (
        "likeness.backbones.sdxl.stellarnet:load_stellarnet",
        "full",
    )
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["settings_in_force"]["size"] == 64
    assert told["model"]["loras"][0]["id"] == "inversion"
    wrong = CliRunner().invoke(app, [*asked, "--prompt", "a cat", "--out", str(tmp_path / "none")])
    assert wrong.exit_code != 0
    assert "expected S*" in wrong.output + wrong.stderr


def test_encoders_that_are_not_to_be_had_are_named(weights: Path, run: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(run / "inversion", tmp_path / "inversion", ignore=lambda _, names: {"first", "second"})
    with pytest.raises(WeightsError, match="first"):
        load_stellarnet(weights / "sdxl", device="cpu", dtype="float32", loras=[bare])
