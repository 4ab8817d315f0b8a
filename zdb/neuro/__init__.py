"""Simulation results of neuron models: import them, find spikes, draw them.

Built on the public API of :mod:`zdb` only.
"""

from __future__ import annotations

from zdb.neuro.activations import bin_activations, count_activations
from zdb.neuro.ann import SynapseOutsideError, activation_array, make_batches, synapse_weights
from zdb.neuro.binning import Binned, bin_distances, bin_distances_and_times, bin_times
from zdb.neuro.cells import Cell, CellSection, CellSynapse
from zdb.neuro.celltypes import EXCITATORY, INHIBITORY, UnknownCellTypeError, add_groups, classify
from zdb.neuro.generate import generate_simrun
from zdb.neuro.importer import import_simrun
from zdb.neuro.lda import PredictionRates, UnpredictableError, lda_prediction_rates
from zdb.neuro.link_format import LinkFormat
from zdb.neuro.morphology import (
    Morphology,
    MorphologyError,
    neighbouring_bins,
    read_morphology,
    section_bins,
    spatial_bin_names,
)
from zdb.neuro.parameter_files import MissingFilesError
from zdb.neuro.parameter_text import read_parameters
from zdb.neuro.parameters import Parameters, load_parameters
from zdb.neuro.psps import compute_psps, psp_combinations
from zdb.neuro.readers import (
    SimulationFileError,
    read_cell_spikes,
    read_synapse_activations,
    read_voltage,
)
from zdb.neuro.reduced_model import ReducedModel, fit_reduced_model
from zdb.neuro.simrun import find_simrun
from zdb.neuro.spikes import (
    detect_spikes,
    interspike_intervals,
    one_hot,
    spike_counts,
    spike_in_interval,
    time_since_spike,
)
from zdb.neuro.text_formats import read_input_mapper_summary, write_synapse_activations
from zdb.neuro.voltage import max_voltage, voltage_density

__all__ = [
    "EXCITATORY",
    "INHIBITORY",
    "Binned",
    "Cell",
    "CellSection",
    "CellSynapse",
    "LinkFormat",
    "MissingFilesError",
    "Morphology",
    "MorphologyError",
    "Parameters",
    "PredictionRates",
    "ReducedModel",
    "SimulationFileError",
    "SynapseOutsideError",
    "UnknownCellTypeError",
    "UnpredictableError",
    "activation_array",
    "add_groups",
    "bin_activations",
    "bin_distances",
    "bin_distances_and_times",
    "bin_times",
    "classify",
    "compute_psps",
    "count_activations",
    "detect_spikes",
    "find_simrun",
    "fit_reduced_model",
    "generate_simrun",
    "import_simrun",
    "interspike_intervals",
    "lda_prediction_rates",
    "load_parameters",
    "make_batches",
    "max_voltage",
    "neighbouring_bins",
    "one_hot",
    "psp_combinations",
    "read_cell_spikes",
    "read_input_mapper_summary",
    "read_morphology",
    "read_parameters",
    "read_synapse_activations",
    "read_voltage",
    "section_bins",
    "spatial_bin_names",
    "spike_counts",
    "spike_in_interval",
    "synapse_weights",
    "time_since_spike",
    "voltage_density",
    "write_synapse_activations",
]
