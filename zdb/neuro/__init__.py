"""Simulation results of neuron models: import them, find spikes, draw them.

Built on the public API of :mod:`zdb` only.
"""

from __future__ import annotations

from zdb.neuro.activations import bin_activations, count_activations
from zdb.neuro.binning import Binned, bin_distances, bin_distances_and_times, bin_times
from zdb.neuro.celltypes import EXCITATORY, INHIBITORY, UnknownCellTypeError, add_groups, classify
from zdb.neuro.generate import generate_simrun
from zdb.neuro.importer import import_simrun
from zdb.neuro.link_format import LinkFormat
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
from zdb.neuro.spikes import (
    detect_spikes,
    interspike_intervals,
    one_hot,
    spike_counts,
    spike_in_interval,
    time_since_spike,
)
from zdb.neuro.voltage import max_voltage, voltage_density

__all__ = [
    "EXCITATORY",
    "INHIBITORY",
    "Binned",
    "LinkFormat",
    "MissingFilesError",
    "Parameters",
    "SimulationFileError",
    "UnknownCellTypeError",
    "add_groups",
    "bin_activations",
    "bin_distances",
    "bin_distances_and_times",
    "bin_times",
    "classify",
    "count_activations",
    "detect_spikes",
    "find_simrun",
    "generate_simrun",
    "import_simrun",
    "interspike_intervals",
    "load_parameters",
    "max_voltage",
    "one_hot",
    "read_cell_spikes",
    "read_parameters",
    "read_synapse_activations",
    "read_voltage",
    "spike_counts",
    "spike_in_interval",
    "time_since_spike",
    "voltage_density",
]
