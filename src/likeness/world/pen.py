"""A drawing pen in unit coordinates: (0, 0) is the top left of the picture and (1, 1) the bottom right.

One pen serves two purposes. With `flat=None` it draws anti-aliased colour. With `flat=k` every shape it is asked for
is drawn in the grey level `k` without anti-aliasing, so the same drawing code yields exact label masks.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from likeness.core.errors import LikenessError
from likeness.world.skia_advice import SKIA_FIX

try:
    import skia
except ImportError as error:
    raise LikenessError(f"drawing: expected the library skia, got {error}; {SKIA_FIX}.") from error

Color = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Draws filled shapes and round-capped strokes on a square Skia surface of `size` pixels."""

    def __init__(self, size: int, *, flat: int | None = None) -> None:
        self._array = np.zeros((size, size, 4), dtype=np.uint8)
        self._surface = skia.Surface(self._array, colorType=skia.kRGBA_8888_ColorType)
        self.canvas = self._surface.getCanvas()
        self.canvas.scale(size, size)
        self.flat = flat

    def pixels(self) -> NDArray[np.uint8]:
        """The picture so far as (size, size, 3) uint8."""
        self._surface.flushAndSubmit()
        return np.ascontiguousarray(self._array[..., :3])

    # -- paint -------------------------------------------------------------------------------------------------
    def _paint(self, color: Color, alpha: float = 1.0, width: float = 0.0) -> skia.Paint:
        if self.flat is not None:
            paint = skia.Paint(Color=skia.Color(self.flat, self.flat, self.flat), AntiAlias=False)
        else:
            paint = skia.Paint(Color=skia.Color(*color, round(255 * alpha)), AntiAlias=True)
        if width:
            paint.setStyle(skia.Paint.kStroke_Style)
            paint.setStrokeWidth(width)
            paint.setStrokeCap(skia.Paint.kRound_Cap)
            paint.setStrokeJoin(skia.Paint.kRound_Join)
        return paint

    # -- shapes ------------------------------------------------------------------------------------------------
    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, color: Color, *, angle: float = 0.0, alpha: float = 1.0
    ) -> None:
        """A filled ellipse; `angle` in degrees, clockwise."""
        rect = skia.Rect.MakeLTRB(cx - rx, cy - ry, cx + rx, cy + ry)
        if angle:
            self.canvas.save()
            self.canvas.rotate(angle, cx, cy)
        self.canvas.drawOval(rect, self._paint(color, alpha))
        if angle:
            self.canvas.restore()

    def circle(self, cx: float, cy: float, r: float, color: Color, *, alpha: float = 1.0) -> None:
        self.canvas.drawCircle(cx, cy, r, self._paint(color, alpha))

    def rect(
        self, x: float, y: float, w: float, h: float, color: Color, *, radius: float = 0.0, alpha: float = 1.0
    ) -> None:
        """A filled rectangle with its top left at (x, y)."""
        rect = skia.Rect.MakeXYWH(x, y, w, h)
        if radius:
            self.canvas.drawRoundRect(rect, radius, radius, self._paint(color, alpha))
        else:
            self.canvas.drawRect(rect, self._paint(color, alpha))

    def polygon(self, points: Sequence[Point], color: Color, *, alpha: float = 1.0, rounding: float = 0.0) -> None:
        """A filled polygon; `rounding` > 0 softens the corners with a stroke of that width."""
        path = skia.Path.Polygon([skia.Point(*p) for p in points], True)
        self.canvas.drawPath(path, self._paint(color, alpha))
        if rounding:
            self.canvas.drawPath(path, self._paint(color, alpha, rounding))

    def line(self, points: Sequence[Point], width: float, color: Color, *, alpha: float = 1.0) -> None:
        """A round-capped polyline."""
        path = skia.Path.Polygon([skia.Point(*p) for p in points], False)
        self.canvas.drawPath(path, self._paint(color, alpha, width))

    def curve(self, start: Point, control: Point, end: Point, width: float, color: Color) -> None:
        """A round-capped quadratic Bezier stroke."""
        path = skia.PathBuilder().moveTo(*start).quadTo(*control, *end).detach()
        self.canvas.drawPath(path, self._paint(color, 1.0, width))

    def star(self, cx: float, cy: float, r: float, color: Color, *, tips: int = 5, inner: float = 0.45) -> None:
        radii = [r if i % 2 == 0 else r * inner for i in range(2 * tips)]
        turns = [math.pi * i / tips - math.pi / 2 for i in range(2 * tips)]
        self.polygon([(cx + q * math.cos(a), cy + q * math.sin(a)) for q, a in zip(radii, turns, strict=True)], color)

    def sky(self, top: Color, bottom: Color, *, y0: float = 0.0, y1: float = 1.0) -> None:
        """A vertical gradient over the full width between y0 and y1."""
        paint = self._paint(top)
        if self.flat is None:
            ends = [skia.Point(0, y0), skia.Point(0, y1)]
            paint.setShader(skia.GradientShader.MakeLinear(ends, [skia.Color(*top), skia.Color(*bottom)]))
        self.canvas.drawRect(skia.Rect.MakeLTRB(-0.01, y0, 1.01, y1), paint)

    # -- scopes ------------------------------------------------------------------------------------------------
    @contextmanager
    def at(
        self, x: float, y: float, *, scale: float = 1.0, angle: float = 0.0, flip: bool = False
    ) -> Generator[None, None, None]:
        """Inside, (0, 0) is the picture's (x, y), lengths are times `scale`, turned by `angle` degrees clockwise."""
        self.canvas.save()
        self.canvas.translate(x, y)
        if angle:
            self.canvas.rotate(angle)
        self.canvas.scale(-scale if flip else scale, scale)
        yield
        self.canvas.restore()

    @contextmanager
    def inside_ellipse(self, cx: float, cy: float, rx: float, ry: float) -> Generator[None, None, None]:
        """Inside, only what falls into this ellipse is drawn."""
        path = skia.PathBuilder().addOval(skia.Rect.MakeLTRB(cx - rx, cy - ry, cx + rx, cy + ry)).detach()
        with self._clipped(path):
            yield

    @contextmanager
    def inside_rect(
        self, x: float, y: float, w: float, h: float, *, radius: float = 0.0
    ) -> Generator[None, None, None]:
        """Inside, only what falls into this rounded rectangle is drawn."""
        builder = skia.PathBuilder().addRRect(skia.RRect.MakeRectXY(skia.Rect.MakeXYWH(x, y, w, h), radius, radius))
        with self._clipped(builder.detach()):
            yield

    @contextmanager
    def _clipped(self, path: skia.Path) -> Generator[None, None, None]:
        self.canvas.save()
        self.canvas.clipPath(path, doAntiAlias=self.flat is None)
        yield
        self.canvas.restore()


def shade(color: Color, factor: float) -> Color:
    """`color` times `factor` (< 1 darker, > 1 towards white)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in color)
    else:
        r, g, b = (round(255 - (255 - c) * (2 - factor)) for c in color)
    return r, g, b
