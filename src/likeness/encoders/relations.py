"""Who stands in which relation to what, looked at where both are: a detector finds them, a judge says yes or no.

A question is one line each for the subject, the object and the relations in question. Steps: the best boxes of
subject and object; the pair of boxes that is surest and nearest, g_s * g_o * exp(-gap / diagonal); the part of the
picture around both; for each relation, is it seen there? Thresholds and sizes below are ours: Stellar
(arXiv:2312.06116) publishes no relation score.
The judge is a vision-language model, which is asked a question, or a CLIP that was trained on relations, which is given
a statement.
"""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.weights import require_configs
from likeness.encoders.answers import RelationAnswer, YesNo
from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import weights_folder
from likeness.encoders.clip_judge import ClipJudge
from likeness.encoders.detections import Detections
from likeness.encoders.owl import OwlDetector
from likeness.encoders.vlm import YesNoModel

THRESHOLD, MOST = 0.1, 5
PADDING, SHORT_SIDE = 0.1, 448
QUESTION = "Does the picture show {subject} {relation} {object}? Answer Yes or No."
STATEMENT = "{subject} {relation} {object}"
DETECTOR, JUDGES = "detector", ("judge", "vlm")
"""Names of the parts' folders."""
JOINT = "+"


class Judge(NamedTuple):
    """A frozen model that says yes or no, and the words that it is asked with."""

    model: AskedEncoder[YesNo]
    wording: str


def load_judge(spec: str, *, device: str) -> Judge:
    """A CLIP judge where the weights are a CLIP's, else a vision-language model.

    Raises: WeightsError when there is none.
    """
    folder = weights_folder(spec)
    require_configs(folder)
    config = folder / "config.json"
    settings: Any = read_json(config) if config.is_file() else {}
    if settings.get("model_type") == "clip":
        return Judge(ClipJudge.load(spec, device=device), STATEMENT)
    return Judge(YesNoModel.load(spec, device=device), QUESTION)


class RelationEncoder(AskedEncoder[RelationAnswer]):
    """A frozen detector and a frozen judge in one: OWL, and a CLIP or any image-text-to-text model."""

    answer = RelationAnswer
    wanted: ClassVar[tuple[str, str]] = ("relations encoder", "the folders detector and judge (or vlm)")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        judge = next(part for part in JUDGES if (folder / part).is_dir())
        self._put_together(str(folder / DETECTOR), str(folder / judge), device=device)

    def _put_together(self, detector: str, judge: str, *, device: str) -> None:
        self.detector = OwlDetector.load(detector, device=device)
        self.judge, self.wording = load_judge(judge, device=device)
        self.device = device
        how = (
            f"score at least {THRESHOLD}, {MOST} boxes each, {PADDING} around them, short side {SHORT_SIDE} px or more"
        )
        self.id = f"relations: {self.detector.id}; {self.judge.id}; {how}"

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """The encoder of "DETECTOR+JUDGE", each an embedded name, a folder or a hub id, or of a folder that holds the
        folders detector and judge, which may be called vlm too.

        Raises: WeightsError when one of them cannot be had.
        """
        text = str(spec)
        if JOINT not in text or Path(spec).is_dir():
            return cls._of_folder(spec, device=device)
        made = cls.__new__(cls)
        made._put_together(*text.split(JOINT, 1), device=device)
        return made

    @classmethod
    def _of_folder(cls, spec: str | Path, *, device: str) -> Self:
        folder = Path(spec).expanduser()
        if not (folder / DETECTOR).is_dir() or not any((folder / part).is_dir() for part in JUDGES):
            what = f"relations encoder {spec}: expected {cls.wanted[1]} in {folder}"
            raise WeightsError(f"{what}, got no such folders; pass such a folder, or DETECTOR{JOINT}JUDGE.")
        try:
            return cls(folder, device=device, spec=spec)
        except WeightsError as error:
            what = f"relations encoder {spec}: expected {cls.wanted[1]} in {folder}, got {error}"
            raise WeightsError(f"{what.removesuffix('.')}; pass a folder whose parts load.") from error

    def _answer(self, picture: Image.Image, seen: Any, text: str) -> RelationAnswer:
        subject, thing, *relations = text.split("\n")
        found = self.detector.ask([picture, picture], [subject, thing])
        pair = best_pair(*found)
        if pair is None:
            scores = [_best_kept(each) for each in found]
            return RelationAnswer(scores[0], scores[1], ())
        box = around(pair.subject, pair.object, size=picture.size)
        part = shown_large(picture.crop(box))
        asked = [self.wording.format(subject=subject, relation=relation, object=thing) for relation in relations]
        answers = self.judge.ask([part] * len(asked), asked)
        odds = tuple(answer.log_odds for answer in answers)
        return RelationAnswer(_best_kept(found[0]), _best_kept(found[1]), odds, tuple(float(side) for side in box))


def _best_kept(found: Detections) -> float:
    """The best score, or 0 where it is below the threshold."""
    return float(max(found.at_least(THRESHOLD, most=1)[1], default=0.0))


class Pair(NamedTuple):
    """The boxes (px) of a subject and an object that belong together."""

    subject: Float[np.ndarray, " 4"]
    object: Float[np.ndarray, " 4"]


def best_pair(subjects: Detections, objects: Detections) -> Pair | None:
    """The pair with the largest g_s * g_o * exp(-gap / diagonal of the picture); None where one was not found.

    Of equal pairs the one with the surer subject wins, then the one with the surer object.
    """
    ours, our_scores = subjects.at_least(THRESHOLD, most=MOST)
    theirs, their_scores = objects.at_least(THRESHOLD, most=MOST)
    if not len(ours) or not len(theirs):
        return None
    gaps = np.array([[gap(a, b) for b in theirs] for a in ours])
    nearness = np.exp(-gaps / np.hypot(*subjects.size))
    value = our_scores.astype(np.float64)[:, None] * their_scores.astype(np.float64)[None] * nearness
    row, column = np.unravel_index(int(value.argmax()), value.shape)
    return Pair(ours[row], theirs[column])


def gap(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """The distance in px between two boxes (left, top, right, bottom); 0 where they touch or overlap."""
    apart = np.maximum(0, np.maximum(a[:2] - b[2:], b[:2] - a[2:]).astype(np.float64))
    return float(np.hypot(*apart))


def around(
    a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"], *, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The box around both, a tenth of its sides larger on every side, in whole px inside the picture."""
    low, high = np.minimum(a[:2], b[:2]).astype(np.float64), np.maximum(a[2:], b[2:]).astype(np.float64)
    room = PADDING * (high - low)
    left, top = np.floor(np.clip(low - room, 0, np.array(size) - 1)).astype(int)
    right, bottom = np.ceil(np.clip(high + room, (left + 1, top + 1), size)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def shown_large(picture: Image.Image) -> Image.Image:
    """The picture with its short side at SHORT_SIDE px (bicubic) where it is smaller."""
    factor = SHORT_SIDE / min(picture.size)
    if factor <= 1:
        return picture
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC)
