from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from zdb.attributes import FORMAT_ATTRIBUTES, NODE_ATTRIBUTES
from zdb.process import JOB_ATTRIBUTES
from zdb.provenance import capture


def test_all_that_is_written_is_known(db, tmp_path):
    """A Dataset that was opened by plain xarray carries them, and may be stored again."""
    (tmp_path / "file.txt").write_text("a")
    values = {
        "array": np.arange(3),
        "dataset": xr.Dataset({"x y": ("d", [1])}).set_coords("x y"),
        "table": pd.DataFrame({"a": [1]}),
        "ragged": [np.arange(2)],
        "json": {"a": 1},
        "file": tmp_path / "file.txt",
        "bytes": b"abc",
    }
    for key, value in values.items():
        db.set(key, value, attrs={"remark": 1})
        db[key] = db[key]
        written = {name for name in db._engine.node(key).attributes if name.startswith("zdb_")}
        assert written <= NODE_ATTRIBUTES, key
    assert set(capture(1.0, inputs=["k"]).attributes) | set(JOB_ATTRIBUTES) <= NODE_ATTRIBUTES
    assert FORMAT_ATTRIBUTES < NODE_ATTRIBUTES
    plain = xr.open_zarr(f"{db.url}/file")
    db["again"] = plain
    assert not any(str(name).startswith("zdb_") for name in db["again"].attrs)
