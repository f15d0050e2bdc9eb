"""A small drawn set of relation examples that tests copy before they change it."""

from pathlib import Path

import pytest

from likeness.data.relations.world import make_world_relations

SIZE, NUM = 96, 5


@pytest.fixture(scope="session")
def relation_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of hug, shake_hands and carry by turns."""
    out = tmp_path_factory.mktemp("relations") / "set"
    make_world_relations(NUM, out=out, size=SIZE, actions=("hug", "shake_hands", "carry"))
    return out
