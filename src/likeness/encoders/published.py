"""The published weights of encoders by the name under which `likeness fetch` knows them.

Ids and revisions are those of ENCODERS and FETCHABLE, which this table only reads: a new encoder is listed by itself.
"""

from urllib.parse import unquote

from likeness.core.fetched import copied_folder, fetched_folder
from likeness.core.published import Published
from likeness.encoders import ENCODERS
from likeness.encoders.faces import PACKS, PACKS_FOLDER
from likeness.encoders.fetchable import BERT, CLIP_L14, DINO_B16, FETCHABLE
from likeness.encoders.packaged import IN_EXTRA, OFFLINE

SNAPSHOT = ("*.safetensors", "*.json", "*.txt", "*.model")
BASES = {
    "clip_l14": (CLIP_L14, "MIT", False),
    "bert": (BERT, "Apache-2.0", True),
    "dino_b16": (DINO_B16, "Apache-2.0", False),
}
"""What converted files are completed with: hub id, licence, and whether no weights of it are needed."""
UNPINNED = "the revision is not pinned"


def published_weights() -> dict[str, Published]:
    """Every published weight that an encoder can need, by name, in the order of ENCODERS."""
    found: dict[str, Published] = {}
    users = _users()
    for spec, names in users.items():
        if spec in FETCHABLE:
            found[spec] = _converted(spec, names)
        elif "/" in spec:
            found[names[0]] = _snapshot(spec, names)
        else:
            found[spec] = _packaged(spec, names)
    for name, (spec, licence, texts_only) in BASES.items():
        needed = [each for each, facts in FETCHABLE.items() if facts.base == spec]
        found[name] = _hub(spec, what=f"completes {', '.join(needed)}", licence=licence)._replace(
            needed_by=", ".join(f"likeness fetch {each}" for each in needed),
            texts_only=texts_only,
            files=SNAPSHOT[1:] if texts_only else SNAPSHOT,
        )
    return found | _by_hand()


def _users() -> dict[str, list[str]]:
    """Weights -> the encoders that have them as their default or look for them when asked for."""
    users: dict[str, list[str]] = {}
    for name, facts in ENCODERS.items():
        for spec in (facts.photo or facts.published or "").split("+"):
            if spec:
                users.setdefault(spec, []).append(name)
    return users


def _needed_by(names: list[str]) -> str:
    return ", ".join(f"--encoder {name}" for name in names)


def _snapshot(spec: str, names: list[str]) -> Published:
    facts = ENCODERS[names[0]]
    item = _hub(spec, what=facts.reads, licence=facts.licence.partition(";")[0])
    return item._replace(needed_by=_needed_by(names))


def _hub(spec: str, *, what: str, licence: str) -> Published:
    note = UNPINNED if spec.partition("@")[2] in ("", "main") else ""
    return Published(what, "hub", spec, SNAPSHOT, "", licence, str(copied_folder(spec)), note=note)


def _converted(name: str, users: list[str]) -> Published:
    facts = FETCHABLE[name]
    file = unquote((facts.url or "").rpartition("/")[2]) or facts.what.partition(": ")[2].partition(",")[0]
    return Published(
        facts.what,
        "convert",
        facts.url or facts.page,
        (file,),
        _needed_by(users),
        facts.licence,
        str(fetched_folder(name)),
        num_bytes=facts.num_bytes,
        sha256={file: facts.sha256} if facts.sha256 else {},
        note=f"with {facts.base}" + ("" if facts.url else "; by hand, then --from FILE"),
    )


def _packaged(spec: str, users: list[str]) -> Published:
    facts = ENCODERS[users[0]]
    licence = facts.licence.partition(f"{spec}: ")[2].partition(";")[0] or facts.licence
    source, where = f"likeness[{IN_EXTRA.get(spec, OFFLINE)}]", "where pip installs it"
    return Published(facts.reads, "package", source, (), _needed_by(users), licence, where)


def _by_hand() -> dict[str, Published]:
    """What no program fetches: packs of ONNX files by their folder."""
    return {
        name: Published(
            "faces and whose they are, ONNX",
            "hand",
            pack.source,
            ("*.onnx",),
            f"--encoder faces={name}",
            pack.licence,
            str(PACKS_FOLDER / pack.folder),
        )
        for name, pack in PACKS.items()
    }
