"""The comparison as a table: who, images a second, against the limit, CPU seconds, memory above what imports take."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from penstock.bench.interleave import Result

HEAD = ("", "threads", "images/s", "of limit", "CPU s/1,000", "peak memory")


def rows(results: Sequence[Result], limit: Result) -> list[tuple[str, ...]]:
    """A row of text for each result; ``limit`` is what the ratios are against."""
    return [
        (
            result.name,
            str(result.threads),
            f"{result.rate:,.0f}",
            f"{result.ratio(limit):.2f}",
            f"{result.cpu_per_1000:.2f}",
            f"{result.memory / 1e6:,.0f} MB",
        )
        for result in results
    ]


def markdown(head: Sequence[str], body: Sequence[Sequence[str]], text: Collection[int] = (0,)) -> str:
    """A Markdown table; all columns are aligned right but those that hold ``text``.

    >>> print(markdown(("what", "images/s"), [("bare decode", "1,234")]))
    | what | images/s |
    |---|---:|
    | bare decode | 1,234 |
    """
    rule = ("---" if column in text else "---:" for column in range(len(head)))
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(rule) + "|"]
    lines.extend("| " + " | ".join(cells) + " |" for cells in body)
    return "\n".join(lines)
