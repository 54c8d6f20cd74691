"""How a pass over a line is run: RunOptions, the arguments of run() and loader()."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import PlanError
from penstock.ledger import RANK
from penstock.types import EngineName, OnDamage, OnFailure

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["RunOptions"]

_NO_MAXIMUM = (1 << 63) - 1  # what int64 holds

_LEAST_TIMEOUT_S, _MOST_TIMEOUT_S = 0.001, 1e6

_WORDS = {
    "engine": ("native", "reference"),
    "on_failure": ("raise", "skip", "blank", "replace"),
    "on_damage": ("keep", "fail"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Which pass over a line, and how; nothing here changes a pixel.

    ``epoch`` numbers the pass; ``rank`` of ``world_size`` takes its share of every step; ``equal_batches`` gives every
    rank as many batches of as many rows, with blank rows where the items do not suffice. ``threads`` None: the usable
    cores. ``prefetch`` batches may be in flight. ``max_memory`` bounds encoded bytes and decoder working memory in
    flight; the memory of the batches (``prefetch`` + 2) and Pillow's own come on top. ``max_failures`` is a count, or a
    Fraction of the items. ``ledger`` is a file that gets one JSON line a failure; ``{rank}`` in its name, needed
    where there are several, becomes the rank. A read of an image, or the loading of a companion, that takes longer than
    ``timeout_s`` seconds is given up and fails its item; the reference engine, which has no threads of its own, waits
    for as long as it takes. Raises PlanError by name.

    >>> from fractions import Fraction
    >>> RunOptions(epoch=3, max_failures=Fraction(1, 100)).prefetch
    2
    """

    epoch: int = 0
    rank: int = 0
    world_size: int = 1
    threads: int | None = None
    prefetch: int = 2
    max_memory: int | None = None
    engine: EngineName = "native"
    on_failure: OnFailure = "raise"
    max_failures: int | Fraction | None = None
    on_damage: OnDamage = "keep"
    ledger: str | os.PathLike[str] | None = None
    timeout_s: float | None = None
    equal_batches: bool = False
    ranks_from: str = ""  # who said which rank this is, for people

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "epoch", whole("epoch", self.epoch, 0))
        set_(self, "world_size", whole("world_size", self.world_size, 1))
        set_(self, "rank", whole("rank", self.rank, 0))
        if self.rank >= self.world_size:
            raise PlanError(f"rank={self.rank}: expected a rank below world_size={self.world_size}, found {self.rank}.")
        set_(self, "prefetch", whole("prefetch", self.prefetch, 1))
        if self.threads is not None:
            set_(self, "threads", whole("threads", self.threads, 1, 1024))
        if self.max_memory is not None:
            set_(self, "max_memory", whole("max_memory", self.max_memory, 1))
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in words:
                options = ", ".join(repr(word) for word in words)
                raise PlanError(f"{name}={value!r}: expected one of {options}, found {value!r}.")
        self._check_equal_batches()
        if self.max_failures is not None:
            self._check_max_failures()
        if self.timeout_s is not None:
            set_(self, "timeout_s", _seconds(self.timeout_s))
        if self.ledger is not None:
            set_(self, "ledger", self._ledger_pattern())

    def _ledger_pattern(self) -> str:
        """The name of the ledger as text, once it is known that it can be written."""
        try:
            path = os.path.expanduser(os.fsdecode(self.ledger or ""))
        except TypeError:
            raise PlanError(f"ledger={self.ledger!r}: expected a path, found {self.ledger!r}.") from None
        if self.world_size > 1 and RANK not in path:
            raise PlanError(
                f"ledger={path!r}: expected {RANK} in its name where world_size={self.world_size}, so that each "
                f"rank writes a file of its own, found none."
            )
        _check_ledger(path.replace(RANK, str(self.rank)))
        return path

    def _check_equal_batches(self) -> None:
        expect_flag("equal_batches", self.equal_batches)
        if self.equal_batches and self.on_failure == "skip":
            raise PlanError(
                "equal_batches=True: expected on_failure='raise', 'blank' or 'replace', found 'skip', which makes "
                "batches shorter on the rank whose items fail."
            )

    def _check_max_failures(self) -> None:
        from fractions import Fraction  # 2 ms of import that few lines need

        if not isinstance(self.max_failures, Fraction):
            limit = whole("max_failures", self.max_failures, 0, also=", or a Fraction")
            object.__setattr__(self, "max_failures", limit)
        elif not 0 <= self.max_failures <= 1:
            raise PlanError(
                f"max_failures={self.max_failures!r}: expected a Fraction from 0 to 1, found {self.max_failures}."
            )


def expect_flag(name: str, value: Any) -> bool:
    """True or False as it is, or a PlanError that names the option."""
    if not isinstance(value, bool):
        raise PlanError(f"{name}={value!r}: expected True or False, found {value!r}.")
    return value


def _seconds(value: Any) -> float:
    """A time to wait: finite, and long enough to be told from none."""
    try:
        seconds = None if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError):
        seconds = None
    if seconds is None or not _LEAST_TIMEOUT_S <= seconds <= _MOST_TIMEOUT_S:
        raise PlanError(
            f"timeout_s={value!r}: expected seconds from {_LEAST_TIMEOUT_S:g} to {_MOST_TIMEOUT_S:g}, found {value!r}."
        )
    return seconds


def _check_ledger(path: str) -> None:
    """Refuses what cannot be written, now and not at the first failure, hours later."""
    folder = os.path.dirname(path) or os.curdir
    shown = path
    if os.path.isdir(path):
        raise PlanError(f"ledger={shown!r}: expected a file, found a folder.")
    if not os.path.isdir(folder):
        raise PlanError(
            f"ledger={shown!r}: expected a file in an existing folder, found no folder {os.fsdecode(folder)!r}."
        )
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise PlanError(f"ledger={shown!r}: expected a file that can be written, found no permission.")


def whole(name: str, value: Any, minimum: int, maximum: int = _NO_MAXIMUM, *, also: str = "") -> int:
    """A plain int from any whole number, or a PlanError that names the option."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not minimum <= number <= maximum:
        bound = f"of at least {minimum}" if maximum == _NO_MAXIMUM else f"from {minimum} to {maximum}"
        raise PlanError(f"{name}={value!r}: expected a whole number {bound}{also}, found {value!r}.")
    return number
