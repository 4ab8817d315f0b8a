"""Generated results for all tests of neuro; real ones where the folder ../shared is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from zdb.neuro.generate import GeneratedSimrun, generate_simrun

SHARED = Path(__file__).parents[3] / "shared"

collect_ignore = [] if SHARED.is_dir() else ["test_reference.py"]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GeneratedSimrun:
    """Two runs of three trials; nobody may change its files."""
    folder = tmp_path_factory.mktemp("generated") / "results"
    return generate_simrun(folder, runs=2, trials=3, duration=80.0, seed=3)


@pytest.fixture
def small(tmp_path: Path) -> GeneratedSimrun:
    """Two runs of two short trials, to be damaged."""
    return generate_simrun(tmp_path / "results", runs=2, trials=2, duration=5.0, seed=4)
