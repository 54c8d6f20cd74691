"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The test pictures beside the project: PENSTOCK_TEST_DATA, or ../shared/data next to the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PENSTOCK_TEST_DATA", beside))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"the shared test pictures are not at {folder}; PENSTOCK_TEST_DATA names another place")
    return folder
