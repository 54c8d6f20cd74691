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

    A name that is unknown comes before one that is missing: most often the one is the other, mistyped.

    >>> expect_call("turn", inspect.signature(lambda angle=0: 0), (), {"angel": 90})
    Traceback (most recent call last):
    TypeError: turn(angle=0): got an unexpected keyword argument 'angel'; the nearest is 'angle'.
    """
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = _unknown(signature, kwargs)
        if unknown is None:
            said = f"{error}{_square(name, signature, args, kwargs)}"
        else:
            said = f"got an unexpected keyword argument {unknown!r}{_nearest(signature, unknown)}"
        raise TypeError(f"{name}{short(signature)}: {said}.") from None


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


def _unknown(signature: inspect.Signature, kwargs: Mapping[str, Any]) -> str | None:
    """The first name that the signature does not know."""
    parameters = signature.parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return next((word for word in kwargs if word not in parameters or parameters[word].kind not in by_name), None)


def _nearest(signature: inspect.Signature, word: str) -> str:
    """What was probably meant; nothing where that is anybody's guess."""
    import difflib  # only where somebody has mistyped

    known = [name for name in signature.parameters if name != word]
    found = [ELSEWHERE[word]] if ELSEWHERE.get(word) in known else difflib.get_close_matches(word, known, 1)
    return f"; the nearest is {found[0]!r}" if found else ""


def _square(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """For who gave one side of two."""
    if list(signature.parameters)[:2] == ["height", "width"] and len(args) == 1 and "width" not in kwargs:
        return f"; {name}({args[0]!r}, {args[0]!r}) is a square"
    return ""
