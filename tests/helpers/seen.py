"""Evidence for tests: gathered twice, as an evaluation does, with what encoders see in between."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from likeness.core.jobs import unseen
from likeness.evaluate.eyes import Encoders, Eyes, Wishes, file_digests, see
from likeness.evaluate.features import FeatureStore
from likeness.evaluate.measure import Panel

Result = TypeVar("Result")


def with_eyes(gather: Callable[[Panel], Result], encoders: Encoders) -> Result:
    """What `gather` makes of a panel whose encoders have seen everything that it asks for."""
    wishes = Wishes(encoders)
    gather(Panel(wishes, labelled=True))
    digests = file_digests(want.path for want in wishes.wants if want.path)
    with TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        assert not see(wishes, store=store, digests=digests, workers=1, progress=unseen)
        found = gather(Panel(Eyes(encoders, store, digests), labelled=True))
        store.close()
    return found
