"""Pictures and cases in, numbers out: per-sample values, then means with intervals between a floor and a ceiling.

`samples.py` finds the pictures of a folder, `eyes.py` sees what is not in the store of `features.py` yet, `measure.py`
gives the values of one picture, `bounds.py` the floor and the ceiling of one case, `aggregate.py` the table, and
`run.py` joins them so that a kill at any time costs the pictures being looked at.
"""

from likeness.evaluate.eyes import Encoders
from likeness.evaluate.run import evaluate_run, load_encoders

__all__ = ["Encoders", "evaluate_run", "load_encoders"]
