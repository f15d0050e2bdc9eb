"""What a judge is asked about a subject: ten questions per category, each phrased so that "yes" is favourable.

Source: the topics follow FocusDPO (arXiv:2509.01181v1), appendix on DIP quality control.
Differs: the paper mixes questions about sameness with questions about differences, so that counting plain "yes" is
wrong; here all thirty ask for sameness, and what is hidden or cropped counts as the same. Pupils and tails, which a
small picture does not show, gave way to second colours and build.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from likeness.core.kinds import Category

__all__ = ["QUESTIONS", "Question", "expected_score"]

Attributes = Mapping[str, str]
NOT_APPLICABLE = "none"
WORN = "accessory"  # the one attribute whose "none" can be seen: nothing is worn


@dataclass(frozen=True)
class Question:
    """A yes/no question, and the attributes of the drawn world that answer it (all must agree for a "yes").

    `evidence` is empty where any subject that can be recognised at all is a "yes".
    """

    text: str
    evidence: tuple[str, ...] = ()


_HIDDEN = "Count it as a yes where it is hidden or cut off."

_OBJECT = (
    Question("Does the crop show one object of this kind, rather than none or several?"),
    Question("Is it the same type of object as in the reference?", ("species",)),
    Question(f"Is its main colour and material the same? {_HIDDEN}", ("body_color",)),
    Question(f"Are its outline and proportions the same? {_HIDDEN}", ("species",)),
    Question(f"Does it have the same working parts, such as handles or antennas? {_HIDDEN}", ("species",)),
    Question(f"Is its surface decorated with the same pattern? {_HIDDEN}", ("pattern",)),
    Question(f"Do its marks and trims have the same colour? {_HIDDEN}", ("second_color",)),
    Question(f"Does it carry the same attached pieces, or none as in the reference? {_HIDDEN}", ("accessory",)),
    Question(f"Do the attached pieces have the same colours? {_HIDDEN}", ("accessory", "accessory_color")),
    Question("Taken as a whole, is it the object of the reference?", ("species", "body_color", "pattern")),
)
_ANIMAL = (
    Question("Does the crop show one animal of this kind, rather than none or several?"),
    Question("Is it the same species or breed as in the reference?", ("species",)),
    Question(f"Is the main colour of its coat the same? {_HIDDEN}", ("body_color",)),
    Question(f"Does its coat have the same pattern? {_HIDDEN}", ("pattern",)),
    Question(f"Do its markings have the same colour? {_HIDDEN}", ("second_color",)),
    Question(f"Is its face the same: ears, muzzle, eyes? {_HIDDEN}", ("species",)),
    Question(f"Are its build and proportions the same? {_HIDDEN}", ("species",)),
    Question(f"Does it wear the same things, or nothing as in the reference? {_HIDDEN}", ("accessory",)),
    Question(f"Do the things it wears have the same colours? {_HIDDEN}", ("accessory", "accessory_color")),
    Question("Taken as a whole, is it the animal of the reference?", ("species", "body_color", "pattern")),
)
_HUMAN = (
    Question("Does the crop show one person, rather than none or several?"),
    Question(f"Is the main colour of the clothes the same? {_HIDDEN}", ("body_color",)),
    Question(f"Do the clothes have the same pattern? {_HIDDEN}", ("pattern",)),
    Question(f"Do trims, shoes and small parts of the clothes have the same colour? {_HIDDEN}", ("second_color",)),
    Question(f"Are cut and length of the hair the same? {_HIDDEN}", ("species", "hair_style")),
    Question(f"Is the hair of the same colour? {_HIDDEN}", ("species", "hair_color")),
    Question(f"Is the complexion the same? {_HIDDEN}", ("species", "skin")),
    Question(f"Are age and facial features the same, beard included? {_HIDDEN}", ("species", "beard", "age")),
    Question(f"Does the person wear the same extras, or none as in the reference? {_HIDDEN}", ("accessory",)),
    Question(f"Do the extras have the same colours? {_HIDDEN}", ("accessory", "accessory_color")),
)
QUESTIONS: dict[Category, tuple[Question, ...]] = {"object": _OBJECT, "animal": _ANIMAL, "human": _HUMAN}


def applies(name: str, wanted: Attributes) -> bool:
    """Whether `wanted` says anything about attribute `name` that a picture can contradict."""
    value = wanted.get(name)
    return value is not None and (value != NOT_APPLICABLE or name == WORN)


def expected_score(category: Category, *, wanted: Attributes, shown: Attributes) -> int:
    """Favourable answers, 0 to 10, of a judge that makes no mistake.

    Asked is a subject that shows `shown` where the reference, as far as visible, has `wanted`.
    """
    judged = ([name for name in question.evidence if applies(name, wanted)] for question in QUESTIONS[category])
    return sum(all(shown.get(name) == wanted[name] for name in names) for names in judged)
