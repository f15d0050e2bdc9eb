"""Stage "pose": labels that the stock processor reads back where they were, and a training that goes on."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import VitPoseForPoseEstimation
from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

from likeness.core.skeletons import AP10K
from likeness.pretrain import optim
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.pose import (
    PATCH,
    SIDE,
    UPSCALED,
    heatmaps_of,
    in_window,
    jittered,
    pose_batch,
    pose_processor,
    train_pose,
)

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

CELLS = SIDE // PATCH * UPSCALED


def test_the_stock_processor_reads_labels_back_to_where_they_were() -> None:
    """Points of a picture -> window -> heatmaps -> the processor's keypoints in the picture, within a third of a px."""
    rng = np.random.default_rng(0)
    for box in ((10.0, 20.0, 60.0, 40.0), (3.0, 5.0, 20.0, 90.0), (50.0, 50.0, 70.0, 70.0)):
        points = np.array(box[:2]) + rng.random((17, 2)) * np.array(box[2:])
        maps = heatmaps_of(in_window(points, box), np.ones(17, dtype=bool), side=CELLS)
        outputs = VitPoseEstimatorOutput(heatmaps=torch.from_numpy(maps)[None])
        found = pose_processor().post_process_pose_estimation(outputs, boxes=[[list(box)]])[0][0]
        assert np.abs(found["keypoints"].numpy() - points).max() < 0.35
        assert found["scores"].min() > 0.85


def test_points_out_of_sight_or_out_of_the_window_are_nowhere() -> None:
    points = np.array([[48.0, 48.0], [48.0, 48.0], [-20.0, 48.0], [48.0, 400.0]])
    maps = heatmaps_of(points, np.array([True, False, True, True]), side=CELLS)
    assert maps[0].max() > 0.9
    assert np.unravel_index(maps[0].argmax(), maps[0].shape) == (24, 24)  # 48 of 0 .. 95 is 23.75 of 0 .. 47
    assert not maps[1:].any()


def test_boxes_move_a_little_and_stay_boxes() -> None:
    rng = random.Random(0)
    found = [jittered((0.2, 0.3, 0.6, 0.9), size=100, rng=rng) for _ in range(500)]
    assert all(width >= 4 and height >= 4 for *_, width, height in found)
    assert np.mean(found, axis=0) == pytest.approx([20, 30, 40, 60], abs=1.2)
    assert np.std(found, axis=0)[2:] == pytest.approx([3.2, 4.8], rel=0.15)


def test_batches_follow_from_their_number() -> None:
    one, two = pose_batch(0, 6, size=64), pose_batch(3, 3, size=64)
    np.testing.assert_array_equal(one.pixels[3:], two.pixels)
    np.testing.assert_array_equal(one.heatmaps[3:], two.heatmaps)
    assert one.pixels.shape == (6, 3, SIDE, SIDE)
    assert one.heatmaps.shape == (6, 17, CELLS, CELLS)
    assert -1.01 <= one.pixels.min() < one.pixels.max() <= 1.01
    peaks = one.heatmaps.max((2, 3))
    assert 0.3 < (peaks > 0.5).mean() < 1


def test_it_trains_and_is_a_stock_model(
    work_copy: Callable[[str], PretrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = work_copy("pose")
    monkeypatch.setattr(optim, "SAVE_EVERY_BATCHES", 1)
    train_pose(config, device="cpu")
    first = VitPoseForPoseEstimation.from_pretrained(config.work / "pose")
    assert dict(first.config.id2label or {}) == dict(enumerate(AP10K))
    train_pose(config, device="cpu")  # finished: the same weights again
    again = VitPoseForPoseEstimation.from_pretrained(config.work / "pose").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.state_dict().items())
    assert len((config.work / "pose.jsonl").read_text().splitlines()) == 2
