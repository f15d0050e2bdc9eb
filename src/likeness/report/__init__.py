"""report: run folders in, one HTML page out, with its pictures inside it or in a folder beside it.

The room reads the files that `generate`, `evaluate` and `train` leave behind, never a model, so a page can be built on
a machine without torch. Pictures: `tables` reads and orders the numbers, `pictures` reduces pictures, `cards` says what
there is of a case, `methods_page` and `methods_text` set runs of the same cases side by side, `figures` turns intervals
into inline SVG, `page` fills the template. Training: `training` reads the log, `findings` says how it looks, `curves`
and `focus_figure` draw, `training_page` fills the template. Equal files give an equal page, byte for byte.
"""

from likeness.report.figures import contact_sheet
from likeness.report.methods_page import Compared
from likeness.report.page import Drawing, build_index, build_report
from likeness.report.pictures import files_of
from likeness.report.tables import labels_of, read_run
from likeness.report.training import is_training_run
from likeness.report.training_page import build_training_page

__all__ = [
    "Compared",
    "Drawing",
    "build_index",
    "build_report",
    "build_training_page",
    "contact_sheet",
    "files_of",
    "is_training_run",
    "labels_of",
    "read_run",
]
