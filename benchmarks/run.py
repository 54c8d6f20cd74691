"""Measures every figure and writes the tables and the history.

python benchmarks/run.py                    all of it, up to ten minutes; writes
python benchmarks/run.py --quick            fewer rounds; prints only
python benchmarks/run.py made spin          these groups; prints only
python benchmarks/run.py --photos DIR       real photographs from there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data import ROOT
from figure import Figure, Setup, Table
from figures import GROUPS
from pages import append_history, figure_table, machine, write_pages

from penstock import PenstockError


def main() -> int:
    """Exit code 1 when a figure is missed, else 0; one that could not be measured is said, and is not missed."""
    parser = argparse.ArgumentParser(description="Measure every figure and write the tables and the history.")
    parser.add_argument(
        "groups",
        nargs="*",
        choices=[*GROUPS, []],
        metavar="GROUP",
        help=f"only these, without writing: {', '.join(GROUPS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, without writing")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default 5)")
    parser.add_argument(
        "--photos", type=Path, default=ROOT.parent / "shared" / "data" / "photos", help="real photographs"
    )
    parser.add_argument("--no-write", action="store_true", help="print only")
    chosen = parser.parse_args()
    setup = Setup(
        rounds=min(2, chosen.rounds) if chosen.quick else chosen.rounds,
        divisor=4 if chosen.quick else 1,
        photos=chosen.photos,
    )
    figures: list[Figure] = []
    tables: list[Table] = []
    for name in chosen.groups or GROUPS:
        for found in GROUPS[name](setup):
            if isinstance(found, Table):
                tables.append(found)
                print(f"\n{found.title}\n{found.text}\n")
            else:
                figures.append(found)
                answer = {True: "met", False: "NOT MET", None: "not known"}[found.met]
                print(f"{found.text}: {found.measured}; must be {found.must}: {answer}\n    {found.detail}")
            sys.stdout.flush()
    print(f"\n{figure_table(figures)}\n\n{machine()}")
    if not (chosen.groups or chosen.quick or chosen.no_write):
        append_history(figures)
        for problem in write_pages(figures, tables):
            print(problem, file=sys.stderr)
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PenstockError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
