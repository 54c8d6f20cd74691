"""What a contestant is given: files, a size, threads; and how it is named to the process that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from penstock.types import FilterName

Lap: TypeAlias = Callable[[], dict[str, float]]
"""One round: does the whole task once, returns ``{"images": n}`` and whatever else it counted.

A lap that has to prepare something first returns its own ``"wall"`` and ``"cpu"`` in seconds.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Images from files to float32 [batch, 3, height, width], normalised with IMAGENET, in order."""

    paths: tuple[str, ...]
    threads: int
    height: int = 224
    width: int = 224
    filter: FilterName = "bilinear"
    batch: int = 64

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Task:
        """The inverse of ``to_json``."""
        return cls(**{**fields, "paths": tuple(fields["paths"])})


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name for the table, ``"module:function"`` that makes a Lap of a Task, and the task."""

    name: str
    maker: str
    task: Task
