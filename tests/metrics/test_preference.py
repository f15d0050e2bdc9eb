"""Preference scores, the aesthetic score, clip_n and DINOv2: numpy by hand on what tiny encoders see."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image
from seen import with_eyes

from likeness.core.records import Case, Subject
from likeness.encoders.clip import TextFeature
from likeness.encoders.reward import PairScore
from likeness.evaluate import load_encoders
from likeness.evaluate.measure import Panel
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, SubjectEvidence, Value

COSINES = {
    "hps_v1": tiny.write_hps_v1,
    "hps_v2": tiny.write_hps_v2,
    "hps_v21": tiny.write_hps_v21,
    "pickscore": tiny.write_pickscore,
}


def picture(path: Path, seed: int) -> Path:
    fields = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(fields.repeat(12, axis=0).repeat(12, axis=1)).save(path)
    return path


def seen_of(case: Case, path: Path, *, name: str, write: Callable[[Path], Path], folder: Path) -> tuple[Evidence, Any]:
    """The evidence for a picture by one tiny encoder, and the encoder."""
    encoders = load_encoders({name: str(write(folder / name))})
    return with_eyes(partial(Panel.evidence, case=case, picture=path), encoders), encoders[name]


@pytest.mark.parametrize("key", sorted(COSINES))
def test_preference_is_the_raw_cosine_of_picture_and_prompt(key: str, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)
    case = Case(id="a", prompt="a cat", subjects=())
    evidence, encoder = seen_of(case, path, name=key, write=COSINES[key], folder=tmp_path)
    found = METRICS[key].measure(evidence).value
    a = np.asarray(encoder.look([Image.open(path)])[0], np.float64)
    b = np.asarray(encoder.read(["a cat"])[0].vector, np.float64)
    assert found.value == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert (found.note, found.status) == ("", "measured")


@pytest.mark.parametrize("key", sorted(COSINES))
def test_a_cut_prompt_is_noted(key: str) -> None:
    vector = np.array([3.0, 4.0])
    case = Case(id="a", prompt="a cat", subjects=())
    evidence = Evidence(case, {key: np.array([1.0, 0.0])}, {key: TextFeature(vector, True)}, ())
    found = METRICS[key].measure(evidence).value
    assert found.value == pytest.approx(0.6)
    assert found.note == "prompt cut to the encoder's length"


def test_image_reward_is_what_was_answered_to_the_exact_prompt(tmp_path: Path) -> None:
    path, key = picture(tmp_path / "a.png", 2), "image_reward"
    case = Case(id="a", prompt="a cat", subjects=())
    evidence, encoder = seen_of(case, path, name=key, write=tiny.write_image_reward, folder=tmp_path)
    assert METRICS[key].measure(evidence).value.value == encoder.ask([Image.open(path)], ["a cat"])[0].score
    cut = replace(evidence, answers={key: {"a cat": PairScore(-1.5, True)}})
    assert METRICS[key].measure(cut).value == Value(-1.5, "prompt cut to ImageReward's 35 tokens")


def test_the_aesthetic_score_is_what_was_seen_of_the_picture_alone(tmp_path: Path) -> None:
    path, key = picture(tmp_path / "a.png", 3), "aesthetic"
    scores: list[float] = []
    for prompt in ("a cat", "a dog"):
        case = Case(id="a", prompt=prompt, subjects=())
        evidence, encoder = seen_of(case, path, name=key, write=tiny.write_aesthetic, folder=tmp_path / prompt)
        assert METRICS[key].measure(evidence).value.value == encoder.look([Image.open(path)])[0]
        scores.append(METRICS[key].measure(evidence).value.value)
    assert scores[0] == scores[1]


def clip_n_evidence(*, photos: list[np.ndarray], truncated: bool = False) -> Evidence:
    name = "clip_bigg14"
    subjects = tuple(
        Subject(id=str(number), class_name="person", reference_image=Path(f"{number}.png"))
        for number in range(len(photos))
    )
    seen = tuple(SubjectEvidence(subject, (), {name: photo}) for subject, photo in zip(subjects, photos, strict=True))
    prompt = {name: TextFeature(np.array([1.0, 0.0]), truncated)}
    return Evidence(Case(id="a", prompt="x", subjects=subjects), {name: np.array([0.0, 2.0])}, prompt, seen)


def test_clip_n_is_the_prompt_against_the_photo_that_was_put_in() -> None:
    found = METRICS["clip_n"].measure(clip_n_evidence(photos=[np.array([3.0, 4.0]), np.array([-5.0, 0.0])]))
    assert [each.value for each in found.per_subject] == pytest.approx([0.6, -1.0])
    assert found.value.value == pytest.approx(-0.2)
    assert found.value.parts == {"clip_t": pytest.approx(0.0)}  # of the picture, in the same space
    cut = METRICS["clip_n"].measure(clip_n_evidence(photos=[np.array([3.0, 4.0])], truncated=True))
    assert cut.value.note == "prompt cut to CLIP's length"


def test_the_rule_of_stellar_follows_from_clip_n_and_its_parts() -> None:
    """The mock rows of Stellar: sigma 0.0337628 (ddof 1), and how far clip_t lies above clip_n + 2 sigma."""
    clip_t = [0.4448, 0.3977, 0.355, 0.4692, 0.4258, 0.415, 0.37, 0.497, 0.4966, 0.3896, 0.3777, 0.4622]
    clip_n = [0.161, 0.1748, 0.1324, 0.1989, 0.25, 0.2139, 0.193, 0.1665, 0.1826, 0.231, 0.2283, 0.2119]
    margins = [0.216, 0.155, 0.155, 0.203, 0.108, 0.134, 0.109, 0.263, 0.246, 0.091, 0.082, 0.183]
    rows = [unit_evidence(t, n) for t, n in zip(clip_t, clip_n, strict=True)]
    found = [METRICS["clip_n"].measure(row).value for row in rows]
    sigma = np.std([value.value for value in found], ddof=1)
    assert sigma == pytest.approx(0.0337628, abs=1e-6)
    left = [value.parts["clip_t"] - value.value - 2 * sigma for value in found]
    np.testing.assert_allclose(left, margins, atol=6e-4)


def unit_evidence(clip_t: float, clip_n: float) -> Evidence:
    """Evidence whose picture and photo have these cosines to the prompt."""
    photo, shown = (np.array([cosine, math.sqrt(1 - cosine**2)]) for cosine in (clip_n, clip_t))
    return replace(clip_n_evidence(photos=[photo]), picture={"clip_bigg14": shown})


def test_dinov2_compares_with_all_photos_and_with_the_conditioning_one() -> None:
    rng = np.random.default_rng(0)
    shown, *photos = rng.normal(size=(4, 6)).astype(np.float32)
    subject = Subject(id="cat", class_name="cat", reference_image=Path("cat.png"))
    seen = SubjectEvidence(subject, tuple({"dinov2": photo} for photo in photos), {"dinov2": photos[1]})
    evidence = Evidence(Case(id="a", prompt="x", subjects=(subject,)), {"dinov2": shown}, {}, (seen,))
    cosines = [shown.astype(float) @ p.astype(float) / np.linalg.norm(shown) / np.linalg.norm(p) for p in photos]
    assert METRICS["dinov2"].measure(evidence).value.value == pytest.approx(np.mean(cosines), abs=1e-6)
    alone = METRICS["dinov2_conditioning_photo"].measure(evidence).value.value
    assert alone == pytest.approx(cosines[1], abs=1e-6)


def test_an_end_of_a_range_that_there_is_none_of_is_null() -> None:
    assert METRICS["image_reward"].facts.shown()["range"] == [None, None]
    assert METRICS["hps_v1"].facts.shown()["range"] == [-1.0, 1.0]


def test_no_scorer_takes_part_unless_it_is_asked_for() -> None:
    """The default evaluation stays as it is: none of them has default weights or needs only encoders that have."""
    from likeness.encoders import ENCODERS

    for key in (*COSINES, "image_reward", "aesthetic", "clip_n", "dinov2", "dinov2_conditioning_photo"):
        for name in METRICS[key].facts.needs:
            assert (ENCODERS[name].photo, ENCODERS[name].world) == (None, None)
            assert ENCODERS[name].published is not None
