"""Stage "detector": a small OWLv2 that finds named subjects, faces and things in the world's pictures.

It begins with the vision tower of the embedded CLIP, which OWLv2 shares, and learns to score every text by itself.
The text tower begins anew: that of CLIP, taught by whole captions, takes "cat" for "teapot" (cosine 1.00).
Source: OWL-ViT (Minderer et al., arXiv:2205.06230, section 3.2): per-token boxes and classes against text queries.
Differs: each labelled box belongs to the token at its centre instead of a bipartite matching, since grid and subjects
are of like size, and every token inside learns its edges, so that what the neighbours find can be joined; things are
labelled by presence only, so that their best token is taught (multiple-instance learning).
"""

import math
import random
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import AutoTokenizer, Owlv2Config, Owlv2ForObjectDetection
from transformers.loss.loss_for_object_detection import generalized_box_iou
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.metrics.triplets import with_article
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.contrastive import MEAN, STD, blur, load_clip
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.vae import on_device
from likeness.world.identity import ATTRIBUTES
from likeness.world.relations import words_of
from likeness.world.render import SubjectLabel, render
from likeness.world.scenario import sample_scenario

FACE = "face"
NUM_QUERIES = 16
NUM_RIVALS = 6
"""Species that are not in the picture and are asked for in every one: they are the hardest to tell apart."""
FIRST_SEED = 30_000_000
KEYPOINTS_OF_FACE = 3
"""The first keypoints are both eyes and the nose."""
FACE_SIDE = 2.6
"""Side of a face's box in distances between the eyes."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class DetectionBatch:
    """B pictures, the words asked of each, and per picture what is true: word -> boxes (none known: an empty list)."""

    pictures: UInt8[np.ndarray, "B S S 3"]
    words: list[list[str]]
    present: list[dict[str, list[Box]]]


def face_box(subject: SubjectLabel) -> Box | None:
    """The square around eyes and nose in shares of the side (x0, y0, x1, y1); None where one of them is not in sight.

    Only people have faces here; an animal's head is found by the animal's name.
    """
    points = subject.keypoints[:KEYPOINTS_OF_FACE]
    if subject.attributes["species"] != "person" or not (points[:, 2] > 0).all():
        return None
    x, y = points[:, :2].mean(0)
    half = FACE_SIDE / 2 * float(np.hypot(*(points[0, :2] - points[1, :2])))
    return (float(x) - half, float(y) - half, float(x) + half, float(y) + half)


def vocabulary() -> list[str]:
    """Every word that is asked for: species, things, "face"."""
    return list(_vocabulary())


@cache
def _vocabulary() -> tuple[str, ...]:
    things = {word for seed in range(3000) for word in _things(seed)}
    return tuple(sorted({*ATTRIBUTES["species"], FACE, *things}))


def _things(seed: int) -> list[str]:
    """Names of the things in a training picture, as words."""
    labels = render(sample_scenario(FIRST_SEED + seed, split="train"), size=16).labels
    return [words_of(name) for name in labels.objects]


def detection_batch(first: int, count: int, *, size: int, words: list[str]) -> DetectionBatch:
    """Training pictures first .. first + count - 1, each with what is in it and words that are not there."""
    rng = random.Random(f"detector/{first}")
    pictures: list[np.ndarray] = []
    asked: list[list[str]] = []
    present: list[dict[str, list[Box]]] = []
    for index in range(first, first + count):
        drawn = render(sample_scenario(FIRST_SEED + index, split="train"), size=size)
        found: dict[str, list[Box]] = {words_of(name): [] for name in drawn.labels.objects}
        for subject in drawn.labels.subjects:
            x0, y0, x1, y1 = map(float, subject.box)
            found.setdefault(subject.attributes["species"], []).append((x0, y0, x1, y1))
            if box := face_box(subject):
                found.setdefault(FACE, []).append(box)
        kept = list(found)[:NUM_QUERIES]
        rivals = rng.sample([name for name in ATTRIBUTES["species"] if name not in found], NUM_RIVALS)
        others = [word for word in words if word not in (*found, *rivals)]
        pictures.append(drawn.image)
        asked.append((kept + rivals + rng.sample(others, NUM_QUERIES))[:NUM_QUERIES])
        present.append(found)
    return DetectionBatch(np.stack(pictures), asked, present)


def from_clip(folder: Path, *, size: int) -> Owlv2ForObjectDetection:
    """An OWLv2 with the vision tower of the CLIP in `folder`; its text tower and its heads are new.

    Raises: ConfigError when there is no CLIP.
    """
    clip = load_clip(folder, stage="detector")
    whole = clip.config.to_dict()
    text, vision = whole["text_config"], whole["vision_config"]
    kept = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "vocab_size"}
    kept |= {"max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "patch_size"}
    config = Owlv2Config(
        text_config={key: value for key, value in text.items() if key in kept},
        vision_config={key: value for key, value in vision.items() if key in kept} | {"image_size": size},
        projection_dim=whole["projection_dim"],
    )
    model = Owlv2ForObjectDetection(config)
    for head in (model.class_head, model.box_head, model.objectness_head):
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()  # the class draws them with deviation 1, which no training mends
    towers = {
        f"owlv2.{name.replace('pre_layrnorm', 'pre_layernorm')}": tensor
        for name, tensor in clip.state_dict().items()
        if not name.startswith("text_")
    }
    _, unexpected = model.load_state_dict(towers, strict=False)
    if unexpected:
        raise ConfigError(f"{folder}: expected a CLIP with OWLv2's towers, got others ({unexpected[0]}).")
    return model


def token_of(box: Box, *, grid: int) -> int:
    """The token in which the centre of a box (shares of the side) lies, row by row."""
    x, y = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    column, row = (min(grid - 1, max(0, int(value * grid))) for value in (x, y))
    return row * grid + column


def outside(boxes: list[Box], *, grid: int) -> Float[Tensor, " T"]:
    """1 for tokens whose centre lies in none of the boxes."""
    ticks = (torch.arange(grid) + 0.5) / grid
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    inside = torch.zeros(grid, grid, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        inside |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return (~inside).float().flatten()


def query_loss(logits: Float[Tensor, " T"], boxes: list[Box] | None, *, grid: int) -> Float[Tensor, ""]:
    """Cross entropy of one word's token scores: None says that it is absent, no boxes that its place is unknown."""
    if boxes is None:
        return F.softplus(logits.max())
    if not boxes:
        return F.softplus(-logits.max())
    centres = torch.tensor([token_of(box, grid=grid) for box in boxes], device=logits.device)
    beyond = outside(boxes, grid=grid).to(logits.device)
    beyond[centres] = 0
    loss = F.softplus(-logits[centres]).mean()
    return loss + F.softplus(logits[beyond > 0].max()) if bool(beyond.any()) else loss


def owners(wanted: list[Box], *, grid: int) -> tuple[list[int], list[int]]:
    """Tokens and the number of the box each learns: the nearest middle of those that it lies in, or its own centre."""
    owner = {token_of(box, grid=grid): number for number, box in enumerate(wanted)}
    middles = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in wanted]
    for token in range(grid * grid):
        x, y = (token % grid + 0.5) / grid, (token // grid + 0.5) / grid
        around = [number for number, (x0, y0, x1, y1) in enumerate(wanted) if x0 <= x <= x1 and y0 <= y <= y1]
        if around:
            owner.setdefault(token, min(around, key=lambda number: math.dist((x, y), middles[number])))
    return list(owner), list(owner.values())


def box_loss(boxes: Float[Tensor, "T 4"], wanted: list[Box], *, grid: int) -> Float[Tensor, ""]:
    """L1 and 1 - GIoU of the boxes (centre x, y, width, height) of the tokens inside the `wanted` ones.

    Source: DETR (arXiv:2005.12872), weights 5 and 2.
    """
    tokens, numbers = owners(wanted, grid=grid)
    found, wanted = boxes[tokens], [wanted[number] for number in numbers]
    corners = torch.tensor(wanted, dtype=found.dtype, device=found.device)
    middle, side = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    spread = torch.cat([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], dim=1)
    overlap = generalized_box_iou(spread, corners).diagonal()
    return 5 * (found - torch.cat([middle, side], dim=1)).abs().sum(1).mean() + 2 * (1 - overlap).mean()


def batch_loss(
    logits: Float[Tensor, "B T Q"], boxes: Float[Tensor, "B T 4"], batch: DetectionBatch, *, grid: int
) -> Float[Tensor, ""]:
    """Mean over words of the score's loss, plus the mean over pictures of the boxes' loss."""
    scores = [
        query_loss(logits[i, :, q], batch.present[i].get(word), grid=grid)
        for i, words in enumerate(batch.words)
        for q, word in enumerate(words)
    ]
    places = [[box for some in found.values() for box in some] for found in batch.present]
    fits = [box_loss(boxes[i], wanted, grid=grid) for i, wanted in enumerate(places) if wanted]
    return torch.stack(scores).mean() * 4 + (torch.stack(fits).mean() if fits else 0)


def train_detector(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the detector and exports it to `<work>/detector`."""
    torch.manual_seed(config.seed)
    model = on_device(from_clip(config.work / "clip", size=config.size), device)
    tokenizer = AutoTokenizer.from_pretrained(config.work / "clip")
    words, grid = vocabulary(), model.num_patches_height

    def tokens(texts: list[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, "N L"]]:
        made = tokenizer(texts, padding="max_length", max_length=8, truncation=True, return_tensors="pt").to(device)
        return made.input_ids, made.attention_mask

    def loss_of(first: int, batch: DetectionBatch) -> Tensor:
        pixels = blur(to_pixels(batch.pictures), random.Random(f"blur/{first}")).to(device)
        rng = random.Random(f"article/{first}")
        ids, mask = tokens([rng.choice((word, with_article(word))) for some in batch.words for word in some])
        with fast_autocast(device):
            found = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
        return batch_loss(found.logits.float(), found.pred_boxes.float(), batch, grid=grid)

    draw = partial(detection_batch, count=config.detector.batch_size, size=config.size, words=words)
    train_encoder(
        model, loss_of, draw=draw, workers=config.workers, name="detector", table=config.detector, config=config
    )
    folder = config.work / "detector"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": config.size, "width": config.size}
    Owlv2ImageProcessorPil(size=side, image_mean=MEAN, image_std=STD).save_pretrained(folder)
