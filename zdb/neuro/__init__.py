"""Simulation results of neuron models: import them, find spikes, draw them.

Built on the public API of :mod:`zdb` only.
"""

from __future__ import annotations

from zdb.neuro.generate import generate_simrun
from zdb.neuro.importer import import_simrun
from zdb.neuro.readers import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_voltage,
)
from zdb.neuro.simrun import find_simrun
from zdb.neuro.spikes import detect_spikes

__all__ = [
    "SimulationFileError",
    "detect_spikes",
    "find_simrun",
    "generate_simrun",
    "import_simrun",
    "read_cell_spikes",
    "read_synapse_activations",
    "read_voltage",
]
