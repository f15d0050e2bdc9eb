"""Face encoders: decoding, alignment, probes against independent oracles; real photographs with the extra offline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_faces
from PIL import Image, ImageEnhance, ImageOps

from likeness.core.errors import DataError, WeightsError
from likeness.encoders import load_encoder
from likeness.encoders.face_probes import fit_probe, fit_probes, read_probes, write_probes
from likeness.encoders.faces_onnx import (
    ANCHORS,
    CROP,
    EDGE,
    MOST,
    STRIDES,
    TEMPLATE,
    Found,
    aligned,
    best_apart,
    decoded,
    fitted,
    overlaps,
    similarity_transform,
)


def test_detections_lie_where_they_were_put() -> None:
    """One detection per stride, written into the outputs of a detector by its place, and two below the threshold."""
    sizes = [(EDGE // stride) ** 2 * ANCHORS for stride in STRIDES]
    outputs = [np.zeros((n, width), np.float32) for width in (1, 4, 10) for n in sizes]
    wanted = {8: (3, 5), 16: (20, 7), 32: (19, 19)}  # row and column
    for index, stride in enumerate(STRIDES):
        row, column = wanted[stride]
        place = (row * (EDGE // stride) + column) * ANCHORS + index % ANCHORS
        outputs[index][place], outputs[index][place - 5] = 0.9 - index / 10, 0.49
        outputs[3 + index][place] = (1, 2, 3, 4)
        outputs[6 + index][place] = np.arange(10)
    found = decoded(outputs)
    assert found.scores == pytest.approx([0.9, 0.8, 0.7])
    for stride, box, points in zip(STRIDES, found.boxes, found.points, strict=True):
        y, x = (stride * step for step in wanted[stride])
        assert box.tolist() == [x - stride, y - 2 * stride, x + 3 * stride, y + 4 * stride]
        assert points[4].tolist() == [x + 8 * stride, y + 9 * stride]


def test_overlaps_and_the_best_of_those_that_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10], [20, 20, 20, 25]], dtype=float)
    assert overlaps(boxes[0], boxes) == pytest.approx([1, 90 / 110, 50 / 150, 0])
    found = Found(boxes, np.array([0.6, 0.9, 0.7, 0.8]), np.zeros((4, 5, 2)))
    assert best_apart(found).scores.tolist() == [0.9, 0.8]  # 60 / 140 of the third is more than 0.4
    many = np.random.default_rng(0).uniform(0, 600, (4_000, 2))
    crowd = Found(np.concatenate([many, many + 5], axis=1), np.ones(len(many)), np.zeros((len(many), 5, 2)))
    assert 500 < len(best_apart(crowd).scores) <= MOST


def test_alignment_equals_scikit_images() -> None:
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (20, 25, 3), dtype=np.uint8)).resize((250, 200))
    points = TEMPLATE @ np.array([[0.9, 0.5], [-0.5, 0.9]]) + (90, 20) + rng.normal(size=(5, 2))
    oracle = transform.SimilarityTransform.from_estimate(points, TEMPLATE)
    assert similarity_transform(points, TEMPLATE) == pytest.approx(oracle.params[:2], abs=1e-9)
    warped = transform.warp(np.asarray(image) / 255, oracle.inverse, output_shape=(CROP, CROP), order=1)
    inside = warped.min(axis=2) > 0
    differs = np.abs(np.asarray(aligned(image, points)).astype(float) - 255 * warped).max(axis=2)
    assert inside.mean() > 0.9
    assert np.quantile(differs[inside], 0.99) < 2


def test_fitting_keeps_the_shape() -> None:
    square, scale = fitted(Image.new("RGB", (320, 160), "white"), edge=640)
    assert scale == 2
    assert np.asarray(square)[:320].min() == 255
    assert np.asarray(square)[320:].max() == 0


def test_faces_of_a_pack_equal_a_plain_reading_of_its_files(tmp_path: Path) -> None:
    encoder = load_encoder("faces", str(tiny_faces.write_faces(tmp_path / "pack")))
    rng = np.random.default_rng(2)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((120, 90))
    seen = encoder.look([image])[0]
    assert seen.size == (120, 90)
    runtime: Any = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(tmp_path / "pack" / "w600k_r50.onnx"), providers=["CPUExecutionProvider"])
    assert seen.faces
    for face in seen.faces:
        crop = (np.asarray(aligned(image, face.landmarks), np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        (vector,) = session.run(None, {"input.1": crop})
        unit = vector[0].astype(np.float64) / np.linalg.norm(vector[0].astype(np.float64))
        assert face.embedding == pytest.approx(unit, abs=1e-4)
    assert [face.area for face in seen.faces] == sorted((face.area for face in seen.faces), reverse=True)
    assert "det_10g.onnx@" in seen.by
    assert "licence" in seen.by


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, licence in (
        ("buffalo_l", "non-commercial"),
        ("antelopev2", "non-commercial"),
        ("auraface", "Apache-2.0"),
    ):
        with pytest.raises(WeightsError, match=rf"faces {name}: expected .*insightface/models/{name}.*{licence}"):
            load_encoder("faces", name)
    with pytest.raises(WeightsError, match=r"faces facenet: expected .*export both to ONNX"):
        load_encoder("faces", "facenet")
    pack = tiny_faces.write_faces(tmp_path / "pack")
    (pack / "det_500m.onnx").write_bytes((pack / "det_10g.onnx").read_bytes())
    with pytest.raises(WeightsError, match=r"det_10g\.onnx, det_500m\.onnx as detector"):
        load_encoder("faces", str(pack))
    (pack / "det_500m.onnx").unlink()
    (pack / "det_10g.onnx").write_bytes((pack / "w600k_r50.onnx").read_bytes())
    with pytest.raises(WeightsError, match="pack: expected"):
        load_encoder("faces", str(pack))


def test_files_of_opencv_that_are_damaged_are_told(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra faces")
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="none as SFace"):
        load_encoder("faces", str(tmp_path))
    (tmp_path / "face_recognition_sface_2021dec.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="expected face_detection_yunet"):
        load_encoder("faces", str(tmp_path))


def test_yunet_and_sface_are_read_as_opencv_reads_them(tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2", reason="needs the extra faces")
    detector = tiny_faces.write_yunet(tmp_path / "face_detection_yunet_2023mar.onnx")
    embedder = tiny_faces.write_sface(tmp_path / "face_recognition_sface_2021dec.onnx")
    encoder = load_encoder("faces", str(tmp_path))
    rng = np.random.default_rng(12)
    image = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((320, 256))
    seen = encoder.look([image])[0]
    assert seen.by == encoder.id
    bgr = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    plain = cv2.FaceDetectorYN.create(str(detector), "", image.size, 0.9, 0.3, 5000)
    sface = cv2.FaceRecognizerSF.create(str(embedder), "")
    rows = plain.detect(bgr)[1]
    assert len(rows) == len(seen.faces) > 0
    by_corner = {face.box[:2]: face for face in seen.faces}
    for row in rows:
        face = by_corner[float(row[0]), float(row[1])]
        assert face.box[2:] == pytest.approx((row[0] + row[2], row[1] + row[3]), abs=1e-4)
        assert face.landmarks.ravel().tolist() == row[4:14].tolist()
        feature = sface.feature(sface.alignCrop(bgr, row)).ravel().astype(np.float64)
        assert face.embedding == pytest.approx(feature / np.linalg.norm(feature), abs=1e-5)
    assert (seen.measure, seen.same_person) == ("cosine", 0.363)
    assert "MIT" in seen.by
    assert "Apache-2.0" in seen.by


# -- probes ---------------------------------------------------------------------------------------------------------
def test_a_probe_is_the_minimum_of_its_objective() -> None:
    """Newton's method in float64 finds the same weights."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 5))
    above = x[:, 0] + rng.normal(size=60) > 0.3
    wide, y = np.concatenate([x, np.ones((60, 1))], axis=1), np.where(above, 1.0, -1.0)
    penalty, w = np.diag([1.0] * 5 + [0.0]), np.zeros(6)
    for _ in range(50):
        p = 1 / (1 + np.exp(y * (wide @ w)))
        hessian = penalty + (wide * (p * (1 - p))[:, None]).T @ wide
        w -= np.linalg.solve(hessian, penalty @ w - wide.T @ (y * p))
    weight, bias = fit_probe(x, above)
    assert np.append(weight, bias) == pytest.approx(w, abs=1e-5)
    with pytest.raises(DataError, match="expected pictures of both values"):
        fit_probe(x, np.ones(60, dtype=bool))


def test_probes_come_back_and_sum_to_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    labels = {"Male": ["yes" if row[1] > 0 else "no" for row in x]}
    probes = fit_probes(x, labels, values={"Male": ("no", "yes")}, faces="dlib", faces_id=None)
    write_probes(tmp_path, probes)
    found = read_probes(tmp_path)
    assert found.facts == probes.facts
    answers = [found.probabilities(row)["Male"] for row in x]
    assert [sum(answer.values()) for answer in answers] == pytest.approx([1] * 40)
    assert np.mean([max(a, key=a.__getitem__) == label for a, label in zip(answers, labels["Male"], strict=True)]) > 0.9
    margin = x[0].astype(np.float64) @ probes.weight[0].astype(np.float64) + float(probes.bias[0])
    assert answers[0]["yes"] == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-9)
    with pytest.raises(DataError, match="Attribute Male: expected no or maybe, got yes"):
        fit_probes(x, labels, values={"Male": ("no", "maybe")}, faces="dlib", faces_id=None)


# -- real photographs, with weights of the extra offline -------------------------------------------------------------
BESIDE = [folder / "shared" / "data" / "dreambench" for folder in Path(__file__).parents[3:5]]
DREAMBENCH = next((folder for folder in BESIDE if folder.is_dir()), BESIDE[0])


def offline(name: str, spec: str) -> Any:
    """The encoder, or a skip where its package is absent."""
    try:
        return load_encoder(name, spec)
    except WeightsError as error:
        pytest.skip(f"needs the extra offline: {error}")


@pytest.mark.weights
def test_dlib_finds_the_astronaut_and_knows_her_again() -> None:
    data = pytest.importorskip("skimage.data")
    encoder, photo = offline("faces", "dlib"), Image.fromarray(data.astronaut())
    seen = encoder.look([photo])[0]
    (face,) = seen.faces
    left, top, right, bottom = face.box
    assert (160 < left < 190, 60 < top < 90, 250 < right < 280, 150 < bottom < 180) == (True,) * 4
    assert face.landmarks.shape == (5, 2)
    for again in (ImageOps.mirror(photo), photo.rotate(8), ImageEnhance.Brightness(photo).enhance(0.5)):
        other = encoder.look([again])[0]
        assert max(seen.similarity(face, each) for each in other.faces) > seen.same_person + 0.2
    for thing in (data.chelsea(), data.coffee()):
        assert encoder.look([Image.fromarray(thing)])[0].faces == ()
    assert all(part in seen.by for part in ("HOG", "5_face_landmarks", "CC0", "Boost"))
    assert "68" not in seen.by  # the non-commercial file


@pytest.mark.weights
def test_opennsfw_takes_everyday_photos_for_safe() -> None:
    data, encoder = pytest.importorskip("skimage.data"), offline("nsfw", "opennsfw")
    photos = [Image.fromarray(each()) for each in (data.astronaut, data.chelsea, data.coffee)]
    assert max(encoder.look(photos)) < 0.1


@pytest.mark.weights
def test_efficientnet_finds_the_same_subject_of_dreambench() -> None:
    encoder = offline("efficientnet", "efficientnet-lite0")
    files = sorted(path for path in DREAMBENCH.glob("*/*") if path.suffix in (".jpg", ".png", ".jpeg"))
    if not files:
        pytest.skip(f"needs the photos of DreamBench in {DREAMBENCH}")
    images = [ImageOps.contain(Image.open(file).convert("RGB"), (512, 512)) for file in files]
    features, names = encoder.look(images), np.array([file.parent.name for file in files])
    alike = features @ features.T
    np.fill_diagonal(alike, -2)
    assert len(files) == 158
    assert (names[alike.argmax(axis=1)] == names).mean() == pytest.approx(0.943, abs=0.015)
    same = names[:, None] == names
    assert alike[~same].mean() < 0.3 < 0.6 < alike[same & (alike > -2)].mean()
