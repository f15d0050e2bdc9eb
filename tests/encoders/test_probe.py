"""The attribute probe: peaks, readings, targets and loss by hand, and that it can learn."""

import math
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image

from likeness.core.errors import DataError, WeightsError
from likeness.core.records import MAX_SUBJECTS
from likeness.encoders.probe import AttributeProbe, ProbeConfig, ProbeOutputs, centroid, crops, peaks, pixel_values
from likeness.encoders.reading import Reading, best_answer
from likeness.pretrain.probe_targets import (
    PictureLabels,
    build_targets,
    centre_focal_loss,
    class_ids,
    label_id,
    probe_loss,
)


@pytest.fixture
def config() -> ProbeConfig:
    return tiny.probe_config()


@pytest.fixture
def probe(config: ProbeConfig) -> AttributeProbe:
    torch.manual_seed(0)
    return AttributeProbe(config).eval()


def test_peaks_are_the_tops_of_their_neighbourhood_strongest_first() -> None:
    heatmap = torch.zeros(6, 6)
    heatmap[1, 1], heatmap[1, 2], heatmap[4, 4], heatmap[5, 0] = 0.8, 0.7, 0.9, 0.3
    assert peaks(heatmap, count=4, min_peak=0.2) == [(4, 4), (1, 1), (5, 0)]  # (1, 2) leans on (1, 1)
    assert peaks(heatmap, count=2, min_peak=0.2) == [(4, 4), (1, 1)]
    assert peaks(heatmap, count=4, min_peak=0.85) == [(4, 4)]
    assert peaks(heatmap, count=0, min_peak=0.0) == []


def test_the_first_peaks_do_not_depend_on_how_many_are_asked_for() -> None:
    heatmap = torch.rand(16, 16, generator=torch.Generator().manual_seed(3))
    four = peaks(heatmap, count=4, min_peak=0.1)
    assert len(four) == 4
    assert [peaks(heatmap, count=count, min_peak=0.1) for count in range(5)] == [four[:count] for count in range(5)]


def test_equal_cells_side_by_side_are_one_peak() -> None:
    heatmap = torch.zeros(4, 4)
    heatmap[1, 1] = heatmap[1, 2] = 0.5
    assert peaks(heatmap, count=4, min_peak=0.1) == [(1, 1)]


def test_readings_are_probabilities_and_independent_of_the_batch(
    probe: AttributeProbe, images: list[Image.Image]
) -> None:
    readings = probe.look(images)
    for reading, image in zip(readings, images, strict=True):
        assert reading == probe.look([image])[0]
        assert len(reading.subjects) <= MAX_SUBJECTS
        assert reading.labels == probe.config.attributes
        assert math.isclose(sum(reading.action.values()), 1)
        for subject in reading.subjects:
            assert all(math.isclose(sum(values.values()), 1) for values in subject.attributes.values())
            assert all(0 < place < 1 for place in subject.position)


def test_a_high_threshold_finds_fewer_subjects(config: ProbeConfig, images: list[Image.Image]) -> None:
    strict = AttributeProbe(config.model_copy(update={"min_peak": 0.999})).eval()
    assert strict.look(images[:1])[0].subjects == ()


def test_saved_and_loaded_probes_are_the_same(probe: AttributeProbe, images: list[Image.Image], tmp_path: Path) -> None:
    probe.save_pretrained(tmp_path / "probe")
    loaded = AttributeProbe.load(tmp_path / "probe")
    assert loaded.config == probe.config
    assert list(loaded.config.attributes) == list(probe.config.attributes)
    assert loaded.look(images) == probe.look(images)
    assert loaded.id.startswith("probe probe@")


def test_a_probe_that_does_not_fit_its_config_is_refused(probe: AttributeProbe, tmp_path: Path) -> None:
    probe.save_pretrained(tmp_path / "probe")
    path = tmp_path / "probe" / "config.json"
    path.write_text(path.read_text().replace('"forest"', '"forest", "moon"'))
    with pytest.raises(WeightsError, match="scene_head"):
        AttributeProbe.load(tmp_path / "probe")


def test_a_folder_of_another_encoder_is_refused_in_one_line(clip_folder: Path) -> None:
    with pytest.raises(
        WeightsError, match="attributes: expected a value, got none; actions: expected a value, got none"
    ) as caught:
        AttributeProbe.load(clip_folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + 2 * len(str(clip_folder)) + 200


def test_pixels_lie_in_minus_one_to_one_and_the_right_size_is_untouched() -> None:
    pixels = pixel_values(Image.new("RGB", (64, 64), (0, 255, 0)), size=64)
    assert pixels[:, 5, 9].tolist() == [-1.0, 1.0, -1.0]
    assert pixel_values(Image.new("RGB", (90, 30)), size=64).shape == (3, 64, 64)


def labels_of(heads: list[tuple[float, float]], classes: list[list[int]]) -> PictureLabels:
    ids = np.array(classes, dtype=np.int64).reshape(-1, 4)
    return PictureLabels(np.array(heads, dtype=np.float64).reshape(-1, 2), ids, action=1, scene=-1)


def test_targets_stand_at_the_heads_cell(config: ProbeConfig) -> None:
    head = (0.3125, 0.8125)  # the middle of column 2, row 6 of an 8 x 8 grid
    targets = build_targets([labels_of([head], [[2, 0, -1, 1]])], config=config)
    assert targets.is_head[0, 0].nonzero().tolist() == [[6, 2]]
    assert targets.heatmap[0, 0, 6, 2] == 1
    assert targets.heatmap[0, 0, 6, 3].item() == pytest.approx(math.exp(-0.5))  # one cell away, sigma 1
    assert targets.classes.tolist() == [[2, 0, -1, 1]]
    assert targets.heads.tolist() == [list(head)]
    assert targets.action.tolist() == [1]
    assert targets.scene.tolist() == [-1]


def test_a_head_between_cells_warms_both_and_the_centroid_finds_it(config: ProbeConfig) -> None:
    targets = build_targets([labels_of([(0.36, 0.8125)], [[0] * 4])], config=config)  # 0.88 of the way through column 2
    heatmap = targets.heatmap[0, 0]
    assert heatmap[6, 2] > heatmap[6, 3] > heatmap[6, 1]
    x, y = centroid(heatmap, (6, 2))
    assert abs(x - 0.36) < abs((2 + 0.5) / 8 - 0.36)  # nearer than the cell's middle
    assert y == pytest.approx(0.8125, abs=0.01)


def test_subjects_know_their_picture(config: ProbeConfig) -> None:
    pictures = [
        labels_of([(0.2, 0.5), (0.45, 0.5)], [[0] * 4, [1] * 4]),
        labels_of([], []),
        labels_of([(0, 0)], [[2, 0, 1, 1]]),
    ]
    targets = build_targets(pictures, config=config)
    assert targets.picture.tolist() == [0, 0, 2]
    assert targets.classes[:, 0].tolist() == [0, 1, 2]


def test_a_head_outside_counts_at_the_edge_and_no_head_gives_no_target(config: ProbeConfig) -> None:
    targets = build_targets([labels_of([(1.0, -0.2)], [[0] * 4]), labels_of([], [])], config=config)
    assert targets.is_head[0, 0].nonzero().tolist() == [[0, 7]]
    assert targets.heatmap[1].abs().sum() == 0
    assert not targets.is_head[1].any()


def test_crops_show_the_window_below_the_head(config: ProbeConfig) -> None:
    config = config.model_copy(update={"crop": 0.5, "crop_drop": 0.125, "crop_size": 32})
    pixels = torch.arange(64.0).expand(1, 3, 64, 64).clone()  # the value is the column
    pixels[:, 1] = torch.arange(64.0)[:, None]  # in channel 1 the row
    window = crops(pixels, picture=torch.tensor([0]), heads=torch.tensor([[0.5, 0.375]]), config=config)[0]
    # centre (32, 32) px, 32 px wide and 32 cells: cell i is pixel 16 + i
    assert torch.allclose(window[0, 5], torch.arange(16.0, 48.0), atol=1e-4)
    assert torch.allclose(window[1, :, 5], torch.arange(16.0, 48.0), atol=1e-4)


def test_crops_take_each_head_from_its_own_picture(config: ProbeConfig) -> None:
    pixels = torch.stack([torch.full((3, 64, 64), 0.25), torch.full((3, 64, 64), 0.75)])
    windows = crops(pixels, picture=torch.tensor([1, 0]), heads=torch.full((2, 2), 0.5), config=config)
    assert windows[:, 0, 40, 40].tolist() == [0.75, 0.25]


def test_focal_loss_by_hand() -> None:
    target = torch.tensor([[[[1.0, 0.5]]]])
    logits = torch.tensor([[[[0.0, 0.0]]]])  # p = 0.5 everywhere
    # head: (1 - 0.5)^2 log 0.5; elsewhere: (1 - 0.5)^4 0.5^2 log 0.5
    expected = -(0.25 * math.log(0.5) + 0.0625 * 0.25 * math.log(0.5))
    assert centre_focal_loss(logits, target, target == 1).item() == pytest.approx(expected)


def test_attribute_loss_is_the_mean_over_subjects_to_whom_it_applies(config: ProbeConfig) -> None:
    classes = [[-1, 2, -1, -1], [-1, 0, -1, -1], [-1, -1, -1, -1]]  # "color" applies to the first two
    targets = build_targets([labels_of([(0.2, 0.2), (0.8, 0.8), (0.5, 0.5)], classes)], config=config)
    logits = {name: torch.zeros(3, len(values)) for name, values in config.attributes.items()}
    logits["color"][0] = torch.tensor([0.0, 0.0, math.log(2)])  # right with p = 1/2; the second subject: 1/3
    outputs = ProbeOutputs(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2), torch.zeros(1, 2))
    expected = (math.log(2) + math.log(3)) / 2
    assert probe_loss(outputs, logits, targets).attributes.item() == pytest.approx(expected, abs=1e-6)


def test_questions_that_do_not_apply_give_no_gradient(probe: AttributeProbe, config: ProbeConfig) -> None:
    outputs, read = probe(torch.rand(1, 3, 64, 64)), probe.read_crops(torch.rand(1, 3, 96, 96))
    for logits in read.values():
        logits.retain_grad()
    outputs.scene.retain_grad()
    targets = build_targets([labels_of([(0.5, 0.5)], [[0, 1, 1, -1]])], config=config)
    loss = probe_loss(outputs, read, targets)
    loss.total.backward()
    hat, color, scene = (logits.grad for logits in (read["hat_color"], read["color"], outputs.scene))
    assert hat is not None
    assert color is not None
    assert scene is not None
    assert hat.abs().sum() == scene.abs().sum() == 0
    assert color.abs().sum() > 0
    assert loss.scene == 0
    assert torch.isclose(loss.total, loss.heatmap + loss.attributes + loss.action + loss.scene)


def test_class_ids_skip_absent_and_inapplicable_attributes(config: ProbeConfig) -> None:
    assert class_ids({"species": "dog", "hat": "none", "hat_color": "none"}, config) == [1, -1, 0, -1]
    with pytest.raises(DataError, match="got purple"):
        class_ids({"color": "purple"}, config)
    assert label_id("chase", config.actions) == 1
    assert label_id(None, config.actions) == -1


def test_the_probe_learns_where_heads_are_and_what_colour_they_have(config: ProbeConfig) -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    probe = AttributeProbe(config.model_copy(update={"min_peak": 0.1}))
    optimizer = torch.optim.Adam(probe.parameters(), 3e-3)
    for _ in range(80):
        drawn = [_blob_picture(rng) for _ in range(12)]
        pixels = torch.stack([pixel_values(image, size=64) for image, _ in drawn])
        targets = build_targets([labels for _, labels in drawn], config=config)
        probe.train()
        windows = crops(pixels, picture=targets.picture, heads=targets.heads, config=config)
        loss = probe_loss(probe(pixels), probe.read_crops(windows), targets).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = [_blob_picture(rng) for _ in range(20)]
    readings = probe.look([image for image, _ in drawn])
    right = sum(_reads_right(reading, labels, config) for reading, (_, labels) in zip(readings, drawn, strict=True))
    assert right >= 18


def _blob_picture(rng: np.random.Generator) -> tuple[Image.Image, PictureLabels]:
    """A 12 px square of one of three colours on grey."""
    color = int(rng.integers(3))
    x, y = rng.integers(8, 56, 2)
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[y - 6 : y + 6, x - 6 : x + 6] = np.eye(3, dtype=np.uint8)[color] * 255
    return Image.fromarray(pixels), labels_of([(x / 64, y / 64)], [[-1, color, -1, -1]])


def _reads_right(reading: Reading, labels: PictureLabels, config: ProbeConfig) -> bool:
    if not reading.subjects:
        return False
    subject = reading.subjects[0]
    is_near = np.abs(np.array(subject.position) - labels.heads[0]).max() < 0.15
    color = best_answer(subject.attributes["color"])
    return bool(is_near and config.attributes["color"].index(color) == labels.classes[0, 1])
