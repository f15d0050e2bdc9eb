"""Preference pairs drawn on the world: which pair is asked for, how an attempt at it is drawn, judged and kept.

Pair i of a seed is asked for by i alone: subset, category of the disrupted subject, kind of disruption
and which subjects it strikes follow a fixed round. Attempts at it follow each other until the gate keeps one, so the
kept pairs are balanced exactly. Attempts of one chunk are drawn and judged together, which changes speed only.
Shapes: S side of a picture in px; masks (S, S) bool, pictures (S, S, 3) uint8.
"""

import io
import random
from collections.abc import Iterable, Iterator, Sequence
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
from likeness.data.judging.judges import Judge, SubjectView
from likeness.data.lint.mask_evidence import changed_pixels, changes_outside
from likeness.data.pairs import LoserSource
from likeness.data.pairs.disruption import DIFFICULTY, KINDS, Kind, Target, disrupt, is_still_there
from likeness.data.pairs.paste import dilate, paste
from likeness.data.pairs.regeneration import Regenerate, RegenerationJob
from likeness.world.identity import Identity
from likeness.world.render import Rendering, reference_mask, render, render_image, render_reference, subject_levels
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
    """An attempt on its way: the scene, whom the loser shows, both pictures, and what the judge said of them."""

    recipe: WorldRecipe
    asked: Asked
    attempt: int
    scenario: Scenario
    picture: Rendering
    references: tuple[NDArray[np.uint8], ...] = ()
    impostors: dict[int, Identity] = field(default_factory=dict[int, Identity])
    rejected: NDArray[np.uint8] | None = None
    scores: tuple[PictureScore, ...] = ()

    def seed(self, use: str, *more: int) -> int:
        """The seed of what is drawn at random for this attempt."""
        return seed_for("dip", self.recipe.split, self.recipe.seed, use, self.asked.place, self.attempt, *more)

    def refused(self, cause: str, reason: str) -> Refusal:
        """The attempt, given up."""
        return Refusal(self.asked.place, self.attempt, cause, reason)


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

    def kept(steps: Iterable[Step]) -> list[_Draft]:
        steps = list(steps)
        refusals.extend(step for step in steps if isinstance(step, Refusal))
        return [step for step in steps if isinstance(step, _Draft)]

    pending = list(indices)
    for attempt in range(MAX_ATTEMPTS):
        drawn = kept(_draw(asked_for(recipe, index), attempt=attempt, recipe=recipe) for index in pending)
        winners = kept(_judged(drawn, judge=judge))
        pairs = kept(_disrupt(draft, regenerate=regenerate) for draft in winners)
        made |= {draft.asked.place: _made(draft, judge=judge) for draft in kept(_judged(pairs, judge=judge))}
        pending = [index for index in pending if index not in made]
        if not pending:
            break
    refusals.sort(key=lambda refusal: (refusal.place, refusal.attempt))
    return [made[index] for index in indices if index in made], refusals


# -- the preferred picture -------------------------------------------------------------------------------------
def _draw(asked: Asked, *, attempt: int, recipe: WorldRecipe) -> Step:
    scenario = _scenario(asked, attempt=attempt, recipe=recipe)
    if scenario is None:
        reason = f"expected a scene with a disrupted {asked.category} in {MAX_SCENARIOS} draws, got none"
        return Refusal(asked.place, attempt, "scenario", reason)
    draft = _Draft(recipe, asked, attempt, scenario, render(scenario, size=recipe.size))
    masks = [subject.visible_mask for subject in draft.picture.labels.subjects]
    shares = [float(mask.mean()) for mask in masks]
    if min(shares) < SMALLEST or sum(shares[index] for index in asked.struck) > LARGEST:
        wanted = f"every subject on at least {SMALLEST:.0%} of the picture and the disrupted on at most {LARGEST:.0%}"
        got = ", ".join(f"{share:.1%}" for share in shares)
        return draft.refused("area", f"expected {wanted}, got {got}")
    tokens = min(covered_tokens(masks[index], token=min(TOKEN, recipe.size // 8))[0] for index in asked.struck)
    if tokens < FEWEST_TOKENS:
        wanted = f"every disrupted subject on at least {FEWEST_TOKENS} tokens"
        return draft.refused("area", f"expected {wanted}, got {tokens}")
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
def _disrupt(draft: _Draft, *, regenerate: Regenerate | None) -> Step:
    impostors = _impostors(draft)
    if impostors is None:
        most = draft.recipe.thresholds.rejected_max
        reason = f"expected somebody else ({draft.asked.kind}) with at most {most} of ten, got nobody"
        return draft.refused("disruption", reason)
    references = tuple(_photo(draft, i, who) for i, who in enumerate(draft.scenario.identities))
    draft = replace(draft, impostors=impostors, references=references)
    if draft.asked.loser == "drawn":
        image = render_image(_shown(draft), size=draft.recipe.size)
        return replace(draft, rejected=paste(image, draft.picture.image, region=_region(draft, edge=EDGE)))
    assert regenerate is not None, "the run loads it whenever losers are regenerated"
    return replace(draft, rejected=_regenerated_loser(draft, regenerate=regenerate))


def _photo(draft: _Draft, subject: int, who: Identity) -> NDArray[np.uint8]:
    """`who` as the reference of this subject shows its own."""
    return render_reference(who, seed=draft.seed("photo", subject), size=draft.recipe.reference_size)


def _impostors(draft: _Draft) -> dict[int, Identity] | None:
    """Whom the loser shows instead of each struck subject; none of them may pass for any struck subject."""
    rng = random.Random(draft.seed("disruption"))
    people, most, split = draft.scenario.identities, draft.recipe.thresholds.rejected_max, draft.recipe.split
    targets = {i: Target(people[i], draft.picture.labels.subjects[i].attributes) for i in draft.asked.struck}
    found: dict[int, Identity] = {}
    for index, target in targets.items():
        neighbour = people[1 - index] if len(people) > 1 else None
        chosen = disrupt(target, kind=draft.asked.kind, neighbour=neighbour, rng=rng, split=split, max_score=most)
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
    return union(draft.picture.labels.subjects[i].visible_mask for i in draft.asked.struck)


def _region(draft: _Draft, *, edge: int) -> NDArray[np.bool_]:
    """Where the pictures may differ: the struck subjects' masks in either picture, grown by `edge` px."""
    levels = subject_levels(_shown(draft), size=draft.recipe.size)
    struck = np.isin(levels, [i + 1 for i in draft.asked.struck])
    return dilate(struck | _struck_mask(draft), radius=edge)


def _shown_instead(draft: _Draft) -> dict[int, NDArray[np.bool_]]:
    """Per struck subject what the loser shows in its place: the impostor as drawn, or what the model has changed."""
    assert draft.rejected is not None
    levels = subject_levels(_shown(draft), size=draft.recipe.size)
    drawn = {i: levels == i + 1 for i in draft.asked.struck}
    if draft.asked.loser == "drawn":
        return drawn
    differs = changed_pixels(draft.picture.image, draft.rejected, tolerance=0)
    own = {i: draft.picture.labels.subjects[i].visible_mask for i in drawn}
    return {i: differs & dilate(mask | own[i], radius=INPAINT_EDGE + FEATHER) for i, mask in drawn.items()}


def _regenerated_loser(draft: _Draft, *, regenerate: Regenerate) -> NDArray[np.uint8]:
    region = _region(draft, edge=INPAINT_EDGE)
    rng = random.Random(draft.seed("regeneration"))
    leaves_out = len(draft.references) > len(draft.asked.struck) and rng.random() < REFERENCE_LEFT_OUT
    shown = [
        Image.fromarray(_photo(draft, i, draft.impostors[i]) if i in draft.impostors else photo)
        for i, photo in enumerate(draft.references)
        if not (leaves_out and i in draft.impostors)
    ]
    seed, caption = rng.randrange(2**31), draft.picture.labels.caption
    job = RegenerationJob(draft.picture.image, region, caption, tuple(shown), seed)
    return paste(regenerate(job), draft.picture.image, region=region, feather=FEATHER)


# -- judging ---------------------------------------------------------------------------------------------------
def _judged(drafts: Sequence[_Draft], *, judge: Judge) -> Iterator[Step]:
    """The drafts with the score of their latest picture; those whose score does not pass are refused."""
    answers = iter(judge.answer([view for draft in drafts for view in _views(draft)]))
    for draft in drafts:
        score = PictureScore(judge=tuple(next(answers) for _ in draft.picture.labels.subjects))
        thresholds = draft.recipe.thresholds
        if draft.rejected is None:
            cause, reason = "preferred", refuse_preferred(score, thresholds=thresholds)
        else:
            struck = draft.asked.struck
            cause, reason = "rejected", refuse_rejected(score, disrupted=struck, thresholds=thresholds)
        yield replace(draft, scores=(*draft.scores, score)) if reason is None else draft.refused(cause, reason)


def _views(draft: _Draft) -> list[SubjectView]:
    picture = draft.picture.image if draft.rejected is None else draft.rejected
    people, subjects = draft.scenario.identities, draft.picture.labels.subjects
    return [
        SubjectView(
            picture=picture,
            category=who.category,
            box=_box(subject.visible_mask),
            head=subject.head,
            wanted=subject.attributes,
            reference=reference,
        )
        for who, subject, reference in zip(people, subjects, draft.references or [None] * len(people), strict=True)
    ]


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the mask in shares of the side."""
    left, top, right, bottom = (round(edge / len(mask), 5) for edge in Image.fromarray(mask).getbbox() or (0, 0, 0, 0))
    return left, top, right, bottom


# -- what is kept ----------------------------------------------------------------------------------------------
def _made(draft: _Draft, *, judge: Judge) -> MadePair:
    assert draft.rejected is not None
    recipe, asked, labels, people = draft.recipe, draft.asked, draft.picture.labels, draft.scenario.identities
    name, files = pair_id(recipe, asked.place), dict[str, bytes]()

    def keep(path: str, picture: NDArray[np.uint8] | NDArray[np.bool_]) -> Path:
        files[path] = _png(picture)
        return Path(path)

    masks = [keep(f"masks/{name}-subject-{i}.png", subject.visible_mask) for i, subject in enumerate(labels.subjects)]
    instead = {i: keep(f"masks/{name}-rejected-{i}.png", mask) for i, mask in _shown_instead(draft).items()}
    several = len(asked.struck) > 1
    prior = keep(f"masks/{name}-prior.png", _struck_mask(draft)) if several else masks[asked.struck[0]]
    seeds = {f"reference-{i}": draft.seed("photo", i) for i in range(len(people))}
    silhouettes = [
        reference_mask(who, seed=seed, size=recipe.reference_size)
        for who, seed in zip(people, seeds.values(), strict=True)
    ]
    pair = PreferencePair(
        id=name,
        subset=asked.subset,
        category=asked.category,
        prompt=labels.caption,
        references=tuple(
            PairReference(
                image=keep(f"images/{name}-reference-{i}.png", draft.references[i]),
                mask=keep(f"masks/{name}-reference-{i}.png", silhouettes[i]),
                phrase=describe(who),
                category=who.category,
                class_name=who.class_name,
                id=who.id,
            )
            for i, who in enumerate(people)
        ),
        preferred=keep(f"images/{name}-preferred.png", draft.picture.image),
        rejected=keep(f"images/{name}-rejected.png", draft.rejected),
        subjects=tuple(_subject(draft, i, mask=mask, instead=instead.get(i)) for i, mask in enumerate(masks)),
        prior_mask=prior,
        size=(recipe.size, recipe.size),
        seeds={"scenario": draft.scenario.seed, "attempt": draft.attempt, **seeds},
        models={
            "generator": "world",
            "judge": judge.id,
            "inpainter": recipe.inpainter if asked.loser == "regenerated" else "world",
        },
        qa=QualityScores(preferred=draft.scores[0], rejected=draft.scores[1]),
        split=recipe.split,
    )
    return MadePair(asked.place, pair, files)


def _subject(draft: _Draft, index: int, *, mask: Path, instead: Path | None) -> PairSubject:
    who, label = draft.scenario.identities[index], draft.picture.labels.subjects[index]
    impostor = draft.impostors.get(index)
    return PairSubject(
        phrase=describe(who),
        reference_index=index,
        mask=mask,
        rejected_mask=instead,
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
    image, buffer = Image.fromarray(picture), io.BytesIO()
    (image.convert("L") if image.mode == "1" else image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
