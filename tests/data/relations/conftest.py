"""A small drawn set of relation examples that tests copy before they change it."""

from pathlib import Path

import pytest

from likeness.core.files import write_jsonl
from likeness.data.relations.records import example_row
from likeness.data.relations.world import WorldRelations, draw_example, make_world_relations

SIZE, NUM = 96, 5


@pytest.fixture(scope="session")
def relation_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of hug, shake_hands and carry by turns."""
    out = tmp_path_factory.mktemp("relations") / "set"
    make_world_relations(NUM, out=out, size=SIZE, actions=("hug", "shake_hands", "carry"))
    return out


@pytest.fixture(scope="session")
def fencing_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cat who fences with a dog, apart from each other and easily found, at 128 px."""
    out = tmp_path_factory.mktemp("relations") / "fencing"
    made = draw_example(3, recipe=WorldRelations())
    assert made.example is not None
    assert made.example.prompt == "A cat is fencing with a dog."
    for name, data in made.files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    write_jsonl(out / "relations.jsonl", [example_row(made.example)])
    return out
