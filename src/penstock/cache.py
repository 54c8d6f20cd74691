"""What a line's ``.cache()`` asks for, where it lies, and the caches that this process has open."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
import threading
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from penstock import _native
from penstock._reference.resample import installed_order
from penstock.byte_counts import counted, spoken
from penstock.errors import PlanError
from penstock.recipe import Recipe
from penstock.transform.map import Map
from penstock.transform.resize import Resize
from penstock.transform.verb import call
from penstock.transform.warp import Warp

if TYPE_CHECKING:
    from penstock.types import Spec

__all__ = ["RAM", "CacheInfo", "Caching", "OpenedCache", "cleared", "held", "opened", "shared_memory"]

FORMAT = 1
"""Part of every key: raised when the same recipe comes to give other pixels."""

IdentityName = Literal["stat", "content"]

ABOUT_BYTES = 4096
"""The most that the text about a recipe, which is kept beside its entries, may take."""

_MOST_BYTES = 1 << 62
_VOLATILE = "penstock-ram-"  # native/cache.h: folders that go with their last user


class _Memory(Enum):
    """Where a cache lies that is no folder."""

    RAM = "RAM"

    def __repr__(self) -> str:
        return f"ps.{self.value}"

    __str__ = __repr__


RAM = _Memory.RAM
"""Shared memory: as fast as a cache gets, shared by the processes of one user, gone with the last of them."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What is in a line's cache, and how it has served this process.

    ``entries`` are those of this line's recipe; ``bytes`` all that the folder holds, of at most ``max_bytes``. ``hits``
    and ``misses`` are of this process. ``estimated_bytes`` is what all items of the line need, None where nobody can
    tell.

    >>> print(CacheInfo("cache", 2, 1000, 5000, 3, 1, 2000))
    cache: 2 entries, 1.0 kB of at most 5.0 kB, all items need about 2.0 kB; 3 hits and 1 miss, 75% hits
    """

    where: str
    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    estimated_bytes: int | None

    @property
    def hit_rate(self) -> float:
        """Hits as a share of what was asked for, from 0 to 1; 0 where nothing was."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def __str__(self) -> str:
        need = "" if self.estimated_bytes is None else f", all items need about {spoken(self.estimated_bytes)}"
        return (
            f"{self.where}: {self.entries:,} entr{'y' if self.entries == 1 else 'ies'}, {spoken(self.bytes)} of at "
            f"most {spoken(self.max_bytes)}{need}; {self.hits:,} hit{'' if self.hits == 1 else 's'} and "
            f"{self.misses:,} miss{'' if self.misses == 1 else 'es'}, {self.hit_rate:.0%} hits"
        )


@dataclass(frozen=True, slots=True)
class Caching:
    """The arguments of ``.cache()``, and its place: after ``at`` verbs of the recipe, or before decode.

    Raises PlanError for arguments that cannot be.
    """

    where: str | _Memory
    max_bytes: int
    identity: IdentityName = "stat"
    evict: bool = False
    read_only: bool = False
    readable_by_others: bool = False
    network: bool = False
    at: int = 0
    encoded: bool = False

    name: ClassVar[str] = "cache"

    def __post_init__(self) -> None:
        text = f"cache({self.where!r})"
        if not isinstance(self.where, _Memory):
            try:
                folder = os.path.expanduser(os.fsdecode(self.where))
            except TypeError:
                raise PlanError(f"{text}: expected a folder or ps.RAM, found {self.where!r}.") from None
            if folder.lower().removeprefix("ps.") == "ram":
                raise PlanError(f"{text}: expected a folder or ps.RAM, found the text {folder!r}; write ps.RAM.")
            if not folder or "\0" in folder:
                raise PlanError(f"{text}: expected the name of a folder, found {folder!r}.")
            object.__setattr__(self, "where", folder)
        object.__setattr__(self, "max_bytes", _bytes_of(text, self.max_bytes))
        if self.identity not in ("stat", "content"):
            raise PlanError(f"{text}: expected identity= 'stat' or 'content', found {self.identity!r}.")
        for flag in ("evict", "read_only", "readable_by_others", "network"):
            if not isinstance(getattr(self, flag), bool):
                raise PlanError(f"{text}: expected {flag}= True or False, found {getattr(self, flag)!r}.")
        for flag in ("read_only", "readable_by_others", "network"):
            if getattr(self, flag) and isinstance(self.where, _Memory):
                raise PlanError(
                    f"{text}: expected a folder with {flag}=True, found {self.where!r}, which is this user's."
                )
        if self.encoded and self.identity == "content":
            raise PlanError(
                f"{text}: expected identity='stat' before decode, found 'content', which would read each file to learn "
                f"whether its bytes are there."
            )

    def expect_fit(self, recipe: Recipe, spec: Spec) -> None:
        """Refuses a place whose images cannot be kept: ``recipe`` leads to it, ``spec`` arrives there; PlanError."""
        text = f"cache({self.where!r})"
        for verb in recipe.verbs:
            if verb.random:
                raise PlanError(f"{text}: expected to come before random verbs, found {call(verb)} before it.")
            if isinstance(verb, Warp):
                raise PlanError(
                    f"{text}: expected to come before warp, whose matrices are its function's, found {call(verb)} "
                    f"before it."
                )
            if isinstance(verb, Map):
                self._expect_map(text, verb)
        if self.encoded:
            return
        if spec.patch is not None or spec.dtype != "uint8" or spec.range != "0..255":
            last = f" after {call(recipe.verbs[-1])}" if recipe.verbs else ""
            raise PlanError(
                f"{text}: expected uint8 pixels, found {spec}{last}; call it before the verb that makes something else."
            )
        decode = recipe.decoding
        resized = any(isinstance(verb, Resize) for verb in recipe.verbs)
        if decode is not None and decode.fidelity == "fast" and not resized:
            raise PlanError(
                f"{text}: expected to come after the resize that decode(fidelity='fast') decodes for, or before "
                f"decode, found it between them."
            )

    @staticmethod
    def _expect_map(text: str, verb: Map) -> None:
        if verb.on == "item":
            raise PlanError(
                f"{text}: expected to come before maps on items, which change labels and fields as well, found "
                f"{call(verb)} before it."
            )
        if not verb.version and not isinstance(getattr(verb.fn, "map_fingerprint", None), str):
            raise PlanError(
                f"{text}: expected map(version=) with a text that changes with its function, so that what another "
                f"version made is not taken for it, found {call(verb)} before it."
            )

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        where = "in RAM" if isinstance(self.where, _Memory) else f"in {self.where!r}"
        words = [where, f"at most {spoken(self.max_bytes)}"]
        if self.identity == "content":
            words.append("by content")
        for flag, word in (("evict", "evicting"), ("read_only", "read only"), ("readable_by_others", "for others too")):
            if getattr(self, flag):
                words.append(word)
        return ", ".join(words)

    def kept(self, recipe: Recipe) -> Recipe:
        """The part of the line's recipe that leads to what is kept."""
        return Recipe(None if self.encoded else recipe.decoding, recipe.verbs[: self.at])

    def fingerprint(self, recipe: Recipe) -> str:
        """What is kept, in words that change whenever its bytes may."""
        if self.encoded:
            return f"penstock cache {FORMAT}\nencoded"
        made = self.kept(recipe).fingerprint
        return "\n".join((f"penstock cache {FORMAT}", made, installed_order(), _native.codec_versions()))

    def about(self, recipe: Recipe) -> str:
        """What is kept, in words, as JSON: ``penstock cache info`` shows it, and nothing is decided by it."""
        if self.encoded:
            said = {"keeps": "encoded bytes"}
        else:
            steps = [text for text, _ in self.kept(recipe).specs()]
            said = {"keeps": " > ".join(steps) or "images as they came", "made_with": _native.codec_versions()}
        text = json.dumps(said) + "\n"
        return text if len(text) <= ABOUT_BYTES else ""

    def folder(self, fingerprint: str) -> str:
        """Where its files lie."""
        if not isinstance(self.where, _Memory):
            return os.path.abspath(self.where)
        # One for each recipe: lines that keep something else have a budget of their own.
        own = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return os.path.join(shared_memory(), f"{_VOLATILE}{user}-{own}")


def shared_memory() -> str:
    """A folder that lies in memory: /dev/shm on Linux; elsewhere the folder for temporary files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108 - 0700 in it


def _bytes_of(text: str, value: Any) -> int:
    """A number of bytes from an int or words such as "20GB"; PlanError."""
    found = counted(value)
    if found is None or not 1 <= found <= _MOST_BYTES:
        raise PlanError(
            f"{text}: expected max_bytes= a number of bytes of at least 1, or words such as '20GB' or '512MiB', found "
            f"{value!r}."
        )
    return found


@dataclass(frozen=True, slots=True)
class OpenedCache:
    """A line's cache, open in this process: what jobs are given, and the files behind it."""

    native: _native.Caching
    files: _native.OpenCache
    caching: Caching

    def trouble(self) -> str:
        """Why nothing is kept any more, a sentence, once; else ""."""
        reason = self.files.trouble()
        return f"{reason}." if reason else ""


# By process, so that a forked child opens its own; what was its parent's is left alone.
_files: dict[tuple[object, ...], _native.OpenCache] = {}
_inherited: list[dict[tuple[object, ...], _native.OpenCache]] = []
_lock = threading.Lock()


def opened(caching: Caching, recipe: Recipe, part: int) -> OpenedCache:
    """The cache of a line, opened if it is not; ``part`` is the number of the plan's part whose images it keeps.

    Raises PlanError where the folder cannot be one.
    """
    fingerprint = caching.fingerprint(recipe)
    folder = caching.folder(fingerprint)
    flags = (caching.evict, caching.read_only, caching.readable_by_others, caching.network)
    ram = isinstance(caching.where, _Memory)
    place = (folder, fingerprint, caching.max_bytes, *flags, ram)
    with _lock:
        for gone in [known for known, files in _files.items() if files.removed()]:
            _files.pop(gone).close()
        files = _files.get(place)
        if files is None:
            try:
                files = _native.open_cache(os.fsencode(folder), *place[1:], caching.about(recipe))
            except ValueError as error:
                raise PlanError(f"cache({caching.where!r}): {str(error).rstrip('.')}.") from None
            _files[place] = files
    native = _native.caching_of(files, caching.encoded, caching.identity == "content", _pillow(), part)
    return OpenedCache(native, files, caching)


def held(caching: Caching, recipe: Recipe) -> tuple[int, int]:
    """How many entries a line's cache has of its own recipe, and their bytes, by the sizes of files; (0, 0) of none."""
    fingerprint = caching.fingerprint(recipe)
    own = _native.cache_key(fingerprint.encode(), (0, 0))
    try:
        found = _native.CacheStore.summary(os.fsencode(caching.folder(fingerprint)))["recipes"]
    except ValueError:  # it was removed
        return 0, 0
    return next(((one["entries"], one["bytes"]) for one in found if one["recipe"] == own), (0, 0))


def cleared(caching: Caching, recipe: Recipe) -> int:
    """Lets go of a line's cache in this process and removes its files; the bytes that were removed. PlanError."""
    folder = caching.folder(caching.fingerprint(recipe))
    text = f"cache({caching.where!r})"
    if caching.read_only:
        raise PlanError(f"{text}: expected a cache that may be written, found read_only=True.")
    before = _bytes_in(folder)
    with _lock:
        for place in [place for place in _files if place[0] == folder]:
            _files.pop(place).close()  # of a cache in RAM the last user removes all
        if os.path.isdir(folder):
            try:
                _native.CacheStore.clear(os.fsencode(folder))
            except ValueError as error:
                raise PlanError(f"{text}: {str(error).rstrip('.')}.") from None
    return max(0, before - _bytes_in(folder))


def _bytes_in(folder: str) -> int:
    try:
        with os.scandir(folder) as files:
            return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _pillow() -> int:
    """Pillow and its plugins, as a number that changes with their versions; never 0."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("pillow", "pillow-heif", "pillow-jxl-plugin"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return int.from_bytes(hashlib.sha256("\n".join(found).encode()).digest()[:8], "little") | 1


def _forget() -> None:
    global _files, _lock
    _inherited.append(_files)  # kept: to let go of it would be to close what is the parent's
    _files, _lock = {}, threading.Lock()


def _close() -> None:
    with _lock:
        for files in _files.values():
            files.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_close)
