"""The methods of a line that go over it: one pass, or pass after pass on one pool of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from penstock.errors import PlanError
from penstock.options import RunOptions
from penstock.order.ranks import ranks_of
from penstock.signatures import checked
from penstock.types import EngineName, OnDamage, OnFailure

if TYPE_CHECKING:
    from fractions import Fraction

    from penstock.deliver.target import Target
    from penstock.loader import Loader
    from penstock.order import Order
    from penstock.pipeline import Pipeline
    from penstock.recipe import Recipe
    from penstock.run import Run
    from penstock.transform.map import Map
    from penstock.views import Views

__all__ = ["Running"]


class Running:
    """A line's passes: which one, and how, is said here; what each sample becomes is in the line."""

    if TYPE_CHECKING:
        recipe: Recipe
        order: Order
        maps: tuple[Map, ...]
        target: Target | None
        viewing: Views | None

        @property
        def random(self) -> bool:
            """True when a pass depends on the seed and the epoch."""
            raise NotImplementedError

        def _expect_images(self, text: str) -> None: ...

    @checked
    def run(
        self,
        *,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        max_memory: int | None = None,
        engine: EngineName = "native",
        on_failure: OnFailure = "raise",
        max_failures: int | Fraction | None = None,
        on_damage: OnDamage = "keep",
        ledger: str | os.PathLike[str] | None = None,
        timeout_s: float | None = None,
        equal_batches: bool = False,
    ) -> Run:
        """One pass, as a ``with`` block to iterate over; the arguments are those of RunOptions. Starts nothing yet.

        ``rank`` and ``world_size``: where neither is given, those of torch.distributed or JAX if that is set up, else
        of the environment (``RANK``, ``WORLD_SIZE``), else 0 of 1.
        Hands over batches, or rows where the line has no ``batch``. Raises PlanError for options that cannot be.
        """
        self._expect_images("run()")
        ranks = ranks_of(rank, world_size)
        from penstock.run import Run

        return Run(
            cast("Pipeline", self),
            RunOptions(
                epoch=epoch,
                rank=ranks.rank,
                world_size=ranks.world_size,
                ranks_from=ranks.origin,
                threads=threads,
                prefetch=prefetch,
                max_memory=max_memory,
                engine=engine,
                on_failure=on_failure,
                max_failures=max_failures,
                on_damage=on_damage,
                ledger=ledger,
                timeout_s=timeout_s,
                equal_batches=equal_batches,
            ),
        )

    @checked
    def loader(
        self,
        *,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        max_memory: int | None = None,
        engine: EngineName = "native",
        on_failure: OnFailure = "raise",
        max_failures: int | Fraction | None = None,
        on_damage: OnDamage = "keep",
        ledger: str | os.PathLike[str] | None = None,
        timeout_s: float | None = None,
        equal_batches: bool = False,
        across_epochs: bool = False,
    ) -> Loader:
        """What a trainer holds: sized and re-iterable, each pass the next epoch; the arguments of :meth:`run`.

        With ``across_epochs`` the first batches of the next epoch are begun when the last one is handed out.
        Raises PlanError for options that cannot be, and for a line without ``batch``.
        """
        self._expect_images("loader()")
        ranks = ranks_of(rank, world_size)
        from penstock.loader import Loader

        return Loader(
            cast("Pipeline", self),
            RunOptions(
                epoch=epoch,
                rank=ranks.rank,
                world_size=ranks.world_size,
                ranks_from=ranks.origin,
                threads=threads,
                prefetch=prefetch,
                max_memory=max_memory,
                engine=engine,
                on_failure=on_failure,
                max_failures=max_failures,
                on_damage=on_damage,
                ledger=ledger,
                timeout_s=timeout_s,
                equal_batches=equal_batches,
            ),
            across_epochs=across_epochs,
        )

    def __iter__(self) -> Iterator[Any]:
        """One pass with the default options; refused for a line with a random stage, whose passes differ."""
        if self.random:
            words = [step.word for step in self.order.steps if step.random]
            own = [view.recipe for view in self.viewing.views] if self.viewing else [self.recipe]
            words += [verb.name for verb in (*(v for one in own for v in one.verbs), *self.maps) if verb.random]
            words += [verb.name for verb in (self.target.verbs if self.target else ()) if verb.random]
            raise PlanError(
                f"iter(line): expected a line without a random stage, found {', '.join(words)}, which changes with the "
                f"epoch; hold line.loader(), whose every pass is the next epoch, or say which one: line.run(epoch=0)."
            )
        self._expect_images("iter(line)")
        return self._one_pass()

    def _one_pass(self) -> Iterator[Any]:
        with self.run() as run:
            yield from run
