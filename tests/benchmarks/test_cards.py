"""Protocol cards: what is refused, frozen hashes, cases by hash, and published values that stand in their sources.

`python tests/benchmarks/test_cards.py` prints docs/cards.md anew; with --next-world it writes new versions of the cards
of the drawn world, which pin the embedded weights as they are now.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from likeness.benchmarks.cards import FOLDER, Card, CardMetric, card_named, cards, cases_sha256, read_card, versions
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import atomic_write_text
from likeness.core.hashing import folder_sha256, json_sha256
from likeness.core.records import Case
from likeness.core.weights import embedded
from likeness.encoders import ENCODERS, PHOTO_ENCODERS, WORLD_ENCODERS
from likeness.metrics import METRICS

FROZEN = {
    "concept101/mip@1": "0fb817022235cb6e",
    "concept101/mip@2": "2164d53a63c51506",
    "dreambench++@1": "90fdb28e5156f5a5",
    "dreambench/dreambooth@1": "f86ef00f9206bfca",
    "dreambench/kosmosg@1": "c418d0ea99ebbf4a",
    "dreambench/patchdpo@1": "4665f0c595411018",
    "dreambench/uno-multi@1": "b7b9eb8bcf0ca290",
    "dreambench/uno-single@1": "e3730579ed333fe7",
    "multiid@1": "79341460ae7e3c70",
    "relationbench@1": "1ddd503ab243cf79",
    "stellar/h@1": "823be674b28cc64d",
    "stellar/t@1": "e07e967ed34ce828",
    "world/hard@1": "f39405cc93a70120",
    "world/hard@2": "0f71298cf8d07998",
    "world/multi@1": "c2de441402442eb0",
    "world/multi@2": "600296df6acc746c",
    "world/relation@1": "35d9ccde44797a31",
    "world/relation@2": "d22a0cf423dba953",
    "world/relationbench@1": "a718144157d3af21",
    "world/single@1": "7451d8fd1d820dad",
    "world/single@2": "775080af3fc6ca56",
    "world/stellar@1": "2923ef362e1839a1",
    "world/stellar@2": "0f2e479d5ae46b6e",
    "xversebench@1": "bd54643bd0abf4ea",
    "xversebench@2": "2e2947c52224c6d1",
}
"""A number of a card follows from all that stands on it: what changes it is a new version, in a new file."""

PAGE = Path(__file__).parents[2] / "docs" / "cards.md"
PREFACE = """# Protocol cards

Written by `python tests/benchmarks/test_cards.py > docs/cards.md`; a test checks that it is current.

A card is a file of `benchmarks/cards/` that fixes everything a number follows from; a change is a new version.
`likeness evaluate` scores a run under each card that applies: "same" where the ids and prompts of its cases hash to the
card's number, "part" for fewer cases of the benchmark, "declared" where the card has no hash and the run names its
benchmark. Only the first pictures of a case count, as many as the card has; coverage is the share of the card's
pictures that have a value. A column measured with other weights or preprocessing has no number under the card. Cards of
the drawn world pin the embedded weights by their hash; weights that are trained further get a new version of each card,
and a run is scored under the version whose weights measured it.
Published values were not measured here, and stand with the table they are from.
"""

ROW: dict[str, Any] = {
    "name": "toys/one",
    "version": 1,
    "title": "Toys",
    "cases": {"benchmark": "toys", "count": 2, "ids": "toy-[0-9]", "unpinned": "made up"},
    "prompt": "as it is",
    "reference_set": "all_photos",
    "pictures_per_case": 1,
    "metrics": [{"column": "DINO", "metric": "dino", "encoder": "dino", "weights": "facebook/dino-vits16"}],
    "published": [{"method": "A", "source": "B", "values": {"DINO": 0.5}}],
}


def test_no_card_changed_without_a_new_version() -> None:
    assert {name: card.sha256[:16] for name, card in cards().items()} == FROZEN


NEXT_WORLD = "python tests/benchmarks/test_cards.py --next-world"


def embedded_sha256(encoder: str) -> str:
    """The hash of the weights that measure the drawn world."""
    facts = ENCODERS[encoder]
    return folder_sha256(embedded(facts.world or facts.embedded or ""))


def newest_world_cards() -> list[Card]:
    return [some[0] for name, some in versions(cards().values()).items() if name.startswith("world/")]


@pytest.mark.parametrize("card", newest_world_cards(), ids=lambda card: card.id)
def test_world_cards_pin_the_weights_of_the_package(card: Card) -> None:
    needed = {name for metric in card.metrics for name in METRICS[metric.metric].facts.needs}
    assert set(card.weights_sha256) == needed
    other = [name for name, digest in card.weights_sha256.items() if digest != embedded_sha256(name)]
    assert other == [], (
        f"{card.id} pins other weights of {', '.join(other)} than src/likeness/assets/embedded holds, so its numbers "
        f"stay those of the old weights: run `{NEXT_WORLD}`, which writes version {card.version + 1} beside it; keep "
        "the old file, add the new hashes to FROZEN and write docs/cards.md anew"
    )


def next_version(text: str, card: Card) -> str:
    """The file of a world card as its next version, with the weights of the package pinned."""
    needed = dict.fromkeys(name for metric in card.metrics for name in METRICS[metric.metric].facts.needs)
    pins = "\n".join(f'{name} = "{embedded_sha256(name)}"' for name in needed)
    text = re.sub(r"(?m)^version = \d+$", f"version = {card.version + 1}", text, count=1)
    text = re.sub(r"(?ms)^\[weights_sha256\]\n.*?\n\n", "", text)
    return text.replace("[[metrics]]", f"[weights_sha256]\n{pins}\n\n[[metrics]]", 1)


def write_next_world_cards() -> None:
    for card in newest_world_cards():
        if not card.weights_sha256 or any(pin != embedded_sha256(name) for name, pin in card.weights_sha256.items()):
            stem = card.name.replace("/", "-")
            text = (FOLDER / f"{stem}@{card.version}.toml").read_text(encoding="utf-8")
            path = FOLDER / f"{stem}@{card.version + 1}.toml"
            atomic_write_text(path, next_version(text, card))
            print(path)


def test_the_next_version_of_a_world_card_differs_in_weights_and_version_only(tmp_path: Path) -> None:
    card = cards()["world/relation@2"]
    path = FOLDER / "world-relation@2.toml"
    (tmp_path / "next.toml").write_text(next_version(path.read_text(encoding="utf-8"), card), encoding="utf-8")
    after = read_card(tmp_path / "next.toml")
    assert after.version == 3
    assert after.weights_sha256 == {name: embedded_sha256(name) for name in card.weights_sha256}
    unpinned = {"version": 2, "weights_sha256": card.weights_sha256}
    assert after.model_copy(update=unpinned) == card


def test_files_are_called_after_their_cards() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == {name.replace("/", "-") for name in cards()}


def test_cards_name_weights_that_encoders_have_by_default_or_say_another() -> None:
    for card in cards().values():
        usual = WORLD_ENCODERS if card.name.startswith("world/") else PHOTO_ENCODERS
        for metric in card.metrics:
            if card.name.startswith(("world/", "dreambench/", "concept101/")) and metric.encoder:
                assert metric.weights == usual[metric.encoder]
            assert not metric.encoder or metric.encoder in ENCODERS


def test_the_prompts_of_dreambench_are_those_of_the_list() -> None:
    shared = ("in the jungle", "in the snow", "on the beach", "on a cobblestone street", "on top of pink fabric")
    assert len({card.cases.sha256 for card in cards().values() if card.cases.benchmark == "dreambench-single"}) == 1
    few = [Case(id=f"cat-{number:02d}", prompt=f"a cat {where}") for number, where in enumerate(shared)]
    assert cases_sha256(few) == cases_sha256(few[::-1]) == json_sha256([[case.id, case.prompt] for case in few])
    other = [*few[:-1], few[-1].model_copy(update={"prompt": "a cat on top of pink fabric."})]
    assert cases_sha256(other) != cases_sha256(few)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in cards() if name.startswith("world/") and "stellar" not in name])
def test_the_cases_of_the_drawn_world_hash_to_the_cards(name: str) -> None:
    from likeness.benchmarks import world
    from likeness.world.scenario import caption

    card = cards()[name]
    benchmark, count = card.cases.benchmark, card.cases.count
    assert isinstance(count, int)
    assert count == world.NUM_CASES[benchmark]
    drawn = [(world._case_id(benchmark, i, split="test"), world.SCENARIOS[benchmark](i, "test")) for i in range(count)]
    assert cases_sha256([Case(id=name, prompt=caption(what)) for name, what in drawn]) == card.cases.sha256


@pytest.mark.slow
def test_the_cases_of_stellar_world_hash_to_the_card() -> None:
    from likeness.benchmarks import stellar_world
    from likeness.benchmarks.stellar_prompts import prompts_of
    from likeness.data.formats.stellar_files import filled

    def case(index: int) -> Case:
        person, _, number = stellar_world.place(index)
        prompt = filled(prompts_of(person, "test")[number][2].text)
        return Case(id=stellar_world._case_id(index, "test"), prompt=prompt)

    assert cases_sha256([case(i) for i in range(stellar_world.NUM_CASES)]) == cards()["world/stellar@1"].cases.sha256


def test_a_few_published_values_as_their_sources_have_them() -> None:
    def value(name: str, method: str, column: str) -> float:
        (row,) = [row for row in cards()[name].published if row.method == method]
        return row.values[column]

    assert value("dreambench/uno-single@1", "UNO", "DINO") == 0.760
    assert value("dreambench/uno-multi@1", "UNO + FocusDPO", "CLIP-T") == 0.328
    assert value("dreambench/kosmosg@1", "PatchDPO", "DINO") == 0.831
    assert value("concept101/mip@1", "SSR-Encoder", "CLIP-T") == 0.7363
    assert value("stellar/h@1", "StellarNet", "ImageReward") == 0.423
    assert value("stellar/t@1", "StellarNet", "RFS") == 0.134
    assert [row.method for row in cards()["dreambench/dreambooth@1"].published] == []


def test_an_unknown_card_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean dreambench/kosmosg@1"):
        card_named("dreambench/kosmos@1")


CASES, METRIC = ROW["cases"], ROW["metrics"][0]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "colour: expected no such key"),
    ({"name": "Toys"}, "name: expected words"),
    ({"name": "../toys"}, "name: expected words"),
    ({"version": 0}, "version: expected greater than 0"),
    ({"version": "1"}, "version: expected"),
    ({"version": 1.5}, "version: expected"),
    ({"title": ""}, "title: expected"),
    ({"reference_set": "some"}, "reference_set: expected"),
    ({"pictures_per_case": 0}, "pictures_per_case: expected greater than 0"),
    ({"cases": CASES | {"sha256": "f" * 64}}, "got both or neither"),
    ({"cases": CASES | {"unpinned": ""}}, "got both or neither"),
    ({"cases": CASES | {"unpinned": "", "sha256": "f" * 63}}, "cases.sha256: expected"),
    ({"cases": CASES | {"ids": "("}}, "toy.toml"),
    ({"cases": CASES | {"select": "odd"}}, "cases.select: expected"),
    ({"cases": CASES | {"count": True}}, "cases.count: expected"),
    ({"metrics": []}, "metrics: expected"),
    ({"metrics": [METRIC, METRIC]}, "expected each column once"),
    ({"metrics": [METRIC | {"metric": "dyno"}]}, "a metric of METRICS, got 'dyno'"),
    ({"metrics": [METRIC | {"encoder": "clip"}]}, "an encoder of dino (dino), got 'clip'"),
    ({"metrics": [METRIC | {"metric": ""}]}, "got both or neither"),
    ({"metrics": [METRIC | {"not_measured": "why"}]}, "got both or neither"),
    ({"metrics": [METRIC | {"factor": float("nan")}]}, "factor: expected"),
    ({"metrics": [METRIC | {"factor": "2.5"}]}, "factor: expected"),
    ({"metrics": [METRIC | {"aggregation": "median"}]}, "aggregation: expected"),
    ({"weights_sha256": {"clip": "a" * 64}}, "expected encoders that a column needs, got clip"),
    ({"weights_sha256": {"dino": "a" * 12}}, "weights_sha256.dino: expected"),
    ({"published": [{"method": "A", "source": "B", "values": {"CLIP-I": 0.5}}]}, "columns of the card, got CLIP-I"),
    ({"published": [{"method": "A", "source": "B", "values": {"DINO": float("nan")}}]}, "DINO: expected"),
    ({"published": [{"method": "A", "source": "", "values": {"DINO": 0.5}}]}, "source: expected"),
    ({"published": [{"method": "A", "source": "B", "values": {}}]}, "values: expected"),
]


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return (
        str(value).lower()
        if isinstance(value, bool | float)
        else repr(value)
        if isinstance(value, int)
        else f'"{value}"'
    )


def write(path: Path, row: dict[str, Any]) -> Path:
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in row.items()))
    return path


def test_a_card_is_read_from_its_file(tmp_path: Path) -> None:
    card = read_card(write(tmp_path / "toy.toml", ROW))
    assert card == Card.of_row(ROW)
    assert (card.id, card.num_pictures) == ("toys/one@1", 2)
    assert card.sha256 != Card.of_row(ROW | {"pictures_per_case": 2}).sha256


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_a_wrong_card_is_refused_with_its_file_and_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_card(write(tmp_path / "toy.toml", ROW | change))
    assert "toy.toml" in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text("name = ")
    with pytest.raises(DataError, match=r"toy\.toml"):
        read_card(tmp_path / "toy.toml")


def cards_page() -> str:
    """docs/cards.md: what each card fixes, and its published table."""
    parts = [PREFACE]
    for name, card in cards().items():
        number = "not known" if card.cases.count is None else f"{card.cases.count:,}"
        pinned = f"hash `{card.cases.sha256[:12]}`" if card.cases.sha256 else f"not pinned: {card.cases.unpinned}"
        select = "" if card.cases.select == "all" else f", those {card.cases.select.replace('_', ' ')}"
        parts.append(
            f"## {name}\n\n{card.title}. Hash `{card.sha256[:12]}`.\n\n"
            f"- Cases: {number} of `{card.cases.benchmark}`{select}; {pinned}.\n- Prompt: {card.prompt}.\n"
            f"- Photos: {card.reference_set.replace('_', ' ')}. Pictures per case: {card.pictures_per_case}.\n"
            + "".join(pin_line(card.weights_sha256))
            + "".join(f"- Used by {table.paper}, table {table.table}.\n" for table in card.tables)
            + "".join(f"- {note}\n" for note in card.notes)
        )
        parts.append("| column | measured as | mean |\n|---|---|---|\n" + "".join(map(column_row, card.metrics)))
        if card.published:
            columns = [metric.column for metric in card.metrics]
            head = " | ".join(["published, not rerun", *columns, "source"])
            parts.append(f"| {head} |\n|{'---|' * (len(columns) + 2)}\n" + "".join(published_rows(card, columns)))
    return "\n".join(parts)


def pin_line(pins: dict[str, str]) -> list[str]:
    shown = ", ".join(f"{name} `{digest[:12]}`" for name, digest in pins.items())
    return [f"- Weights by their hash: {shown}.\n"] if pins else []


def column_row(metric: CardMetric) -> str:
    mark = "" if metric.higher_is_better else " (lower is better)"
    if metric.not_measured:
        return f"| {metric.column}{mark} | not measured here: {metric.not_measured} | |\n"
    seen = f" by `{metric.encoder}` with `{metric.weights}`" if metric.weights else ""
    seen += f", {metric.preprocessing}" if metric.preprocessing else ""
    mean = "over subjects" if metric.aggregation == "subjects" else "over pictures"
    return f"| {metric.column}{mark} | `{metric.metric}`{seen}; {metric.scale} | {mean} |\n"


def published_rows(card: Card, columns: list[str]) -> list[str]:
    return [
        f"| {row.method} | "
        + " | ".join(f"{row.values[name]:g}" if name in row.values else "" for name in columns)
        + f" | {row.source}{f' ({row.note})' if row.note else ''} |\n"
        for row in card.published
    ]


def test_the_page_of_cards_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == cards_page(), "python tests/benchmarks/test_cards.py > docs/cards.md"


if __name__ == "__main__":
    if "--next-world" in sys.argv:
        write_next_world_cards()
    else:
        print(cards_page(), end="")
