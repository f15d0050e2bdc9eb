"""Pictures and intervals as text inside an HTML page: PNG data URIs and inline SVG, the same bytes every time."""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.images import load_image
from likeness.report.curves import Ends
from likeness.report.tables import ScoreLine, number

LEAST_SPAN = 0.2  # of an axis: of a cosine as it is, of an open scale as a share of the largest value


@dataclass(frozen=True)
class PagePicture:
    """One picture of a page, or the reason why there is none (then `uri` is empty).

    `uri` is of the copy with these sides in px, `large` of a larger one to zoom into where there is one.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    large: str = ""
    problem: str = ""


class Captioned(NamedTuple):
    """A picture with the words below it."""

    picture: PagePicture
    caption: str


def inline_picture(path: Path, *, long_side: int) -> PagePicture:
    """The picture at `path`, never enlarged, as a PNG inside the page; a missing or damaged file is a problem."""
    try:
        image = load_image(path)
    except DataError as error:
        return PagePicture(problem=str(error))
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return PagePicture(uri=png_uri(image), width=image.width, height=image.height)


def webp_uri(data: bytes) -> str:
    """The bytes of a WebP file as a data:image/webp;base64 URI."""
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def png_uri(image: Image.Image) -> str:
    """`image` as a data:image/png;base64 URI; equal pixels give equal text."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def scales(lines: Iterable[ScoreLine]) -> dict[str, Ends]:
    """The one axis of each metric, by its name, on which all its lines are drawn, however many runs they come from."""
    grouped: dict[str, list[ScoreLine]] = defaultdict(list)
    for line in lines:
        grouped[line.name].append(line)
    return {name: _scale(alike) for name, alike in grouped.items()}


def _scale(lines: Sequence[ScoreLine]) -> Ends:
    """0 to 1 for shares, else all points in a frame of at least LEAST_SPAN, so that nothing small looks large."""
    ends = [end for line in lines for point in line.points.values() for end in (point.low, point.high)]
    unit, (lowest, highest) = lines[0].unit, lines[0].limits
    if not ends or ("cosine" not in unit and min(ends) >= 0 and max(ends) <= 1):
        return Ends(0.0, 1.0)
    if "cosine" in unit:
        lowest, highest = -1.0, 1.0
    largest = max(map(abs, ends))
    least = LEAST_SPAN if "cosine" in unit else LEAST_SPAN * (largest or 1.0)
    margin = max((least - (max(ends) - min(ends))) / 2, 0.1 * (max(ends) - min(ends)))
    step = 10.0 ** math.floor(math.log10(max(ends) - min(ends) + 2 * margin)) / 2
    low, high = (
        math.floor((min(ends) - margin) / step + 1e-9) * step,
        math.ceil((max(ends) + margin) / step - 1e-9) * step,
    )
    return Ends(low if lowest is None else max(low, lowest), high if highest is None else min(high, highest))


def interval_svg(line: ScoreLine, axis: Ends, *, width: int = 320) -> Markup:
    """One score line drawn: dot and whisker for mean and interval, ticks for floor and ceiling, on `axis`."""
    height, middle = 44, 18

    def x(value: float) -> str:
        share = (value - axis.low) / (axis.high - axis.low)
        return f"{10 + share * (width - 20):.2f}"

    parts = [f'<line class="axis" x1="10" x2="{width - 10}" y1="{middle}" y2="{middle}"/>']
    for name, point in line.points.items():
        if name != "generated":
            at = x(point.mean)
            parts.append(f'<line class="{name}" x1="{at}" x2="{at}" y1="{middle - 9}" y2="{middle + 9}"/>')
    if line.generated is not None:
        low, high, at = (x(value) for value in (line.generated.low, line.generated.high, line.generated.mean))
        if line.generated.has_interval:
            parts.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>')
            ends = f'y1="{middle - 5}" y2="{middle + 5}"'
            parts += [f'<line class="whisker" x1="{end}" x2="{end}" {ends}/>' for end in (low, high)]
        parts.append(f'<circle class="dot" cx="{at}" cy="{middle}" r="5.5"/>')
    parts.append(f'<text class="end" x="10" y="{height - 4}">{axis.low:.4g}</text>')
    parts.append(f'<text class="end" x="{width - 10}" y="{height - 4}" text-anchor="end">{axis.high:.4g}</text>')
    svg = Markup('<svg class="interval" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(width, height, spoken(line), Markup("".join(parts)))


SPOKEN = {"generated": "generated", "floor": "floor", "ceiling": "true picture"}


def spoken(line: ScoreLine) -> str:
    """The score line as a sentence for a screen reader."""
    said = [
        f"{SPOKEN[name]} {number(point.mean)}"
        + (f" (95% interval {number(point.low)} to {number(point.high)})" if point.has_interval else "")
        for name, point in line.points.items()
    ]
    return f"{line.label}: " + ("; ".join(said) or f"not measured, {line.reason or 'no reason given'}")


def contact_sheet(images: Sequence[Image.Image], *, columns: int, cell: int = 192, gap: int = 12) -> Image.Image:
    """All `images` on one light sheet, row by row, each fitted (never stretched) into a square cell of `cell` px.

    Raises: DataError when there is no image to show.
    """
    if not images:
        raise DataError("contact_sheet: expected at least one picture, got none; generate pictures first.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + gap) + gap), (250, 249, 246))
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        scale = cell / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        left, top = gap + column * (cell + gap), gap + row * (cell + gap)
        fitted = image.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (left + (cell - width) // 2, top + (cell - height) // 2))
    return sheet
