"""Preference pairs drawn on the world: which pair is asked for, how an attempt at it is drawn, judged and kept.

Pair i of a seed is asked for by i alone: subset, category of the disrupted subject, kind of disruption
and which subjects it strikes follow a fixed round. Attempts at it follow each other until the gate keeps one, so the
kept pairs are balanced exactly. Attempts of one chunk are drawn and judged together, which changes speed only.
Shapes: S side of a picture in px; masks (S, S) bool, pictures (S, S, 3) uint8.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.kinds import CATEGORIES, SUBSETS, Category, Split, Subset
from likeness.core.masks import covered_tokens, union
from likeness.core.pairs import PairReference, PairSubject, PictureScore, PreferencePair, QualityScores
from likeness.core.rng import seed_for
from likeness.data.judging.gate import Thresholds, refuse_preferred, refuse_rejected
from likeness.data.judging.judges import Answers, Judge, SubjectView
from likeness.data.lint.mask_evidence import changed_pixels, changes_outside
from likeness.data.pairs import LoserSource
from likeness.data.pairs.disruption import DIFFICULTY, KINDS, Kind, Target, disrupt, is_still_there
from likeness.data.pairs.paste import dilate, paste
from likeness.data.pairs.regeneration import Regenerate, RegenerationJob
from likeness.world.identity import Identity
from likeness.world.render import (
    Labels,
    Rendering,
    reference_mask,
    render,
    render_image,
    render_reference,
    subject_levels,
)
from likeness.world.scenario import Scenario, describe, sample_scenario

__all__ = ["Asked", "MadePair", "Refusal", "WorldRecipe", "asked_for", "make_chunk", "pair_id"]

NUM_SUBJECTS = {"single": 1, "multi": 2}
STRUCK: tuple[tuple[int, ...], ...] = ((0,), (1,), (0, 1))
"""Which subjects of a multi pair are disrupted, in turn."""

MAX_ATTEMPTS = 400  # one of 1,600 hard pairs needed more than 40
MAX_SCENARIOS = 400
EDGE = 2  # px by which a silhouette's anti-aliased edge and thin lines reach beyond its label
INPAINT_EDGE, FEATHER = 4, 3  # px; a regenerated subject is free within the first and blended over the second
SMALLEST, LARGEST = 0.01, 0.9  # share of the picture that a disrupted subject, and all of them, may cover
TOKEN, FEWEST_TOKENS = 16, 4  # px of a token's side; tokens a disrupted subject covers, so that it can be located
REFERENCE_LEFT_OUT = 1 / 3  # of the regenerated losers; the others see a wrong reference


@dataclass(frozen=True)
class WorldRecipe:
    """Everything that decides what the pairs are but the judge. Sides in px; `inpainter` is the id of the model."""

    seed: int = 0
    split: Split = "train"
    subsets: tuple[Subset, ...] = SUBSETS
    losers: tuple[LoserSource, ...] = ("drawn",)
    hard: bool = False
    size: int = 128
    reference_size: int = 128
    thresholds: Thresholds = field(default_factory=Thresholds)
    inpainter: str | None = None


class Asked(NamedTuple):
    """What the pair at `place` of the set has to be."""

    place: int
    subset: Subset
    category: Category
    kind: Kind
    struck: tuple[int, ...]
    loser: LoserSource


class Refusal(NamedTuple):
    """An attempt that was not kept: `cause` for counting, `reason` for people."""

    place: int
    attempt: int
    cause: str
    reason: str


class MadePair(NamedTuple):
    """A kept pair with the bytes of its files by path inside the folder, and how many attempts it took."""

    place: int
    pair: PreferencePair
    files: dict[str, bytes]


@dataclass(frozen=True)
class _Draft:
    """An attempt on its way: the scene, whom the loser shows, and both pictures."""

    asked: Asked
    attempt: int
    scenario: Scenario
    picture: Rendering
    references: tuple[NDArray[np.uint8], ...] = ()
    impostors: dict[int, Identity] = field(default_factory=dict[int, Identity])
    rejected: NDArray[np.uint8] | None = None
    answers: tuple[tuple[Answers, ...], ...] = ()

    @property
    def labels(self) -> Labels:
        return self.picture.labels


Step = _Draft | Refusal


def pair_id(recipe: WorldRecipe, index: int) -> str:
    """The id of pair `index`, in which split and seed can be read."""
    return f"dip-{recipe.split}-{recipe.seed}-{index:06d}"


def asked_for(recipe: WorldRecipe, index: int) -> Asked:
    """What pair `index` has to be: subsets alternate, then categories, then losers, kinds and struck subjects."""
    rest, place = divmod(index, len(recipe.subsets))
    subset = recipe.subsets[place]
    rest, place = divmod(rest, len(CATEGORIES))
    category = CATEGORIES[place]
    turn, place = divmod(rest, len(recipe.losers))
    kinds = KINDS[subset]
    struck = (0,) if subset == "single" else STRUCK[(turn + turn // len(STRUCK)) % len(STRUCK)]
    return Asked(index, subset, category, kinds[turn % len(kinds)], struck, recipe.losers[place])


def make_chunk(
    indices: Sequence[int], *, recipe: WorldRecipe, judge: Judge, regenerate: Regenerate | None = None
) -> tuple[list[MadePair], list[Refusal]]:
    """The pairs of `indices` in that order, and every attempt on the way that was refused."""
    made: dict[int, MadePair] = {}
    refusals: list[Refusal] = []
    pending = list(indices)
    for attempt in range(MAX_ATTEMPTS):
        drafts = _attempts(pending, attempt=attempt, recipe=recipe, judge=judge, regenerate=regenerate)
        refusals += [draft for draft in drafts if isinstance(draft, Refusal)]
        for draft in drafts:
            if isinstance(draft, _Draft):
                made[draft.asked.place] = _made(draft, recipe=recipe, judge=judge)
        pending = [index for index in pending if index not in made]
        if not pending:
            break
    refusals.sort(key=lambda refusal: (refusal.place, refusal.attempt))
    return [made[index] for index in indices if index in made], refusals


def _attempts(
    pending: Sequence[int], *, attempt: int, recipe: WorldRecipe, judge: Judge, regenerate: Regenerate | None
) -> list[Step]:
    """One attempt at each pair: draw, look at the preferred picture, disrupt, look at the rejected one."""
    drawn = [_draw(asked_for(recipe, index), attempt=attempt, recipe=recipe) for index in pending]
    winners = _judged(drawn, judge=judge, recipe=recipe, check=_check_preferred)
    pairs = [_each(step, lambda draft: _disrupt(draft, recipe=recipe, regenerate=regenerate)) for step in winners]
    return _judged(pairs, judge=judge, recipe=recipe, check=_check_rejected)


def _each(step: Step, do: Callable[[_Draft], Step]) -> Step:
    return step if isinstance(step, Refusal) else do(step)


def _stream(recipe: WorldRecipe, draft: str, index: int, attempt: int) -> int:
    return seed_for("dip", recipe.split, recipe.seed, draft, index, attempt)


# -- the preferred picture -------------------------------------------------------------------------------------
def _draw(asked: Asked, *, attempt: int, recipe: WorldRecipe) -> Step:
    scenario = _scenario(asked, attempt=attempt, recipe=recipe)
    if scenario is None:
        reason = f"expected a scene with a disrupted {asked.category} in {MAX_SCENARIOS} draws, got none"
        return Refusal(asked.place, attempt, "scenario", reason)
    picture = render(scenario, size=recipe.size)
    draft = _Draft(asked, attempt, scenario, picture)
    shares = [float(subject.visible_mask.mean()) for subject in picture.labels.subjects]
    struck = [shares[index] for index in asked.struck]
    if min(shares) < SMALLEST or sum(struck) > LARGEST:
        wanted = f"every subject on at least {SMALLEST:.0%} of the picture and the disrupted on at most {LARGEST:.0%}"
        got = ", ".join(f"{share:.1%}" for share in shares)
        return Refusal(asked.place, attempt, "area", f"expected {wanted}, got {got}")
    token = min(TOKEN, recipe.size // 8)
    tokens = [covered_tokens(picture.labels.subjects[index].visible_mask, token=token)[0] for index in asked.struck]
    if min(tokens) < FEWEST_TOKENS:
        wanted = f"every disrupted subject on at least {FEWEST_TOKENS} tokens"
        return Refusal(asked.place, attempt, "area", f"expected {wanted}, got {min(tokens)}")
    return draft


def _scenario(asked: Asked, *, attempt: int, recipe: WorldRecipe) -> Scenario | None:
    """The first scene whose first disrupted subject is of the asked category."""
    count = NUM_SUBJECTS[asked.subset]
    for draw in range(MAX_SCENARIOS):
        seed = seed_for("dip", recipe.split, recipe.seed, "scenario", asked.place, attempt, draw)
        scenario = sample_scenario(seed, split=recipe.split, num_subjects=count, hard=recipe.hard, dressed=False)
        if scenario.identities[asked.struck[0]].category == asked.category:
            return scenario
    return None


# -- the rejected picture --------------------------------------------------------------------------------------
def _disrupt(draft: _Draft, *, recipe: WorldRecipe, regenerate: Regenerate | None) -> Step:
    impostors = _impostors(draft, recipe=recipe)
    if impostors is None:
        reason = f"expected somebody else ({draft.asked.kind}) with at most {recipe.thresholds.rejected_max} of ten"
        return Refusal(draft.asked.place, draft.attempt, "disruption", f"{reason}, got nobody")
    draft = replace(draft, impostors=impostors, references=_references(draft, recipe=recipe))
    if draft.asked.loser == "drawn":
        return replace(draft, rejected=_drawn_loser(draft))
    assert regenerate is not None, "the run loads it whenever losers are regenerated"
    return replace(draft, rejected=_regenerated_loser(draft, recipe=recipe, regenerate=regenerate))


def _impostors(draft: _Draft, *, recipe: WorldRecipe) -> dict[int, Identity] | None:
    """Whom the loser shows instead of each struck subject; none of them may pass for any struck subject."""
    rng = random.Random(_stream(recipe, "disruption", draft.asked.place, draft.attempt))
    people, most = draft.scenario.identities, recipe.thresholds.rejected_max
    targets = {i: Target(people[i], draft.labels.subjects[i].attributes) for i in draft.asked.struck}
    found: dict[int, Identity] = {}
    for index, target in targets.items():
        neighbour = people[1 - index] if len(people) > 1 else None
        chosen = disrupt(
            target, kind=draft.asked.kind, neighbour=neighbour, rng=rng, split=recipe.split, max_score=most
        )
        if chosen is None:
            return None
        found[index] = chosen
    is_swap = any(is_still_there(target, tuple(found.values()), max_score=most) for target in targets.values())
    return None if is_swap else found


def _shown(draft: _Draft) -> Scenario:
    """The scenario of the loser: the same stage, pose and seed."""
    people = tuple(draft.impostors.get(i, who) for i, who in enumerate(draft.scenario.identities))
    return replace(draft.scenario, identities=people)


def _struck_mask(draft: _Draft) -> NDArray[np.bool_]:
    return union(draft.labels.subjects[i].visible_mask for i in draft.asked.struck)


def _region(draft: _Draft, *, edge: int) -> NDArray[np.bool_]:
    """Where the pictures may differ: the struck subjects' masks in either picture, grown by `edge` px."""
    levels = subject_levels(_shown(draft), size=len(draft.picture.image))
    struck = np.isin(levels, [i + 1 for i in draft.asked.struck])
    return dilate(struck | _struck_mask(draft), radius=edge)


def _drawn_loser(draft: _Draft) -> NDArray[np.uint8]:
    image = render_image(_shown(draft), size=len(draft.picture.image))
    return paste(image, draft.picture.image, region=_region(draft, edge=EDGE))


def _regenerated_loser(draft: _Draft, *, recipe: WorldRecipe, regenerate: Regenerate) -> NDArray[np.uint8]:
    region = _region(draft, edge=INPAINT_EDGE)
    rng = random.Random(_stream(recipe, "regeneration", draft.asked.place, draft.attempt))
    leaves_out = len(draft.references) > len(draft.asked.struck) and rng.random() < REFERENCE_LEFT_OUT
    shown = [
        _photo(draft, i, recipe=recipe, who=draft.impostors[i]) if i in draft.impostors else photo
        for i, photo in enumerate(draft.references)
        if not (leaves_out and i in draft.impostors)
    ]
    job = RegenerationJob(
        draft.picture.image,
        region,
        draft.labels.caption,
        tuple(Image.fromarray(photo) for photo in shown),
        rng.randrange(2**31),
    )
    return paste(regenerate(job), draft.picture.image, region=region, feather=FEATHER)


# -- references ------------------------------------------------------------------------------------------------
def _photo_seed(draft: _Draft, subject: int, *, recipe: WorldRecipe) -> int:
    return seed_for("dip", recipe.split, recipe.seed, "photo", draft.asked.place, draft.attempt, subject)


def _photo(draft: _Draft, subject: int, *, recipe: WorldRecipe, who: Identity) -> NDArray[np.uint8]:
    seed = _photo_seed(draft, subject, recipe=recipe)
    return render_reference(who, seed=seed, size=recipe.reference_size)


def _references(draft: _Draft, *, recipe: WorldRecipe) -> tuple[NDArray[np.uint8], ...]:
    people = enumerate(draft.scenario.identities)
    return tuple(_photo(draft, i, recipe=recipe, who=who) for i, who in people)


# -- judging ---------------------------------------------------------------------------------------------------
Check = Callable[[_Draft, WorldRecipe], str | None]


def _judged(steps: Sequence[Step], *, judge: Judge, recipe: WorldRecipe, check: Check) -> list[Step]:
    """The drafts with the answers about their latest picture; those that fail `check` are refused."""
    drafts = [step for step in steps if isinstance(step, _Draft)]
    answers = iter(judge.answer([view for draft in drafts for view in _views(draft)]))
    done: list[Step] = []
    for step in steps:
        if isinstance(step, Refusal):
            done.append(step)
            continue
        mine = tuple(next(answers) for _ in step.labels.subjects)
        draft = replace(step, answers=(*step.answers, mine))
        reason = check(draft, recipe)
        cause = "preferred" if len(draft.answers) == 1 else "rejected"
        done.append(draft if reason is None else Refusal(draft.asked.place, draft.attempt, cause, reason))
    return done


def _views(draft: _Draft) -> list[SubjectView]:
    picture = draft.picture.image if draft.rejected is None else draft.rejected
    return [
        SubjectView(
            picture=picture,
            category=who.category,
            box=_box(subject.visible_mask),
            head=subject.head,
            wanted=subject.attributes,
            reference=draft.references[index] if draft.references else None,
        )
        for index, (who, subject) in enumerate(zip(draft.scenario.identities, draft.labels.subjects, strict=True))
    ]


def _check_preferred(draft: _Draft, recipe: WorldRecipe) -> str | None:
    return refuse_preferred(PictureScore(judge=draft.answers[0]), thresholds=recipe.thresholds)


def _check_rejected(draft: _Draft, recipe: WorldRecipe) -> str | None:
    score = PictureScore(judge=draft.answers[1])
    return refuse_rejected(score, disrupted=draft.asked.struck, thresholds=recipe.thresholds)


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the mask in shares of the side."""
    size = len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (round(float(edge) / size, 5) for edge in edges)
    return left, top, right, bottom


# -- what is kept ----------------------------------------------------------------------------------------------
def _made(draft: _Draft, *, recipe: WorldRecipe, judge: Judge) -> MadePair:
    assert draft.rejected is not None
    name, files = pair_id(recipe, draft.asked.place), dict[str, bytes]()

    def keep(path: str, picture: NDArray[np.uint8] | NDArray[np.bool_]) -> Path:
        files[path] = _png(picture)
        return Path(path)

    masks = [subject.visible_mask for subject in draft.labels.subjects]
    kept_masks = [keep(f"masks/{name}-subject-{i}.png", mask) for i, mask in enumerate(masks)]
    several = len(draft.asked.struck) > 1
    prior = keep(f"masks/{name}-prior.png", _struck_mask(draft)) if several else kept_masks[draft.asked.struck[0]]
    pair = PreferencePair(
        id=name,
        subset=draft.asked.subset,
        category=draft.asked.category,
        prompt=draft.labels.caption,
        references=tuple(
            PairReference(
                image=keep(f"images/{name}-reference-{i}.png", photo),
                mask=keep(f"masks/{name}-reference-{i}.png", _photo_mask(draft, i, recipe=recipe)),
                phrase=describe(who),
                category=who.category,
                class_name=who.class_name,
                id=who.id,
            )
            for i, (who, photo) in enumerate(zip(draft.scenario.identities, draft.references, strict=True))
        ),
        preferred=keep(f"images/{name}-preferred.png", draft.picture.image),
        rejected=keep(f"images/{name}-rejected.png", draft.rejected),
        subjects=tuple(_subject(draft, i, mask=mask) for i, mask in enumerate(kept_masks)),
        prior_mask=prior,
        size=(recipe.size, recipe.size),
        seeds=_seeds(draft, recipe=recipe),
        models={"generator": "world", "judge": judge.id, "inpainter": _inpainter(draft, recipe=recipe)},
        qa=QualityScores(preferred=PictureScore(judge=draft.answers[0]), rejected=PictureScore(judge=draft.answers[1])),
        split=recipe.split,
    )
    return MadePair(draft.asked.place, pair, files)


def _inpainter(draft: _Draft, *, recipe: WorldRecipe) -> str | None:
    return recipe.inpainter if draft.asked.loser == "regenerated" else "world"


def _seeds(draft: _Draft, *, recipe: WorldRecipe) -> dict[str, int]:
    seeds = {"scenario": draft.scenario.seed, "attempt": draft.attempt}
    photos = range(len(draft.references))
    return seeds | {f"reference-{i}": _photo_seed(draft, i, recipe=recipe) for i in photos}


def _photo_mask(draft: _Draft, subject: int, *, recipe: WorldRecipe) -> NDArray[np.bool_]:
    who, seed = draft.scenario.identities[subject], _photo_seed(draft, subject, recipe=recipe)
    return reference_mask(who, seed=seed, size=recipe.reference_size)


def _subject(draft: _Draft, index: int, *, mask: Path) -> PairSubject:
    who, label = draft.scenario.identities[index], draft.labels.subjects[index]
    impostor = draft.impostors.get(index)
    return PairSubject(
        phrase=describe(who),
        reference_index=index,
        mask=mask,
        box=_box(label.visible_mask),
        detection_score=None,
        disrupted=impostor is not None,
        disruption=None if impostor is None else _disruption(draft, who, impostor),
        inpaint_caption=None if impostor is None else describe(impostor),
        id=who.id,
    )


def _disruption(draft: _Draft, who: Identity, impostor: Identity) -> dict[str, Any]:
    assert draft.rejected is not None
    old, new = who.attributes(), impostor.attributes()
    changed = {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    differs = changed_pixels(draft.picture.image, draft.rejected, tolerance=0)
    outside = changes_outside(differs, _struck_mask(draft), reach=0)
    return {
        "kind": draft.asked.kind,
        "difficulty": DIFFICULTY[draft.asked.kind],
        "changed": changed,
        "num_changed": len(changed),
        "source": draft.asked.loser,
        "reach": outside.farthest,
        "apart": outside.apart,
    }


def _png(picture: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """A PNG packed for speed; masks become grey with 0 and 255."""
    grey = picture.dtype == np.bool_
    buffer = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8) * 255 if grey else picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
