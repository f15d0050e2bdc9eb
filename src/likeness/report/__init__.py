"""report: a run folder in, one self-contained HTML page out.

The room reads the files that `generate` and `evaluate` leave behind (manifest, cases, images, scores, summary), never a
model, so a page can be built on a machine without torch. Three steps, three files: `tables` reads and orders the
numbers, `figures` turns pictures and intervals into inline PNG and SVG, `page` fills the template. Equal files give an
equal page, byte for byte.
"""

from likeness.report.figures import contact_sheet
from likeness.report.page import build_index, build_report

__all__ = ["build_index", "build_report", "contact_sheet"]
