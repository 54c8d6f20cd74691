"""Prints the requirements of Penstock and of one extra, one a line, without installing Penstock itself.

python scripts/dependencies.py dev
"""

import sys
import tomllib
from pathlib import Path


def requirements(project: dict, extra: str) -> list[str]:
    """The requirements of `extra`, with `penstock[...]` inside it replaced by what it stands for."""
    found: list[str] = []
    for requirement in project["optional-dependencies"][extra]:
        if requirement.startswith("penstock["):
            for inner in requirement.removeprefix("penstock[").rstrip("]").split(","):
                found += requirements(project, inner)
        else:
            found.append(requirement)
    return found


project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
print("\n".join(dict.fromkeys(project["dependencies"] + requirements(project, sys.argv[1]))))
