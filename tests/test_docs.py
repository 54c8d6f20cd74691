"""The examples in the docstrings and in the Markdown pages run, and answer what they say they answer."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penstock
from penstock.decode import Decode
from penstock.transform.chain import VERBS

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(penstock.__path__, "penstock.") if not name.endswith("__main__")
)
# The README's examples all run; a page's only where a comment before the block says so.
RUNNABLE = re.compile(r"<!-- runnable -->\s*\n```python\n(.*?)```", re.DOTALL)
EVERY = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(
        match.group(1), id=f"{page.relative_to(ROOT)}:{page.read_text('utf-8')[: match.start()].count(chr(10)) + 1}"
    )
    for page in PAGES
    if page.is_file()
    for match in (EVERY if page.name == "README.md" else RUNNABLE).finditer(page.read_text("utf-8"))
]


def make_photos(folder: Path) -> None:
    """A folder `photos` with two sub-folders of small JPEGs, and one picture beside it, `one.jpg`."""
    generator = np.random.default_rng(0)
    for name in ("cats/a.jpg", "cats/b.jpg", "dogs/c.jpg", "dogs/d.jpg"):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path, quality=90)
    Image.fromarray(generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(folder / "one.jpg", quality=90)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    make_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, photos):
    module = importlib.import_module(name)
    results = doctest.testmod(
        module,
        extraglobs={"ps": penstock, "penstock": penstock, "np": np},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.failed == 0


@pytest.mark.parametrize("source", EXAMPLES)
def test_page_examples(source, photos):
    exec(compile(source, "example", "exec"), {"__name__": "__example__"})


def rows_of(page: str, word: str) -> str:
    """A verb's rows in the table: its own, and those below it with an empty first column."""
    found = re.search(rf"^\| `{word}` \|.*\n(?:\| \|.*\n)*", page, re.MULTILINE)
    return found.group() if found else ""


@pytest.mark.parametrize(("word", "kind"), [("decode", Decode), *VERBS.items()])
def test_the_table_of_verbs_has_every_argument(word, kind):
    rows = rows_of((ROOT / "docs" / "reference" / "verbs.md").read_text("utf-8"), word)
    missing = [name for name in inspect.signature(kind).parameters if not re.search(rf"\b{name}\b", rows)]
    assert rows and not missing


@pytest.mark.parametrize("name", [name for name in penstock.__all__ if name != "__version__"])
def test_the_reference_has_every_public_name(name):
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    value = getattr(penstock, name)
    if isinstance(value, penstock.NormalizationStats):  # a value has no page of its own
        assert f"`ps.{name}`" in pages
        return
    documented = re.findall(r"\.\. automodule:: (\S+)", pages)
    assert any(value.__module__ == module or value.__module__.startswith(f"{module}.") for module in documented)


def test_readme_has_an_example():
    assert EVERY.search((ROOT / "README.md").read_text("utf-8"))
