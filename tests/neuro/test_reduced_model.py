"""Reduced models: prediction by LDA, kernels, lookup tables, and that a model comes back from the store whole."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import zdb
from zdb.neuro import ReducedModel, UnpredictableError, fit_reduced_model, lda_prediction_rates

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRIALS, BINS = 300, 300


def inputs(seed: int = 0) -> dict[str, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return {"EXC": random.poisson(2.0, (TRIALS, BINS)), "INH": random.poisson(1.0, (TRIALS, BINS))}


def spikes_of(x: dict[str, NDArray[np.int64]]) -> list[list[float]]:
    """Spikes where excitation in the 20 ms before 260 ms is large and inhibition small; some trials spike before."""
    drive = (x["EXC"][:, 240:260] - 2 * x["INH"][:, 240:260]).sum(axis=1)
    early = np.random.default_rng(1).random(TRIALS) < 0.2
    return [
        ([250.0] if before else []) + ([258.0] if strong else [])
        for strong, before in zip(drive > np.median(drive), early, strict=True)
    ]


@pytest.fixture(scope="module")
def model() -> ReducedModel:
    np.random.seed(0)  # noqa: NPY002 - the model draws from the global state
    x = inputs()
    return fit_reduced_model(x, spikes_of(x), input_width=40, output_window=(255, 265), lookup_step=3)


def test_rates_are_high_where_the_input_tells_and_at_chance_where_it_does_not() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(400, 5))
    np.random.seed(0)  # noqa: NPY002 - the model draws from the global state
    told = lda_prediction_rates(x, x[:, 0] - x[:, 3] > 0)
    assert told.score > 1.8
    assert told.coefficients.shape == (5, 5)
    assert (told.coefficients[:, 0] > 0).all()
    assert (told.coefficients[:, 3] < 0).all()
    chance = lda_prediction_rates(x, random.random(400) > 0.5)
    assert 0.7 < chance.score < 1.3
    with pytest.raises(UnpredictableError):
        lda_prediction_rates(x, np.zeros(400))
    with pytest.raises(ValueError, match="do not fit"):
        lda_prediction_rates(x, np.zeros(3))


def test_the_kernel_finds_what_drives_the_spikes(model: ReducedModel) -> None:
    assert model.kernels.shape == (5, 2, 40)
    assert model.input_window == (225, 265)
    exc, inh = model.kernels.mean(axis=0)
    assert exc[15:35].mean() > 5 * abs(exc[:15].mean())
    assert inh[15:35].mean() < -exc[15:35].mean()
    np.testing.assert_allclose(np.linalg.norm(model.kernels.reshape(5, -1), axis=1), 7.260991424242837)


def test_static_application_follows_the_lookup_table(model: ReducedModel) -> None:
    x = inputs()
    found = model.apply_static(x)
    by_hand = sum(x[g][:, 225:265] @ model.kernels[0, i] for i, g in enumerate(model.groups))
    np.testing.assert_allclose(found.net_input, by_hand)
    np.testing.assert_allclose(found.net_input, model.net_input[0])
    table = model.lookup[0]
    assert found.probability.tolist() == [table[int(np.round(value))] for value in by_hand]
    assert not found.outside.any()
    spiked = np.array([258.0 in times for times in spikes_of(x)])
    assert found.probability[spiked].mean() > found.probability[~spiked].mean() + 0.3
    strong = model.apply_static({"EXC": x["EXC"] * 1000, "INH": x["INH"]})
    assert strong.outside.all()
    assert set(strong.probability) <= {table.iloc[0], table.iloc[-1]}


def test_rolling_application_by_hand() -> None:
    x = np.array([[0, 1, 1, 0, 0, 0]])
    lookup = [pd.Series({-1: 0.0, 0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0})]
    kernels = np.array([[[0.0, 0, 1], [0, 1, 1]]])
    made = ReducedModel(
        ("EXC", "INH"), (0, 3), (3.0, 4.0), 0.0, 1, kernels, lookup, np.zeros((1, 1)), zdb.Ragged([], [0])
    )
    found = made.apply_rolling({"EXC": x, "INH": x})
    assert found.by_group["EXC"].tolist() == [[0, 0, 1, 1, 0, 0]]
    assert found.by_group["INH"].tolist() == [[0, 0, 1, 2, 1, 0]]
    assert found.net_input.tolist() == [[0, 0, 2, 3, 1, 0]]
    assert found.raw_psth.tolist() == [0, 0, 1, 1, 1, 0]
    assert found.psth.tolist() == [0, 0, 1, 1, 1, 0]


def test_a_refractory_period_silences_trials_that_spiked(model: ReducedModel) -> None:
    x = inputs()
    free, held = model.apply_rolling(x), model.apply_rolling(x, refractory_period=10)
    assert free.able_to_spike.tolist() == [1.0] * (BINS + 1)
    assert held.able_to_spike.min() < 1
    spent = np.concatenate([[0.0], held.psth])
    for bin_number in range(BINS):
        resting = spent[max(0, bin_number - 9) : bin_number + 1].sum()
        assert held.able_to_spike[bin_number] == pytest.approx(1 - resting)
    early = np.array([250.0 in times for times in spikes_of(x)])
    assert early.sum() > 20
    assert not all(a.equals(b) for a, b in zip(model.lookup_for(10), model.lookup, strict=True))


def test_a_stored_model_comes_back_whole(model: ReducedModel, tmp_path: Path) -> None:
    db = zdb.open(tmp_path / "x.zdb")
    db["model"] = model
    assert db.info("model").format == "reduced_model"
    back = db["model"]
    for name in ("groups", "input_window", "output_window", "refractory_period", "lookup_step", "sources"):
        assert getattr(back, name) == getattr(model, name)
    np.testing.assert_array_equal(back.kernels, model.kernels)
    np.testing.assert_array_equal(back.net_input, model.net_input)
    assert all(a.equals(b) for a, b in zip(back.lookup, model.lookup, strict=True))
    assert back.spike_times.equals(model.spike_times)
    x = inputs(5)
    np.testing.assert_array_equal(back.apply_static(x).probability, model.apply_static(x).probability)


def test_a_process_that_knows_only_zdb_reads_it(model: ReducedModel, tmp_path: Path) -> None:
    zdb.open(tmp_path / "x.zdb")["model"] = model
    code = f"import zdb; print(zdb.open({str(tmp_path / 'x.zdb')!r}, 'r')['model'].groups)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('EXC', 'INH')"


def test_a_model_is_shown_in_a_line(model: ReducedModel) -> None:
    shown = repr(model)
    assert shown.startswith("ReducedModel(groups=('EXC', 'INH'), input_window=")
    assert "\n" not in shown
    assert len(shown) < 200


def test_what_does_not_fit_is_named() -> None:
    x = inputs()
    with pytest.raises(ValueError, match="'INH' has shape"):
        fit_reduced_model({**x, "INH": x["INH"][:5]}, spikes_of(x))
    with pytest.raises(ValueError, match="input window"):
        fit_reduced_model(x, spikes_of(x), input_width=400)
