"""Databases that the In Silico Framework wrote, against the values that it was given."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from legacy.samples import SHARED

import zdb
import zdb.legacy
import zdb.neuro

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the old databases are not there")

# The bytecode of a function belongs to one version of Python: these were made by 3.8.
OTHER_PYTHON = {"cloudpickle_function"}


@cache
def expected(name: str) -> dict[str, Any]:
    return json.loads((SHARED / f"{name}.expected.json").read_bytes())


def written(name: str) -> list[Any]:
    if not SHARED.is_dir():
        return []
    return [
        pytest.param(name, key, id=f"{name}-{key}")
        for key, entry in expected(name).items()
        if not key.startswith("__") and entry.get("written", True) and key not in OTHER_PYTHON
    ]


def plain(value: Any, missing: Any = None) -> Any:
    if value is None:
        return missing
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return str(value)


def described(value: Any) -> Any:
    """A value in the terms of the files of expected values."""
    if isinstance(value, zdb.legacy.LegacyDatabase):
        if value.kind == "folder":
            files = {key: value[key].read_bytes() for key in value.keys(recursive=True)}
            return {key: content.decode() if key.endswith(".txt") else content.hex() for key, content in files.items()}
        return {key: described(value[key]) for key in value}
    if isinstance(value, dd.DataFrame):
        parts = [part.compute(scheduler="synchronous") for part in value.partitions]
        together = described(value.compute(scheduler="synchronous"))
        # pandas 3 joins indexes of text into its string dtype; the partitions have what was kept
        assert len({str(part.index.dtype) for part in parts}) == 1
        together["index_dtype"] = str(parts[0].index.dtype)
        divisions = [plain(division) for division in value.divisions]
        kind = {"kind": "dask.DataFrame", "npartitions": value.npartitions, "divisions": divisions}
        return {**kind, "value": together}
    if isinstance(value, np.ndarray):
        data = [str(x) if isinstance(x, complex) else plain(x) for x in value.ravel().tolist()]
        return {"kind": "ndarray", "dtype": str(value.dtype), "shape": list(value.shape), "data": data}
    if isinstance(value, np.generic):
        return {"kind": "np_scalar", "dtype": str(value.dtype), "data": plain(value)}
    if isinstance(value, pd.DataFrame):
        return {
            "kind": "DataFrame",
            "columns": [repr(column) for column in value.columns],
            "dtypes": [str(dtype) for dtype in value.dtypes],
            "index": [str(label) for label in value.index],
            "index_name": repr(value.index.name),
            "index_dtype": str(value.index.dtype),
            "index_nlevels": value.index.nlevels,
            "data": [[plain(x, "None") for x in row] for row in value.to_numpy().tolist()],
        }
    if isinstance(value, pd.Series):
        return {
            "kind": "Series",
            "name": repr(value.name),
            "dtype": str(value.dtype),
            "index": [str(label) for label in value.index],
            "data": [plain(x) for x in value.tolist()],
        }
    if isinstance(value, dict):
        return {"kind": "dict", "data": {key: described(part) for key, part in value.items()}}
    if isinstance(value, tuple):
        return {"kind": "tuple", "data": [described(part) for part in value]}
    if isinstance(value, list):
        return {"kind": "list", "data": list(value)}
    if isinstance(value, set):
        return {"kind": "set", "data": sorted(value)}
    return {"kind": type(value).__name__, "data": value}


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(("name", "key"), [*written("isf"), *written("mdb")])
def test_each_dumper_is_read_as_it_was_written(name: str, key: str) -> None:
    value = zdb.open(SHARED / name, mode="r", allow_pickle="safe")[tuple(key.split("@"))]
    wanted = expected(name)[key]["expected"]
    if key == "Rm":
        check_reduced_model(value, wanted)
    else:
        assert as_json(described(value)) == wanted


def check_reduced_model(model: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert model.pop("class") == "simrun.reduced_model.get_kernel.ReducedLdaModel"
    assert {name: type(value).__name__ for name, value in model.items()} == wanted["attributes"]
    for name, value in wanted["scalars"].items():
        assert model[name] == value
    for part, numbers in (("kernel_dict", "kernel_dict"), ("lda_value_dicts", "lda_value_dicts_rounded")):
        for found, one in zip(model[part], wanted[numbers], strict=True):
            assert set(found) == set(one)
            for name in one:
                np.testing.assert_allclose(found[name], one[name], rtol=1e-15)
    assert as_json(described(model["st"])) == wanted["st_rounded"]
    for part in ("y", "spike_before"):
        assert model[part].tolist() == wanted[part]
    for found, one in zip(model["lookup_series"], wanted["lookup_series"], strict=True):
        assert as_json(described(found)) == one
    for found, one in zip(model["lda_values"], model["lda_value_dicts"], strict=True):
        np.testing.assert_allclose(found, sum(one.values()))
    for found, one in zip(model["clfs"]["classifier_"], wanted["clfs"]["classifier_"], strict=True):
        assert found["class"] == f"sklearn.discriminant_analysis.{one['cls']}"
        assert set(found) - {"class", "_sklearn_version"} == set(one["attrs"])
        for name in ("coef_", "intercept_"):
            np.testing.assert_allclose(found[name], one[name])
    for found, one in zip(model["clfs"]["value_counts"], wanted["clfs"]["value_counts"], strict=True):
        assert {str(label).lower(): number for label, number in found.items()} == one
    for name in ("score_all", "score_0", "score_1", "score", "score_rocauc", "score_rocauc_full_data"):
        np.testing.assert_allclose(model["clfs"][name], wanted["clfs"][name])


@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_a_reduced_model_can_be_applied(name: str, db: zdb.Database) -> None:
    attributes = zdb.legacy.open(SHARED / name, allow_pickle="safe")["Rm"]
    db["model"] = zdb.neuro.ReducedModel.from_dict(attributes)
    model = db["model"]
    wanted = expected(name)["Rm"]["expected"]
    assert model.groups == tuple(wanted["kernel_dict"][0])
    assert (model.input_window, model.output_window, model.lookup_step) == ((245, 265), (255.0, 265.0), 5)
    for kernels, one in zip(model.kernels, wanted["kernel_dict"], strict=True):
        np.testing.assert_allclose(kernels, list(one.values()))
    activations = {group: np.ones((2, 300)) for group in model.groups}
    result = model.apply_static(activations, split=1)
    np.testing.assert_allclose(result.net_input, np.sum(list(wanted["kernel_dict"][1].values())))
    spikes = np.isfinite(attributes["st"]).to_numpy().sum(axis=1)
    assert model.spike_times.row_size.tolist() == spikes.tolist()


@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_keys_and_ids(name: str) -> None:
    db = zdb.legacy.open(SHARED / name)
    keys = [tuple(key) if isinstance(key, list) else (key,) for key in expected(name)["__keys__"]]
    assert {key[0] for key in keys} == set(db)
    assert all(key in db for key in keys)
    assert db.id == expected(name)["__unique_id__"]
    for key in db:
        assert db.info(key).format or key == "T"
    assert len(db.keys(recursive=True)) > len(db)


@pytest.mark.parametrize("name", ["isf", "mdb"])
def test_a_function_of_another_python_is_refused(name: str) -> None:
    with pytest.raises(zdb.errors.PickleRefusedError, match="_make_function"):
        zdb.legacy.open(SHARED / name, allow_pickle="safe")["cloudpickle_function"]


def test_what_its_users_have() -> None:
    spikes = zdb.legacy.open(SHARED / "example_18k_trials", allow_pickle="safe")["spike_times"]
    assert spikes.shape[0] > 10_000
    assert spikes.index.name == "sim_trail_index"
    traces = zdb.legacy.open(SHARED / "example_voltage_traces", allow_pickle="safe")
    for key in traces:
        time, voltage = traces[key]
        assert time.shape == voltage.shape
        assert time[0] == 0
    assert traces.provenance("step_current_0.619").is_post_hoc
