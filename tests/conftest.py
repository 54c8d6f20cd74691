"""What several tests share."""

from __future__ import annotations

import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The test pictures beside the project: PENSTOCK_TEST_DATA, or ../shared/data next to the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PENSTOCK_TEST_DATA", beside))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"the shared test pictures are not at {folder}; PENSTOCK_TEST_DATA names another place")
    return folder


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """torchvision, also where it was built for another torch: its transforms on Pillow images need none of its operators.

    Its import registers shapes for operators that a torch without its extension does not have; that part is left out.
    """
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("PIL")
    if "torchvision" not in sys.modules:
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    del torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchvision", reason="torchvision is not installed")
