"""What a run says of a cache that is full: how much of the line it holds, and what would hold all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from penstock.byte_counts import spoken
from penstock.cache import held
from penstock.cache_estimate import estimate_of, items_of
from penstock.sources.source import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from penstock.cache import Caching, OpenedCache
    from penstock.order import Order
    from penstock.recipe import Recipe
    from penstock.sources.source import Source

__all__ = ["full_sentence"]


class Line(Protocol):
    """What is asked of a line."""

    @property
    def source(self) -> Source:
        """Its items."""
        ...

    @property
    def recipe(self) -> Recipe:
        """What becomes of them."""
        ...

    @property
    def order(self) -> Order:
        """Which of them come."""
        ...


def full_sentence(line: Line, cache: OpenedCache) -> str:
    """What is left out of a line's cache because ``max_bytes`` is reached, and what to pass; once a store, else ""."""
    if not cache.files.became_full():
        return ""
    caching = cache.caching
    items = items_of(line.order, len(line.source))
    images = int(line.source.image_counts(items).sum()) if line.source.several else len(items)
    entries, own = held(caching, line.recipe)
    other_recipes = max(0, cache.files.counts()["bytes"] - own)
    need = _needed(line, caching, items, images, (entries, own))
    text = f"cache({caching.where!r}): full, at most {spoken(caching.max_bytes)}: it holds "
    if entries <= images:
        text += f"{entries:,} of {counted(images, 'image')}, and makes the others anew in each pass"
        all_of_them, others = "all", other_recipes
    else:  # of other sources, or of files as they were; which are this line's nobody knows
        text += (
            f"{counted(entries, 'image')} of this recipe, of other pictures too, and what is not there is made anew in "
            f"each pass"
        )
        all_of_them, others = f"this line's {counted(images, 'image')}", own + other_recipes
    if need is None:
        return f"{text}; line.cache_info().estimated_bytes says what all of them need."
    text += f"; {all_of_them} need about {spoken(need)}"
    if need + others <= caching.max_bytes:
        return f"{text}."
    text += f": pass max_bytes={spoken(_rounded_up(need + need // 50 + others))!r}"
    if not caching.evict and other_recipes >= caching.max_bytes // 10:
        text += f", or evict=True, which drops what other recipes keep, {spoken(other_recipes)}"
    return f"{text}."


def _needed(
    line: Line, caching: Caching, items: npt.NDArray[np.int64], images: int, kept: tuple[int, int]
) -> int | None:
    """What all items take: exactly where images have one size, else by those that are kept; no file is opened."""
    recipe = None if caching.encoded else caching.kept(line.recipe)
    if recipe is not None and not recipe.spec().ragged:
        return estimate_of(line.source, items, recipe, caching.max_bytes).bytes
    entries, own = kept
    return round(own / entries * images) if entries else None


def _rounded_up(count: int) -> int:
    """To two digits, so that the words for it are not less.

    >>> _rounded_up(150_500_000), _rounded_up(7)
    (160000000, 7)
    """
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step
