"""What encoders share that answer texts about pictures: each picture alone, and once for all its questions."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar  # Any: what a model keeps of a picture is its own

import torch
from PIL import Image

from likeness.core.hashing import pixels_sha256
from likeness.encoders.base import FolderEncoder

Answer = TypeVar("Answer")


class AskedEncoder(FolderEncoder, Generic[Answer]):
    """A frozen model that answers questions about pictures; a subclass says what it keeps of a picture, and answers.

    Pictures go through the network one at a time, so that no answer depends on others in the call.
    """

    @torch.inference_mode()
    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Answer]:
        """The answer to each picture and its text; a picture that occurs several times is looked at once."""
        by_picture: dict[str, list[int]] = {}
        for index, image in enumerate(images):
            by_picture.setdefault(pixels_sha256(image), []).append(index)
        answers: dict[int, Answer] = {}
        for places in by_picture.values():
            picture = images[places[0]].convert("RGB")
            kept = self._seen(picture)
            answers |= {place: self._answer(picture, kept, texts[place]) for place in places}
        return [answers[index] for index in range(len(images))]

    def _seen(self, picture: Image.Image) -> Any:
        """What is computed once per picture; nothing unless a subclass says so."""
        return None

    @abstractmethod
    def _answer(self, picture: Image.Image, seen: Any, text: str) -> Answer: ...
