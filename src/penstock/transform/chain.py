"""The verbs as methods: written once, shared by Recipe and Pipeline. A new verb adds its line here."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Self, TypeVar, cast

from penstock.decode import Decode
from penstock.signatures import expect_call
from penstock.transform.center_crop import CenterCrop
from penstock.transform.crop import Crop
from penstock.transform.jpeg_roundtrip import JpegRoundtrip
from penstock.transform.map import Map
from penstock.transform.normalize import Normalize
from penstock.transform.pad import Pad
from penstock.transform.pad_to import PadTo
from penstock.transform.pad_to_multiple import PadToMultiple
from penstock.transform.patchify import Patchify
from penstock.transform.rand_augment import RandAugment
from penstock.transform.random_affine import RandomAffine
from penstock.transform.random_color_jitter import RandomColorJitter
from penstock.transform.random_crop import RandomCrop
from penstock.transform.random_erasing import RandomErasing
from penstock.transform.random_grayscale import RandomGrayscale
from penstock.transform.random_horizontal_flip import RandomHorizontalFlip
from penstock.transform.random_resized_crop import RandomResizedCrop
from penstock.transform.random_rotate90 import RandomRotate90
from penstock.transform.random_vertical_flip import RandomVerticalFlip
from penstock.transform.resize import Resize
from penstock.transform.trivial_augment import TrivialAugment
from penstock.transform.verb import Verb
from penstock.transform.warp import Warp

__all__ = ["VERBS", "Chain"]

P = ParamSpec("P")
C = TypeVar("C", bound="Chain")

VERBS: dict[str, type[Verb]] = {}
"""Every verb by its word, as JSON names it."""


def _method(make: Callable[P, Decode | Verb], name: str) -> Callable[Concatenate[C, P], C]:
    """A chain method with the signature and the docstring of what it makes."""
    signature = inspect.signature(make)
    readable = signature.replace(return_annotation=inspect.Signature.empty)

    def method(self: C, /, *args: P.args, **kwargs: P.kwargs) -> C:
        # The constructor's own text would name a class that the user never wrote.
        expect_call(name, readable, args, kwargs)
        return self._then(make(*args, **kwargs))

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    shown = readable.replace(parameters=[own, *readable.parameters.values()])
    method.__dict__["__signature__"] = shown
    method.__name__ = name
    method.__qualname__ = f"Chain.{name}"
    # Without the examples, which speak of the verb itself and are run where it is defined.
    method.__doc__ = (inspect.getdoc(make) or "").split(">>>")[0].rstrip()
    return method


def _verb(make: Callable[P, Verb]) -> Callable[Concatenate[C, P], C]:
    verb = cast("type[Verb]", make)
    VERBS[verb.name] = verb
    return _method(make, verb.name)


class Chain(ABC):
    """Whatever verbs can be added to. Nothing is changed in place: each method returns a longer chain."""

    @abstractmethod
    def _then(self, step: Decode | Verb) -> Self:
        """The chain with one more step; raises PlanError when the step cannot follow."""

    decode = _method(Decode, "decode")
    resize = _verb(Resize)
    center_crop = _verb(CenterCrop)
    crop = _verb(Crop)
    pad = _verb(Pad)
    pad_to = _verb(PadTo)
    pad_to_multiple = _verb(PadToMultiple)
    random_crop = _verb(RandomCrop)
    random_resized_crop = _verb(RandomResizedCrop)
    random_horizontal_flip = _verb(RandomHorizontalFlip)
    random_vertical_flip = _verb(RandomVerticalFlip)
    random_rotate90 = _verb(RandomRotate90)
    random_erasing = _verb(RandomErasing)
    jpeg_roundtrip = _verb(JpegRoundtrip)
    warp = _verb(Warp)
    map = _verb(Map)
    random_affine = _verb(RandomAffine)
    random_color_jitter = _verb(RandomColorJitter)
    random_grayscale = _verb(RandomGrayscale)
    rand_augment = _verb(RandAugment)
    trivial_augment = _verb(TrivialAugment)
    normalize = _verb(Normalize)
    patchify = _verb(Patchify)
