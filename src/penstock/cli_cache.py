"""``penstock cache info | verify | clear DIR``: what lies in a cache's folder."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import click

from penstock.byte_counts import spoken
from penstock.cache import ABOUT_BYTES
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cache"]

MARK = "penstock-cache.json"
"""The file that makes a folder a cache."""

_SEGMENT = ".pixels"
_ABOUT = ".recipe.json"
_SHOWN = 20
_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=str))


@click.group()
def cache() -> None:
    """Look into the folder of a cache, check it, empty it."""


@cache.command()
@_FOLDER
def info(folder: str) -> None:
    """Say what is in the cache in DIR: recipes, entries, bytes, segments, the oldest and the newest of them.

    Below a recipe stands what it keeps, where that was noted.
    """
    found = _asked("info", folder, _store().summary)
    click.echo(f"{folder}: {_counted(found)}")
    for entry in found["recipes"]:
        written = _when(entry["written_ns"] / 1e9)
        click.echo(
            f"  recipe {_name(entry)}  {entry['entries']:>12,} entries  {spoken(entry['bytes']):>10}  written {written}"
        )
        for line in _about(folder, entry):
            click.echo(f"    {line}")
    begun = sorted(_begun_s(name) for name in _segments(folder))
    if begun:
        click.echo(f"oldest segment: {_when(begun[0])}; newest: {_when(begun[-1])}")


@cache.command()
@_FOLDER
def verify(folder: str) -> None:
    """Read every entry of the cache in DIR and compare it with its checksum.

    Exit code 1 where one is wrong, with a sentence for each; not for one that has been made again since.
    """
    found = _asked("verify", folder, _store().verify)
    problems = list(found["problems"])
    _list(problems)
    _list([f"{problem.rstrip('.')}; made again since" for problem in found["made_again"]])
    click.echo(f"{folder}: {_counted(found)}; {found['corrupt']:,} wrong")
    if found["made_again"]:
        click.echo(_made_again(len(found["made_again"])))
    if found["torn"]:
        click.echo(f"{found['torn']:,} of the segments end in an entry that was never finished, and that nobody reads.")
    if found["unindexed"]:
        click.echo(f"{found['unindexed']:,} of the entries are missing in their index, which is made anew when needed.")
    if problems:
        click.echo("Entries that are wrong are never handed out: they are made again, and indexes from their segments.")
        raise click.exceptions.Exit(1)


@cache.command()
@_FOLDER
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(folder: str, yes: bool) -> None:
    """Remove every entry of the cache in DIR; the segments that a running process writes stay."""
    found = _asked("clear", folder, _store().summary)
    what = _counted(found)
    if not yes and not click.confirm(f"Remove {what} from {folder}?", err=True):
        click.echo(f"{folder}: nothing was removed")
        raise click.exceptions.Exit(1)
    freed = _asked("clear", folder, _store().clear)
    left = len(_segments(folder))
    if left:
        written = "1 of its segments is being written, and stays"
        if left > 1:
            written = f"{left:,} of its segments are being written, and stay"
        click.echo(f"{folder}: removed {spoken(freed)} of {what}; {written}")
    else:
        click.echo(f"{folder}: removed {what}")


def _store() -> Any:
    from penstock._native import CacheStore

    return CacheStore


def _asked(word: str, folder: str, ask: Callable[[bytes], Any]) -> Any:
    """What the store says about a folder; PenstockError where that is no cache, or cannot be read."""
    text = f"cache {word} {folder}"
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "nothing at that path"
        raise PenstockError(f"{text}: expected the folder of a cache, found {found}.")
    if not os.path.isfile(os.path.join(folder, MARK)):
        raise PenstockError(f"{text}: expected the folder of a cache, found one without {MARK}; nothing was touched.")
    try:
        return ask(os.fsencode(folder))
    except ValueError as error:
        raise PenstockError(f"{text}: {error}.") from None


def _counted(found: dict[str, Any]) -> str:
    recipes, segments = len(found["recipes"]), found["segments"]
    return (
        f"{found['entries']:,} {'entry' if found['entries'] == 1 else 'entries'} of {recipes:,} "
        f"recipe{'' if recipes == 1 else 's'} in {segments:,} segment{'' if segments == 1 else 's'}, "
        f"{spoken(found['bytes'])}"
    )


def _name(entry: dict[str, Any]) -> str:
    """The beginning of a recipe's key: enough to tell two apart."""
    return f"{entry['recipe'][0]:016x}"


def _made_again(count: int) -> str:
    if count == 1:
        return "1 that was wrong has been made again since; nobody reads it any more."
    return f"{count:,} that were wrong have been made again since; nobody reads them any more."


def _list(problems: list[str]) -> None:
    for problem in problems[:_SHOWN]:
        click.echo(f"{_shown(problem)}.")
    if len(problems) > _SHOWN:
        click.echo(f"... and {len(problems) - _SHOWN:,} more")


def _about(folder: str, entry: dict[str, Any]) -> list[str]:
    """What the recipe keeps, as who filled it has noted; nothing where that cannot be read, or printed."""
    high, low = entry["recipe"]
    try:
        # Never a link, and nothing that would be waited for.
        file = os.open(
            os.path.join(folder, f"{high:016x}{low:016x}{_ABOUT}"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
        try:
            said = json.loads(os.read(file, ABOUT_BYTES + 1))
        finally:
            os.close(file)
        texts = [said["keeps"], *([f"made with {said['made_with']}"] if "made_with" in said else [])]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [text for text in texts if isinstance(text, str) and text.isprintable()]


def _shown(problem: str) -> str:
    """A sentence of the store's; names of files in it may be any bytes."""
    return os.fsencode(problem.rstrip(".")).decode("utf-8", "backslashreplace")


def _segments(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(_SEGMENT)]


def _begun_s(name: str) -> float:
    """When a segment was begun, in seconds: its name begins with it."""
    first = name.partition("-")[0]
    return int(first) / 1e9 if first.isdigit() else 0.0


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
