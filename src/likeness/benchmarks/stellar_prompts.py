"""What people of the drawn world are asked to do in prompts of Stellar's form, and where.

Source: Stellar (arXiv:2312.06116): prompts begin with the person; templates (T) come with detectable words and
categories, free ones (H) with nothing.
"""

import re
from functools import cache

from likeness.core.kinds import Split
from likeness.data.formats.stellar_files import SLOT, Prompt
from likeness.world.actions import ACTIONS
from likeness.world.relations import relation_of, triplets_of, words_of
from likeness.world.scenario import OPEN_SCENES, STANDING, pair_split
from likeness.world.scenes import SCENES

SUBJECT = "person"
NUM_TEMPLATES, NUM_FREE = 4, 2
DOING: dict[str, tuple[tuple[str, ...], str]] = {
    "guitar": (("arts",), "with a guitar in hands, playing music"),
    "piano": (("arts",), "in front of a piano, playing music"),
    "eat": (("culinary",), "in front of dinner, eating"),
    "dance": (("arts",), "dancing to the music"),
    "lift": (("sports",), "with weights in hands, lifting"),
    "read": (("leisure",), "with a book in hands, reading"),
    "ski": (("sports",), "skiing along"),
    "sleep": (("leisure",), "in a hammock, sleeping"),
    "cook": (("culinary",), "in front of lunch, cooking"),
    "sing": (("arts",), "singing to the music"),
    "bike": (("sports", "vehicle"), "on a bike, riding along"),
    "horse": (("sports", "animal"), "on top of a horse, riding"),
    "motorbike": (("leisure", "vehicle"), "on a motorbike, riding along"),
    "soccer": (("sports",), "running, playing soccer"),
    "wave": (("everyday",), "waving with hands high"),
    "jump": (("sports",), "jumping high"),
    "run": (("sports",), "running along"),
    "sit": (("leisure",), "on a stool, sitting"),
    "umbrella": (("everyday",), "under an umbrella, holding it"),
    "balloon": (("leisure",), "with a balloon in hands"),
    "paint": (("arts",), "in front of a picture, painting it"),
    "drums": (("arts",), "with drums, playing music"),
    "kite": (("leisure",), "with a kite, flying it high"),
    "skateboard": (("sports", "vehicle"), "on a skateboard, riding along"),
    "trumpet": (("arts",), "with a trumpet, playing music"),
    "tea": (("culinary",), "with tea, drinking it"),
}
"""Action of one person -> its categories, and other words for it, all of them the world's."""


@cache
def places(action: str, split: Split) -> tuple[str, ...]:
    """The scenes in which the action belongs to the split."""
    fitting = (scene for scene in SCENES if action in STANDING or scene not in OPEN_SCENES)
    return tuple(scene for scene in fitting if pair_split(action, scene) == split)


def asked(person: int, number: int, split: Split) -> tuple[str, str]:
    """(action, scene) of a template: every person has the next four actions in turn, and scenes take turns too."""
    turn = person * NUM_TEMPLATES + number
    actions = [action for action in DOING if places(action, split)]
    action = actions[turn % len(actions)]
    scenes = places(action, split)
    return action, scenes[turn // len(actions) % len(scenes)]


def template(action: str, scene: str) -> Prompt:
    """The world's own sentence with the person's words left open, and what it names."""
    sentence = ACTIONS[action].template.format(SUBJECT, scene=SCENES[scene].phrase)
    text = re.sub(rf"^A {SUBJECT}\b", SLOT, _tidy(sentence))
    found = relation_of(action)
    words = tuple(map(words_of, found.things)) if found else ()
    kinds = (*DOING[action][0], *(("location",) if SCENES[scene].phrase else ()))
    return Prompt(text, words, kinds, triplets_of(action, [SUBJECT]))


def free(action: str, scene: str, *, scene_first: bool) -> str:
    """The same in other words."""
    doing, place = DOING[action][1], SCENES[scene].phrase
    return _tidy(f"{SLOT} {place}, {doing}." if scene_first and place else f"{SLOT} {doing} {place}.")


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace(" .", ".").strip()


def prompts_of(person: int, split: Split) -> list[tuple[str, str, Prompt]]:
    """(action, scene, prompt) of a person's prompts: four templates, then the first two of them in other words."""
    pairs = [asked(person, number, split) for number in range(NUM_TEMPLATES)]
    templates = [(action, scene, template(action, scene)) for action, scene in pairs]
    others = [(a, s, Prompt(free(a, s, scene_first=bool(k)))) for k, (a, s) in enumerate(pairs[:NUM_FREE])]
    return [*templates, *others]


def objects() -> list[str]:
    """Every word that a template calls detectable, sorted."""
    found = filter(None, map(relation_of, DOING))
    return sorted({words_of(thing) for relation in found for thing in relation.things})
