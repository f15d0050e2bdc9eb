"""report: a run folder in, one self-contained HTML page out.

The room reads the files that `generate`, `evaluate` and `train` leave behind, never a model, so a page can be built on
a machine without torch. Pictures: `tables` reads and orders the numbers, `comparison` sets two runs of the same cases
side by side, `methods_page` and `methods_text` any number of them, `figures` turns pictures and intervals into inline
PNG and SVG, `page` fills the template. Training: `training` reads the log, `findings` says how it looks, `curves` and
`focus_figure` draw, `training_page` fills the template. Equal files give an equal page, byte for byte.
"""

from likeness.report.figures import contact_sheet
from likeness.report.methods_page import build_methods_page
from likeness.report.page import Tuned, build_index, build_report
from likeness.report.tables import labels_of, read_run
from likeness.report.training import is_training_run
from likeness.report.training_page import build_training_page

__all__ = [
    "Tuned",
    "build_index",
    "build_methods_page",
    "build_report",
    "build_training_page",
    "contact_sheet",
    "is_training_run",
    "labels_of",
    "read_run",
]
