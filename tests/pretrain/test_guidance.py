"""Stage "guidance": the teacher's guided velocity by the book, what the student starts and ends as, and resuming."""

import json
from collections.abc import Callable

import pytest
import torch

from likeness.backbones.flux.folder import read_settings
from likeness.backbones.flux.uno import FluxUno
from likeness.core.errors import ConfigError
from likeness.pretrain import guidance
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.guidance import GuidanceTraining, draw_guidance, scales_at, train_guidance
from likeness.pretrain.run import run
from likeness.pretrain.transformer import embed

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

Copy = Callable[[str], PretrainConfig]


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "NUM_VALIDATION", 4)


def perturbed(training: GuidanceTraining) -> None:
    """The tiny FLUX starts with last layers at zero; a teacher must say something."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in training.teacher.network.parameters():
            p.add_(0.02 * torch.randn_like(p))


def test_scales_go_from_none_at_1_to_the_defaults_at_top() -> None:
    numbers = torch.tensor([1.0, 2.25, 3.5])
    assert scales_at(numbers, top=3.5, scale=3.5).flatten().tolist() == pytest.approx([1, 2.25, 3.5])
    assert scales_at(numbers, top=3.5, scale=2.5).flatten().tolist() == pytest.approx([1, 1.75, 2.5])


def test_half_of_the_draws_are_the_default_and_an_eighth_none() -> None:
    drawn = draw_guidance(20_000, top=3.5, generator=torch.Generator().manual_seed(0))
    assert float((drawn == 3.5).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((drawn == 1.0).float().mean()) == pytest.approx(0.125, abs=0.02)
    assert float(drawn.min()) >= 1
    assert float(drawn.max()) <= 3.5


def test_the_error_is_the_distance_to_three_passes_of_the_teacher(work_copy: Copy) -> None:
    """In float64 and one picture at a time: v_empty + s_p (v_prompt - v_empty) + s_r (v_full - v_prompt)."""
    training = GuidanceTraining(work_copy("errors"), device="cpu")
    perturbed(training)
    batch = training.pool.batch(0, size=3, seed=5)
    generator = torch.Generator().manual_seed(1)
    t, eps = torch.rand(3, generator=generator), torch.randn(batch.target.shape, generator=generator)
    told = torch.tensor([1.0, 2.0, 3.5])
    with torch.no_grad():
        errors = training.cell_errors(batch, guidance=told, t=t, eps=eps)
        teacher, student = training.teacher, training.student
        empty = embed(teacher, *training.empty)
        for i in range(3):
            x_t = ((1 - t[i]) * batch.target[i].float() + t[i] * eps[i])[None]
            text = embed(teacher, batch.pieces[i : i + 1], batch.words[i : i + 1])
            references = [batch.references[i : i + 1, k].float() for k in range(batch.references.shape[1])]
            full, prompt, free = (
                teacher.predict(x_t, t[i : i + 1], teacher.assemble(words, some, guidance=1.0)).double()
                for words, some in ((text, references), (text, []), (empty, []))
            )
            share = (float(told[i]) - 1) / 2.5
            wanted = free + (1 + 1.5 * share) * (prompt - free) + (1 + 2.5 * share) * (full - prompt)
            condition = student.assemble(text, references, guidance=float(told[i]))
            found = student.predict(x_t, t[i : i + 1], condition).double()
            torch.testing.assert_close(errors[i].double(), (found - wanted)[0].square().mean(0), rtol=1e-3, atol=1e-5)


def test_a_student_that_is_not_trained_is_its_teacher_without_guidance(work_copy: Copy) -> None:
    training = GuidanceTraining(work_copy("same"), device="cpu")
    assert training.validate()["validation_plain"] == pytest.approx(0, abs=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(
        training.teacher.network.parameters(), training.student.network.parameters(), strict=True
    ))  # fmt: skip


def test_it_goes_on_bit_for_bit_and_leaves_guidance_as_the_default(
    work_copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "SAVE_EVERY_BATCHES", 2)
    straight = work_copy("straight")
    train_guidance(straight, device="cpu")
    resumed = work_copy("resumed")
    first = GuidanceTraining(resumed, device="cpu")
    for _ in range(2):
        first.step()
    first.save()
    train_guidance(resumed, device="cpu")
    folders = [config.work / "flux" for config in (straight, resumed)]
    one, two = (dict(FluxUno.load(folder).network.named_parameters()) for folder in folders)
    assert all(torch.equal(one[name], two[name]) for name in one)
    settings = read_settings(folders[0])
    assert (settings.guidance, settings.default_cfg_scale, settings.default_reference_cfg_scale) == (3.5, 1.0, 1.0)
    before = read_settings(straight.work / "teacher")
    assert (before.guidance, before.default_cfg_scale, before.default_reference_cfg_scale) == (1.0, 2.5, 3.5)


def test_a_teacher_that_does_not_guide_is_refused(work_copy: Copy) -> None:
    config = work_copy("unguided")
    path = config.work / "flux" / "likeness.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"default_cfg_scale": 1.0}))
    with pytest.raises(ConfigError, match='stage "guidance": expected a teacher with scales above 1'):
        GuidanceTraining(config, device="cpu")


def test_without_a_transformer_it_says_what_to_run_first(work_copy: Copy) -> None:
    config = work_copy("nothing")
    (config.work / "flux" / "likeness.json").unlink()
    with pytest.raises(ConfigError, match='run stage "transformer" first'):
        run(config.work / "recipe.toml", "guidance")
