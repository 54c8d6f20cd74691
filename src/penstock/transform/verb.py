"""What every verb is: a frozen value that changes a Spec, becomes steps for an image, and has JSON."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.errors import PlanError

if TYPE_CHECKING:
    from penstock._reference.random import Draws
    from penstock._reference.steps import Step
    from penstock.types import Spec

__all__ = ["MAX_PIXELS", "Spatial", "StepError", "Verb"]

# No step may make an image that the decoder would have refused: 1 x 60000 pixels and short_side=224 ask for 9 GB.
MAX_PIXELS = 178_956_970

# What a colour argument is: one number for every channel, or one a channel.
Colour = int | tuple[int, ...]

# Verbs that only move pixels take all of these.
DTYPES = ("uint8", "uint16", "float32")
PAD_MODES = ("constant", "edge", "reflect", "symmetric")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


class StepError(Exception):
    """A verb that cannot be applied to one image; that item fails.

    ``cause`` is a short class to group by, ``message`` the sentence without its final stop. The native core's are the
    same.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Verb(ABC):
    """One word of a chain. Subclasses are frozen dataclasses whose fields are the call's arguments."""

    name: ClassVar[str]
    random: ClassVar[bool] = False

    @abstractmethod
    def spec(self, spec: Spec) -> Spec:
        """What flows out when ``spec`` flows in; raises PlanError when it cannot."""

    @abstractmethod
    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them, such as "H=224 W=224 cover bilinear"."""

    def describe(self) -> str:
        """The verb and its arguments in one short text."""
        return f"{self.name} {self.arguments()}".rstrip()

    def json_fields(self) -> dict[str, Any]:
        """The arguments that are not the default, by name; raises PlanError for a verb that has no JSON."""
        return unusual(self)

    def fingerprint_fields(self) -> dict[str, Any]:
        """What the fingerprint holds of the verb: its JSON, or what stands for it where it has none."""
        return self.json_fields()


@dataclass(frozen=True, slots=True)
class Spatial(Verb):
    """A verb that moves pixels: it has an affine and a native twin."""

    @abstractmethod
    def steps(self, height: int, width: int, draws: Draws | None) -> list[Step]:
        """The steps for one upright image, height x width; raises StepError. Twin of resolve() in native/plan.cpp."""

    @abstractmethod
    def native(self) -> dict[str, Any]:
        """The fields of native/plan.h's Verb that this verb sets."""

    @property
    def by_strips(self) -> bool:
        """Whether rows flow through it a strip at a time; else the whole image is held. For ``print(line)``."""
        return False


def written(name: str, arguments: Iterable[tuple[str, Any, bool]]) -> str:
    """A call as a user would write it, from (name, value, keyword only) of what differs from the defaults."""
    texts = []
    positional = True
    for argument, value, keyword_only in arguments:
        positional = positional and not keyword_only
        shown = getattr(value, "__qualname__", None) or repr(value)  # a function by its name, not by its address
        texts.append(shown if positional else f"{argument}={shown}")
    return f"{name}({', '.join(texts)})"


def unusual(step: Any) -> dict[str, Any]:
    """The fields of a step that differ from their defaults, as JSON holds them.

    What is as usual is left out, so that a fingerprint outlives the options that later versions add.
    """
    # Not dataclasses.asdict: it would copy named tuples and nested values as something else.
    values = {entry.name: (getattr(step, entry.name), entry.default) for entry in fields(step)}
    return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}


def call(verb: Any) -> str:
    """The verb as a user would write it, for sentences: ``resize(224, 224, fit='cover')``."""
    given: list[tuple[str, Any, bool]] = []
    skipped = False
    for field in fields(verb):
        value = getattr(verb, field.name)
        if field.default is not MISSING and type(value) is type(field.default) and value == field.default:
            skipped = True
            continue
        given.append((field.name, value, field.kw_only is True or skipped))
    return written(verb.name, given)


def expect_image(
    verb: Verb, spec: Spec, dtypes: Sequence[str] = ("uint8",), channels: Sequence[int] = (1, 3, 4)
) -> None:
    """Refuses what is not an image of one of these dtypes and channel counts."""
    if spec.kind == "encoded":
        raise PlanError(f"{call(verb)}: expected an image, found encoded bytes; call .decode() before it.")
    if spec.kind == "batch":
        raise PlanError(f"{call(verb)}: expected one image, found a batch; call it before .batch().")
    if spec.patch is not None:
        raise PlanError(f"{call(verb)}: expected an image, found patches; call it before .patchify().")
    normalized = spec.range not in ("0..255", "0..65535")
    if normalized and verb.name == "normalize":
        raise PlanError(
            f"{call(verb)}: expected pixels that are not normalized yet, found {spec}; leave the second one out."
        )
    if spec.dtype not in dtypes or normalized:
        raise PlanError(f"{call(verb)}: expected {' or '.join(dtypes)} pixels, found {_unfit(verb, spec, normalized)}.")
    if spec.channels not in channels:
        raise PlanError(
            f"{call(verb)}: expected {' or '.join(str(count) for count in channels)} channels, found {spec.channels}; "
            f"decode(mode=) says how many there are."
        )


def _unfit(verb: Verb, spec: Spec, normalized: bool) -> str:
    """What was found in place of the pixels that a verb takes, and what to do."""
    if normalized:
        return f"{spec.dtype}; call it before .normalize(), which comes last"
    if spec.dtype == "uint16" and verb.name == "resize":
        return (
            "uint16; decode(depth='scale') makes uint8 of 16 bits, and resize(precision='float32') takes them as they "
            "are"
        )
    if spec.dtype == "uint16":
        return "uint16; decode(depth='scale') makes uint8 of 16 bits"
    return f"{spec.dtype}; call it before what makes {spec.dtype} of the pixels"


def sized(verb: Spatial, spec: Spec) -> Spec:
    """The Spec with the size that the verb's steps lead to, ragged where what comes in is; for verbs without draws.

    Raises PlanError where the size that comes in is known and the verb cannot be applied to it.
    """
    if spec.height is None or spec.width is None:
        return spec.with_(height=None, width=None)
    height, width = spec.height, spec.width
    try:
        for step in verb.steps(height, width, None):
            height, width = step.size(height, width)
    except StepError as error:
        raise PlanError(f"{call(verb)}: {error.message.removeprefix(f'{verb.name}: ')}.") from None
    return spec.with_(height=height, width=width)


def whole(verb: Any, name: str, minimum: int = 1, maximum: int = MAX_PIXELS) -> None:
    """Makes the field a plain int, or refuses it."""
    value = getattr(verb, name)
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not minimum <= number <= maximum:
        raise PlanError(f"{call(verb)}: expected {name}= a whole number from {minimum} to {maximum}, found {value!r}.")
    object.__setattr__(verb, name, number)


def sides(verb: Any) -> None:
    """Checks height and width, and that an image of that size is one the decoder would accept."""
    whole(verb, "height")
    whole(verb, "width")
    if verb.height * verb.width > MAX_PIXELS:
        raise PlanError(
            f"{call(verb)}: expected at most {MAX_PIXELS} pixels, found H={verb.height} W={verb.width}, "
            f"{verb.height * verb.width} pixels."
        )


def word(verb: Any, name: str, words: Sequence[str]) -> None:
    """Refuses a field that is not one of the words."""
    value = getattr(verb, name)
    if not isinstance(value, str) or value not in words:
        options = ", ".join(repr(option) for option in words)
        raise PlanError(f"{call(verb)}: expected {name}= one of {options}, found {value!r}.")


def probability(verb: Any, name: str) -> None:
    """Makes the field a float from 0 to 1, or refuses it."""
    value = getattr(verb, name)
    found = number(value)
    if found is None or not 0.0 <= found <= 1.0:
        raise PlanError(f"{call(verb)}: expected {name}= a probability from 0 to 1, found {value!r}.")
    object.__setattr__(verb, name, found)


def colour(verb: Any, name: str = "fill", counts: Sequence[int] = (1, 3, 4)) -> None:
    """Makes the field an int from 0 to 255, every channel's, or a tuple of them, one a channel; or refuses it."""
    value = getattr(verb, name)
    found = _byte(value)
    if found is not None:
        object.__setattr__(verb, name, found)
        return
    entries = () if isinstance(value, (str, bytes, Mapping)) else _entries(value)
    levels = tuple(level for level in (_byte(entry) for entry in entries) if level is not None)
    if len(levels) != len(entries) or len(levels) not in counts:
        many = " or ".join(str(count) for count in counts)
        raise PlanError(
            f"{call(verb)}: expected {name}= a whole number from 0 to 255 or a tuple of {many} of them, "
            f"found {value!r}."
        )
    object.__setattr__(verb, name, levels)


def expect_colour(verb: Verb, spec: Spec, name: str = "fill") -> None:
    """Refuses a colour that has another number of channels than the image."""
    value = getattr(verb, name)
    if isinstance(value, tuple) and len(value) != spec.channels:
        raise PlanError(
            f"{call(verb)}: expected {name}= one number or {spec.channels}, as many as the image has channels, "
            f"found {len(value)}."
        )


def four(value: Colour) -> tuple[int, int, int, int]:
    """A checked colour as the four samples of native/plan.h's Verb; those past the image's channels are not read."""
    levels = (value,) * 4 if isinstance(value, int) else (*value, 0, 0, 0)
    return levels[0], levels[1], levels[2], levels[3]


def _byte(value: Any) -> int | None:
    try:
        level = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
    return level if level is not None and 0 <= level <= 255 else None


def _entries(value: Any) -> tuple[Any, ...]:
    try:
        return tuple(value)
    except TypeError:
        return ()


def number(value: Any) -> float | None:
    """A finite float from any real number that is not a bool, else None."""
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite floats, else None."""
    if isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        results = tuple(number(entry) for entry in value)
    except TypeError:
        return None
    known = tuple(entry for entry in results if entry is not None)
    return known if len(results) == len(known) == count else None
