"""What subjects do: the 25 RelationBench actions, word for word, and more. Each sets a `Stage`.

`template` holds {0}..{3} for the subjects' words and {scene} for the scene's phrase.
Source: RelationBench prompts (DreamRelation, arXiv:2410.23280).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from likeness.world.pose import Pose
from likeness.world.stage import FLOOR, Actor, Stage

STAND = Pose()


def _one(stage: Stage, pose: Pose, *, x: float = 0.5, h: float = 0.6, y: float = FLOOR, grip: bool = False) -> Actor:
    if stage.rng.random() < 0.5 and pose.facing == 0:
        pose = replace(pose, facing=stage.rng.choice((-1.0, 1.0, 0.0)))
    return stage.actor(0, x=stage.near(x, 0.04), h=stage.near(h, 0.025), y=y, pose=pose, grip=grip)


def _two(
    stage: Stage,
    left: Pose,
    right: Pose,
    *,
    gap: float,
    h: float = 0.52,
    y: float = FLOOR,
    grip: tuple[int, ...] = (),
) -> tuple[Actor, Actor]:
    """Subject 0 on the left and subject 1 on the right, `gap` apart, around the middle."""
    x, size = stage.near(0.5, 0.04), stage.near(h, 0.02)
    a = stage.actor(0, x=x - gap / 2, h=size, y=y, pose=left, grip=0 in grip)
    b = stage.actor(1, x=x + gap / 2, h=size, y=y, pose=right, grip=1 in grip)
    return a, b


# -- one subject -----------------------------------------------------------------------------------------------
def _stand(stage: Stage) -> None:
    _one(stage, STAND)


def _guitar(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.03, -0.27), right_hand=(0.27, -0.38)), grip=True)
    stage.prop("guitar", a.at(-0.03, -0.27), a.h * 0.62, angle=-12)


def _piano(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(0.16, -0.34), right_hand=(0.3, -0.36), facing=1), x=0.33)
    stage.prop("piano", (a.x + 0.34 * a.h + 0.03, FLOOR - 0.23), 0.46)


def _eat(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.26, -0.26), right_hand=(0.14, -0.52), mouth_open=True), grip=True)
    stage.prop("dinner_table", (a.x, FLOOR - 0.2), 0.56)


def _dance(stage: Stage) -> None:
    a = _one(
        stage,
        Pose(left_hand=(-0.38, -0.66), right_hand=(0.36, -0.3), right_foot=(0.25, -0.1), turn=-8, mouth_open=True),
        h=0.56,
    )
    stage.back_prop("music_note", a.at(0.46, -0.85), 0.13)
    stage.back_prop("music_note", a.at(-0.52, -0.4), 0.11)


def _lift(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.36, -0.92), right_hand=(0.36, -0.92)), h=0.53, grip=True)
    stage.back_prop("barbell", a.at(0, -0.92), a.h * 1.35)


def _read(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.17, -0.29), right_hand=(0.17, -0.29)), grip=True)
    stage.prop("book", a.at(0, -0.2), a.h * 0.42)


def _ski(stage: Stage) -> None:
    pose = Pose((-0.36, -0.4), (0.36, -0.42), (-0.12, -0.03), (0.1, -0.03), facing=1, turn=14)
    a = _one(stage, pose, h=0.56, y=FLOOR - 0.03, grip=True)
    for x in (-0.46, 0.27):
        stage.back_prop("ski_pole", a.at(x, -0.42), a.h * 0.5, angle=16)
    stage.prop("ski", a.at(0.05, 0.03), a.h * 1.25, angle=4)


def _sleep(stage: Stage) -> None:
    x, y = stage.near(0.5, 0.03), stage.near(0.74, 0.02)
    stage.back_prop("hammock_back", (x, y), 0.82)
    stage.actor(
        0,
        x=x + 0.25,
        y=y - 0.085,
        h=stage.near(0.56, 0.02),
        pose=Pose((-0.2, -0.3), (0.2, -0.35), turn=-82, eyes_closed=True),
    )
    stage.prop("hammock_front", (x, y), 0.82)


def _cook(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.25, -0.25), right_hand=(0.36, -0.5), facing=1), x=0.37, grip=True)
    stage.prop("stove", (a.x + 0.32, FLOOR - 0.3), 0.25)


def _sing(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.36, -0.62), right_hand=(0.2, -0.42), mouth_open=True), grip=True)
    stage.prop("microphone", a.at(0.2, -0.5), a.h * 0.5)
    stage.back_prop("music_note", a.at(0.48, -0.8), 0.12)


def _ride(name: str, *, size: float, saddle: float, h: float) -> Callable[[Stage], None]:
    """Sitting on a vehicle or an animal that faces right; its saddle is at height `saddle` over the floor."""

    def build(stage: Stage) -> None:
        pose = Pose((0.22, -0.34), (0.32, -0.36), (-0.02, -0.03), (0.18, -0.03), facing=1, turn=4)
        y = FLOOR - saddle
        a = _one(stage, pose, x=0.47, h=h, y=y + 0.15 * h, grip=True)
        stage.back_prop(name, (a.x, y), size)

    return build


def _soccer(stage: Stage) -> None:
    a = _one(stage, Pose((-0.32, -0.45), (0.26, -0.2), right_foot=(0.27, -0.1), facing=1, turn=-8), x=0.42)
    stage.prop("soccer_ball", a.at(0.55, -0.09), 0.15)


def _wave(stage: Stage) -> None:
    _one(stage, Pose(right_hand=(0.36, -0.72)))


def _jump(stage: Stage) -> None:
    pose = Pose((-0.34, -0.68), (0.34, -0.68), (-0.2, -0.1), (0.2, -0.1), mouth_open=True)
    _one(stage, pose, h=0.54, y=FLOOR - 0.14)


def _run(stage: Stage) -> None:
    _one(stage, Pose((-0.3, -0.4), (0.3, -0.28), (-0.28, -0.12), (0.22, -0.02), facing=1, turn=12))


def _sit(stage: Stage) -> None:
    pose = Pose((-0.2, -0.16), (0.2, -0.16), (-0.17, 0.02), (0.17, 0.02))
    a = _one(stage, pose, h=0.56, y=FLOOR - 0.13)
    stage.back_prop("stool", a.at(0, -0.1), 0.24)


def _hold(name: str, *, size: float, hand: tuple[float, float], front: bool = True) -> Callable[[Stage], None]:
    """Standing with a prop in the picture-right hand."""

    def build(stage: Stage) -> None:
        a = _one(stage, Pose(right_hand=hand), grip=True, h=0.54)
        (stage.prop if front else stage.back_prop)(name, a.at(*hand), size)

    return build


def _paint(stage: Stage) -> None:
    a = _one(stage, Pose(right_hand=(0.3, -0.45), facing=1), x=0.34, grip=True)
    stage.back_prop("easel", (a.x + 0.36, FLOOR - 0.3), 0.34)
    stage.prop("brush", a.at(0.3, -0.45), 0.16)


def _drums(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.3, -0.42), right_hand=(0.3, -0.42), mouth_open=True), h=0.58, y=FLOOR - 0.03)
    stage.prop("drums", (a.x, FLOOR - 0.22), 0.4)


def _fly_kite(stage: Stage) -> None:
    a = _one(stage, Pose(right_hand=(0.3, -0.66), facing=1), x=0.34, h=0.54)
    stage.back_prop("kite", (a.x + 0.4, 0.2), 0.26, angle=20)


def _skateboard(stage: Stage) -> None:
    pose = Pose((-0.36, -0.46), (0.36, -0.46), (-0.18, -0.02), (0.18, -0.02), facing=1, turn=8)
    a = _one(stage, pose, h=0.55, y=FLOOR - 0.07)
    stage.back_prop("skateboard", a.at(0, 0.03), 0.42, angle=4)


def _trumpet(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(0.1, -0.56), right_hand=(0.24, -0.58), facing=1), grip=True, x=0.42)
    stage.prop("trumpet", a.at(0.1, -0.6), a.h * 0.5, angle=-6)


def _tea(stage: Stage) -> None:
    a = _one(stage, Pose(left_hand=(-0.25, -0.25), right_hand=(0.17, -0.46)), grip=True)
    stage.prop("cup", a.at(0.17, -0.52), 0.13)


# -- two subjects ----------------------------------------------------------------------------------------------
def _chess(stage: Stage) -> None:
    a, b = _two(stage, Pose(right_hand=(0.3, -0.36), facing=1), Pose(left_hand=(-0.27, -0.34), facing=-1), gap=0.54)
    stage.prop("chess_table", ((a.x + b.x) / 2, FLOOR - 0.2), 0.3)


def _ballroom(stage: Stage) -> None:
    up, low = (0.3, -0.74), (0.2, -0.3)
    left = Pose(left_hand=(-0.3, -0.6), right_hand=low, left_foot=(-0.2, -0.03), facing=1, turn=-6)
    right = Pose(left_hand=(-low[0], low[1]), right_hand=up, right_foot=(0.22, -0.06), facing=-1, turn=6)
    a, _ = _two(stage, left, right, gap=0.34)
    stage.back_prop("music_note", (a.x - 0.12, 0.3), 0.12)


def _carry(stage: Stage) -> None:
    x, h = stage.near(0.5, 0.03), stage.near(0.46, 0.015)
    stage.actor(1, x=x - 0.23, y=FLOOR - 1.1 * h, h=h * 0.96, pose=Pose(turn=82, left_foot=(-0.08, 0), facing=0))
    stage.actor(0, x=x, h=h, pose=Pose((-0.33, -0.97), (0.33, -0.97), mouth_open=False), grip=True)


def _fence(stage: Stage) -> None:
    left = Pose((-0.34, -0.6), (0.34, -0.42), (-0.18, -0.02), (0.2, -0.02), facing=1)
    a, b = _two(stage, left, left.mirrored(), gap=0.54, h=0.5, grip=(0, 1))
    stage.prop("foil", a.at(0.34, -0.42), 0.27, angle=-28)
    stage.prop("foil", b.at(-0.34, -0.42), 0.27, angle=28, flip=True)


def _shake(stage: Stage) -> None:
    left = Pose(right_hand=(0.42, -0.34), facing=1)
    _two(stage, left, left.mirrored(), gap=0.44, grip=(0, 1))


def _kiss(stage: Stage) -> None:
    left = Pose((-0.2, -0.15), (0.2, -0.24), facing=1, head_shift=(0.05, 0.01), head_tilt=8, eyes_closed=True)
    a, b = _two(stage, left, left.mirrored(), gap=0.36)
    stage.prop("heart", ((a.x + b.x) / 2, a.y - a.h - 0.09), 0.16)


def _basketball(stage: Stage) -> None:
    left = Pose((-0.26, -0.5), (0.3, -0.68), (-0.14, -0.02), (0.16, -0.02), facing=1)
    right = Pose((-0.32, -0.74), (0.32, -0.66), (-0.2, -0.05), (0.14, -0.02), facing=-1)
    a, _ = _two(stage, left, right, gap=0.5, h=0.5, grip=(0,))
    stage.prop("basketball", a.at(0.36, -0.78), 0.15)


def _wrestle(stage: Stage) -> None:
    left = Pose((0.2, -0.28), (0.36, -0.47), (-0.24, -0.02), (0.04, -0.02), facing=1, turn=17)
    _two(stage, left, left.mirrored(), gap=0.46, grip=(0, 1))


def _hug(stage: Stage) -> None:
    left = Pose((0.06, -0.24), (0.3, -0.37), facing=1, turn=5)
    _two(stage, left, left.mirrored(), gap=0.3, grip=(0,))


def _fight(stage: Stage) -> None:
    left = Pose((0.12, -0.5), (0.38, -0.52), (-0.16, -0.02), (0.16, -0.02), facing=1, turn=-4)
    a, b = _two(stage, left, left.mirrored(), gap=0.52, h=0.5)
    for actor, side in ((a, 1), (b, -1)):
        stage.prop("boxing_glove", actor.at(side * 0.38, -0.52), 0.12, flip=side < 0)
        stage.prop("boxing_glove", actor.at(side * 0.12, -0.5), 0.11, flip=side < 0)


def _back_to_back(stage: Stage) -> None:
    left = Pose((-0.28, -0.2), (0.1, -0.14), (-0.34, 0.08), (-0.2, 0.1), facing=-1, turn=6)
    _two(stage, left, left.mirrored(), gap=0.33, y=FLOOR - 0.07)


def _together(stage: Stage) -> None:
    _row(stage, [STAND] * 2, h=0.54)


def _hold_hands(stage: Stage) -> None:
    left = Pose(right_hand=(0.42, -0.12))
    _two(stage, left, left.mirrored(), gap=0.44, grip=(0, 1))


def _high_five(stage: Stage) -> None:
    left = Pose(right_hand=(0.4, -0.86), facing=1, mouth_open=True)
    _two(stage, left, left.mirrored(), gap=0.42, h=0.5, grip=(0, 1))


def _give(name: str, *, size: float) -> Callable[[Stage], None]:
    """Subject 0 hands something to subject 1."""

    def build(stage: Stage) -> None:
        right = Pose((-0.25, -0.4), (0.28, -0.42), facing=-1, mouth_open=True)
        a, _ = _two(stage, Pose(right_hand=(0.36, -0.36), facing=1), right, gap=0.5, grip=(0,))
        stage.prop(name, a.at(0.42, -0.4), size)

    return build


def _chase(stage: Stage) -> None:
    pose = Pose((0.22, -0.46), (0.38, -0.44), (-0.28, -0.12), (0.22, -0.02), facing=1, turn=10)
    flee = Pose((-0.32, -0.62), (0.34, -0.62), (-0.28, -0.1), (0.22, -0.02), facing=1, turn=8, mouth_open=True)
    _two(stage, pose, flee, gap=0.48, h=0.48)


# -- three and four --------------------------------------------------------------------------------------------
def _row(stage: Stage, poses: list[Pose], *, h: float, grip: bool = False) -> None:
    """All subjects side by side, in the order of the prompt from left to right."""
    count = len(poses)
    gap = {2: 0.42, 3: 0.3, 4: 0.235}[count]
    x, size = stage.near(0.5, 0.02), stage.near(h, 0.015)
    for i, pose in enumerate(poses):
        offset = (i - (count - 1) / 2) * gap
        y = FLOOR + (0.03 if i % 2 else -0.02) + stage.rng.uniform(-0.01, 0.01)
        stage.actor(i, x=x + offset, h=size, y=y, pose=pose, grip=grip)


def _group(pose: Pose) -> Callable[[Stage, int], None]:
    def build(stage: Stage, count: int) -> None:
        _row(stage, [pose] * count, h={2: 0.5, 3: 0.44, 4: 0.36}[count])

    return build


@dataclass(frozen=True)
class Action:
    """One thing to do: the sentence, how many subjects it takes, and how it sets the stage."""

    template: str
    num_subjects: tuple[int, ...]
    build: Callable[[Stage, int], None]
    rare: bool = False
    relation_bench: int | None = None


def _solo(template: str, build: Callable[[Stage], None], bench: int | None = None, *, rare: bool = False) -> Action:
    return Action(f"A {{0}} {template} {{scene}}.", (1,), lambda stage, _: build(stage), rare, bench)


def _pair(template: str, build: Callable[[Stage], None], bench: int | None = None, *, rare: bool = False) -> Action:
    return Action(f"A {{0}} {template} a {{1}} {{scene}}.", (2,), lambda stage, _: build(stage), rare, bench)


def _all_together(stage: Stage, count: int) -> None:
    _together(stage) if count == 2 else _group(STAND)(stage, count)


ACTIONS: dict[str, Action] = {
    "stand": Action("A {0} {scene}", (1,), lambda stage, _: _stand(stage)),
    "guitar": _solo("is playing guitar", _guitar, 1),
    "piano": _solo("is playing piano", _piano, 2),
    "eat": _solo("is eating dinner", _eat, 3),
    "dance": _solo("is dancing", _dance, 4),
    "lift": _solo("is lifting weights", _lift, 5),
    "read": _solo("is reading a book", _read, 6),
    "ski": _solo("is skiing", _ski, 7),
    "sleep": _solo("is sleeping peacefully in a hammock", _sleep, 8),
    "cook": _solo("is cooking lunch", _cook, 9),
    "sing": _solo("is singing", _sing, 10),
    "bike": _solo("is riding a bike", _ride("bicycle", size=0.52, saddle=0.286, h=0.48), 11),
    "horse": _solo("is riding a horse", _ride("horse", size=0.5, saddle=0.375, h=0.44), 12),
    "motorbike": _solo("is riding a motorbike", _ride("motorbike", size=0.6, saddle=0.27, h=0.48), 13),
    "soccer": _solo("is playing soccer", _soccer, 14),
    "wave": _solo("is waving", _wave),
    "jump": _solo("is jumping", _jump),
    "run": _solo("is running", _run),
    "sit": _solo("is sitting on a stool", _sit),
    "umbrella": _solo("is holding an umbrella", _hold("umbrella", size=0.4, hand=(0.33, -0.5))),
    "balloon": _solo("is holding a balloon", _hold("balloon", size=0.42, hand=(0.36, -0.58))),
    "paint": _solo("is painting a picture", _paint),
    "drums": _solo("is playing drums", _drums),
    "kite": _solo("is flying a kite", _fly_kite),
    "skateboard": _solo("is riding a skateboard", _skateboard),
    "trumpet": _solo("is playing trumpet", _trumpet, rare=True),
    "tea": _solo("is drinking tea", _tea, rare=True),
    "chess": _pair("is playing chess with", _chess, 15),
    "partner_dance": _pair("is partner dancing with", _ballroom, 16),
    "carry": _pair("is carrying", _carry, 17),
    "fence": _pair("is fencing with", _fence, 18, rare=True),
    "shake_hands": _pair("shakes hands with", _shake, 19),
    "kiss": _pair("is kissing", _kiss, 20),
    "basketball": _pair("is playing basketball with", _basketball, 21),
    "wrestle": _pair("is wrestling with", _wrestle, 22, rare=True),
    "hug": _pair("is hugging", _hug, 23),
    "fight": _pair("is fighting with", _fight, 24),
    "back_to_back": _pair("is sitting back to back with", _back_to_back, 25, rare=True),
    "together": Action("A {0} and a {1} {scene}", (2,), _all_together),
    "hold_hands": _pair("is holding hands with", _hold_hands),
    "high_five": _pair("is giving a high five to", _high_five),
    "give_gift": _pair("is giving a gift to", _give("gift", size=0.15)),
    "give_flower": _pair("is giving a flower to", _give("flower", size=0.22), rare=True),
    "chase": _pair("is chasing", _chase),
    "group": Action("A {all} {scene}", (3, 4), _group(STAND)),
    "group_dance": Action(
        "A {all} are dancing {scene}.", (3, 4), _group(Pose((-0.28, -0.62), (0.26, -0.26), right_foot=(0.17, -0.06)))
    ),
    "group_wave": Action("A {all} are waving {scene}.", (3, 4), _group(Pose(right_hand=(0.28, -0.68)))),
}
