"""The TOML file of `likeness data dip --source models`: what is asked of each record, and the models of each stage.

Source: FocusDPO (arXiv:2509.01181v1), section 4, as restated in the design note 7.2, which says what it leaves open.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal  # Any: parsed TOML, until it is checked

from pydantic import Field, ValidationError, field_validator, model_validator

from likeness.core.errors import ConfigError
from likeness.core.kinds import Category, Split
from likeness.core.spec import Spec, closest, wrong_value
from likeness.data.judging.gate import Thresholds, require_sound

__all__ = ["ModelRecipe", "SubjectTable", "read_recipe"]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Share = Annotated[float, Field(ge=0, le=1)]
Weights = Annotated[str, Field(min_length=1)]


class SubjectTable(Spec):
    """One subject: `class_name` is what a detector looks for, `phrase` describes it so that it can be drawn again."""

    category: Category
    class_name: str = Field(min_length=1)
    phrase: str = Field(min_length=1)


class RecordsTable(Spec):
    """What is asked of records.

    `number` of them; `subset`: single, multi (two subjects) or both in turn. Prompts know {subject} and {class_name},
    of two {subjects} and {class_names}, and but for the reference's {scene}: one of `scenes`, an action or a place.
    `target` draws the preferred picture, `pair` is the prompt of the pair.
    """

    number: int = Field(ge=1)
    subset: Literal["single", "multi", "both"]
    scenes: list[str] = Field(min_length=1)
    reference: str
    target_single: str
    target_multi: str
    pair_single: str
    pair_multi: str

    @model_validator(mode="after")
    def _has_known_words(self) -> "RecordsTable":
        one, two = {"subject", "class_name"}, {"subjects", "class_names"}
        known = {"reference": one, "target_single": one | {"scene"}, "pair_single": one | {"scene"}}
        known |= {"target_multi": two | {"scene"}, "pair_multi": two | {"scene"}}
        for name, words in known.items():
            try:
                getattr(self, name).format(**dict.fromkeys(words, "x"))
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise ValueError(f"{name}: expected words among {sorted(words)} in braces, got {error}") from None
        return self


class StageTable(Spec):
    """How a stage is run, which decides nothing that it makes.

    A worker is given `batch_size` records at a time and makes each picture alone; on a Ray cluster it has `num_gpus` of
    a GPU, so that 0.25 lets four workers share one. A model lies on one device.
    """

    num_gpus: Share
    batch_size: int = Field(ge=1)


class GenerateTable(StageTable):
    """Draws references from the prompt alone, then the target from prompt and references.

    `model` is whatever backbone `--model` opens, with `loras`. `options`: what the backbone may be asked of a picture;
    `reference_options` the same for references.
    """

    model: Weights
    loras: list[Weights]
    dtype: Dtype
    options: dict[str, Any]
    reference_options: dict[str, Any]


class LocateTable(StageTable):
    """Finds every subject in its reference and in the target: GroundingDINO, then SAM 2 in the best box.

    `words`: what is looked for. A box counts from `threshold` on; a second one from `second` on rejects the record, as
    does a mask outside [least_area, most_area] of the picture, or two that overlap by more than `most_overlap` (IoU).
    """

    detector: Weights
    segmenter: Weights
    words: Literal["class_name", "phrase"]
    threshold: Share
    second: Share
    least_area: Share
    most_area: Share
    most_overlap: Share


class CaptionTable(StageTable):
    """Describes the cut-out of each disrupted subject; `question` knows {class_name}. At most `max_tokens` tokens."""

    model: Weights
    question: str = Field(min_length=1)
    max_tokens: int = Field(ge=1)


class InpaintTable(StageTable):
    """Draws disrupted subjects anew by their captions and pastes the rest back.

    `kind`: fill is a FluxFillPipeline with the `options` steps and guidance; backbone is a flow model with options of
    its own, which draws from the noise level `strength` on. Masks grow by `dilation` px, of which `feather` px fade.
    """

    kind: Literal["fill", "backbone"]
    model: Weights
    dtype: Dtype
    options: dict[str, Any]
    strength: float = Field(gt=0, le=1)
    dilation: int = Field(ge=0)
    feather: int = Field(ge=0)


class JudgeTable(StageTable):
    """Asks the ten questions with reference and subject side by side.

    P(yes) from `sure` on is a yes, up to `doubt` a no, between them neither; nor is an answer of which yes and no
    together are less probable than `least_mass`.
    """

    model: Weights
    sure: Share
    doubt: Share
    least_mass: Share

    @model_validator(mode="after")
    def _is_ordered(self) -> "JudgeTable":
        if self.doubt > self.sure:
            raise ValueError(f"doubt: expected at most sure ({self.sure:g}), got {self.doubt:g}; lower it")
        return self


class GateTable(Spec):
    """Favourable answers of ten: see `Thresholds`."""

    preferred_min: int
    rejected_max: int

    @property
    def thresholds(self) -> Thresholds:
        """The same for the gate."""
        return Thresholds(self.preferred_min, self.rejected_max)


class ModelRecipe(Spec):
    """A whole recipe."""

    seed: int = Field(ge=0)
    split: Split
    records: RecordsTable
    subjects: list[SubjectTable] = Field(min_length=1)
    generate: GenerateTable
    locate: LocateTable
    caption: CaptionTable
    inpaint: InpaintTable
    judge: JudgeTable
    gate: GateTable

    @field_validator("subjects")
    @classmethod
    def _has_no_copies(cls, subjects: list[SubjectTable]) -> list[SubjectTable]:
        phrases = [subject.phrase for subject in subjects]
        if copies := sorted({phrase for phrase in phrases if phrases.count(phrase) > 1}):
            raise ValueError(f"expected each phrase once, got {copies[0]!r} again; describe another subject")
        return subjects

    @model_validator(mode="after")
    def _has_two_kinds(self) -> "ModelRecipe":
        if self.records.subset != "single" and len({subject.class_name for subject in self.subjects}) < 2:
            raise ValueError("subjects: expected two class names for pairs of two, got one; add a subject")
        return self


def read_recipe(path: Path | str, *, model: str | None = None) -> ModelRecipe:
    """The recipe in a file; `model` stands for generate.model if given.

    Raises: ConfigError naming file, key and value of the first mistake.
    """
    path = Path(path)
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a TOML file, got {error.strerror or error}; see recipes/.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}; correct the file.") from None
    if model is not None and isinstance(values.get("generate"), dict):
        values["generate"]["model"] = model
    try:
        recipe = ModelRecipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_mistake(error.errors()[0])}") from None
    require_sound(recipe.gate.thresholds)
    return recipe


def _mistake(item: Any) -> str:
    """The first of pydantic's mistakes as "key: expected X, got Y; what to do."."""
    place, key = item["loc"], ".".join(map(str, item["loc"]))
    match item["type"]:
        case "missing":
            return f"{key}: expected a value, got none; every key must stand in the recipe."
        case "extra_forbidden":
            table = {"subjects": SubjectTable}.get(place[0]) or _table(place[:-1])
            advice = closest(str(place[-1]), table.model_fields, otherwise="delete it")
            return f"{key}: expected a key among {', '.join(table.model_fields)}, got {place[-1]!r}; {advice}."
        case "value_error":
            told = item["msg"].removeprefix("Value error, ")
            return f"{key}: {told}." if key else f"{told}."
        case _:
            return wrong_value(key, item)


def _table(place: tuple[Any, ...]) -> type[Spec]:
    kind = ModelRecipe.model_fields[place[0]].annotation if place else ModelRecipe
    assert isinstance(kind, type), "a table of the recipe"
    assert issubclass(kind, Spec), "a table of the recipe"
    return kind
