"""Simulation results of neuron models: import them, find spikes, draw them.

Built on the public API of :mod:`zdb` only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Imported on first use: the formats of this package are plug-ins, which writing an array may ask.
_LAZY = {
    "Binned": "zdb.neuro.binning",
    "Cell": "zdb.neuro.cells",
    "CellSection": "zdb.neuro.cells",
    "CellSynapse": "zdb.neuro.cells",
    "EXCITATORY": "zdb.neuro.celltypes",
    "INHIBITORY": "zdb.neuro.celltypes",
    "LinkFormat": "zdb.neuro.link_format",
    "MissingFilesError": "zdb.neuro.parameter_files",
    "Morphology": "zdb.neuro.morphology",
    "MorphologyError": "zdb.neuro.morphology",
    "Parameters": "zdb.neuro.parameters",
    "PredictionRates": "zdb.neuro.lda",
    "ReducedModel": "zdb.neuro.reduced_model",
    "SimulationFileError": "zdb.neuro.readers",
    "SynapseOutsideError": "zdb.neuro.ann",
    "UnknownCellTypeError": "zdb.neuro.celltypes",
    "UnpredictableError": "zdb.neuro.lda",
    "activation_array": "zdb.neuro.ann",
    "add_groups": "zdb.neuro.celltypes",
    "bin_activations": "zdb.neuro.activations",
    "bin_distances": "zdb.neuro.binning",
    "bin_distances_and_times": "zdb.neuro.binning",
    "bin_times": "zdb.neuro.binning",
    "classify": "zdb.neuro.celltypes",
    "compute_psps": "zdb.neuro.psps",
    "count_activations": "zdb.neuro.activations",
    "detect_spikes": "zdb.neuro.spikes",
    "find_simrun": "zdb.neuro.simrun",
    "fit_reduced_model": "zdb.neuro.reduced_model",
    "generate_simrun": "zdb.neuro.generate",
    "import_simrun": "zdb.neuro.importer",
    "interspike_intervals": "zdb.neuro.spikes",
    "lda_prediction_rates": "zdb.neuro.lda",
    "load_parameters": "zdb.neuro.parameters",
    "make_batches": "zdb.neuro.ann",
    "max_voltage": "zdb.neuro.voltage",
    "neighbouring_bins": "zdb.neuro.morphology",
    "one_hot": "zdb.neuro.spikes",
    "psp_combinations": "zdb.neuro.psps",
    "read_cell_spikes": "zdb.neuro.readers",
    "read_input_mapper_summary": "zdb.neuro.text_formats",
    "read_morphology": "zdb.neuro.morphology",
    "read_parameters": "zdb.neuro.parameter_text",
    "read_synapse_activations": "zdb.neuro.readers",
    "read_voltage": "zdb.neuro.readers",
    "section_bins": "zdb.neuro.morphology",
    "spatial_bin_names": "zdb.neuro.morphology",
    "spike_counts": "zdb.neuro.spikes",
    "spike_in_interval": "zdb.neuro.spikes",
    "synapse_weights": "zdb.neuro.ann",
    "time_since_spike": "zdb.neuro.spikes",
    "voltage_density": "zdb.neuro.voltage",
    "write_synapse_activations": "zdb.neuro.text_formats",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'zdb.neuro' has no attribute {name!r}")
    found = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
