"""What a Python thread of the engine does: it answers referrals, with Pillow, with matrices, with maps.

Of lines whose maps are called in threads it takes the tickets as well: ``take_referrals`` then comes back with images
that it has made itself.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock import _native
from penstock.decode import Decode, DecodeError, decode_pillow
from penstock.recipe import Part, Recipe
from penstock.transform.map_call import MapCall, Mapped
from penstock.transform.map_item import Changes, ItemOf, changed_item, merged
from penstock.transform.verb import StepError
from penstock.types import Item, StageName
from penstock.workers import Workers

if TYPE_CHECKING:
    from penstock.engine import Engine

__all__ = ["Asked", "answer_referrals"]

_REFERRAL_WAIT_MS = 60_000
_MOST = 8  # images made before the GIL is taken for all of them; fewer where they are large
_SHORT_S = 0.0005  # a function that takes longer is called for one at a time, so that the others' threads get some


@dataclass(slots=True, eq=False)
class Asked:
    """What a Python party has to know of the job that a referral belongs to."""

    recipe: Recipe
    parts: list[Part]
    seed: int
    epoch: int
    index: npt.NDArray[np.int64]
    notes: dict[int, tuple[str, ...]]  # by row
    changes: dict[int, Changes]  # by row
    item: ItemOf | None
    workers: Mapping[int, Workers]  # by the number of the map, where processes call its function

    def matrices(self, row: int, height: int, width: int, part: int = 0) -> list[list[float]]:
        """The matrices of a part's warps for one row's image as that part meets it; raises StepError."""
        return self.parts[part].matrices(height, width, self.seed, self.epoch, int(self.index[row]))

    def mapped(self, row: int, image: npt.NDArray[Any], number: int) -> Mapped:
        """What map ``number`` makes of a row's image; raises StepError."""
        call = self.parts[number].call
        assert call is not None  # the last part asks for nothing
        index = int(self.index[row])
        of = self.item
        item: Callable[[], Item] | None = None
        if of is not None and call.verb.on == "item":
            item = partial(_item_so_far, of, row, self.changes.get(row, {}))
        caller = self.workers.get(number, call) if self.workers else call
        mapped = caller(image, seed=self.seed, epoch=self.epoch, index=index, item=item)
        if mapped.changes:
            self.changes[row] = merged(self.changes.get(row, {}), mapped.changes)
        return mapped


def _item_so_far(of: ItemOf, row: int, before: Changes) -> Item:
    return changed_item(of(row), before)


def answer_referrals(pool: _native.Pool, owner: weakref.ref[Engine], map_totals: list[float]) -> None:
    """The life of one Python party. While it waits it holds the pool alone: no picture, and no engine.

    ``map_totals``: seconds and images spent in functions of maps, to which it adds its own.
    """
    most = 1
    while most:
        most = answer_some(pool, owner, map_totals, most)


def answer_some(pool: _native.Pool, owner: weakref.ref[Engine], map_totals: list[float], most: int) -> int:
    """Waits for referrals and answers them; how many maps to take next time, 0 when there is nothing to wait for."""
    referrals = pool.take_referrals(most, _REFERRAL_WAIT_MS)
    if referrals is None:
        return 0
    engine = owner()
    if not referrals:
        return most if engine is not None else 0
    if referrals[0].map is None:
        _answer(pool, referrals[0], engine, map_totals)
        return most
    spent = _answer_maps(pool, referrals, engine, map_totals) / len(referrals)
    in_processes = engine is not None and engine.has_workers  # then each image has a thread that waits for it
    return _MOST if spent < _SHORT_S and not in_processes else 1


def _answer_maps(
    pool: _native.Pool, referrals: list[_native.Referral], engine: Engine | None, map_totals: list[float]
) -> float:
    """Calls the functions that referrals ask for, one map after the other where several follow; seconds spent."""
    total = 0.0
    while referrals:
        begun = time.perf_counter()
        kept: list[_native.Referral] = []
        answers: list[tuple[Any, ...]] = []
        failures: list[Callable[[], None]] = []
        call, images = _plain_map(referrals, engine)
        for referral, image in zip(referrals, images, strict=True):
            try:
                if call is None:
                    answers.append(_mapped(referral, engine))
                    continue
                pixels = call.plainly(image)
                if pixels is image:
                    kept.append(referral)
                else:
                    answers.append((referral, pixels, None, None))
            except StepError as error:
                failures.append(partial(pool.return_failure, referral, "transform", error.cause, error.message))
            except BaseException as error:  # a party must answer: whatever happens, the ticket gets its outcome
                message = f"{_title(referral, engine)}expected an image, found {_named(error)}"
                failures.append(partial(pool.return_failure, referral, "transform", "unexpected", message))
        spent = time.perf_counter() - begun
        total += spent
        map_totals[0] += spent  # before the answers, with which the run may end
        map_totals[1] += len(referrals)
        for fail in failures:
            fail()
        opened = pool.return_kept(kept) if kept else []
        if answers:
            opened += pool.return_mapped(answers)
        referrals = [one for one in opened if one.asked is None or not _answer_with_matrices(pool, one, engine)]
    return total


def _title(referral: _native.Referral, engine: Engine | None) -> str:
    """The map that is asked for, as failures name it; "" where nobody waits for it any more."""
    asked, number = None if engine is None else engine.asked(referral), referral.map
    call = None if asked is None or number is None else asked.parts[number].call
    return "" if call is None else f"{call.verb.title}: "


def _named(error: BaseException) -> str:
    """An exception in words, also where its own words cannot be had."""
    try:
        return repr(error)
    except Exception:
        return type(error).__name__


def _plain_map(referrals: list[_native.Referral], engine: Engine | None) -> tuple[MapCall | None, Sequence[Any]]:
    """The one map that all ask for, and their images, where an image is all that it takes and nothing else is asked."""
    one = None if engine is None else _native.one_map_of(referrals)
    asked = None if engine is None or one is None else engine.asked_by(one[0])
    if one is None or asked is None:
        return None, referrals
    _, number, images = one
    call = asked.parts[number].call
    if call is None or not call.plain or asked.parts[number + 1].warps:
        return None, referrals
    return call, images


def _mapped(referral: _native.Referral, engine: Engine | None) -> tuple[Any, ...]:
    """One answer as the pool takes it: referral, pixels, matrix, matrices of the warps that follow; StepError."""
    number = referral.map
    asked = None if engine is None else engine.asked(referral)
    if asked is None or number is None:
        raise StepError("given up", "expected a run, found it closed")  # nobody waits for it any more
    row, image = referral.row, referral.image
    pixels, matrix, _ = asked.mapped(row, image, number)
    matrices = None
    if asked.parts[number + 1].verbs:
        matrices = asked.matrices(row, pixels.shape[0], pixels.shape[1], number + 1) or None
    return referral, None if pixels is image else pixels, matrix, matrices


def _answer(pool: _native.Pool, referral: _native.Referral, engine: Engine | None, map_totals: list[float]) -> None:
    """Answers a referral that asks for matrices or for Pillow, and for the maps that come next."""
    began = time.perf_counter()
    if referral.asked is not None and _answer_with_matrices(pool, referral, engine):
        if engine is not None:
            engine.book(time.perf_counter() - began, items=0)
        return
    if referral.map is not None:
        _answer_maps(pool, [referral], engine, map_totals)
        return
    notes: tuple[str, ...] = ()
    answer: Callable[[], bool | None]
    doing: tuple[StageName, str] = ("decode", "pixels")
    try:
        decoded = decode_pillow(referral.encoded(), _decoding(referral, engine))
        doing = ("transform", "a matrix")
        matrices = _matrices(referral, engine, decoded.pixels.shape[0], decoded.pixels.shape[1])
    except DecodeError as error:
        answer = partial(pool.return_failure, referral, "decode", error.cause, error.message)
    except StepError as error:
        answer = partial(pool.return_failure, referral, "transform", error.cause, error.message)
    except BaseException as error:  # a party must answer: whatever happens, the ticket gets its outcome
        stage, what = doing
        answer = partial(pool.return_failure, referral, stage, "unexpected", f"expected {what}, found {error!r}")
    else:
        stored = (decoded.stored_height, decoded.stored_width)
        notes = decoded.notes
        answer = partial(
            pool.return_pixels, referral, decoded.pixels, stored, decoded.orientation, matrices, "\n".join(notes)
        )
    decoded_at = time.perf_counter()
    if engine is not None:  # before the answer, with which the run may end
        engine.note(referral, notes)
        engine.book(decoded_at - began, items=1)
    goes_on = answer() is False
    if engine is not None:
        engine.book(time.perf_counter() - decoded_at, items=0)
    if goes_on and not (referral.asked is not None and _answer_with_matrices(pool, referral, engine)):
        _answer_maps(pool, [referral], engine, map_totals)


def _decoding(referral: _native.Referral, engine: Engine | None) -> Decode:
    asked = None if engine is None else engine.asked(referral)
    return Decode() if asked is None or asked.recipe.decoding is None else asked.recipe.decoding


def _answer_with_matrices(pool: _native.Pool, referral: _native.Referral, engine: Engine | None) -> bool:
    """Answers a referral that asks for the matrices of warps; False where Pillow has to decode its bytes as well."""
    height, width = referral.asked or (0, 0)
    try:
        matrices = _matrices(referral, engine, height, width)
    except StepError as error:
        problem = _first_problem(referral, engine, error)
    except BaseException as error:  # as above
        problem = ("transform", "unexpected", f"expected a matrix, found {error!r}")
    else:
        return pool.return_matrices(referral, matrices)
    pool.return_failure(referral, *problem)
    return True


def _first_problem(referral: _native.Referral, engine: Engine | None, error: StepError) -> tuple[StageName, str, str]:
    """Stage, cause and message of an item that has no matrix, and nothing of which has been decoded yet."""
    asked = None if engine is None else engine.asked(referral)
    if asked is not None and asked.recipe.decoding is not None and referral.part == 0:
        try:  # a broken file is a broken file first
            decode_pillow(referral.encoded(), asked.recipe.decoding)
        except DecodeError as broken:
            return "decode", broken.cause, broken.message
    return "transform", error.cause, error.message


def _matrices(referral: _native.Referral, engine: Engine | None, height: int, width: int) -> list[list[float]]:
    asked = None if engine is None else engine.asked(referral)
    return [] if asked is None else asked.matrices(referral.row, height, width, referral.part)
