"""All stages of a miniature recipe, one after the other, and what each leaves behind."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from stock_sdxl import stock_sdxl
from torch import nn

from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.uno import FluxUno
from likeness.core.skeletons import AP10K
from likeness.encoders.clip import ClipEncoder
from likeness.encoders.clip_judge import ClipJudge
from likeness.encoders.owl import OwlDetector
from likeness.encoders.pose import PoseEncoder
from likeness.encoders.probe import AttributeProbe, ProbeConfig
from likeness.encoders.vit import VitEncoder
from likeness.pretrain import calibrate, optim
from likeness.pretrain.config import PretrainConfig, read_config
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.probe import LYING, picture_labels, probe_config
from likeness.pretrain.probe import _chunk as drawn_chunk
from likeness.pretrain.probe import _scenario as drawn_scenario
from likeness.pretrain.run import STAGES, run
from likeness.world.actions import ACTIONS
from likeness.world.identity import ATTRIBUTES, split_of_identity
from likeness.world.render import render, render_image
from likeness.world.scenario import pair_split, sample_scenario
from likeness.world.scenes import SCENES

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

Copy = Callable[[str], PretrainConfig]
Write = Callable[[Path], Path]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(render_image(sample_scenario(seed, split="test"), size=32))


@pytest.mark.slow
def test_every_stage_of_a_miniature_recipe(work_copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The autoencoder is finished already; its stage does nothing. Two to four batches each for the rest."""
    monkeypatch.setattr(calibrate, "NUM_PICTURES", 8)
    monkeypatch.setattr(calibrate, "NUM_IDENTITIES", 22)
    monkeypatch.delitem(STAGES, "face_attributes")  # an untrained probe finds nobody; test_faces.py has the stage
    work = work_copy("all").work
    config = run(work / "recipe.toml")
    carded = ("flux/vae", "probe", "clip", "dino", "relations", "detector", "pose")
    cards = {f"{name}/calibration.json" for name in carded}
    assert {*check_outputs(config.work), *cards} == set(check_outputs(config.export))

    totals = {
        "transformer": 16,
        "relations": 16,
        **dict.fromkeys(("probe", "clip", "dino", "detector", "pose"), 8),
        "unet": 16,
    }
    for name, total in totals.items():
        last = json.loads((work / f"{name}.jsonl").read_text().splitlines()[-1])
        assert last["num_images_seen"] == total
        assert math.isfinite(last["train_loss"])
        assert (config.export / "logs" / f"{name}.jsonl").is_file()


def check_outputs(work: Path) -> list[str]:
    """Loads every checkpoint of a folder, uses it once and returns the file names."""
    options = FluxOptions(steps=2)
    image = FluxUno.load(work / "flux").generate("A cat on the beach", [picture(0)], seed=1, options=options)
    assert image.size == (32, 32)
    reading = AttributeProbe.load(work / "probe").look([picture(0)])[0]
    assert set(reading.subjects[0].attributes) == set(ATTRIBUTES)
    clip = ClipEncoder.load(work / "clip")
    assert clip.look([picture(0), picture(1)]).shape[1] == len(clip.read(["A cat"])[0].vector)
    assert VitEncoder.load(work / "dino").look([picture(0)]).shape == (1, 192)
    (found,) = OwlDetector.load(work / "detector").ask([picture(0)], ["cat"])
    assert 0 < found.best("cat") < 1
    (pose,) = PoseEncoder.load(work / "pose").ask([picture(0)], ["whole picture"])
    assert pose.names == AP10K
    (said,) = ClipJudge.load(work / "relations").ask([picture(0)], ["a cat riding horse"])
    assert math.isfinite(said.log_odds)
    assert_draws(work / "sdxl")
    folders = ("flux", "sdxl", "clip", "dino", "probe", "relations", "detector", "pose")
    return sorted(str(p.relative_to(work)) for name in folders for p in (work / name).rglob("*") if p.is_file())


def assert_draws(folder: Path) -> None:
    """The stock pipeline opens the tiny SDXL with its adapter and draws a picture."""
    drawn = stock_sdxl(folder)("A cat", ip_adapter_image=[[picture(0)]], num_inference_steps=2, height=32, width=32)
    assert drawn.images[0].size == (32, 32)


def test_the_probe_sees_more_people_than_the_world_has() -> None:
    """A third of the pictures begins with one, each with readable labels of what only people have."""
    probe = ProbeConfig(attributes=ATTRIBUTES, actions=tuple(ACTIONS), scenes=tuple(SCENES), image_size=32)
    labels = [one for first in (0, 32, 64) for one in drawn_chunk(first, seed=1, size=32, probe=probe).labels]
    people = [one for one in labels if one.classes[0][0] == ATTRIBUTES["species"].index("person")]
    assert 0.25 < len(people) / len(labels) < 0.5
    human = [list(ATTRIBUTES).index(name) for name in ("skin", "hair_color", "beard", "age")]  # hats hide hair styles
    assert all((one.classes[0][human] >= 0).all() for one in people)


def test_the_probe_sees_lying_subjects_often_and_only_pairs_of_the_training_split() -> None:
    plans = [drawn_scenario(index, seed=1, hard=False) for index in range(600)]
    few = [plan for plan in plans if len(plan.identities) < 3]
    assert 0.15 < sum(plan.action in LYING.values() for plan in few) / len(few) < 0.35  # 0.05 in the world itself
    assert all(pair_split(plan.action, plan.scene) == "train" for plan in plans)
    assert all(split_of_identity(who) == "train" for plan in plans for who in plan.identities)
    assert all(len(plan.identities) in ACTIONS[plan.action].num_subjects for plan in plans)


class Stopped(BaseException):
    """The process dies."""


def test_encoder_loop_continues_bit_for_bit(
    tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss numbers depend on the global random state, which the loop seeds per batch."""
    monkeypatch.setattr(optim, "SAVE_EVERY_BATCHES", 2)

    def train(name: str, *, stop_at: int | None = None) -> list[torch.Tensor]:
        config = read_config(write_recipe(tmp_path / name))
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

        def loss_of(first: int, batch: int) -> torch.Tensor:
            if first == stop_at:
                raise Stopped
            assert batch == first
            return net(torch.randn(4, 3)).square().mean() + 0.01 * first

        table = config.probe.model_copy(update={"total_images": 24})
        train_encoder(net, loss_of, draw=int, workers=0, name="tiny", table=table, config=config)
        assert not net.training
        return [value.clone() for value in net.state_dict().values()]

    straight = train("straight")
    with pytest.raises(Stopped):
        train("stopped", stop_at=12)
    resumed = train("stopped")
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


def test_probe_labels_are_the_world_labels(prepared: PretrainConfig) -> None:
    probe = probe_config(prepared)
    assert probe.grid == 4
    for seed in range(20):
        labels = render(sample_scenario(seed, split="train"), size=32).labels
        targets = picture_labels(labels, probe)
        assert probe.actions[targets.action] == labels.action
        assert probe.scenes[targets.scene] == labels.scene
        assert targets.heads.shape == (len(labels.subjects), 2)
        for subject, ids in zip(labels.subjects, targets.classes, strict=True):
            for (name, values), number in zip(probe.attributes.items(), ids, strict=True):
                told = subject.attributes[name]
                assert (values[number] if number >= 0 else "none") == told
