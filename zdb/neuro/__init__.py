"""Simulation results of neuron models: import them, find spikes, draw them.

Built on the public API of :mod:`zdb` only.
"""

from __future__ import annotations

from zdb.neuro.generate import generate_simrun
from zdb.neuro.importer import import_simrun
from zdb.neuro.parameter_files import MissingFilesError
from zdb.neuro.parameter_text import read_parameters
from zdb.neuro.parameters import Parameters, load_parameters
from zdb.neuro.readers import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_voltage,
)
from zdb.neuro.simrun import find_simrun
from zdb.neuro.spikes import detect_spikes

__all__ = [
    "MissingFilesError",
    "Parameters",
    "SimulationFileError",
    "detect_spikes",
    "find_simrun",
    "generate_simrun",
    "import_simrun",
    "load_parameters",
    "read_cell_spikes",
    "read_parameters",
    "read_synapse_activations",
    "read_voltage",
]
