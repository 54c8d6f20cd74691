"""A user's function in a chain: what it is called, whether it draws, and what a fingerprint holds of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from penstock.errors import PlanError
from penstock.transform.verb import Verb, call

__all__ = ["fingerprint_of", "function_name", "takes_rng", "unfit_signature"]


def function_name(fn: Callable[..., Any]) -> str:
    """What a person calls the function: its name without the function that it was defined in, or what it is.

    >>> function_name(len), function_name(lambda image: image)
    ('len', '<lambda>')
    """
    own = getattr(fn, "map_name", None)  # of ps.albumentations and ps.torchvision
    name = own if isinstance(own, str) else getattr(fn, "__qualname__", type(fn).__qualname__)
    return str(name).rpartition("<locals>.")[2]


def takes_rng(fn: Callable[..., Any]) -> bool:
    """Whether the function asks for a generator: it has a parameter ``rng``."""
    try:
        return "rng" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a function in C may not say what it takes
        return False


def unfit_signature(fn: Callable[..., Any], *arguments: Any) -> inspect.Signature | None:
    """The signature of a function that cannot be called with these, and ``rng=`` where it asks for one; else None."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a function in C may not say what it takes
        return None
    try:
        signature.bind(*arguments, **({"rng": None} if "rng" in signature.parameters else {}))
    except TypeError:
        return signature
    return None


def fingerprint_of(verb: Verb, fn: Callable[..., Any], version: str) -> str:
    """Module and name of the function; raises PlanError where it has none of its own and there is no version."""
    own = getattr(fn, "map_fingerprint", None)
    if isinstance(own, str):
        return own
    name = getattr(fn, "__qualname__", "")
    if (not name or "<" in name) and not version:
        raise PlanError(
            f"{call(verb)}: expected a function of a module, or version= a text that changes with the function, "
            f"found {function_name(fn)}, which another function may be called too."
        )
    return f"{getattr(fn, '__module__', '')}:{name or type(fn).__qualname__}"
