"""Pictures and cases in, numbers out: per-sample values, then means with intervals between a floor and a ceiling.

`samples.py` finds the pictures of a folder, `eyes.py` sees what is not in the store of `features.py` yet, `measure.py`
gives the values of one picture, `bounds.py` the floor and the ceiling of one case, `aggregate.py` the table, and
`run.py` joins them so that a kill at any time costs the pictures being looked at. `verify.py` checks a finished run,
`exports/` writes it for other programs. What the room offers stands in `__init__.pyi`; each name loads its own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
