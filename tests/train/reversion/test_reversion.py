"""ReVersion: exemplars, the words that steer, the loss of a step, what moves, and runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import preference_runs as runs
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from stock_sdxl import stock_pipeline
from tiny_reversion import SIZE, TEXTS, prepared, recipe
from transformers import CLIPTokenizer
from typer.testing import CliRunner

from likeness.backbones.open import open_backbone
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.options import SdxlOptions
from likeness.backbones.sdxl.words import ENCODERS
from likeness.cli import app
from likeness.core.errors import ConfigError, DataError, LikenessError, WeightsError
from likeness.core.weights import resolve_weights
from likeness.data.relations.world import make_world_relations
from likeness.train.config import read_train_config
from likeness.train.reversion.exemplars import ExemplarTable, find_exemplars
from likeness.train.reversion.lexicon import PREPOSITIONS, STOP_WORDS
from likeness.train.reversion.steering import Lexicon, entity_words
from likeness.train.run import tune
from likeness.train.subjects.dreambooth import TARGETS
from likeness.train.task import Draw
from likeness.train.trainable.lora import LoraAdapter

PROMPT = "A cat <R> a dog in the snow."


def draws(shape: Sequence[int], *, count: int = 2) -> list[Draw]:
    draw = torch.Generator().manual_seed(3)
    return [Draw(torch.randn(*shape, generator=draw), 0.2 + 0.3 * number, seed=number + 7) for number in range(count)]


# exemplars -----------------------------------------------------------------------------------------------------------


def test_exemplars_of_a_folder(exemplars: Path) -> None:
    found = find_exemplars(ExemplarTable(exemplars=str(exemplars), size=SIZE))
    assert {each.id: list(each.texts) for each in found} == TEXTS
    assert all(each.image.size == (SIZE, SIZE) for each in found)


def test_exemplars_of_a_set_of_relations_have_a_slot_for_the_predicate(tmp_path: Path) -> None:
    make_world_relations(2, out=tmp_path / "set", actions=["shake_hands"], size=64)
    found = find_exemplars(ExemplarTable(exemplars=str(tmp_path / "set"), size=SIZE))
    rows = [json.loads(line) for line in (tmp_path / "set" / "relations.jsonl").read_text().splitlines()]
    for exemplar, row in zip(found, rows, strict=True):
        before, _, after = row["prompt"].partition("shakes hands with")
        assert exemplar.texts == (f"{before}{{}}{after}",)
        target = Image.open(tmp_path / "set" / row["target"]).convert("RGB")
        np.testing.assert_array_equal(np.asarray(exemplar.image), np.asarray(target))
    row = {**rows[0], "predicate": "shakes hand"}  # part of a word
    (tmp_path / "set" / "relations.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="expected a predicate of whole words"):
        find_exemplars(ExemplarTable(exemplars=str(tmp_path / "set"), size=SIZE))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (None, "expected a folder with text.json or relations.jsonl, got neither"),
        ({**TEXTS, "9.png": ["a {} b"]}, "expected an entry for every picture and no other, got a difference in 9.png"),
        ({**TEXTS, "1.png": ["a cat hugs a dog"]}, "1.png: expected a list of texts with one {} each"),
        ({**TEXTS, "1.png": []}, "1.png: expected a list of texts with one {} each"),
    ],
)
def test_folders_that_say_too_little_are_told(exemplars: Path, tmp_path: Path, texts: Any, said: str) -> None:
    for picture in exemplars.glob("*.png"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    if texts is not None:
        (tmp_path / "text.json").write_text(json.dumps(texts))
    with pytest.raises(LikenessError) as caught:
        find_exemplars(ExemplarTable(exemplars=str(tmp_path), size=SIZE))
    assert said in str(caught.value)


# words ---------------------------------------------------------------------------------------------------------------


def test_entity_words_are_those_that_name_something() -> None:
    text = "A photo of a Dog that is {} 2 cats' mother, beside the red close-up box; they're happy!"
    assert entity_words(text) == ["dog", "cats", "mother", "red", "close", "box", "happy"]
    assert len(set(PREPOSITIONS)) == len(PREPOSITIONS) >= 40
    assert not STOP_WORDS & set(PREPOSITIONS)
    assert all(word == word.lower() and word.isalpha() for word in (*PREPOSITIONS, *STOP_WORDS))


def test_pads_ends_and_small_words_steer_in_neither_tokenizer(
    sdxl_folder: Path, exemplars: Path, tmp_path: Path
) -> None:
    """Against the padded prompts as both encoders read them, which differ in what they are padded with."""
    made, backbone = prepared(tmp_path, model=sdxl_folder, exemplars=exemplars)
    made.make_trainable(backbone)
    texts = ["A cat {} a dog in the snow.", "a red fox {} a duck!"]
    steered = made._lexicon.steered(texts, seeds=[1, 2], count=3, device=torch.device("cpu"))
    parts, pads = backbone.parts, set()
    for key, tokenizer in (("clip_l", parts.tokenizer), ("clip_g", parts.tokenizer_2)):
        pads.add(tokenizer.pad_token_id)
        read = tokenizer([text.replace("{}", "<R>") for text in texts], padding="max_length", max_length=24).input_ids
        kept = {"cat", "dog", "snow", "red", "fox", "duck"}
        expected = [number for row in read for number in row if tokenizer.decode([number]).strip() in kept]
        assert steered.entities[key].tolist() == expected
        assert tokenizer.pad_token_id not in steered.entities[key]
        small = sorted(tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in ("at", "in", "on"))
        assert [sorted(each) for each in steered.prepositions[key].view(2, 3).tolist()] == [small, small]
    assert pads == {parts.tokenizer.eos_token_id, 0}


def test_prepositions_follow_from_the_seed_and_none_comes_twice() -> None:
    """Of the embedded model's vocabulary, which has more of them than are drawn."""
    folder = resolve_weights("sdxl")
    tokenizers = {key: CLIPTokenizer.from_pretrained(folder / name) for key, (name, _) in ENCODERS.items()}
    lexicon = Lexicon(tokenizers, at_least=4)
    assert {"in", "on", "under", "with"} < set(lexicon.prepositions) < set(PREPOSITIONS)
    device = torch.device("cpu")

    def drawn(seed: int) -> list[int]:
        return lexicon.steered(["a cat"], seeds=[seed], count=4, device=device).prepositions["clip_l"].tolist()

    assert drawn(1) == drawn(1)
    assert all(len(set(drawn(seed))) == 4 for seed in range(20))
    assert len({number for seed in range(50) for number in drawn(seed)}) == len(lexicon.prepositions)


# a step --------------------------------------------------------------------------------------------------------------


def noise_error_by_hand(backbone: Any, noised: Any, *, number: int) -> float:
    """||eps_hat - eps||^2 in float64, with the path written out."""
    alphas = backbone.parts.scheduler.alphas_cumprod.double()
    x0, eps, step = noised.x0[number].double(), noised.eps[number].double(), int(float(noised.t[number]) * len(alphas))
    x_t = alphas[step].sqrt() * x0 + (1 - alphas[step]).sqrt() * eps
    condition: Any = backbone.collate([backbone.prepare(noised.prompts[number])])
    with torch.no_grad():
        answer = backbone.answer(x_t[None].float(), torch.tensor(step), condition)[0]
    return float((answer.double() - eps).square().mean())


def steering_by_hand(backbone: Any, prompts: Sequence[str], *, temperature: float) -> float:
    """By the tables of the stock encoders; every prompt is given "at", "in" and "on"."""
    given, small = ["at", "in", "on"], {"a", "the", "is", "in", "on", "<r>"}
    found = []
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        tokenizer = getattr(backbone.parts, f"tokenizer{number}")
        table = backbone.parts.stored.get(f"text_encoder{number}").get_input_embeddings().weight.double()
        words = [word.strip(".!") for prompt in prompts for word in prompt.lower().split()]
        names = [word for word in words if word not in small]
        ids = {word: tokenizer(word, add_special_tokens=False).input_ids[0] for word in {*names, *given}}
        word = backbone.words.rows["<R>"][key][0].detach().double()

        def power(row: torch.Tensor, word: torch.Tensor = word) -> float:
            return math.exp(float(torch.nn.functional.cosine_similarity(row, word, dim=0)) / temperature)

        near = sum(power(table[ids[each]]) for each in given * len(prompts))
        far = sum(power(table[ids[each]]) for each in names)
        found.append(-math.log(near / (near + far)))
    return sum(found) / 2


@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_a_step_is_the_noise_error_and_the_steering(
    sdxl_folder: Path, exemplars: Path, tmp_path: Path, weight: float
) -> None:
    changes = [f"objective.steering_weight={weight}", "objective.temperature=0.5"]
    made, backbone = prepared(tmp_path, model=sdxl_folder, exemplars=exemplars, changes=changes)
    trainable = made.make_trainable(backbone)
    batch = made.batch([0, 2], draws(made.shapes[0][0]), backbone=backbone)
    step = made.step(batch, backbone=backbone, trainable=trainable)
    prompts = batch.exemplars.prompts
    assert [prompt.count("<R>") for prompt in prompts] == [1, 1]
    steered = steering_by_hand(backbone, prompts, temperature=0.5)
    errors = [noise_error_by_hand(backbone, batch.exemplars, number=number) for number in range(2)]
    np.testing.assert_allclose(step.logged["loss"].numpy(), [e + weight * steered for e in errors], rtol=1e-4)
    assert float(step.loss.detach()) == pytest.approx(float(step.logged["loss"].mean()))
    if weight:
        np.testing.assert_allclose(step.logged["steering"].numpy(), [steered] * 2, rtol=1e-4)
    else:
        assert "steering" not in step.logged


def test_all_other_rows_are_equal_to_the_bit(sdxl_folder: Path, exemplars: Path, tmp_path: Path) -> None:
    """After steps of AdamW with weight decay, which a row among the others would feel."""
    made, backbone = prepared(tmp_path, model=sdxl_folder, exemplars=exemplars)
    trainable = made.make_trainable(backbone)
    assert [(name, tuple(row.shape)) for name, row in trainable.named] == [
        ("<R>/clip_l", (1, 32)),
        ("<R>/clip_g", (1, 32)),
    ]
    networks = [backbone.network, *(backbone.parts.stored.get(f"text_encoder{n}") for n in ("", "_2"))]
    mine = {id(row) for _, row in trainable.named}
    others = [(p, p.detach().clone()) for net in networks for p in net.parameters() if id(p) not in mine]
    before = [row.detach().clone() for _, row in trainable.named]
    optimizer = torch.optim.AdamW([row for _, row in trainable.named], lr=1e-2, weight_decay=0.5)
    for _ in range(3):
        batch = made.batch([0, 1], draws(made.shapes[0][0]), backbone=backbone)
        made.step(batch, backbone=backbone, trainable=trainable).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(torch.equal(parameter, old) and parameter.grad is None for parameter, old in others)
    assert all(not torch.equal(row, old) for (_, row), old in zip(trainable.named, before, strict=True))
    initial = backbone.words.rows_of("is")
    assert all(torch.equal(old, initial[key]) for old, key in zip(before, ("clip_l", "clip_g"), strict=True))


# runs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_killed_runs_end_with_the_same_bytes(sdxl_folder: Path, exemplars: Path, tmp_path: Path) -> None:
    """Saves after every step, so that many kills fall into a save."""
    path = recipe(tmp_path / "run.toml", model=sdxl_folder, exemplars=exemplars, steps=8)
    path.write_text(path.read_text().replace("save_every = 2", "save_every = 1"))
    runs.kill_runs(path, tmp_path, count=10, seed=0)


@pytest.fixture(scope="module")
def word(sdxl_folder: Path, exemplars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a word after four steps."""
    folder = tmp_path_factory.mktemp("word")
    return tune(
        recipe(folder / "run.toml", model=sdxl_folder, exemplars=exemplars), out=folder / "run", device="cpu"
    ).trained


def test_a_run_in_two_sittings_ends_with_the_same_bytes(
    word: Path, sdxl_folder: Path, exemplars: Path, tmp_path: Path
) -> None:
    path = recipe(tmp_path / "run.toml", model=sdxl_folder, exemplars=exemplars)
    tune(path, out=tmp_path / "parts", changes=["train.steps=2"], device="cpu")
    tune(path, out=tmp_path / "parts", device="cpu")
    assert runs.same(word.parent, tmp_path / "parts")


def test_a_run_says_what_it_is_and_no_place(word: Path, exemplars: Path) -> None:
    assert 't_sampler = "relation_focal"' in (word.parent / "config.toml").read_text()
    facts = (word.parent / "run.json").read_text()
    assert json.loads(facts)["data"] | {"sha256": ""} == {
        "id": "hugs", "sha256": "", "token": "<R>", "split": "train", "size": SIZE, "num_exemplars": 3
    }  # fmt: skip
    assert str(exemplars.parent) not in facts
    rows = [json.loads(line) for line in (word.parent / "log.jsonl").read_text().splitlines()]
    assert all(row["loss"] == pytest.approx(row["error"] + 0.01 * row["steering"], rel=1e-5) for row in rows)


def test_stock_diffusers_reads_the_file(word: Path, sdxl_folder: Path) -> None:
    """Its layout for SDXL: clip_l and clip_g in one safetensors; the prompt is then the same to it and to us."""
    file = word / "learned_embeds.safetensors"
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["likeness.token"] == "<R>"
    state = load_file(file)
    assert {key: tuple(rows.shape) for key, rows in state.items()} == {"clip_l": (1, 32), "clip_g": (1, 32)}
    pipeline: Any = stock_pipeline(sdxl_folder)
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        parts = {part: getattr(pipeline, f"{part}{number}") for part in ("text_encoder", "tokenizer")}
        pipeline.load_textual_inversion(state[key], token="<R>", **parts)
    embeds, _, pooled, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
    ours: Any = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[word])
    told = ours.prepare(PROMPT)
    torch.testing.assert_close(told["embeds"], embeds[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(told["pooled"], pooled[0], rtol=0, atol=1e-5)


def test_the_word_beside_references(word: Path, ms_folder: Path) -> None:
    """On MS-Diffusion word and references both act, and prompts without the word are as before."""
    ours, bare = (open_backbone(ms_folder, device="cpu", dtype="float32", loras=loras) for loras in ([word], []))
    shown = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]

    def drawn(backbone: Any, prompt: str, references: Sequence[Image.Image]) -> np.ndarray:
        return np.asarray(backbone.generate(prompt, references, seed=3), dtype=int)

    both = drawn(ours, PROMPT, shown)
    assert np.abs(both - drawn(ours, PROMPT, [])).max() > 1
    assert np.abs(both - drawn(bare, PROMPT.replace("<R>", "is"), shown)).max() > 1
    plain = "A cat hugs a dog."
    np.testing.assert_array_equal(drawn(ours, plain, shown), drawn(bare, plain, shown))


def test_the_word_on_a_dreambooth_lora(word: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    """One command with two files draws what the tuned network draws once it knows the word; either alone does not."""
    tuned = SdxlIpAdapter.load(sdxl_folder)
    adapter = LoraAdapter(tuned, rank=2, alpha=2.0, init_seed=0, targets=TARGETS)
    for _, parameter in adapter.named:
        parameter.data.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    adapter.save(tmp_path / "dog", metadata={})
    prompt, loras = "A sks dog <R> a cat.", ["--lora", str(tmp_path / "dog"), "--lora", str(word)]
    told = ["--prompt", prompt, "--steps", "1", "--seed", "3", "--device", "cpu", "--dtype", "float32"]
    result = CliRunner().invoke(
        app, ["generate", "--model", str(sdxl_folder), "--out", str(tmp_path / "out"), *told, *loras]
    )
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [each["layers"] for each in facts["model"]["loras"]] == [2 * 4 * 11, 2]
    (file,) = (tmp_path / "out" / "images").glob("*.png")
    both = np.asarray(Image.open(file), dtype=int)

    def drawn(backbone: Any) -> np.ndarray:
        return np.asarray(backbone.generate(prompt, seed=3, options=SdxlOptions(steps=1)), dtype=int)

    assert np.abs(both - drawn(tuned)).max() > 1
    tuned.add_words(word)
    assert np.abs(both - drawn(tuned)).max() <= 1
    with adapter.off():
        assert np.abs(both - drawn(tuned)).max() > 1


def test_a_relation_lora_draws_where_there_is_no_adapter(ms_folder: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    """DreamRelation's Fig. 10: trained with MS-Diffusion, drawn by another SDXL, and by the stock pipeline, alike."""
    make_world_relations(1, out=tmp_path / "set", actions=["hug"], size=96)
    path = tmp_path / "relation.toml"
    path.write_text(
        f'task = "relations"\n[model]\nbase = {json.dumps(str(ms_folder))}\nrank = 2\nalpha = 2.0\n'
        f'[data]\nrelations = {json.dumps(str(tmp_path / "set"))}\nsize = {SIZE}\n[objective]\nkind = "relation"\n'
        '[train]\nsteps = 2\nlearning_rate = 0.1\nwarmup = 0\nprecision = "fp32"\n'
    )
    lora = tune(path, out=tmp_path / "run", device="cpu").trained
    assert not any("_ip" in name for name in load_file(lora / "pytorch_lora_weights.safetensors"))
    ours, bare = (open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=loras) for loras in ([lora], []))
    stock: Any = stock_pipeline(sdxl_folder)
    stock.load_lora_weights(str(lora))
    told: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 2.0, "height": SIZE, "width": SIZE}
    expected = stock("A cat hugs a dog.", generator=torch.Generator().manual_seed(5), **told).images[0]
    drawn, plain = (np.asarray(each.generate("A cat hugs a dog.", seed=5), dtype=int) for each in (ours, bare))
    assert np.abs(drawn - np.asarray(expected, dtype=int)).max() <= 1
    assert np.abs(drawn - plain).max() > 1


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (["data.exemplars=nowhere"], ConfigError, "data.exemplars: expected a folder with text.json"),
        (["samples.every=2"], ConfigError, "samples.every: expected 0"),
        (["data.size=60"], ConfigError, "size: expected multiples of 8"),
        (["model.initial_word=xylophone"], ConfigError, "expected one token of tokenizer"),
        (["objective.num_prepositions=4"], ConfigError, "objective.num_prepositions: expected at most the 3"),
        (["train.t_sampler=logit_normal"], ConfigError, "expected one of relation_focal, uniform, got 'logit_normal'"),
        (["data.token=cat"], ConfigError, "data.token: expected a word that no text holds, got 'cat'"),
        (["data.token=%"], WeightsError, "expected tokens that the model does not have"),
    ],
)
def test_what_cannot_be_trained_is_told(
    sdxl_folder: Path, exemplars: Path, tmp_path: Path, changes: list[str], error: type[Exception], said: str
) -> None:
    path = recipe(tmp_path / "run.toml", model=sdxl_folder, exemplars=exemplars)
    with pytest.raises(error) as caught:
        tune(path, out=tmp_path / "run", changes=changes, device="cpu")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a {} the", "expected texts that name what is related"), ("a cat {} " + "a dog " * 12, "read to their end")],
)
def test_texts_that_cannot_teach_are_told(
    sdxl_folder: Path, exemplars: Path, tmp_path: Path, text: str, said: str
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "0.png").write_bytes((exemplars / "0.png").read_bytes())
    (folder / "text.json").write_text(json.dumps({"0.png": [text]}))
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, model=sdxl_folder, exemplars=folder)


def test_the_recipe_is_the_public_code_s() -> None:
    config: Any = read_train_config(Path(__file__).parents[3] / "recipes" / "reversion.toml")
    assert (config.objective.steering_weight, config.objective.temperature, config.objective.num_prepositions) == (
        0.01,
        0.07,
        4,
    )
    assert config.train.rate == 2.5e-4 * config.train.batch_size * config.train.accumulation
