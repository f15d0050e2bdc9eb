"""Yes/no models, the relations encoder and DreamSim against plain passes through the same tiny weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, CLIPModel, CLIPVisionModelWithProjection, ViTModel

from likeness.core.errors import WeightsError
from likeness.encoders.answers import YesNo, probability
from likeness.encoders.clip_judge import ClipJudge
from likeness.encoders.detections import Detections
from likeness.encoders.dreamsim import DreamSimEncoder
from likeness.encoders.relations import RelationEncoder, around, best_pair, gap, shown_large
from likeness.encoders.vlm import Describer, YesNoModel
from likeness.metrics.dreamsim import distance


@pytest.mark.parametrize("write", [tiny.write_smolvlm, tiny.write_qwen_vl])
def test_yes_is_its_share_of_the_next_token(
    write: Callable[[Path], Path], tmp_path: Path, images: list[Image.Image]
) -> None:
    """Idefics3 and Qwen2.5-VL, each in its published layout; the second without the part for videos."""
    folder = write(tmp_path / "vlm")
    judge = YesNoModel.load(folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    tokenizer = judge.processor.tokenizer
    content = [{"type": "image"}, {"type": "text", "text": "Is it a cat?"}]
    prompt = judge.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert prompt.endswith("assistant:")
    inputs = judge.processor(text=[prompt], images=[images[0]], return_tensors="pt")
    with torch.inference_mode():
        chances = model(**inputs).logits[0, -1].double().softmax(0).numpy()
    yes, no = (
        sum(chances[tokenizer.convert_tokens_to_ids(word)] for word in words)
        for words in (("Yes", "yes"), ("No", "no"))
    )
    (found,) = judge.ask(images[:1], ["Is it a cat?"])
    assert found.yes == pytest.approx(yes / (yes + no), abs=1e-5)
    assert found.mass == pytest.approx(yes + no, abs=1e-5)
    assert type(judge.processor.image_processor).__name__.endswith("Pil")


def test_a_description_is_the_likeliest_token_at_each_place(tmp_path: Path, images: list[Image.Image]) -> None:
    folder = tiny.write_qwen_vl(tmp_path / "vlm")
    describer = Describer.load(folder)
    describer.max_tokens = 4
    told = describer.ask([images[0], images[1]], ["What is it?", "What is it?"])
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    inputs = dict(describer._inputs(images[0], "What is it?"))
    begin = inputs["input_ids"].shape[1]
    for _ in range(4):
        with torch.inference_mode():
            best = model(**inputs).logits[:, -1:].argmax(-1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], best], dim=1)
        more = {name: inputs[name] for name in ("attention_mask", "mm_token_type_ids") if name in inputs}
        for name, value in more.items():
            ending = torch.ones_like(best) if name == "attention_mask" else torch.zeros_like(best)
            inputs[name] = torch.cat([value, ending], dim=1)
    words = describer.processor.tokenizer.decode(inputs["input_ids"][0, begin:], skip_special_tokens=True)
    assert told[0] == " ".join(words.split())
    assert "; PIL, its chat template, greedy;" in describer.id


def test_probabilities_of_log_odds() -> None:
    assert [probability(odds) for odds in (0, 800, -800)] == [0.5, 1.0, 0.0]
    assert YesNo(1.0, 1.0).yes == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_vlm_without_a_chat_template_is_told(tmp_path: Path) -> None:
    folder = tiny.write_qwen_vl(tmp_path / "vlm")
    (folder / "chat_template.json").unlink()
    with pytest.raises(WeightsError, match="without a chat template"):
        YesNoModel.load(folder)


def found(boxes: list[list[float]], scores: list[float]) -> Detections:
    labels = ("it",) * len(scores)
    return Detections((200, 100), np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), labels)


def test_the_pair_is_sure_and_near() -> None:
    people = found([[0, 0, 20, 50], [150, 0, 170, 50]], [0.9, 0.8])
    things = found([[171, 0, 180, 20], [60, 60, 80, 80]], [0.5, 0.5])
    diagonal = np.hypot(200, 100)
    far, near = 0.9 * 0.5 * np.exp(-np.hypot(40, 10) / diagonal), 0.8 * 0.5 * np.exp(-1 / diagonal)
    pair = best_pair(people, things)
    assert pair is not None
    assert (pair.subject[0], pair.object[0]) == (150, 171)
    assert near > far
    assert best_pair(people, found([[0, 0, 9, 9]], [0.09])) is None
    assert best_pair(people, found([], [])) is None


def test_gaps_and_the_part_around_a_pair() -> None:
    a, b = np.array([10, 10, 20, 20], np.float32), np.array([23, 24, 40, 60], np.float32)
    assert (gap(a, b), gap(b, a), gap(a, a)) == (5, 5, 0)
    assert around(a, b, size=(200, 100)) == (7, 5, 43, 65)  # 30 x 50 px, a tenth of each on every side
    assert around(a, b, size=(41, 61)) == (7, 5, 41, 61)
    whole = np.array([0, 0, 50, 50], np.float32)
    assert around(whole, whole, size=(50, 50)) == (0, 0, 50, 50)
    point = np.array([50, 50, 50, 50], np.float32)
    assert around(point, point, size=(50, 50)) == (49, 49, 50, 50)


def test_small_parts_are_shown_large() -> None:
    assert shown_large(Image.new("RGB", (100, 50))).size == (896, 448)
    assert shown_large(Image.new("RGB", (500, 900))).size == (500, 900)


def test_every_relation_is_asked_of_the_part_that_shows_both(tmp_path: Path, images: list[Image.Image]) -> None:
    encoder = RelationEncoder.load(tiny.write_relations(tmp_path / "relations"))
    picture = images[0]
    (answer,) = encoder.ask([picture], ["a cat\ndogs\non\nunder"])
    detected = encoder.detector.ask([picture, picture], ["a cat", "dogs"])
    assert (answer.subject, answer.object) == tuple(pytest.approx(each.scores[0]) for each in detected)
    left, top, right, bottom = (int(side) for side in answer.box)
    part = shown_large(picture.crop((left, top, right, bottom)))
    for relation, odds in zip(("on", "under"), answer.log_odds, strict=True):
        text = f"Does the picture show a cat {relation} dogs? Answer Yes or No."
        assert odds == encoder.judge.ask([part], [text])[0].log_odds


def test_what_is_not_found_is_not_asked_about(
    tmp_path: Path, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = RelationEncoder.load(tiny.write_relations(tmp_path / "relations"))
    monkeypatch.setattr("likeness.encoders.relations.THRESHOLD", 1.1)
    (answer,) = encoder.ask(images[:1], ["a cat\ndogs\non"])
    assert (answer.subject, answer.object, answer.log_odds) == (0, 0, ())


def test_detector_and_judge_may_lie_apart(tmp_path: Path) -> None:
    detector, vlm = tiny.write_owlvit(tmp_path / "owl"), tiny.write_smolvlm(tmp_path / "vlm")
    encoder = RelationEncoder.load(f"{detector}+{vlm}")
    assert "owlvit owl@" in encoder.id
    assert "vlm idefics3 vlm@" in encoder.id
    with pytest.raises(WeightsError, match="nowhere/at-all"):
        RelationEncoder.load(f"{detector}+nowhere/at-all")


def test_a_clip_judges_a_statement_by_its_cosine(tmp_path: Path, images: list[Image.Image]) -> None:
    """SigLIP's log-odds, of the whole picture in a square of its mean colour."""
    folder = tiny.write_relation_clip(tmp_path / "clip")
    judge, clip = ClipJudge.load(folder), CLIPModel.from_pretrained(folder)
    wide = images[0].resize((64, 32))
    shown = Image.new("RGB", (32, 32), judge.color)
    shown.paste(wide.resize((32, 16), Image.Resampling.BICUBIC), (0, 8))
    inputs = judge.clip.processor(shown, return_tensors="pt")
    tokens = judge.clip.tokenizer("a cat on dogs", return_tensors="pt")
    with torch.inference_mode():
        outputs: Any = clip(input_ids=tokens.input_ids, pixel_values=inputs.pixel_values)
    (found,) = judge.ask([wide], ["a cat on dogs"])
    assert found.log_odds == pytest.approx(float(outputs.logits_per_image) - 3.5, abs=1e-4)
    assert found.mass == 1
    assert judge.color == (123, 117, 104)  # the preprocessor's mean


def test_a_clip_without_bias_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="logit_bias None, with which cosines are no log-odds"):
        ClipJudge.load(tiny.write_clip(tmp_path / "clip"))


@pytest.mark.parametrize("place", ["judge", "vlm", "apart"])
def test_a_clip_is_given_statements_about_the_part_that_shows_both(
    place: str, tmp_path: Path, images: list[Image.Image]
) -> None:
    owl, clip = tiny.write_owlv2(tmp_path / "all/detector"), tiny.write_relation_clip(tmp_path / "all" / place)
    encoder = RelationEncoder.load(f"{owl}+{clip}" if place == "apart" else tmp_path / "all")
    (answer,) = encoder.ask(images[:1], ["a cat\ndogs\non\nunder"])
    left, top, right, bottom = (int(side) for side in answer.box)
    part = shown_large(images[0].crop((left, top, right, bottom)))
    asked = ClipJudge.load(clip).ask([part, part], ["a cat on dogs", "a cat under dogs"])
    assert answer.log_odds == tuple(each.log_odds for each in asked)
    assert answer.log_odds[0] != answer.log_odds[1]
    assert f"clip judge {place}@" in encoder.id


def test_a_judge_of_neither_kind_is_told(tmp_path: Path) -> None:
    owl = tiny.write_owlv2(tmp_path / "all/detector")
    with pytest.raises(WeightsError, match=r"the folders detector and judge \(or vlm\)"):
        RelationEncoder.load(tmp_path / "all")
    with pytest.raises(WeightsError, match="vision-language model"):
        RelationEncoder.load(f"{owl}+{tiny.write_vit(tmp_path / 'vit')}")


def test_dreamsim_is_three_networks_side_by_side(tmp_path: Path, images: list[Image.Image]) -> None:
    folder = tiny.write_dreamsim(tmp_path / "dreamsim")
    encoder = DreamSimEncoder.load(folder)
    dino: Any = ViTModel.from_pretrained(folder / "dino", add_pooling_layer=False)
    raw: list[torch.Tensor] = []
    dino.layers[-1].register_forward_hook(lambda module, inputs, output: raw.append(output))
    features: list[np.ndarray] = []
    for image in images[:2]:
        small = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC), np.float64).transpose(2, 0, 1) / 255
        for part, mean, std in (
            ("dino", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ("clip", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
            ("open_clip", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ):
            normal = (small - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
            pixels = torch.tensor(normal, dtype=torch.float32)[None]
            with torch.inference_mode():
                if part == "dino":
                    dino(pixel_values=pixels)
                    features.append(raw[-1][0, 0].double().numpy())
                else:
                    clip: Any = CLIPVisionModelWithProjection.from_pretrained(folder / part)
                    features.append(clip(pixel_values=pixels).image_embeds[0].double().numpy())
    whole: list[np.ndarray] = [np.concatenate(features[start : start + 3]) for start in (0, 3)]
    seen = encoder.look(images[:2])
    for ours, theirs in zip(seen, whole, strict=True):
        np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs), atol=1e-5)
    assert distance(*seen) == pytest.approx(1 - np.corrcoef(whole[0], whole[1])[0, 1], abs=1e-5)


def test_dreamsim_is_0_for_itself_symmetric_and_at_most_2() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, b) == pytest.approx(1 - np.corrcoef(a.astype(float), b.astype(float))[0, 1], abs=1e-9)
    assert distance(a, -a) == pytest.approx(2)
    assert distance(a, 3 * b + 1) == pytest.approx(distance(a, b), abs=1e-6)


def test_dreamsim_without_one_of_its_networks_is_told(tmp_path: Path) -> None:
    folder = tiny.write_dreamsim(tmp_path / "dreamsim")
    (folder / "open_clip" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"DreamSim .*no open_clip/config\.json"):
        DreamSimEncoder.load(folder)
