"""Stage "detector": labels, losses against plain arithmetic, CLIP's towers kept, and a training that goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Owlv2ForObjectDetection

from likeness.core.errors import ConfigError
from likeness.core.weights import embedded
from likeness.pretrain import optim
from likeness.pretrain.config import read_config
from likeness.pretrain.contrastive import train_clip
from likeness.pretrain.detector import (
    FACE,
    NUM_QUERIES,
    box_loss,
    detection_batch,
    face_box,
    from_clip,
    outside,
    owners,
    query_loss,
    token_of,
    train_detector,
    vocabulary,
)
from likeness.world.identity import ATTRIBUTES
from likeness.world.render import render
from likeness.world.scenario import sample_scenario

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


@pytest.fixture(scope="module")
def words() -> list[str]:
    return vocabulary()


def test_words_are_species_things_and_faces(words: list[str]) -> None:
    assert {*ATTRIBUTES["species"], FACE, "guitar", "soccer ball"} <= set(words)
    assert words == sorted(set(words))
    assert not any("_" in word for word in words)


def test_a_picture_is_asked_for_what_it_shows_and_for_what_it_does_not(words: list[str]) -> None:
    batch = detection_batch(0, 12, size=64, words=words)
    for asked, present in zip(batch.words, batch.present, strict=True):
        assert len(set(asked)) == NUM_QUERIES
        assert set(present) <= set(asked)
        assert set(asked) <= set(words)
        boxes = [box for found in present.values() for box in found]
        assert boxes, "every picture shows a subject"
        assert all(0 <= x0 < x1 <= 1.01 and 0 <= y0 < y1 <= 1.01 for x0, y0, x1, y1 in boxes)
    again = detection_batch(0, 12, size=64, words=words)
    assert again.words == batch.words
    np.testing.assert_array_equal(again.pictures, batch.pictures)


def test_a_face_is_the_square_around_eyes_and_nose_of_a_person() -> None:
    subjects = [s for i in range(60) for s in render(sample_scenario(i, split="train"), size=48).labels.subjects]
    person = next(s for s in subjects if s.class_name == "person" and face_box(s))
    points = np.zeros((17, 3), dtype=np.float32)
    points[:3] = [[0.4, 0.5, 1], [0.6, 0.5, 1], [0.5, 0.56, 1]]
    drawn = face_box(replace(person, keypoints=points))
    assert drawn == pytest.approx((0.24, 0.26, 0.76, 0.78), abs=1e-6)  # 2.6 * 0.2 around (0.5, 0.52)
    points[2, 2] = 0
    assert face_box(replace(person, keypoints=points)) is None
    assert all(face_box(s) is None for s in subjects if s.class_name != "person")


def test_tokens_are_counted_row_by_row() -> None:
    assert token_of((0.0, 0.0, 0.2, 0.2), grid=4) == 0
    assert token_of((0.7, 0.2, 0.9, 0.4), grid=4) == 7  # centre (0.8, 0.3): column 3, row 1
    assert token_of((0.9, 0.9, 1.3, 1.3), grid=4) == 15
    assert outside([(0.0, 0.0, 0.5, 0.5)], grid=4).reshape(4, 4)[:2, :2].sum() == 0
    assert outside([(0.0, 0.0, 0.5, 0.5)], grid=4).sum() == 12


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_the_loss_of_a_word_is_plain_cross_entropy() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.5])
    assert float(query_loss(logits, None, grid=2)) == pytest.approx(softplus(2.0))
    assert float(query_loss(logits, [], grid=2)) == pytest.approx(softplus(-2.0))
    left_top = [(0.0, 0.0, 0.4, 0.4)]  # covers the centre of token 0
    expected = softplus(-0.3) + softplus(2.0)
    assert float(query_loss(logits, left_top, grid=2)) == pytest.approx(expected)
    everywhere = [(0.0, 0.0, 1.0, 1.0)]  # its own centre is token 3's corner
    assert float(query_loss(logits, everywhere, grid=2)) == pytest.approx(softplus(-0.5))


def test_a_token_inside_learns_the_box_whose_middle_is_nearest() -> None:
    left, right = (0.0, 0.0, 0.6, 1.0), (0.3, 0.0, 1.0, 1.0)  # middles at 0.3 and 0.65
    tokens, numbers = owners([left, right], grid=4)
    assert dict(zip(tokens, numbers, strict=True)) == {t: (0, 0, 1, 1)[t % 4] for t in range(16)}
    small = (0.30, 0.30, 0.36, 0.36)  # no token's middle lies in it: it has that of its own centre
    assert owners([small], grid=4) == ([5], [0])


def test_boxes_that_fit_cost_nothing_and_others_l1_and_giou() -> None:
    wanted = [(0.1, 0.1, 0.3, 0.5)]  # centre (0.2, 0.3): token 0 of a 2 x 2 grid
    boxes = torch.zeros(4, 4)
    boxes[0] = torch.tensor([0.2, 0.3, 0.2, 0.4])
    assert float(box_loss(boxes, wanted, grid=2)) == pytest.approx(0, abs=1e-5)
    boxes[0] = torch.tensor([0.4, 0.3, 0.2, 0.4])  # moved by its width: they touch, the hull is their union
    assert float(box_loss(boxes, wanted, grid=2)) == pytest.approx(5 * 0.2 + 2 * 1.0, abs=1e-5)


def test_it_begins_with_the_eyes_of_clip() -> None:
    model = from_clip(embedded("clip"), size=128)
    source = dict(model.owlv2.vision_model.named_parameters())
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(embedded("clip"))
    for name, tensor in clip.vision_model.named_parameters():
        torch.testing.assert_close(source[name.replace("pre_layrnorm", "pre_layernorm")], tensor)
    theirs, ours = (each.text_model.embeddings.token_embedding.weight for each in (clip, model.owlv2))
    assert float((theirs - ours).detach().abs().mean()) > 0.01  # the text tower is new


def test_a_fresh_head_says_little() -> None:
    """The stock class draws its heads with deviation 1: scores of 600 that take the whole training to unlearn."""
    torch.manual_seed(0)
    model = from_clip(embedded("clip"), size=128).eval()
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor([[1095, 65, 1096]]),
            pixel_values=torch.zeros(1, 3, 128, 128),
            attention_mask=torch.ones(1, 3, dtype=torch.long),
        )
    assert float(found.logits.abs().max()) < 10


def test_without_clip_it_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'stage "detector": expected a CLIP in .* run stage "clip" first'):
        from_clip(tmp_path, size=32)


def test_it_trains_goes_on_and_is_a_stock_model(
    write_recipe: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(write_recipe(tmp_path))
    train_clip(config, device="cpu")
    monkeypatch.setattr(optim, "SAVE_EVERY_BATCHES", 1)
    train_detector(config, device="cpu")
    first = Owlv2ForObjectDetection.from_pretrained(config.work / "detector").state_dict()
    log = (config.work / "detector.jsonl").read_text().splitlines()
    assert len(log) == 2
    train_detector(config, device="cpu")  # finished: nothing is trained, the same weights are written
    again = Owlv2ForObjectDetection.from_pretrained(config.work / "detector").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert len((config.work / "detector.jsonl").read_text().splitlines()) == 2
