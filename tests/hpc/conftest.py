"""A Slurm cluster with two nodes, one for all workers of pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from places import shared_folder
from services.programs import require_program
from services.slurm import PROGRAMS, SlurmCluster
from services.supervisor import shared_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    for program in PROGRAMS:
        require_program(program)
    with shared_server("slurm", shared_folder(tmp_path_factory) / "slurm") as info:
        yield SlurmCluster(**info)
