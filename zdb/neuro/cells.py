"""Records of simulated cells: what was recorded in each section, synapses, parameters and the morphology."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import zdb
from zdb.errors import UnsupportedValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cell", "CellFormat", "CellSection", "CellSynapse"]


@dataclass(frozen=True)
class CellSection:
    """One section of a cell.

    Attributes
    ----------
    label : str
        "Soma", "Dendrite", …
    parent : int or None
        Number of the section to which it is connected.
    voltage : list of ndarray of float64, shape (samples,)
        Membrane potential (mV) of each of its segments.
    variables : dict of str to list of ndarray of float64
        What else was recorded, such as ``"NaTa_t.ina"``.
    """

    label: str
    parent: int | None
    voltage: list[NDArray[np.float64]] = field(default_factory=list)
    variables: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)


@dataclass(frozen=True)
class CellSynapse:
    """One synapse: where it is (µm), and the spikes of its presynaptic cell (ms)."""

    coordinates: tuple[float, float, float]
    spike_times: NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """What is known of a simulated cell; kept by zdb in the format ``cell``.

    Replaces what ``data_base.IO.LoaderDumper.cell`` pickled.

    Attributes
    ----------
    time : ndarray of float64, shape (samples,)
        In ms.
    sections : list of CellSection
    synapses : dict of str to list of CellSynapse
        By population.
    parameters : dict
        Parameters of the neuron: plain JSON.
    morphology : str
        Text of the morphology file, for :func:`zdb.neuro.read_morphology` or NEURON.
    morphology_kind : {"hoc", "swc"}
    """

    time: NDArray[np.float64]
    sections: list[CellSection]
    synapses: dict[str, list[CellSynapse]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    morphology: str = ""
    morphology_kind: str = "hoc"

    @classmethod
    def from_dict(cls, cell: Mapping[str, Any]) -> Cell:
        """Make a record of what ``single_cell_parser.serialize_cell.cell_to_serializable_object`` returns.

        Raises
        ------
        KeyError
            A part is missing.
        """
        sections = [
            CellSection(
                section["label"],
                section["parent_id"],
                _traces(section["recVList"]),
                {
                    name: [np.asarray(t, dtype=np.float64) for t in traces]
                    for name, traces in section["recordVars"].items()
                },
            )
            for section in cell["sections"]
        ]
        synapses = {
            population: [
                CellSynapse(
                    tuple(map(float, synapse["coordinates"])),  # type: ignore[arg-type]
                    np.asarray(synapse["preCell"]["spikeTimes"], dtype=np.float64),
                )
                for synapse in found
            ]
            for population, found in cell["synapses"].items()
        }
        kind = "hoc" if "hoc" in cell else "swc"
        parameters = _plain(cell["parameters"])
        return cls(np.asarray(cell["tVec"], dtype=np.float64), sections, synapses, parameters, cell.get(kind, ""), kind)

    def __repr__(self) -> str:
        recorded = sum(len(section.voltage) for section in self.sections)
        synapses = sum(map(len, self.synapses.values()))
        return (
            f"Cell: {len(self.sections)} sections, {recorded} recorded segments of {len(self.time)} samples, "
            f"{synapses} synapses of {len(self.synapses)} populations"
        )


def _traces(recorded: Sequence[Any]) -> list[NDArray[np.float64]]:
    return [np.asarray(trace, dtype=np.float64) for trace in recorded]


def _plain(parameters: Any) -> Any:
    """Turn the mappings of a parameter set into dicts."""
    if isinstance(parameters, Mapping):
        return {str(name): _plain(value) for name, value in parameters.items()}
    if isinstance(parameters, Sequence) and not isinstance(parameters, str):
        return [_plain(value) for value in parameters]
    return parameters


class CellFormat(zdb.Format):
    """Records of cells as arrays and JSON; nothing in them can run code."""

    name = "cell"
    types = ("zdb.Cell",)

    def encode(self, value: Cell) -> xr.Dataset:
        """Turn all traces into one array (trace × time), the rest into small arrays and JSON."""
        samples = len(value.time)
        traces, places = [], []
        for number, section in enumerate(value.sections):
            for name, recorded in (("", section.voltage), *section.variables.items()):
                for segment, trace in enumerate(recorded):
                    if trace.shape != (samples,):
                        raise UnsupportedValueError(
                            f"section {number}, {name or 'voltage'} of segment {segment}: shape {trace.shape}, but the "
                            f"time has {samples} samples"
                        )
                    traces.append(trace)
                    places.append([number, name])
        found = [synapse for population in value.synapses.values() for synapse in population]
        sizes = np.array([len(synapse.spike_times) for synapse in found], dtype=np.int64)
        try:
            recipe = json.dumps(
                {
                    "sections": [[s.label, s.parent, list(s.variables)] for s in value.sections],
                    "traces": places,
                    "populations": [[name, len(population)] for name, population in value.synapses.items()],
                    "parameters": value.parameters,
                    "morphology_kind": value.morphology_kind,
                }
            )
        except (TypeError, ValueError) as error:
            raise UnsupportedValueError(f"the parameters are not plain JSON: {error}") from error
        variables = {
            "time": ("time", value.time.astype(np.float64), {"units": "ms"}),
            "traces": (("trace", "time"), np.array(traces, dtype=np.float64).reshape(len(traces), samples)),
            "coordinates": (
                ("synapse", "axis"),
                np.array([s.coordinates for s in found], dtype=np.float64).reshape(len(found), 3),
            ),
            "spike_times": ("spike", np.concatenate([np.zeros(0), *(s.spike_times for s in found)])),
            "spike_row_size": ("synapse", sizes),
            "morphology": ("byte", np.frombuffer(value.morphology.encode(), dtype=np.uint8)),
        }
        shape = json.dumps([len(value.sections)])
        return xr.Dataset(variables, attrs={"zdb_type": "zdb.Cell", "zdb_shape": shape, "zdb_recipe": recipe})

    def decode(self, node: xr.Dataset | xr.DataTree) -> Cell:
        """Restore the record."""
        recipe = json.loads(node.attrs["zdb_recipe"])
        arrays = {str(name): variable.to_numpy() for name, variable in node.variables.items()}
        sections = [
            CellSection(label, parent, [], {name: [] for name in names}) for label, parent, names in recipe["sections"]
        ]
        for (number, name), trace in zip(recipe["traces"], arrays["traces"], strict=True):
            section = sections[number]
            (section.variables[name] if name else section.voltage).append(trace)
        return Cell(
            time=arrays["time"],
            sections=sections,
            synapses=dict(_populations(recipe["populations"], arrays)),
            parameters=recipe["parameters"],
            morphology=arrays["morphology"].tobytes().decode(),
            morphology_kind=recipe["morphology_kind"],
        )


def _populations(
    sizes: list[tuple[str, int]], arrays: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, list[CellSynapse]]]:
    times = zdb.Ragged(arrays["spike_times"], arrays["spike_row_size"])
    start = 0
    for name, size in sizes:
        x = arrays["coordinates"][start : start + size].tolist()
        yield name, [CellSynapse((a, b, c), times[start + i]) for i, (a, b, c) in enumerate(x)]
        start += size
