"""Faces of the drawn world's people: windows and eyes by hand, and an encoder whose network answers what is wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from transformers import ViTForImageClassification

from likeness.core.errors import WeightsError
from likeness.encoders.faces import FaceEncoder
from likeness.encoders.faces_seen import COSINE
from likeness.encoders.faces_world import (
    EYE_LIMITS,
    EYE_UNIT,
    HEAD_SIDE,
    RAISED,
    REACH,
    WorldFaces,
    eyes_in,
    eyes_of,
    face_box,
    face_frames,
    windows,
)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(count)]


def test_answers_about_eyes_by_hand() -> None:
    """In a window of half side 0.25 around the middle; in the same window turned by a right angle, x is what was y."""
    eyes = np.array([[0.55 + 0.5j, 0.05 + 0j]])
    assert eyes_in(np.array([[0.5 + 0.5j, 0.25]]), eyes) == pytest.approx(np.array([[0.2, 0, 0.2 * EYE_UNIT, 0]]))
    assert eyes_in(np.array([[0.5 + 0.5j, 0.25j]]), eyes) == pytest.approx(np.array([[0, -0.2, 0, -0.2 * EYE_UNIT]]))


def test_eyes_come_back_from_their_answers() -> None:
    rng = np.random.default_rng(1)
    turns = np.exp(1j * rng.uniform(0, 6, (20, 2)))
    frames = np.stack([rng.random(20) + 1j * rng.random(20), 0.3 * turns[:, 0]], axis=1)
    eyes = np.stack([rng.random(20) + 1j * rng.random(20), 0.05 * turns[:, 1]], axis=1)
    assert eyes_of(frames, eyes_in(frames, eyes)) == pytest.approx(eyes, abs=1e-6)


def test_eyes_are_never_believed_to_be_one_or_to_be_anywhere() -> None:
    frame = np.array([[0.5 + 0.5j, 0.2]])
    for across, wanted in ((0.0, EYE_LIMITS[0]), (-9.0, -EYE_LIMITS[1])):
        assert eyes_of(frame, np.array([[0.0, 0.0, across, 0.0]]))[0, 1] == pytest.approx(0.2 * wanted)


def test_the_window_of_a_face_is_upright() -> None:
    """Of a face that lies on its side (the eye on the right is below), the top of the window lies to the right."""
    centre, way = face_frames(np.array([[0.5 + 0.5j, 0.02j]]))[0]
    assert centre == pytest.approx(0.5 + RAISED * 0.02 + 0.5j)
    assert way == pytest.approx(REACH * 0.02j)
    assert face_box(np.array([0.5 + 0.5j, 0.1])) == pytest.approx((0.24, 0.27, 0.76, 0.79))


def test_windows_show_what_lies_in_them() -> None:
    rng = np.random.default_rng(2)
    pixels = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32))
    frames = np.array([[0.5 + 0.5j, 0.5], [0.5 + 0.5j, 0.5j], [1.5 + 0.5j, 0.5]])
    whole, turned, beyond = windows(pixels, picture=torch.tensor([0, 1, 1]), frames=frames, side=8)
    torch.testing.assert_close(whole, pixels[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned, torch.rot90(pixels[1], 1, (1, 2)), atol=1e-5, rtol=0)
    assert not beyond.any()


def answering(folder: Path, *answers: float) -> Path:
    """The folder, whose network now gives these answers whatever it sees."""
    model = ViTForImageClassification.from_pretrained(folder)
    head: Any = model.classifier
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor(answers))
    model.save_pretrained(folder)
    return folder


def test_a_face_is_where_two_looks_put_it(tmp_path: Path) -> None:
    """Both looks see the eyes a tenth to the right of the window's middle, 0.4 half sides apart; pictures 70 x 50."""
    answers = (0.1, 0.0, 0.2 * EYE_UNIT, 0.0, *(3.0, 0.0, 4.0, 0.0, 0.0, 0.0))
    folder = answering(tiny.write_world_faces(tmp_path / "faces"), *answers)
    encoder = FaceEncoder.load(folder)
    assert isinstance(encoder, WorldFaces)
    image = pictures(1)[0]
    seen = encoder.look([image])[0]
    heads = encoder.probe.look([image])[0].subjects
    assert len(seen.faces) == len(heads) > 1
    assert (seen.size, seen.measure, seen.same_person) == ((70, 50), COSINE, 0.75)
    for head in heads:
        x, y = head.position
        first = 0.2 * HEAD_SIDE / 2  # half the distance of the eyes at the first look
        x, y = x + 0.1 * HEAD_SIDE / 2, y - RAISED * first  # the middle of the second window
        x, half = x + 0.1 * REACH * first, 0.2 * REACH * first
        middle, reach = y + 0.3 * half, 2.6 * half
        box = (70 * (x - reach), 50 * (middle - reach), 70 * (x + reach), 50 * (middle + reach))
        face = next(face for face in seen.faces if face.box == pytest.approx(box, abs=1e-3))
        assert face.score == pytest.approx(head.score)
        assert face.embedding.tolist() == pytest.approx([0.6, 0, 0.8, 0, 0, 0])
        assert face.landmarks[:2] == pytest.approx(np.array([(70 * (x + half), 50 * y), (70 * (x - half), 50 * y)]))
        assert face.landmarks[2:, 1] == pytest.approx(50 * (y + np.array([0.89, 1.42, 1.42]) * half))
        assert face.landmarks[3, 0] - face.landmarks[4, 0] == pytest.approx(70 * 2 * 0.47 * half, abs=1e-3)


def test_only_people_have_faces(tmp_path: Path) -> None:
    folder = tiny.write_world_faces(tmp_path / "faces", species=("cat", "person"))
    assert FaceEncoder.load(folder).look(pictures(2))[1].faces == ()


def test_a_picture_is_seen_the_same_in_any_company(tmp_path: Path) -> None:
    encoder = FaceEncoder.load(tiny.write_world_faces(tmp_path / "faces"))
    some = pictures(3)
    together = encoder.look(some)
    for seen, image in zip(together, some, strict=True):
        alone = encoder.look([image])[0]
        assert [face.box for face in alone.faces] == [face.box for face in seen.faces]
        assert all(np.array_equal(a.embedding, b.embedding) for a, b in zip(alone.faces, seen.faces, strict=True))
    assert not np.array_equal(together[0].faces[0].embedding, together[1].faces[0].embedding)


def test_other_models_are_told(tmp_path: Path) -> None:
    no_person = tiny.write_world_faces(tmp_path / "animals", species=("cat", "dog"))
    no_line = tiny.write_world_faces(tmp_path / "line")
    config = no_line / "config.json"
    config.write_text(config.read_text().replace('"same_person"', '"other"'))
    no_answers = tiny.write_vit(tmp_path / "vit")
    for folder, reason in ((no_person, "person"), (no_line, "same_person"), (no_answers, "missing")):
        with pytest.raises(WeightsError, match=reason):
            FaceEncoder.load(folder)
