"""A call that was written wrong, as a sentence: the signature, what is wrong with it, the nearest word it knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["checked", "expect_call", "short"]

P = ParamSpec("P")
R = TypeVar("R")

ELSEWHERE = {
    "batch_size": "n",
    "drop_last": "last",
    "image": "path",
    "images": "path",
    "interpolation": "filter",
    "max_size": "max_side",
    "num_workers": "threads",
    "prefetch_factor": "prefetch",
    "resample": "filter",
    "workers": "threads",
}
"""What other libraries call an argument, and its name here."""


def expect_call(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises TypeError, under the word that the user wrote, where the arguments do not fit the signature.

    >>> expect_call("turn", inspect.signature(lambda angle=0: 0), (), {"angel": 90})
    Traceback (most recent call last):
    TypeError: turn(angle=0): got an unexpected keyword argument 'angel'; the nearest is 'angle'.
    """
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}{short(signature)}: {error}{_hint(name, signature, args, kwargs)}.") from None


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator for methods: a call that does not fit is refused by ``expect_call``."""

    @cache
    def signature() -> inspect.Signature:
        whole = inspect.signature(function)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    @wraps(function)
    def method(*args: P.args, **kwargs: P.kwargs) -> R:
        expect_call(function.__name__, signature(), args[1:], kwargs)
        return function(*args, **kwargs)

    return method


def short(signature: inspect.Signature) -> str:
    """The signature without its types."""
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _hint(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What was probably meant; nothing where that is anybody's guess."""
    known = list(signature.parameters)
    for word in kwargs:
        if word not in known:
            import difflib  # only where somebody has mistyped

            found = [ELSEWHERE[word]] if ELSEWHERE.get(word) in known else difflib.get_close_matches(word, known, 1)
            return f"; the nearest is {found[0]!r}" if found else ""
    if known[:2] == ["height", "width"] and len(args) == 1 and "width" not in kwargs:
        return f"; {name}({args[0]!r}, {args[0]!r}) is a square"
    return ""
