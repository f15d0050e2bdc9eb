"""Named seeded streams: a seed is a function of what it is for, never of when it was drawn."""

import hashlib


def seed_for(*names: str | int) -> int:
    """The 63-bit seed of the stream called `names`, the same on every machine and in every order of calls.

    Names are joined by a NUL character, so ("a", "bc") and ("ab", "c") differ; 1 and "1" are the same name.
    """
    digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
