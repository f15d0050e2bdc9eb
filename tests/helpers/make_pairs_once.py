"""One run of the recipe in its own process, to be killed: make_pairs_once.py OUT WORKERS."""

import sys
from pathlib import Path

from stub_judge import LoadStub

from likeness.data.pairs.dip import make_pairs

if __name__ == "__main__":
    make_pairs(150, out=Path(sys.argv[1]), workers=int(sys.argv[2]), size=48, judge=LoadStub(picky=True))
