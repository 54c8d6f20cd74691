"""Plain functions on one image: no pipeline, no threads. What makes pixels is imported with the first image."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import numpy.typing as npt

from penstock.decode import Decode
from penstock.recipe import Recipe, processed_by
from penstock.signatures import expect_call
from penstock.transform.resize import Resize
from penstock.transform.verb import Verb
from penstock.types import LayoutName

__all__ = ["decode", "resize"]

P = ParamSpec("P")


@processed_by
def _process(chain: Recipe, data: Any, seed: int, epoch: int, index: int, layout: LayoutName) -> npt.NDArray[Any]:
    from penstock.replay import process_one

    return process_one(chain, data, seed, epoch, index, layout)


def _function(
    make: Callable[P, Decode | Verb], name: str, given: str
) -> Callable[Concatenate[Any, P], npt.NDArray[Any]]:
    """A function of one image, called ``given``, and of the arguments of what it does; documented with it."""
    signature = inspect.signature(make).replace(return_annotation="npt.NDArray[Any]")

    def function(image: Any, /, *args: P.args, **kwargs: P.kwargs) -> npt.NDArray[Any]:
        expect_call(name, signature, args, kwargs)
        step = make(*args, **kwargs)
        if isinstance(step, Decode):
            return _process(Recipe(step), image, 0, 0, 0, "NHWC")
        # A Pillow image of one channel, or with transparency, stays so; any other is taken as RGB.
        mode = getattr(image, "mode", None)
        before = Decode(mode=mode) if mode in ("L", "RGBA") else None
        return _process(Recipe(before)._then(step), image, 0, 0, 0, "NHWC")

    own = inspect.Parameter(given, inspect.Parameter.POSITIONAL_ONLY)
    function.__dict__["__signature__"] = signature.replace(parameters=[own, *signature.parameters.values()])
    function.__name__ = function.__qualname__ = name
    return function


decode = _function(Decode, "decode", "data")
decode.__doc__ = f"""One encoded image (a path or bytes) as pixels; the options are those of the verb.

{(inspect.getdoc(Decode) or "").split(">>>")[0].rstrip()} ItemError where the image cannot be decoded.

>>> import io, PIL.Image
>>> file = io.BytesIO()
>>> PIL.Image.new("RGBA", (6, 4), "red").save(file, "PNG")
>>> decode(file.getvalue()).shape, decode(file.getvalue(), mode="L").shape
((4, 6, 3), (4, 6, 1))
"""

resize = _function(Resize, "resize", "image")
resize.__doc__ = f"""One uint8 [H, W, C] image (C 1, 3 or 4) or Pillow image, resized; the arguments are the verb's.

{(inspect.getdoc(Resize) or "").split(">>>")[0].rstrip()}

>>> import numpy as np
>>> resize(np.zeros((4, 6, 3), np.uint8), 2, 3).shape
(2, 3, 3)
>>> resize(np.zeros((4, 6, 1), np.uint8), 8, 8, fit="contain", fill=255)[0, 0].item()
255
"""
