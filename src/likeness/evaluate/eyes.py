"""What encoders see: first written down as wishes, then computed where it is not known yet, then read by metrics.

The code that gathers a metric's evidence runs twice. `Wishes` only notes what would be looked at; `see` computes what
is missing, each file decoded once and each encoder run once per distinct picture; `Eyes` then answers from the store.
So nothing can be forgotten, and no value depends on what was computed together.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    TypeVar,
    runtime_checkable,
)  # Any: what an encoder sees is its own type

from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import require_shared
from likeness.core.hashing import file_sha256, pixels_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Engine, Progress, run_jobs
from likeness.core.plain import pack, unpack
from likeness.encoders import EncoderSet
from likeness.evaluate.features import FeatureStore, feature_key

Encoders = Mapping[str, Any]
"""The encoders at hand, by their names in ENCODERS; metrics of an absent one are not measured."""

PIXELS = "pixels"
PICTURES_AT_ONCE = 8
PICTURES_PER_WORKER = 64
"""Below it one more process does not pay: starting it and loading encoders takes seconds."""
MOST_REMEMBERED = 4096

Item = TypeVar("Item")


class Pixels:
    """Which picture a file shows, whatever its format: the hash of its pixels."""

    id = "pixels; SHA-256 of mode, size and pixels"
    sight: ClassVar[Any] = str

    def look(self, images: Sequence[Image.Image]) -> list[str]:
        """The hash of each picture."""
        return [pixels_sha256(image) for image in images]


@runtime_checkable
class Observer(Protocol):
    """Who gathers evidence asks one of these; `encoders` are those at hand."""

    encoders: Encoders

    def look(self, path: Path, name: str) -> Any:
        """What the encoder `name` sees of a picture file."""
        ...

    def read(self, text: str, name: str) -> Any:
        """What the encoder `name` reads of a text."""
        ...

    def ask(self, path: Path, text: str, name: str) -> Any:
        """What the encoder `name` answers to a text about a picture file."""
        ...


class Want(NamedTuple):
    """One thing to be known: by encoder `name`, of a picture, a text, or a text about a picture."""

    name: str
    path: Path | None
    text: str | None


@dataclass
class Wishes:
    """Notes what is asked for, each thing once, in order; every answer is None."""

    encoders: Encoders
    wants: dict[Want, None] = field(default_factory=dict[Want, None])

    def look(self, path: Path, name: str) -> Any:
        """Noted."""
        self.wants[Want(name, path, None)] = None

    def read(self, text: str, name: str) -> Any:
        """Noted."""
        self.wants[Want(name, None, text)] = None

    def ask(self, path: Path, text: str, name: str) -> Any:
        """Noted."""
        self.wants[Want(name, path, text)] = None


@dataclass
class Eyes:
    """Answers from the store. `digests` are the hashes of the picture files."""

    encoders: Encoders
    store: FeatureStore
    digests: Mapping[Path, str]
    _remembered: dict[tuple[str, bytes], Any] = field(default_factory=dict[tuple[str, bytes], Any])

    def look(self, path: Path, name: str) -> Any:
        """What it saw of a picture. Raises: KeyError for a picture that was not looked at."""
        encoder = _encoder(name, self.encoders)
        return self._known(encoder, feature_key("look", picture=self.digests[path]), encoder.sight)

    def read(self, text: str, name: str) -> Any:
        """What it read of a text. Raises: KeyError for a text that was not read."""
        encoder = self.encoders[name]
        return self._known(encoder, feature_key("read", text=text), encoder.reading)

    def ask(self, path: Path, text: str, name: str) -> Any:
        """What it answered to a text about a picture. Raises: KeyError where it was not asked."""
        encoder = self.encoders[name]
        return self._known(encoder, feature_key("ask", picture=self.digests[path], text=text), encoder.answer)

    def _known(self, encoder: Any, key: bytes, kind: Any) -> Any:
        place = (encoder.id, key)
        if place not in self._remembered:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[place] = unpack(self.store.get(encoder.id, key), kind)
        return self._remembered[place]


def _encoder(name: str, encoders: Encoders) -> Any:
    return Pixels() if name == PIXELS else encoders[name]


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The hash of every file's bytes. Raises: DataError for one that cannot be read."""
    return {path: file_sha256(path) for path in dict.fromkeys(paths)}


# -- computing what is missing -------------------------------------------------------------------------------------
class _PictureJob(NamedTuple):
    """Pictures of which the same is wanted: their files and hashes, who looks, and who is asked what."""

    pictures: tuple[tuple[Path, str], ...]
    lookers: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]


class _TextJob(NamedTuple):
    name: str
    texts: tuple[str, ...]


class _Found(NamedTuple):
    """(encoder's id, key, bytes) of everything a job gave, and what is wrong with files by their hash."""

    features: list[tuple[str, bytes, bytes]]
    damaged: dict[str, str]


def see(
    wishes: Wishes,
    *,
    store: FeatureStore,
    digests: Mapping[Path, str],
    workers: int | None,
    progress: Progress,
    engine: Engine | None = None,
) -> dict[str, str]:
    """Everything wished for is in the store afterwards; returned is why not, by hash, for files that cannot be read.

    `workers` processes share the pictures (None: as many as pay), started by `engine`. On a CPU each computes on one
    thread. This process alone writes to the store.
    Raises: ConfigError for workers elsewhere with encoders that cannot be loaded by name; DataError for a file that a
    worker on another machine does not see.
    """
    encoders = wishes.encoders
    jobs = [*_text_jobs(wishes, store=store), *_picture_jobs(wishes, store=store, digests=digests)]
    num_pictures = sum(len(job.pictures) for job in jobs if isinstance(job, _PictureJob))
    total = len({digests[want.path] for want in wishes.wants if want.path})
    done = total - num_pictures
    progress(done, total)
    damaged: dict[str, str] = {}
    load = _Loader(encoders, engine=engine)
    count = load.workers(workers, num_pictures)
    gpus = float(isinstance(encoders, EncoderSet) and encoders.device == "cuda")
    for job, found in run_jobs(jobs, load=load, engine=engine, workers=count, single_thread=True, gpus=gpus):
        _keep(found.features, store=store)
        damaged |= found.damaged
        done += len(job.pictures) if isinstance(job, _PictureJob) else 0
        progress(done, total)
    return damaged


def _keep(features: Iterable[tuple[str, bytes, bytes]], *, store: FeatureStore) -> None:
    by_encoder: dict[str, dict[bytes, bytes]] = {}
    for encoder_id, key, value in features:
        by_encoder.setdefault(encoder_id, {})[key] = value
    for encoder_id, values in by_encoder.items():
        store.put(encoder_id, values)


def _missing(name: str, keys: Mapping[bytes, Item], *, wishes: Wishes, store: FeatureStore) -> list[Item]:
    """The items whose key has no value yet, in order."""
    known = store.known(_encoder(name, wishes.encoders).id, keys)
    return [item for key, item in keys.items() if key not in known]


def _text_jobs(wishes: Wishes, *, store: FeatureStore) -> list[_TextJob]:
    by_name: dict[str, dict[bytes, str]] = {}
    for want in wishes.wants:
        if want.path is None and want.text is not None:
            by_name.setdefault(want.name, {})[feature_key("read", text=want.text)] = want.text
    return [
        _TextJob(name, tuple(some))
        for name, keys in by_name.items()
        for some in _in_groups(_missing(name, keys, wishes=wishes, store=store), 32)
    ]


def _picture_jobs(wishes: Wishes, *, store: FeatureStore, digests: Mapping[Path, str]) -> list[_PictureJob]:
    """Pictures with equal needs together; of files with the same bytes only the first is looked at."""
    by_ability: dict[tuple[str, str], dict[bytes, Want]] = {}
    for want in wishes.wants:
        if want.path is not None:
            ability = "look" if want.text is None else "ask"
            key = feature_key(ability, picture=digests[want.path], text=want.text)
            by_ability.setdefault((want.name, ability), {})[key] = want
    needs: dict[str, tuple[Path, list[str], list[tuple[str, str]]]] = {}
    for (name, _), keys in by_ability.items():
        for want in _missing(name, keys, wishes=wishes, store=store):
            assert want.path is not None
            _, lookers, questions = needs.setdefault(digests[want.path], (want.path, [], []))
            lookers.append(name) if want.text is None else questions.append((name, want.text))
    alike: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], list[tuple[Path, str]]] = {}
    for digest, (path, lookers, questions) in needs.items():
        alike.setdefault((tuple(lookers), tuple(questions)), []).append((path, digest))
    return [
        _PictureJob(tuple(some), lookers, questions)
        for (lookers, questions), pictures in alike.items()
        for some in _in_groups(pictures, PICTURES_AT_ONCE)
    ]


def _in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


class _Loader:
    """How a worker gets the encoders; in this process those that are loaded already."""

    def __init__(self, encoders: Encoders, *, engine: Engine | None = None) -> None:
        self._encoders, self._engine = encoders, engine

    def workers(self, wanted: int | None, num_pictures: int) -> int:
        """Processes for this many pictures. Raises: ConfigError where the encoders cannot be loaded in another."""
        named = isinstance(self._encoders, EncoderSet)
        if wanted is None:
            usable = self._encoders.num_workers if isinstance(self._encoders, EncoderSet) else 1
            wanted = max(1, min(usable, num_pictures // PICTURES_PER_WORKER))
        if (wanted > 1 or self._engine not in (None, "here")) and not named:
            got = f"{wanted} by engine {self._engine}" if self._engine else wanted
            raise ConfigError(f"workers: expected 1 with these encoders, got {got}; name them for `load_encoders`.")
        return wanted

    def __call__(self, worker: int) -> Callable[[_PictureJob | _TextJob], _Found]:
        return partial(_work, self._encoders, self._engine == "ray")


def _work(encoders: Encoders, is_elsewhere: bool, job: _PictureJob | _TextJob) -> _Found:
    """What the job gives. A worker that may be on another machine first makes sure that it sees the same files."""
    if is_elsewhere and isinstance(job, _PictureJob):
        for path, digest in job.pictures:
            _require_same(path, digest)
    return _read(job, encoders) if isinstance(job, _TextJob) else _look(job, encoders)


def _require_same(path: Path, digest: str) -> None:
    """What is kept under a file's hash is of that file. Raises: DataError naming this machine and the path."""
    require_shared(path)
    if file_sha256(path) != digest:
        wanted = f"{path}: expected the same file on {socket.gethostname()} as where the command runs"
        raise DataError(f"{wanted}, got another; keep it where every machine with a worker sees it.")


def _read(job: _TextJob, encoders: Encoders) -> _Found:
    encoder = encoders[job.name]
    keys = [feature_key("read", text=text) for text in job.texts]
    found = encoder.read(job.texts)
    return _Found([(encoder.id, key, pack(each)) for key, each in zip(keys, found, strict=True)], {})


def _look(job: _PictureJob, encoders: Encoders) -> _Found:
    images: dict[str, Image.Image] = {}
    damaged: dict[str, str] = {}
    for path, digest in job.pictures:
        try:
            images[digest] = load_image(path)
        except DataError as error:
            damaged[digest] = str(error)
    features: list[tuple[str, bytes, bytes]] = []
    for name in job.lookers if images else ():
        encoder = _encoder(name, encoders)
        seen = zip(images, encoder.look(list(images.values())), strict=True)
        features += [(encoder.id, feature_key("look", picture=digest), pack(each)) for digest, each in seen]
    for name, texts in _by_name(job.questions).items() if images else ():
        encoder = encoders[name]
        pairs = [(digest, text) for digest in images for text in texts]
        answers = encoder.ask([images[digest] for digest, _ in pairs], [text for _, text in pairs])
        for (digest, text), answer in zip(pairs, answers, strict=True):
            features.append((encoder.id, feature_key("ask", picture=digest, text=text), pack(answer)))
    return _Found(features, damaged)


def _by_name(questions: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in questions:
        found.setdefault(name, []).append(text)
    return found
