"""Pictures that the Local Image Encoder learns from: drawn ones, or a folder in the layout of COCO."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol  # Any: identities are JSON

from PIL import Image
from pydantic import Field, model_validator

from likeness.core.hashing import file_sha256, json_sha256
from likeness.core.images import load_image
from likeness.core.rows import LeftOut
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.data.formats.coco import Box, read_coco
from likeness.world.render import render, render_image
from likeness.world.scenario import Scenario, sample_scenario

FIRST_SEED = 30_000_000
"""Of the scenarios that are drawn for this task; pretraining draws its own from other seeds."""


class DataTable(Spec):
    """`source`: "world" draws `count` pictures of the training split; "coco" reads `folder`, see data/formats/coco.py.

    `size`: px of the long side at which the student sees them (a multiple of its patch). `limit`: the first pictures.
    """

    source: Literal["world", "coco"] = "world"
    folder: str | None = Field(default=None, min_length=1)
    count: int = Field(default=4000, ge=1)
    size: int = Field(default=256, ge=16)
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_what_it_reads(self) -> "DataTable":
        if (self.source == "coco") != (self.folder is not None):
            got = "none" if self.folder is None else f"{self.folder} with source world"
            raise ValueError(f"folder: expected one for source coco and none for world, got {got}; change either")
        return self


class Picture(NamedTuple):
    """An RGB picture at its own size, and boxes (left, top, right, bottom) of what it shows in shares of its sides."""

    image: Image.Image
    boxes: tuple[Box, ...]


class Pictures(Protocol):
    """Rows by number; `left_out` are those that cannot be used."""

    left_out: tuple[LeftOut, ...]

    def __len__(self) -> int: ...

    def read(self, row: int, *, with_boxes: bool) -> Picture:
        """The picture of a row; boxes only where they are asked for."""
        ...

    def facts(self) -> dict[str, Any]:
        """What decides the rows: {"id", "sha256"}."""
        ...


class WorldPictures:
    """Pictures of the drawn world; boxes are those of the subjects."""

    left_out: tuple[LeftOut, ...] = ()

    def __init__(self, table: DataTable) -> None:
        self._count, self._size = min(table.count, table.limit or table.count), table.size

    def __len__(self) -> int:
        return self._count

    def scenario(self, row: int) -> Scenario:
        """What the picture of a row shows."""
        return sample_scenario(FIRST_SEED + row, split="train")

    def read(self, row: int, *, with_boxes: bool) -> Picture:
        """Drawn now."""
        if not with_boxes:
            return Picture(Image.fromarray(render_image(self.scenario(row), size=self._size)), ())
        drawn = render(self.scenario(row), size=self._size)
        return Picture(Image.fromarray(drawn.image), tuple(_clipped(s.box) for s in drawn.labels.subjects))

    def facts(self) -> dict[str, Any]:
        """The first seed and the count stand for all pixels, together with the package's version."""
        return {"id": "world", "sha256": json_sha256(["world", FIRST_SEED, self._count, self._size])}


def _clipped(box: Box) -> Box:
    left, top, right, bottom = (min(max(float(end), 0.0), 1.0) for end in box)
    return left, top, right, bottom


class CocoPictures:
    """Pictures of a folder. Raises: DataError as `read_coco`."""

    def __init__(self, table: DataTable, *, with_boxes: bool) -> None:
        assert table.folder is not None, "the table was checked"
        self._folder = Path(table.folder).expanduser()
        pictures, left_out = read_coco(self._folder)
        if with_boxes:
            bare = [picture for picture in pictures if not picture.boxes]
            left_out += tuple(LeftOut.at(picture.path, "expected a box, got none.") for picture in bare)
            pictures = tuple(picture for picture in pictures if picture.boxes)
        self.pictures, self.left_out = pictures[: table.limit], left_out

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, row: int, *, with_boxes: bool) -> Picture:
        """Read now. Raises: DataError for a damaged picture."""
        picture = self.pictures[row]
        return Picture(load_image(picture.path), picture.boxes)

    def facts(self) -> dict[str, Any]:
        """Names, contents and boxes of all pictures."""
        rows = [[picture.path.name, file_sha256(picture.path), picture.boxes] for picture in self.pictures]
        return {"id": public_name(str(self._folder)), "sha256": json_sha256(rows)}


def pictures_of(table: DataTable, *, with_boxes: bool) -> WorldPictures | CocoPictures:
    """The rows of a table. Raises: DataError."""
    return WorldPictures(table) if table.source == "world" else CocoPictures(table, with_boxes=with_boxes)
