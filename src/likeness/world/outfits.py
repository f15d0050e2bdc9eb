"""Words that change how a subject looks in one picture: colours, clothes and hats of the DreamBench prompts.

An outfit may replace attributes (a "red" cat has a red body), hide them (an apron covers the pattern), and draw.
Source: the 25 live prompts of DreamBench (google/dreambooth, prompts_and_classes.txt), word for word.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from likeness.world.identity import NOT_APPLICABLE, PALETTE, Identity
from likeness.world.pen import Color, Pen
from likeness.world.pose import TORSO_RX, TORSO_RY, TORSO_Y

WHITE: Color = (255, 255, 255)
GOLD: Color = (246, 200, 60)
NAVY: Color = (36, 52, 110)
RAINBOW: tuple[Color, ...] = ((226, 50, 50), (248, 180, 40), (70, 172, 78), (54, 104, 220), (146, 76, 196))


def _nothing(pen: Pen) -> None:
    """Draws nothing."""


@dataclass(frozen=True)
class Outfit:
    """What a phrase does to a subject. `before` stands before the class word, `after` behind it."""

    before: str = ""
    after: str = ""
    replaces: dict[str, str] = field(default_factory=dict[str, str])
    hides: tuple[str, ...] = ()
    torso: Callable[[Pen], None] = _nothing
    head: Callable[[Pen], None] = _nothing
    cube: bool = False

    def worn_by(self, identity: Identity) -> Identity:
        """The identity as it looks in this outfit; an attribute that is hidden reads "none"."""
        changes = {**dict.fromkeys(self.hides, NOT_APPLICABLE), **self.replaces}
        return replace(identity, **changes)

    def phrase(self, class_name: str) -> str:
        """Class word with the outfit's words, such as "cat wearing a santa hat"."""
        return " ".join(word for word in (self.before, class_name, self.after) if word)


def _santa_hat(pen: Pen) -> None:
    pen.polygon([(-0.19, -0.16), (0.02, -0.42), (0.27, -0.22), (0.17, -0.16)], (210, 36, 44), rounding=0.03)
    pen.rect(-0.22, -0.2, 0.44, 0.075, WHITE, radius=0.035)
    pen.circle(0.28, -0.2, 0.055, WHITE)


def _rainbow_scarf(pen: Pen) -> None:
    for i, color in enumerate(RAINBOW):
        pen.ellipse(0, -0.42 - 0.02 * i, 0.2 - 0.008 * i, 0.045, color)
        pen.rect(-0.05, -0.42 + 0.04 * i, 0.1, 0.045, color)


def _monocle(pen: Pen) -> None:
    pen.circle(0.095, -0.03, 0.095, GOLD)
    pen.circle(0.095, -0.03, 0.068, WHITE)
    pen.circle(0.098, -0.026, 0.036, (38, 32, 40))
    pen.line([(0.15, 0.04), (0.2, 0.16)], 0.015, GOLD)


def _chef_hat(pen: Pen) -> None:
    for x in (-0.12, 0.0, 0.12):
        pen.circle(x, -0.33, 0.1, WHITE)
    pen.rect(-0.15, -0.32, 0.3, 0.17, WHITE)
    pen.rect(-0.15, -0.2, 0.3, 0.05, (214, 216, 222))


def _jacket(color: Color, trim: Color) -> Callable[[Pen], None]:
    def draw(pen: Pen) -> None:
        pen.ellipse(0, TORSO_Y, TORSO_RX + 0.005, TORSO_RY + 0.005, color)
        with pen.inside_ellipse(0, TORSO_Y, TORSO_RX, TORSO_RY):
            pen.rect(-0.2, -0.3, 0.4, 0.045, trim)
            pen.rect(-0.015, -0.55, 0.03, 0.5, trim)

    return draw


def _helmet(pen: Pen) -> None:
    with pen.inside_rect(-0.4, -0.45, 0.8, 0.34):
        pen.ellipse(0, -0.1, 0.22, 0.24, (214, 40, 36))
    pen.ellipse(0, -0.12, 0.28, 0.045, (170, 28, 28))
    pen.circle(0, -0.22, 0.06, GOLD)


def _police_cap(pen: Pen) -> None:
    pen.ellipse(0, -0.25, 0.25, 0.085, NAVY)
    pen.rect(-0.17, -0.25, 0.34, 0.11, NAVY)
    pen.ellipse(0, -0.14, 0.18, 0.035, (20, 24, 40))
    pen.star(0, -0.24, 0.06, GOLD)


def _wizard_hat(pen: Pen) -> None:
    pen.polygon([(-0.17, -0.17), (0.03, -0.55), (0.17, -0.17)], (120, 56, 176), rounding=0.02)
    pen.ellipse(0, -0.16, 0.27, 0.05, (98, 40, 150))
    pen.star(0.0, -0.28, 0.055, GOLD)


def _shirt(pen: Pen) -> None:
    pen.ellipse(0, TORSO_Y, TORSO_RX + 0.005, TORSO_RY + 0.005, (250, 222, 60))
    pen.polygon([(-0.07, -0.52), (0.07, -0.52), (0, -0.42)], (224, 180, 30))


def _gloss_head(pen: Pen) -> None:
    pen.ellipse(-0.13, -0.12, 0.035, 0.075, WHITE, angle=35, alpha=0.9)
    pen.star(0.17, -0.16, 0.085, WHITE, tips=4, inner=0.3)


def _gloss_torso(pen: Pen) -> None:
    pen.ellipse(-0.1, -0.38, 0.028, 0.075, WHITE, angle=25, alpha=0.9)
    pen.star(0.12, -0.26, 0.06, WHITE, tips=4, inner=0.3)


def _drops(points: tuple[tuple[float, float], ...]) -> Callable[[Pen], None]:
    def draw(pen: Pen) -> None:
        for x, y in points:
            pen.ellipse(x, y, 0.03, 0.045, (150, 212, 250))
            pen.circle(x - 0.008, y + 0.012, 0.01, WHITE)

    return draw


BARE = Outfit()
_COVER = ("pattern", "accessory", "accessory_color")
_HAT = ("accessory", "accessory_color")

OUTFITS: dict[str, Outfit] = {
    "": BARE,
    **{color: Outfit(before=color, replaces={"body_color": color}) for color in PALETTE},
    "shiny": Outfit(before="shiny", head=_gloss_head, torso=_gloss_torso),
    "wet": Outfit(
        before="wet",
        head=_drops(((-0.2, -0.1), (0.2, -0.13), (-0.14, 0.13), (0.17, 0.12))),
        torso=_drops(((-0.08, -0.36), (0.09, -0.27), (-0.05, -0.2))),
    ),
    "cube": Outfit(before="cube shaped", cube=True),
    "red hat": Outfit(after="wearing a red hat", replaces={"accessory": "top hat", "accessory_color": "red"}),
    "santa hat": Outfit(after="wearing a santa hat", hides=_HAT, head=_santa_hat),
    "rainbow scarf": Outfit(after="wearing a rainbow scarf", hides=_HAT, torso=_rainbow_scarf),
    "monocle": Outfit(
        after="wearing a black top hat and a monocle",
        replaces={"accessory": "top hat", "accessory_color": "black"},
        head=_monocle,
    ),
    "chef": Outfit(after="in a chef outfit", hides=_COVER, head=_chef_hat, torso=_jacket(WHITE, (206, 208, 214))),
    "firefighter": Outfit(
        after="in a firefighter outfit", hides=_COVER, head=_helmet, torso=_jacket((196, 60, 40), (250, 226, 90))
    ),
    "police": Outfit(after="in a police outfit", hides=_COVER, head=_police_cap, torso=_jacket(NAVY, GOLD)),
    "pink glasses": Outfit(after="wearing pink glasses", replaces={"accessory": "glasses", "accessory_color": "pink"}),
    "yellow shirt": Outfit(after="wearing a yellow shirt", hides=("pattern",), torso=_shirt),
    "wizard": Outfit(
        after="in a purple wizard outfit", hides=_COVER, head=_wizard_hat, torso=_jacket((120, 56, 176), GOLD)
    ),
}
