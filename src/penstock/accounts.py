"""What became of each item of a run: counted once, kept where it is damaged or failed; and how much may fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from penstock.errors import EngineError, TooManyFailuresError
from penstock.failures import Damages, Failures, Notes, failure_of, sentence
from penstock.ledger import Ledger
from penstock.options import RunOptions
from penstock.results import CLEAN, DAMAGED, FAILED, Columns
from penstock.sources.source import Source
from penstock.types import Damage, Failure

__all__ = ["Accounts", "Outcomes"]


@dataclass(slots=True)
class Outcomes:
    """How many items came to what: ``clean + damaged + failed == reached`` at any time."""

    clean: int = 0
    damaged: int = 0
    failed: int = 0
    reached: int = 0


@dataclass(slots=True)
class Accounts:
    """The accounts of one run over ``items`` of a source, batch by batch."""

    source: Source
    options: RunOptions
    items: int
    ledger: Ledger | None = None
    failures: Failures = field(init=False)
    damaged: Damages = field(default_factory=Damages)
    notes: Notes = field(default_factory=Notes)
    outcomes: Outcomes = field(default_factory=Outcomes)
    _before: int = 0  # items of the epoch that this rank had before, where their failures are known

    def __post_init__(self) -> None:
        self.failures = Failures(self.ledger)

    def resume(self, start: int) -> None:
        """Goes on with an epoch that earlier runs took to ``start``: what failed there counts, where a ledger knows."""
        self.failures.resume(start)
        if self.ledger is not None:
            self._before = start // self.options.world_size

    def count(
        self, columns: Columns, index: npt.NDArray[np.int64], progress: Callable[[], npt.NDArray[np.int64]] | None
    ) -> list[Failure]:
        """Gives every item of a batch its one outcome, and counts it; the failures, in order of their rows.

        ``progress()`` is how far into the epoch each row's item comes, as the ledger counts.
        """
        if not (columns.problems or columns.damages or columns.notes or columns.outcome.any()):
            items = int(np.count_nonzero(index >= 0))  # each of them clean: there is nothing to say about any
            self.count_clean(items)
            return []
        problems = list(columns.problems)
        for row, text in columns.damages:
            at = int(index[row])
            if self.options.on_damage == "fail":  # one outcome an item: it is a failure then, not damage as well
                problems.append((row, "decode", "damaged", f"expected an undamaged image, found: {text}"))
                columns.outcome[row] = FAILED
                columns.blank(row)
                continue
            key = self.source.key(at)
            self.damaged.add(Damage(key, at, sentence("decode", key, f"the codec recovered from damage: {text}")))
        failures = []
        reached = None if progress is None or not problems else progress()
        for row, stage, cause, message in sorted(problems):
            at = int(index[row])
            key = self.source.key(at)
            failures.append(failure_of(key, at, stage, cause, message))
            self.failures.add(failures[-1], -1 if reached is None else int(reached[row]))
        made = columns.outcome <= DAMAGED
        for row in sorted(columns.notes):
            if made[row]:  # a loss is an image's that was delivered
                for name in columns.notes[row]:
                    self.notes.add(name)
        columns.forget(~made)
        outcome = columns.outcome[index >= 0]
        self.outcomes.clean += int(np.count_nonzero(outcome == CLEAN))
        self.outcomes.damaged += int(np.count_nonzero(outcome == DAMAGED))
        self.outcomes.failed += int(np.count_nonzero(outcome == FAILED))
        self.outcomes.reached += len(outcome)
        self.check()
        return failures

    def count_clean(self, items: int) -> None:
        """Counts items of which there is nothing to say."""
        self.outcomes.clean += items
        self.outcomes.reached += items

    def check(self, *, finished: bool = False) -> None:
        """Asserts that nothing was lost: each item reached has one outcome, and a finished run reached them all."""
        counts = self.outcomes
        if counts.clean + counts.damaged + counts.failed != counts.reached:
            raise EngineError(f"The accounts do not add up: expected one outcome an item reached, found {counts}.")
        if finished and counts.reached != self.items:
            raise EngineError(
                f"The run lost items: expected {self.items} to be reached at its end, found {counts.reached}."
            )

    def check_failures(self) -> None:
        """Raises TooManyFailuresError where more items failed than ``max_failures`` allows."""
        limit = self.options.max_failures
        if limit is None:
            return
        allowed = int(limit * (self._before + self.items)) if isinstance(limit, Fraction) else limit
        if len(self.failures) > allowed:
            causes = ", ".join(f"{count} x {cause}" for cause, count in self.failures.by_cause().items())
            earlier = f" and {self.failures.earlier} earlier in this epoch" if self.failures.earlier else ""
            raise TooManyFailuresError(
                f"Expected at most {allowed} failed items (max_failures={limit}), found {self.outcomes.failed} of "
                f"{self.outcomes.reached} reached{earlier}: {causes}; the first: {self.failures[0].message}"
            )
