"""What a run of the benchmarks writes: the tables between two marks of a page, and the history."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from figure import Figure, Table

from penstock import _native
from penstock.bench.machine import cpu_model
from penstock.bench.report import markdown

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- bench:start -->", "<!-- bench:end -->"

# The README's figures beside its table: where it is slower than the codec, then where it is faster than others.
FIRST = ("photographs", "large", "png", "webp", "roundtrip", "fast", "fast_large", "crop", "augment", "clip")


def commit() -> str:
    """The commit that was measured, with + where files differ from it."""

    def git(*words: str) -> str:
        answer = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return answer.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def machine() -> str:
    """The sentence under every table."""
    day = dt.datetime.now(dt.UTC).date()
    codec = f"instruction set used: {_native.simd_name()}; {_native.jpeg_version()}"
    return f"{cpu_model()}, {codec}; commit {commit()}, {day}."


def figure_table(figures: Sequence[Figure]) -> str:
    """All figures with what they must be, whether they are, and how they were measured."""
    answers = {True: "yes", False: "**no**", None: "not known"}
    body = [(f.text, f.measured, f.must, answers[f.met], f.detail) for f in figures]
    return markdown(("figure", "measured", "must be", "met", "how"), body, text=(0, 3, 4))


def meanings(figures: Sequence[Figure]) -> str:
    """What each row of that table means, a line each."""
    return "What each row means:\n\n" + "\n".join(f"- **{f.text}:** {f.means}." for f in figures)


def short_table(figures: Sequence[Figure]) -> str:
    """The README's figures: what was measured, without how."""
    body = [(f.text, f.measured) for f in figures if f.name in FIRST]
    return markdown(("", "measured"), body)


def write_pages(figures: Sequence[Figure], tables: Sequence[Table]) -> list[str]:
    """Fills BENCHMARKS.md and the README between their marks; returns a sentence for a page that has none."""
    every = [
        figure_table(figures),
        meanings(figures),
        *(f"**{table.title}**\n\n{table.text}" for table in tables),
        machine(),
    ]
    first = [*(table.text for table in tables if table.name == "made"), short_table(figures), machine()]
    problems = []
    for name, parts in (("BENCHMARKS.md", every), ("README.md", first)):
        page = ROOT / name
        text = page.read_text("utf-8") if page.is_file() else ""
        if START not in text or END not in text:
            problems.append(f"{name}: expected the marks {START} and {END}, found none; left as it is.")
            continue
        page.write_text(filled(text, "\n\n".join(parts)), "utf-8")
    return problems


def filled(text: str, content: str) -> str:
    """The page with what is between the marks replaced."""
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{START}\n{content}\n{END}{after}"


def append_history(figures: Sequence[Figure]) -> None:
    """One JSON object a figure at the end of benchmarks/history.jsonl."""
    when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    shared = {"commit": commit(), "cpu": cpu_model(), "simd": _native.simd_name(), "date": when}
    with open(ROOT / "benchmarks" / "history.jsonl", "a", encoding="utf-8") as file:
        for figure in figures:
            if figure.value is None:
                continue
            record = {"figure": figure.name, "value": round(figure.value, 4), "unit": figure.unit}
            file.write(json.dumps({**record, "must": figure.must, "met": figure.met, **shared}) + "\n")
