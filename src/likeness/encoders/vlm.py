"""A vision-language model: as a judge of yes/no questions by its probabilities, and as a writer of descriptions.

Source of the judge: VQAScore (Lin et al., arXiv:2404.01291): P(yes) at the first place of the answer. Differs: divided
by P(yes) + P(no), each summed over its spellings of one token ("Yes", " yes", ...), as logits of one forward pass:
nothing is sampled, and no text is parsed. The model is open and named by its revision.
"""

from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from likeness.core.errors import DataError
from likeness.encoders.answers import YesNo
from likeness.encoders.asking import Answer, AskedEncoder
from likeness.encoders.base import encoder_id, load_whole

SPELLINGS = {"yes": ("Yes", "yes", "YES"), "no": ("No", "no", "NO")}


class _VisionLanguageModel(AskedEncoder[Answer]):
    """A frozen image-text-to-text model in float32 with its processor; `how` is what it does, for its id."""

    how: ClassVar[str]
    wanted: ClassVar[tuple[str, str]] = (
        "vision-language model",
        "an image-text-to-text model as safetensors with processor, tokenizer and chat template",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        self.model: Any = load_whole(AutoModelForImageTextToText, folder, device=device)
        self.processor: Any = _processor(folder, kind)
        self.device = device
        if not self.processor.chat_template:
            raise ValueError("a processor without a chat template")
        what = f"PIL, its chat template, {self.how}"
        self.id = encoder_id(f"vlm {kind}", spec=spec, folder=folder, preprocessing=what, batch=1)

    def _inputs(self, picture: Image.Image, text: str) -> Any:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return self.processor(text=[prompt], images=[picture], return_tensors="pt").to(self.device)


class YesNoModel(_VisionLanguageModel[YesNo]):
    """Answers one yes/no question about one picture."""

    answer = YesNo
    how: ClassVar[str] = "first token yes/no"

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        super().__init__(folder, device=device, spec=spec)
        self.tokens = {name: _tokens(spellings, self.processor.tokenizer) for name, spellings in SPELLINGS.items()}

    def _answer(self, picture: Image.Image, seen: Any, text: str) -> YesNo:
        return self._yes_no(self.model(**self._inputs(picture, text)).logits[0, -1].double())

    def _yes_no(self, logits: Float[Tensor, " V"]) -> YesNo:
        yes, no = (torch.logsumexp(logits[self.tokens[name]], dim=0) for name in ("yes", "no"))
        both = torch.logaddexp(yes, no) - torch.logsumexp(logits, dim=0)
        return YesNo(float(yes - no), min(1.0, float(both.exp())))


class Describer(_VisionLanguageModel[str]):
    """Writes what a text asks for about one picture: the likeliest token at each place, at most `max_tokens`."""

    answer = str
    how: ClassVar[str] = "greedy"
    max_tokens = 80

    def _answer(self, picture: Image.Image, seen: Any, text: str) -> str:
        inputs = self._inputs(picture, text)
        plain = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
        written = self.model.generate(**inputs, max_new_tokens=self.max_tokens, **plain)
        tokens = written[0, inputs["input_ids"].shape[1] :]
        return " ".join(self.processor.tokenizer.decode(tokens, skip_special_tokens=True).split())


def _processor(folder: Path, kind: str) -> Any:
    """The folder's processor for pictures and texts, with PIL's image processor, whatever else is installed.

    A part for videos stays out: it would need torchvision. Raises: ValueError for an unknown kind of model.
    """
    if kind not in PROCESSOR_MAPPING_NAMES:
        raise ValueError(f"model_type {kind}, which has no processor")
    stock: Any = resolve_name(f"transformers:{PROCESSOR_MAPPING_NAMES[kind]}")

    class OfPictures(stock):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return argument if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil"),
        "tokenizer": AutoTokenizer.from_pretrained(folder, local_files_only=True),
    }
    settings, _ = stock.get_processor_dict(folder, local_files_only=True)
    return OfPictures.from_args_and_dict([parts.get(name) for name in OfPictures.get_attributes()], settings)


def _tokens(spellings: tuple[str, ...], tokenizer: Any) -> list[int]:
    """The tokens that alone are one of the spellings, with or without a space before. Raises: DataError without any."""
    ids = {
        encoded[0]
        for spelling in spellings
        for text in (spelling, f" {spelling}")
        if len(encoded := tokenizer.encode(text, add_special_tokens=False)) == 1
        and encoded[0] != tokenizer.unk_token_id
    }
    if not ids:
        raise DataError(f"tokenizer: expected one token for {spellings[0]}, got none; take another model.")
    return sorted(ids)
