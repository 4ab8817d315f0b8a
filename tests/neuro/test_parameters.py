"""Parameter files come in with all that they refer to, and are loaded again with local files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import zdb
from zdb.neuro import (
    MissingFilesError,
    SimulationFileError,
    generate_simrun,
    import_simrun,
    load_parameters,
    read_parameters,
)

if TYPE_CHECKING:
    from zdb.neuro.generate import GeneratedSimrun

OLD = "/cluster/user/project"

NEURON = """{
    # of another machine
    "info": {"name": "cell", "date": "15Oct2014"},
    "NMODL_mechanisms": {"channels": "/"},
    "neuron": {"filename": "%(old)s/cells/86_C2.hoc", "Soma": {"properties": {"Ra": 100.0}}},
    "sim": {"tStop": 250.0, "µ": (1, 2.5), "recordingSites": ["%(old)s/sites.landmarkAscii"]},
}

"""
NETWORK = """
{"network": {
  "L1_B1": {"synapses": {"releaseProb": %(release)s, "distributionFile": "%(old)s/emb/86_C2.syn",
                         "connectionFile": "%(old)s/emb/86_C2.con"}, "cellNr": 7},
  "VPM_C2": {"synapses": {"releaseProb": 0.6, "distributionFile": "%(old)s/emb/86_C2.syn",
                          "connectionFile": '%(old)s/emb/86_C2.con'},
             "celltype": {"pointcell": {"intervals": [(0.0, 1.0)]}}},
}, "NMODL_mechanisms": {"synapses": "/", "VecStim": "/"}}"""

HOC = "create soma\n"
SYN = "# Synapse distribution file\n# corresponding to cell: 86_C2\n# Type - section - section.x\n\nL1_B1\t1\t0.5\n"
CON = "# Anatomical connectivity realization file\n# {syn}\n# Type - cell ID - synapse ID\n\nL1_B1\t0\t0\n"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def made(tmp_path: Path) -> GeneratedSimrun:
    """Two runs of two trials with parameter files, which differ in the network."""
    made = generate_simrun(tmp_path / "results", runs=2, trials=2, duration=5.0)
    for number, run in enumerate(sorted(made.folder.iterdir())):
        pid = run.name.rpartition("_")[2]
        (run / f"{pid}_neuron_model.param").write_text(NEURON % {"old": OLD})
        (run / f"{pid}_network_model.param").write_text(NETWORK % {"old": OLD, "release": number / 4})
    return made


@pytest.fixture
def anatomy(tmp_path: Path) -> Path:
    """The files that are referred to, in other folders than they were."""
    folder = tmp_path / "anatomy"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "86_C2.hoc").write_text(HOC)
    (folder / "86_C2.syn").write_text(SYN)
    (folder / "86_C2.con").write_text(CON.format(syn="86_C2.syn"))
    (folder / "sites.landmarkAscii").write_text("# AmiraMesh\n")
    return folder


@pytest.fixture
def db(tmp_path: Path) -> zdb.Database:
    return zdb.open(str(tmp_path / "results.zdb"))


def test_all_files_come_in_once(db: zdb.Database, made: GeneratedSimrun, anatomy: Path) -> None:
    report = import_simrun(db, made.folder, relocate={OLD: anatomy})
    assert report.missing == ()
    neuron = md5(NEURON % {"old": OLD})
    networks = [md5(NETWORK % {"old": OLD, "release": release}) for release in (0.0, 0.25)]
    con = md5(CON.format(syn="86_C2.syn"))
    files = [key for key in db.keys(recursive=True) if db.info(key).format == "file"]
    assert sorted(files) == sorted(
        [
            f"parameterfiles_cell_folder/{neuron}",
            *(f"parameterfiles_network_folder/{network}" for network in networks),
            "morphology/86_C2.hoc",
            "recsites_folder/sites.landmarkAscii",
            f"syn_folder/{md5(SYN)}",
            f"con_folder/{con}",
        ]
    )
    table = db["parameterfiles"]
    assert table.index.name == "sim_trial_index"
    assert table.index.tolist() == made.trial_index
    assert table["hash_neuron"].tolist() == [neuron] * 4
    assert table["hash_network"].tolist() == [networks[0]] * 2 + [networks[1]] * 2
    assert table["path_neuron"].iloc[3].endswith("20150815-1530_20241/20241_neuron_model.param")
    stored = db[f"parameterfiles_cell_folder/{neuron}"]
    assert stored.name == "20240_neuron_model.param"
    assert stored.read_text() == NEURON.replace("%(old)s/cells", "reldb://morphology").replace(
        "%(old)s/", "reldb://recsites_folder/"
    )
    assert db["morphology/86_C2.hoc"].read_text() == HOC
    assert f"# reldb://syn_folder/{md5(SYN)}\n" in db[f"con_folder/{con}"].read_text()
    assert "# corresponding to cell: reldb://morphology/86_C2.hoc\n" in db[f"syn_folder/{md5(SYN)}"].read_text()


def test_parameters_are_loaded_with_local_files(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path, tmp_path: Path
) -> None:
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    shutil.rmtree(anatomy)
    shutil.rmtree(made.folder)
    for folder in (None, tmp_path / "local"):
        found = load_parameters(db, made.trial_index[2], folder)
        expected = read_like(NEURON % {"old": OLD})
        morphology = Path(found.neuron["neuron"].pop("filename"))
        (site,) = found.neuron["sim"].pop("recordingSites")
        del expected["neuron"]["filename"], expected["sim"]["recordingSites"]
        assert found.neuron == expected
        assert morphology.read_text() == HOC
        assert morphology.name == "86_C2.hoc"
        assert Path(site).read_text() == "# AmiraMesh\n"
        synapses = found.network["network"]["L1_B1"]["synapses"]
        assert synapses["releaseProb"] == 0.25
        assert Path(synapses["connectionFile"]).read_text() == CON.format(syn=synapses["distributionFile"])
        assert f"cell: {morphology}\n" in Path(synapses["distributionFile"]).read_text()
        assert found.network_file is not None
        assert read_parameters(found.network_file) == found.network
    with pytest.raises(KeyError, match="sim_trial_index"):
        load_parameters(db, "nowhere/000000")


def read_like(text: str) -> Any:
    return eval(text)  # what the original does


def test_missing_files_are_named_with_where_they_are_referenced(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path
) -> None:
    (anatomy / "86_C2.syn").rename(anatomy / "example_86_C2.syn")
    with pytest.raises(MissingFilesError) as error:
        import_simrun(db, made.folder, relocate={OLD: anatomy})
    assert list(db) == []
    text = str(error.value)
    assert f"{OLD}/emb/86_C2.syn (for syn_folder), referenced by {made.folder}" in text
    assert "20240_network_model.param and 1 more; similar:" in text
    assert f"similar: {anatomy}/example_86_C2.syn" in text
    assert f"  86_C2.syn (for syn_folder), referenced by {anatomy}/86_C2.con" in text

    report = import_simrun(db, made.folder, relocate={OLD: anatomy}, missing="report")
    assert [file.path for file in report.missing] == [f"{OLD}/emb/86_C2.syn", "86_C2.syn"]
    assert {each["path"] for each in db["import_report"]["missing"]} == {f"{OLD}/emb/86_C2.syn", "86_C2.syn"}
    assert "syn_folder" not in db
    (digest, *_) = db["parameterfiles"]["hash_network"]
    text = db[f"parameterfiles_network_folder/{digest}"].read_text()
    assert text.count(f'"{OLD}/emb/86_C2.syn"') == 2, "as it was"
    assert text.count(f'"reldb://con_folder/{md5(CON.format(syn="86_C2.syn"))}"') == 2

    relocate = {OLD: anatomy, f"{OLD}/emb/86_C2.syn": anatomy / "example_86_C2.syn"}
    again = import_simrun(db, made.folder, relocate=relocate)
    assert again.new_runs == ()
    assert again.missing == ()
    assert len(again.notes) == 1
    assert f"86_C2.syn, referenced by {anatomy}/86_C2.con, was not found; taken to be" in again.notes[0]
    assert "import_report" not in db
    found = load_parameters(db, made.trial_index[0])
    assert Path(found.network["network"]["L1_B1"]["synapses"]["distributionFile"]).name == md5(SYN)


def test_files_of_one_name_and_different_content_are_not_guessed(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path
) -> None:
    (anatomy / "other").mkdir()
    (anatomy / "other" / "86_C2.hoc").write_text(HOC)
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    (anatomy / "other" / "86_C2.hoc").write_text("another")
    with pytest.raises(MissingFilesError, match=r"deep/86_C2.hoc, .*other/86_C2.hoc"):
        import_simrun(db, made.folder, relocate={OLD: anatomy}, overwrite=True)


def test_two_morphologies_of_one_name(db: zdb.Database, made: GeneratedSimrun, anatomy: Path) -> None:
    run = made.folder / "20150815-1530_20241"
    (run / "20241_neuron_model.param").write_text(NEURON.replace("/cells/", "/more/") % {"old": OLD})
    (anatomy / "other").mkdir()
    (anatomy / "other" / "86_C2.hoc").write_text("another\n")
    relocate = {f"{OLD}/cells": anatomy / "deep", f"{OLD}/more/86_C2.hoc": anatomy / "other/86_C2.hoc", OLD: anatomy}
    import_simrun(db, made.folder, relocate=relocate)
    texts = [
        Path(load_parameters(db, trial).neuron["neuron"]["filename"]).read_text()
        for trial in (made.trial_index[0], made.trial_index[2])
    ]
    assert texts == [HOC, "another\n"]
    assert len(db.database("morphology")) == 2


def loaded_morphologies(db: zdb.Database, trials: list[str]) -> list[str]:
    return [Path(load_parameters(db, trial).neuron["neuron"]["filename"]).read_text() for trial in trials]


@pytest.mark.parametrize("same_text", [True, False])
def test_a_new_run_leaves_the_files_of_earlier_runs(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path, tmp_path: Path, same_text: bool
) -> None:
    """Its morphology has the name of an earlier one, and other content: also at the same path."""
    later = made.folder / "20150815-1530_20241"
    if not same_text:
        (later / "20241_neuron_model.param").write_text(NEURON.replace("/cells/", "/more/") % {"old": OLD})
    later.rename(tmp_path / later.name)
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    (tmp_path / later.name).rename(later)
    (anatomy / "deep" / "86_C2.hoc").write_text("another\n")
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    first, *_, last = made.trial_index
    assert loaded_morphologies(db, [first, last]) == [HOC, "another\n"]
    for trial, morphology in ((first, HOC), (last, "another\n")):
        synapses = load_parameters(db, trial).network["network"]["VPM_C2"]["synapses"]
        lines = Path(synapses["distributionFile"]).read_text().splitlines()
        assert Path(lines[1].partition("cell: ")[2]).read_text() == morphology
    assert import_simrun(db, made.folder, relocate={OLD: anatomy}).new_runs == ()
    assert loaded_morphologies(db, [first, last]) == [HOC, "another\n"]
    assert len(db.database("morphology")) == 2


def test_a_bad_parameter_file_is_reported_until_it_is_good(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path
) -> None:
    """Its trials come in without it."""
    bad = made.folder / "20150815-1530_20241" / "20241_network_model.param"
    whole = bad.read_text()
    bad.write_text(whole[:-5])
    for new_runs in (2, 0):
        report = import_simrun(db, made.folder, relocate={OLD: anatomy}, on_error="report")
        assert (report.trials, len(report.new_runs)) == (4, new_runs)
        assert [problem.path for problem in report.problems] == ["20150815-1530_20241/20241_network_model.param"]
        assert "is not a Python literal" in report.problems[0].message
        assert [problem["path"] for problem in db["import_report"]["problems"]] == [report.problems[0].path]
        assert db["parameterfiles"]["hash_network"].isna().tolist() == [False, False, True, True]
        assert load_parameters(db, made.trial_index[3]).neuron["sim"]["tStop"] == 250
    with pytest.raises(SimulationFileError, match=r"20241_network_model\.param"):
        import_simrun(db, made.folder, relocate={OLD: anatomy})
    bad.write_text(whole)
    assert import_simrun(db, made.folder, relocate={OLD: anatomy}, on_error="report").problems == ()
    assert "import_report" not in db
    assert db["parameterfiles"].notna().all(axis=None)


@pytest.mark.parametrize("given", [True, False])
def test_loaded_files_are_those_of_the_database_now(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path, tmp_path: Path, given: bool
) -> None:
    """Also of a file that is the same, but refers to one that is not; what was loaded before stays as it was."""
    folder = tmp_path / "local" if given else None
    trial = made.trial_index[0]

    def local_files() -> tuple[Path, Path, Path]:
        synapses = load_parameters(db, trial, folder).network["network"]["VPM_C2"]["synapses"]
        connections = Path(synapses["connectionFile"])
        morphology = Path(load_parameters(db, trial, folder).neuron["neuron"]["filename"])
        return morphology, connections, Path(connections.read_text().splitlines()[1].removeprefix("# "))

    import_simrun(db, made.folder, relocate={OLD: anatomy})
    before = local_files()
    texts = [path.read_text() for path in before]
    (anatomy / "deep" / "86_C2.hoc").write_text("another\n")
    import_simrun(db, made.folder, relocate={OLD: anatomy}, overwrite=True)
    morphology, _, synapses = local_files()
    assert morphology.read_text() == "another\n"
    assert f"cell: {morphology}\n" in synapses.read_text()
    assert [path.read_text() for path in before] == texts

    morphology.write_text("changed by hand")
    assert local_files()[0].read_text() == "another\n"


def test_files_are_found_by_name_in_linked_folders(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "linked").symlink_to(anatomy)
    assert import_simrun(db, made.folder, relocate={"/unused": place}).missing == ()


def test_relative_paths_of_the_same_text(db: zdb.Database, small: GeneratedSimrun) -> None:
    """The same parameters in two folders refer to the file that lies beside them."""
    for run in small.folder.iterdir():
        pid = run.name.rpartition("_")[2]
        (run / f"{pid}_neuron_model.param").write_text('{"neuron": {"filename": "cell.hoc"}}')
        (run / "cell.hoc").write_text(run.name)
    import_simrun(db, small.folder)
    trials = small.trial_index
    assert loaded_morphologies(db, trials) == [trial.partition("/")[0] for trial in trials]


def test_new_runs_bring_their_parameters(
    db: zdb.Database, made: GeneratedSimrun, anatomy: Path, tmp_path: Path
) -> None:
    run = made.folder / "20150815-1530_20240"
    run.rename(tmp_path / run.name)
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    (tmp_path / run.name).rename(run)
    import_simrun(db, made.folder, relocate={OLD: anatomy})
    assert db["parameterfiles"].index.tolist() == made.trial_index
    assert db["parameterfiles"].notna().all(axis=None)
    assert len(db.database("parameterfiles_network_folder")) == 2


def test_parameters_can_be_left_out_and_added(db: zdb.Database, made: GeneratedSimrun, anatomy: Path) -> None:
    import_simrun(db, made.folder, parameters=False)
    assert "parameterfiles" not in db
    report = import_simrun(db, made.folder, relocate={OLD: anatomy})
    assert report.new_runs == ()
    assert len(db["parameterfiles"]) == 4


@pytest.mark.parametrize(
    "text",
    ["{'a': __import__('os').getcwd()}", "{'a': 1", "[1, 2]", "", "{'a': open}", "(" * 5000],
)
def test_only_literals_are_read(db: zdb.Database, made: GeneratedSimrun, tmp_path: Path, text: str) -> None:
    path = made.folder / "20150815-1530_20241" / "20241_network_model.param"
    path.write_text(text)
    with pytest.raises(SimulationFileError, match=r"20241_network_model\.param"):
        read_parameters(path)
    with pytest.raises(SimulationFileError, match=r"20241_network_model\.param"):
        import_simrun(db, made.folder)
    assert list(db) == []
