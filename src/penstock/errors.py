"""The exception tree.

    PenstockError                 everything below; one complete sentence
    ├── PlanError                 a chain that cannot be (also a ValueError); raised before any file is opened
    ├── SourceError               a source that cannot be listed, or whose labels cannot be told
    ├── ItemError                 one item failed and the policy is on_failure="raise"
    ├── TooManyFailuresError      more items failed than max_failures allows
    └── EngineError               the engine was used after it was closed, or by two consumers

Each is constructible from its message alone, so that it survives a worker process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.types import Failure

__all__ = [
    "EngineError",
    "ItemError",
    "PenstockError",
    "PlanError",
    "SourceError",
    "TooManyFailuresError",
]


class PenstockError(Exception):
    """Base of every error that Penstock raises on purpose; its text is one complete sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PlanError(PenstockError, ValueError):
    """A chain, an argument or an option that cannot be; nothing was opened or started."""


class SourceError(PenstockError):
    """A source that cannot be listed, or whose labels cannot be told."""


class ItemError(PenstockError):
    """One item failed and the policy is ``on_failure="raise"``; names stage, key, expected and found.

    ``failure`` is the Failure with key, index, stage and cause, where the item belongs to a line.
    """

    failure: Failure | None = None


class TooManyFailuresError(PenstockError):
    """More items failed than ``max_failures`` allows."""


class EngineError(PenstockError):
    """The engine was used in a way it cannot serve: closed, or with two consumers."""
