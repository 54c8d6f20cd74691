"""Steps that are about to be submitted, made ready several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.engine import Ticketed
    from penstock.step import Request

__all__ = ["Ahead"]

Made = list[tuple["Request", "Ticketed"]]

_ROWS_AT_ONCE = 256


class Ahead:
    """Steps of a pass, in order, each with its job, which the pool does not have yet.

    Between two steps of a training all that Python needs has left the processor's caches, and the model waits for the
    little that is done there. So small batches are made ready several at a time. Only where a step is a matter of
    paths: bytes and fields are memory, of which no more is held than is needed.
    """

    def __init__(self, batch: int) -> None:
        self._at_once = max(1, _ROWS_AT_ONCE // max(1, batch))
        self._light = False  # whether the step before this one was a matter of paths
        self._ready: deque[tuple[Request, Ticketed]] = deque()

    def take(self, make: Callable[[int, int], Made], step: int, steps: int) -> tuple[Request, Ticketed]:
        """What ``make(step, 1)`` makes, the step behind that of the call before; raises what it does.

        ``steps`` are all. Where several cannot be made, because of one of them, each is when its turn comes.
        """
        if not self._ready:
            count = min(self._at_once, steps - step) if self._light else 1
            try:
                self._ready.extend(make(step, count))
            except Exception:
                if count == 1:
                    raise
                self._ready.extend(make(step, 1))
            request, _ = self._ready[-1]
            self._light = request.located.paths is not None and request.slots is None and not request.pads
        return self._ready.popleft()
