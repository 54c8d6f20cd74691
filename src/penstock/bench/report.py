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


def plain(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """The same for a terminal or a file: columns of spaces, all but the first aligned right.

    >>> print(plain(("", "images/s"), [("bare decode", "1,234"), ("Penstock", "999")]))
                 images/s
    bare decode     1,234
    Penstock          999
    """
    widths = [max(len(cells[column]) for cells in (head, *body)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in (head, *body)
    )
