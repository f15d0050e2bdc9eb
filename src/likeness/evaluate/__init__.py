"""Pictures and cases in, numbers out: per-sample values, then means with intervals between a floor and a ceiling.

`samples.py` finds the pictures of a folder, `measure.py` gives the values of one picture, `bounds.py` the floor and the
ceiling of one case, `aggregate.py` the table, and `run.py` joins them so that a kill at any time costs one part.
"""

from likeness.evaluate.measure import Encoders, Eyes
from likeness.evaluate.run import evaluate_run, load_encoders

__all__ = ["Encoders", "Eyes", "evaluate_run", "load_encoders"]
