"""Who imports whom, read from the source: imports go up a row, or left within one; threads start in one file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import penstock

PACKAGE = Path(penstock.__file__).parent

# Top row first. Within a row a module may import what stands left of it, never what stands right.
ROWS = [
    [
        *("_version", "byte_counts", "cores", "errors", "signatures", "restore", "geometry", "tensors", "sheet"),
        *("types", "columns"),
    ],
    ["_native", "_reference"],
    [
        *(
            "ledger",
            "options",
            "sources",
            "order",
            "sniff",
            "read",
            "jpeg_scans",
            "pillow_warnings",
            "follow",
            "decode",
            "transform",
            "padding",
            "batch",
            "maps",
            "recipe",
            "views",
            "plan",
        ),
        *("presets", "cache", "cached", "write", "companions", "targets", "accompanied", "shown"),
    ],
    [
        *(
            "stats",
            "failures",
            "patches",
            "ragged",
            "results",
            "accounts",
            "stand_ins",
            "lookups",
            "delivery",
            "view_columns",
            "images",
            "reference",
            "workers",
            "answers",
            "beside",
            "engine",
        ),
        *("step", "escort"),
    ],
    ["deliver", "predict"],
    [
        *("headers", "buckets", "cache_estimate", "cache_full", "progress", "meter", "schedule", "ahead", "flight"),
        *("run", "loader", "replay", "functions"),
        *("preload", "running", "replayed", "pipeline", "packing"),
    ],
    ["__init__", "compat", "testing", "bench", "cli_cache", "cli", "__main__"],
]
PLACE = {name: (row, column) for row, names in enumerate(ROWS) for column, name in enumerate(names)}

# Modules whose whole purpose is to start something. `threading` is not among them: a lock or a thread's own storage
# starts nothing, so only the names in STARTING are looked for there. Nor is asyncio: who awaits has its thread already.
STARTERS = {"multiprocessing", "concurrent", "_thread", "subprocess"}
STARTING = {"Thread", "Timer", "start_new_thread", "fork", "posix_spawn", "ThreadPoolExecutor", "ProcessPoolExecutor"}
# Threads beside the pool, and the processes of maps, are the engine's, written down in files of their own.
# The bench measures Pillow in threads of its own, beside the engine, and writes down the commit it measured.
MAY_START = {"engine", "beside", "workers", "bench"}
HEAVY = {"torch", "jax", "pandas", "pyarrow", "onnxruntime", "ray", "tritonclient", "tensorflow", "datasets"}


class Import(NamedTuple):
    """One import: the room it is in, what it names, where, and whether it runs when the module is imported."""

    room: str
    target: str
    where: str
    at_import: bool


def room_of(dotted: str) -> str:
    """The room of `penstock.a.b`: `a`; of `penstock` itself: `__init__`."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(tree: ast.AST, dotted: str, is_package: bool) -> Iterator[tuple[str, int, bool]]:
    """Every (dotted module, line, runs at import) in `tree`, without what only the type checker sees."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, int, bool]]:
        if is_type_checking(node):
            assert isinstance(node, ast.If)
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, at_import
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = dotted.split(".") if is_package else dotted.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                # `from penstock import engine` names the module; `from penstock.engine import Pool` names its content.
                yield (f"{base}.{alias.name}" if base == "penstock" else base), node.lineno, at_import
        inner = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(tree, True)


def read_all() -> list[Import]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["penstock", *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        if is_package:
            parts.pop()
        dotted = ".".join(parts)
        tree = ast.parse(path.read_text("utf-8"), str(path))
        for target, line, at_import in imports_of(tree, dotted, is_package):
            where = f"{path.relative_to(PACKAGE.parent)}:{line}"
            found.append(Import(room_of(dotted), target, where, at_import))
    return found


IMPORTS = read_all()


def misplaced(room: str, target_room: str) -> bool:
    """True where `room` may not import `target_room`."""
    if room == target_room:
        return False
    row, column = PLACE[room]
    target_row, target_column = PLACE[target_room]
    return target_row > row or (target_row == row and target_column > column)


def own(imports: list[Import]) -> list[Import]:
    """The imports of Penstock's own modules; `from penstock import name` counts for the module of that name only."""
    result = []
    for found in imports:
        if found.target.split(".")[0] != "penstock":
            continue
        room = room_of(found.target)
        result.append(found._replace(target=room if room in PLACE else "__init__"))
    return result


def test_every_module_has_a_place():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms <= set(PLACE), f"no row for {sorted(rooms - set(PLACE))}: give each its place in ROWS"


def test_imports_go_up_a_row_or_left_within_one():
    wrong = [f"{i.where}: {i.room} imports {i.target}" for i in own(IMPORTS) if misplaced(i.room, i.target)]
    assert not wrong, "\n".join(wrong)


def starting_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name in `tree` that starts a thread or a process, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in STARTING:
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name in STARTING)


def test_only_the_engine_starts_threads_or_processes():
    wrong = [
        f"{i.where}: {i.room} imports {i.target}"
        for i in IMPORTS
        if i.target.split(".")[0] in STARTERS and i.room not in MAY_START
    ]
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in MAY_START:
            tree = ast.parse(path.read_text("utf-8"))
            wrong += [f"{path.relative_to(PACKAGE.parent)}:{line}: {name}" for name, line in starting_names(tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("source", ["threading.Thread(target=f)", "from threading import Thread", "os.fork()"])
def test_a_start_is_seen(source):
    assert list(starting_names(ast.parse(source)))


def test_nothing_heavy_is_imported_until_asked_for():
    wrong = [
        f"{i.where}: {i.room} imports {i.target}" for i in IMPORTS if i.at_import and i.target.split(".")[0] in HEAVY
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_of_ours_uses_what_is_private_in_pillow():
    wrong = [i.where for i in IMPORTS if i.target.startswith("PIL._") or i.target == "PIL.Image.core"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from .engine import Pool", [("penstock.engine", True)]),
        ("from . import engine, stats", [("penstock.engine", True), ("penstock.stats", True)]),
        ("import penstock.engine as e", [("penstock.engine", True)]),
        ("def f():\n    from penstock.engine import Pool", [("penstock.engine", False)]),
        ("if TYPE_CHECKING:\n    from .engine import Pool", []),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", [("torch", True)]),
        ("class A:\n    import threading", [("threading", True)]),
    ],
)
def test_the_reader_sees_every_form_of_import(source, expected):
    assert [(name, when) for name, _, when in imports_of(ast.parse(source), "penstock.decode", False)] == expected


def test_the_rule_refuses_downward_and_rightward():
    assert misplaced("decode", "engine")
    assert misplaced("order", "decode")
    assert not misplaced("decode", "order")
    assert not misplaced("engine", "types")
    assert not misplaced("engine", "engine")
