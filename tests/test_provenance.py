from __future__ import annotations

import dataclasses
import getpass
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import zdb
from zdb import environment, git, process, provenance
from zdb.provenance import Provenance, capture

PROJECT = Path(zdb.__file__).parents[1]


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    """Forget what earlier tests found out about this process."""
    monkeypatch.setattr(provenance, "_process", process.Process())
    monkeypatch.setattr(git, "_cache", {})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit, of a file run.py; it is the working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "run.py").write_text("import zdb\n")
    run_git(folder, "init", "-q")
    commit_all(folder)
    monkeypatch.chdir(folder)
    return folder


def run_git(folder, *arguments):
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder):
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "a commit")


def run_python(*arguments, cwd=None, stdin=None, **variables):
    """Run Python with zdb on its path, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **variables}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={name: value for name, value in environment.items() if value is not None},
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PRINT_CAPTURE = """\
import json
from zdb.provenance import capture
print(json.dumps(capture().attributes))
"""


def test_every_write_is_described_by_strings_and_numbers():
    before = datetime.now(UTC)
    made = capture(duration=0.25, inputs=["soma/voltage", "trials"])
    attributes = made.attributes
    assert all(type(value) in {str, int, float} for value in attributes.values())
    assert all(name.startswith("zdb_") for name in attributes)
    assert before <= datetime.fromisoformat(attributes["zdb_created"]) <= datetime.now(UTC)
    assert attributes["zdb_created"].endswith("Z")
    assert len(attributes["zdb_created"]) == len("2026-01-31T12:00:00.000000Z")
    assert attributes["zdb_user"] == getpass.getuser()
    assert attributes["zdb_writer_version"] == zdb.__version__
    assert attributes["zdb_python_version"].startswith(f"{sys.version_info.major}.")
    assert attributes["zdb_hostname"]
    assert attributes["zdb_duration"] == 0.25
    assert json.loads(attributes["zdb_inputs"]) == ["soma/voltage", "trials"]
    assert f"environments/{attributes['zdb_environment']}" in made.records
    assert not {"zdb_duration", "zdb_inputs", "zdb_history"} & set(capture().attributes)


def test_a_warm_capture_runs_nothing_and_returns_the_same_records(monkeypatch):
    first = capture()

    def refuse(*arguments, **options):
        raise AssertionError(f"called with {arguments}")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(environment, "installed_distributions", refuse)
    monkeypatch.setattr(getpass, "getuser", refuse)
    second = capture()
    assert second.records is first.records
    assert {**second.attributes, "zdb_created": ""} == {**first.attributes, "zdb_created": ""}


def test_it_is_safe_in_threads():
    with ThreadPoolExecutor(8) as pool:
        captures = list(pool.map(lambda _: capture(), range(200)))
    assert len({tuple(c.attributes) for c in captures}) == 1


def test_importing_it_imports_nothing_heavy():
    code = "import sys, zdb.provenance, zdb.redact; print(*sys.modules)"
    heavy = {"numpy", "xarray", "zarr", "dask", "pandas", "subprocess", "importlib.metadata"}
    assert not heavy & set(run_python("-c", code).split())


class TestGit:
    def test_clean_and_dirty(self, repository):
        commit = run_git(repository, "rev-parse", "HEAD")
        assert git.read_state(".") == git.GitState(commit, "clean", "")
        (repository / "results.txt").write_text("not tracked")
        assert git.read_state(".").state == "clean"
        (repository / "run.py").write_text("changed")
        assert git.read_state(".") == git.GitState(commit, "dirty", "")
        assert capture().attributes["zdb_git_commit"] == commit
        assert capture().attributes["zdb_git_state"] == "dirty"

    def test_a_script_that_is_not_tracked_is_dirty(self, repository):
        (repository / "new.py").write_text("")
        assert git.read_state(".", repository / "run.py").state == "clean"
        assert git.read_state(".", repository / "new.py").state == "dirty"

    def test_no_repository(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        attributes = capture().attributes
        assert attributes["zdb_git_state"] == "none"
        assert "zdb_git_commit" not in attributes
        assert "zdb_git_remote" not in attributes

    def test_no_commit_yet(self, tmp_path):
        run_git(tmp_path, "init", "-q")
        assert git.read_state(str(tmp_path)) == git.GitState("", "dirty", "")

    def test_the_remote_is_recorded_without_user_info(self, repository):
        run_git(repository, "remote", "add", "backup", "https://me:hunter2@example.org/b.git")
        assert git.read_state(".").remote == "https://example.org/b.git"
        run_git(repository, "remote", "add", "origin", "git@github.com:lab/code.git")
        assert git.read_state(".").remote == "github.com:lab/code.git"

    def test_no_git_is_no_error(self, repository, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert git.read_state(".") == git.GitState()

    def test_a_git_that_hangs_is_given_up(self, repository, monkeypatch, tmp_path):
        slow = tmp_path / "git"
        slow.write_text("#!/bin/sh\nexec sleep 60\n")
        slow.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(git, "GIT_TIMEOUT", 0.1)
        assert git.read_state(".") == git.GitState()

    def test_it_takes_no_locks_and_ignores_the_variables_of_hooks(self, repository, monkeypatch):
        commit = run_git(repository, "rev-parse", "HEAD")
        other = repository.parent / "other"
        other.mkdir()
        run_git(other, "init", "-q")
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("HOME", "/nowhere")
        index = (repository / ".git" / "index").stat()
        os.utime(repository / "run.py")
        assert git.read_state(".").commit == commit
        assert (repository / ".git" / "index").stat().st_mtime_ns == index.st_mtime_ns

    def test_an_answer_is_reused_for_some_seconds(self, repository, monkeypatch):
        now = time.monotonic()
        monkeypatch.setattr(git.time, "monotonic", lambda: now)
        assert git.current_state().state == "clean"
        (repository / "run.py").write_text("changed")
        now += git.MINIMAL_AGE - 0.01
        assert git.current_state().state == "clean"
        now += 0.02
        assert git.current_state().state == "dirty"

    def test_a_slow_git_is_asked_less_often(self, monkeypatch):
        now = 100.0
        calls = []

        def read_slowly(folder, script):
            nonlocal now
            now += 2.0
            calls.append(folder)
            return git.GitState()

        monkeypatch.setattr(git.time, "monotonic", lambda: now)
        monkeypatch.setattr(git, "read_state", read_slowly)
        git.current_state()
        now += 39.0
        git.current_state()
        assert len(calls) == 1
        now += 2.0
        git.current_state()
        assert len(calls) == 2

    def test_a_removed_working_directory_is_no_error(self, tmp_path, monkeypatch):
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert capture().attributes["zdb_git_state"] == "none"


class TestProgram:
    def test_a_script_is_described_by_its_own_repository(self, repository, tmp_path):
        (repository / "run.py").write_text(PRINT_CAPTURE)
        commit_all(repository)
        arguments = ["--trials", "3", "--token", "hunter2", "--url=s3://me:hunter2@host/b"]
        attributes = json.loads(run_python(repository / "run.py", *arguments, cwd=tmp_path))
        assert attributes["zdb_git_commit"] == run_git(repository, "rev-parse", "HEAD")
        assert attributes["zdb_git_state"] == "clean"
        assert attributes["zdb_program"] == (
            f"{repository}/run.py --trials 3 --token '<redacted>' '--url=s3://<redacted>@host/b'"
        )

    def test_a_module_a_command_and_standard_input(self, repository):
        (repository / "model").mkdir()
        (repository / "model" / "__main__.py").write_text(PRINT_CAPTURE)
        (repository / "model" / "fit.py").write_text(PRINT_CAPTURE)
        commit_all(repository)
        path = f"{PROJECT}{os.pathsep}{repository}"
        for arguments, program in [
            (["-m", "model", "x"], "python -m model x"),
            (["-m", "model.fit"], "python -m model.fit"),
            (["-c", PRINT_CAPTURE, "y"], "python -c y"),
        ]:
            attributes = json.loads(run_python(*arguments, PYTHONPATH=path))
            assert attributes["zdb_program"] == program
            assert attributes["zdb_git_state"] == "clean"
        assert json.loads(run_python("-", stdin=PRINT_CAPTURE))["zdb_program"] == "python"

    def test_an_installed_program_is_described_by_the_working_directory(self, monkeypatch):
        main = sys.modules["__main__"]
        monkeypatch.setattr(git, "_script", (None, None))
        monkeypatch.setattr(main, "__file__", json.__file__, raising=False)
        assert git.running_script() is None
        monkeypatch.setattr(main, "__file__", __file__)
        assert git.running_script() == Path(__file__)
        monkeypatch.delattr(main, "__file__")
        assert git.running_script() is None

    def test_a_long_command_line_is_cut(self, monkeypatch):
        monkeypatch.setattr(sys.modules["__main__"], "__file__", "run.py", raising=False)
        monkeypatch.setattr(sys, "argv", ["x", *["file.csv"] * 1000])
        program = capture().attributes["zdb_program"]
        assert len(program) == process.LONGEST_PROGRAM
        assert program.endswith("…")

    def test_bytes_that_are_no_text_are_escaped(self, monkeypatch):
        monkeypatch.setattr(sys.modules["__main__"], "__file__", "run.py", raising=False)
        monkeypatch.setattr(sys, "argv", ["x", "caf\udce9"])
        assert capture().attributes["zdb_program"].endswith(r"caf\udce9'")

    def test_a_user_without_an_entry_is_known_by_number(self, monkeypatch):
        def no_entry():
            raise KeyError("getpwuid(): uid not found: 1234")

        monkeypatch.setattr(getpass, "getuser", no_entry)
        assert capture().attributes["zdb_user"] == f"uid:{os.getuid()}"

    def test_a_forked_process_finds_out_anew(self):
        code = """
        import os, sys
        from zdb import provenance
        before = provenance.capture().attributes
        os.environ["SLURM_ARRAY_TASK_ID"] = "7"
        known = provenance._process
        child = os.fork()
        if child == 0:
            after = provenance.capture().attributes
            same = provenance._process is known
            os._exit(0 if after["zdb_slurm_array_task_id"] == "7" and not same else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, "zdb_slurm_array_task_id" in before)
        """
        assert run_python("-c", textwrap.dedent(code)).split() == ["0", "False"]


class TestJobs:
    def test_slurm_and_mpi(self, monkeypatch):
        for name, value in {
            "SLURM_JOB_ID": "1234",
            "SLURM_ARRAY_JOB_ID": "1230",
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURMD_NODENAME": "node17",
            "PMI_RANK": "3",
            "PMI_SIZE": "64",
        }.items():
            monkeypatch.setenv(name, value)
        made = capture()
        jobs = Provenance.from_attributes(made.attributes, made.records.get).jobs
        assert jobs == {
            "slurm_job_id": "1234",
            "slurm_array_job_id": "1230",
            "slurm_array_task_id": "4",
            "slurm_node": "node17",
            "mpi_rank": 3,
            "mpi_size": 64,
        }

    def test_jobs_share_one_environment_record(self, monkeypatch):
        first = capture().attributes["zdb_environment"]
        monkeypatch.setattr(provenance, "_process", process.Process())
        monkeypatch.setenv("SLURM_JOB_ID", "99")
        assert capture().attributes["zdb_environment"] == first

    def test_dask(self):
        code = """
        import json
        from distributed import Client
        from zdb.provenance import capture

        if __name__ == "__main__":
            with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
                outside = capture().attributes
                future = client.submit(lambda: capture().attributes, key=("simulate", 3))
                inside = future.result()
                worker = list(client.scheduler_info()["workers"])[0]
            print(json.dumps([outside, inside, worker]))
        """
        printed = run_python("-c", textwrap.dedent(code)).splitlines()[-1]
        outside, inside, worker = json.loads(printed)
        assert not any(name.startswith("zdb_dask") for name in outside)
        assert inside["zdb_dask_task"] == "('simulate', 3)"
        assert inside["zdb_dask_worker"] == worker


def current_environment():
    made = capture()
    return made.records[f"environments/{made.attributes['zdb_environment']}"]


class TestEnvironment:
    def test_the_hash_is_that_of_the_canonical_json(self):
        made = capture()
        for path, record in made.records.items():
            text = json.dumps(record, sort_keys=True, separators=(",", ":"))
            assert path == f"environments/{hashlib.sha256(text.encode()).hexdigest()}"

    def test_what_is_recorded(self):
        from importlib.metadata import version

        record = current_environment()
        assert record["python"]["implementation"] == sys.implementation.name.replace("cp", "CP")
        assert record["python"]["executable"] == Path(sys.executable).name
        assert record["cpu"]["count"] == os.cpu_count()
        assert record["cpu"]["model"]
        assert record["platform"]
        for name in ("numpy", "zarr", "pytest", "python-dateutil"):
            assert record["distributions"][name] == version(name)
        assert record["imported"]["pytest"] == version("pytest")
        assert record["imported"]["zdb"] == zdb.__version__
        assert "json" not in record["imported"]

    def test_all_distributions_are_found(self):
        from importlib.metadata import distributions

        names = {d.name.lower().replace("_", "-").replace(".", "-") for d in distributions()}
        assert set(environment.installed_distributions()) == names

    def test_distributions_of_every_layout(self, tmp_path, monkeypatch):
        for name, text in {
            "a_b-1.0.dist-info": None,
            "noversion.dist-info": "Name: No.Version\nVersion: 2.0\n",
            "old-3.0-py3.11.egg-info": "Name: old\nVersion: 3.0\n",
            "broken.dist-info": None,
        }.items():
            (tmp_path / name).mkdir()
            if text:
                file = "METADATA" if name.endswith("dist-info") else "PKG-INFO"
                (tmp_path / name / file).write_text(f"Metadata-Version: 2.1\n{text}")
        monkeypatch.setattr(sys, "path", [str(tmp_path), "/nowhere"])
        found = environment.installed_distributions()
        assert found == {"a-b": "1.0", "no-version": "2.0", "old": "3.0"}

    def test_an_import_makes_a_new_record(self, tmp_path, monkeypatch):
        before = capture()
        (tmp_path / "zdb_test_module.py").write_text("__version__ = '4.5'\n")
        monkeypatch.syspath_prepend(tmp_path)
        __import__("zdb_test_module")
        after = capture()
        monkeypatch.delitem(sys.modules, "zdb_test_module")
        assert after.attributes["zdb_environment"] != before.attributes["zdb_environment"]
        record = after.records[f"environments/{after.attributes['zdb_environment']}"]
        assert record["imported"]["zdb_test_module"] == "4.5"

    def test_a_module_of_the_standard_library_makes_none(self, monkeypatch):
        before = capture()
        monkeypatch.setitem(sys.modules, "this", json)
        assert capture().records is before.records

    def test_no_other_variable_is_recorded(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
        monkeypatch.setenv("MY_SETTING", "hunter3hunter3")
        made = capture()
        text = json.dumps([made.attributes, made.records])
        assert "hunter" not in text
        assert current_environment()["variables"]["OMP_NUM_THREADS"] == "3"

    def test_conda(self, tmp_path, monkeypatch):
        monkeypatch.delenv("CONDA_PREFIX", raising=False)
        assert current_environment()["conda"] is None
        meta = tmp_path / "envs" / "simulation" / "conda-meta"
        meta.mkdir(parents=True)
        (meta / "numpy-2.4.0-py311_0.json").write_text("{}")
        (meta / "history").write_text("")
        monkeypatch.setenv("CONDA_PREFIX", str(meta.parent))
        monkeypatch.setattr(provenance, "_process", process.Process())
        assert current_environment()["conda"] == {
            "environment": "simulation",
            "packages": ["numpy-2.4.0-py311_0"],
        }

    def test_the_pixi_lock_is_kept_without_credentials(self, tmp_path, monkeypatch):
        prefix = tmp_path / ".pixi" / "envs" / "default"
        prefix.mkdir(parents=True)
        (tmp_path / "pixi.lock").write_text("url: https://me:hunter2@repo.example.org/t/abcdefghij/x\n")
        monkeypatch.setattr(sys, "prefix", str(prefix))
        made = capture()
        record = made.records[f"environments/{made.attributes['zdb_environment']}"]
        lock = made.records[f"environments/{record['pixi_lock']}"]
        assert lock == {"pixi_lock": "url: https://<redacted>@repo.example.org/t/<redacted>/x\n"}

    def test_a_processor_without_a_name_is_known_by_its_architecture(self, monkeypatch):
        monkeypatch.setattr(environment.Path, "read_text", lambda *a, **k: "flags : fpu\n")
        assert environment.cpu_model()


NOTEBOOK = [
    "import json\nfrom zdb.provenance import capture, Provenance",
    'password = "hunter2hunter2"',
    "!echo --token hunter2hunter2",
    "first = capture(); again = capture()\nassert again.records == first.records",
    """\
made = capture()
history = made.records["histories/" + made.attributes["zdb_history"]]
found = Provenance.from_attributes(made.attributes, made.records.get)
print(json.dumps([made.attributes, history, found._repr_html_()]))""",
]


class TestNotebooks:
    def test_the_cells_of_a_notebook_are_kept(self, tmp_path):
        script = tmp_path / "run.py"
        script.write_text(
            "import json, nbformat, nbclient, sys\n"
            "cells = json.load(sys.stdin)\n"
            "book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])\n"
            "nbclient.NotebookClient(book, timeout=120, kernel_name='python3').execute()\n"
            "print(book.cells[-1].outputs[0].text)\n"
        )
        printed = run_python(
            script,
            stdin=json.dumps(NOTEBOOK),
            JPY_SESSION_NAME="/home/me/fit.ipynb",
            IPYTHONDIR=str(tmp_path),
            JUPYTER_PLATFORM_DIRS="1",
        )
        attributes, history, html = json.loads(printed.splitlines()[0])
        self.check(attributes, history)
        assert attributes["zdb_program"] == "jupyter /home/me/fit.ipynb"
        assert "5 notebook cells" in html

    def test_so_are_those_of_a_shell(self, tmp_path):
        script = tmp_path / "run.py"
        script.write_text(
            "import json, sys\n"
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "shell = InteractiveShell.instance()\n"
            "for cell in json.load(sys.stdin):\n"
            "    shell.run_cell(cell, store_history=True).raise_error()\n"
        )
        printed = run_python(script, stdin=json.dumps(NOTEBOOK), IPYTHONDIR=str(tmp_path))
        attributes, history, _ = json.loads(printed.splitlines()[-1])
        self.check(attributes, history)
        assert attributes["zdb_program"] == "ipython"

    @staticmethod
    def check(attributes, history):
        assert history["cells"][0] == NOTEBOOK[0]
        assert history["cells"][1] == 'password = "<redacted>"'
        assert history["cells"][2] == "!echo --token <redacted>"
        assert history["cells"][4] == NOTEBOOK[4]
        assert len(history["cells"]) == 5
        assert attributes["zdb_history"] == environment.canonical_hash(history)

    def test_a_history_is_redacted_once_and_follows_a_reset(self, monkeypatch):
        class Shell:
            class history_manager:
                input_hist_raw = [""]  # noqa: RUF012

        monkeypatch.setattr(process, "_ipython", lambda: Shell)
        cells = Shell.history_manager.input_hist_raw
        history = process.NotebookHistory()
        assert history.current()[1] == {"cells": []}
        cells += ["a = 1", "b = 2"]
        assert history.current()[1] == {"cells": ["a = 1", "b = 2"]}
        assert history.current() is history.current()
        cells[1:] = ["c = 3", "d = 4"]
        assert history.current()[1] == {"cells": ["c = 3", "d = 4"]}
        cells.append("e = '\ud800'")
        identifier, record = history.current()
        assert record["cells"][2] == r"e = '\ud800'"
        assert identifier == environment.canonical_hash(record)

    def test_there_is_none_outside_of_notebooks(self):
        assert "zdb_history" not in json.loads(run_python("-c", PRINT_CAPTURE))


class TestProvenance:
    def test_it_is_read_back_from_attributes_and_records(self, repository):
        made = capture(duration=1.5, inputs=["a/b"])
        attributes = {**made.attributes, "zdb_format": "array", "zdb_id": "x", "units": "mV"}
        provenance = Provenance.from_attributes(attributes, made.records.get)
        assert provenance.created == datetime.fromisoformat(attributes["zdb_created"])
        assert provenance.created.tzinfo == UTC
        assert provenance.user == attributes["zdb_user"]
        assert provenance.git_commit == run_git(repository, "rev-parse", "HEAD")
        assert provenance.git_state == "clean"
        assert provenance.format == "array"
        assert provenance.duration == 1.5
        assert provenance.inputs == ("a/b",)
        assert provenance.environment["distributions"]
        assert provenance.history is None
        assert not provenance.is_post_hoc

    def test_the_text_is_an_aligned_table(self):
        provenance = Provenance(
            created=datetime(2026, 1, 31, 12, tzinfo=UTC),
            user="ada",
            program="run.py\n--n 3",
            git_commit="0123abc",
            git_state="dirty",
            writer_version="0.1.0",
            duration=0.01234,
            jobs={"slurm_job_id": "17"},
            history=("a", "b"),
        )
        assert repr(provenance).splitlines() == [
            "<zdb.Provenance>",
            "  created       2026-01-31T12:00:00.000000Z",
            "  user          ada",
            "  program       run.py --n 3",
            "  git           0123abc (dirty)",
            "  zdb           0.1.0",
            "  duration      0.0123 s",
            "  slurm job id  17",
            "  history       2 notebook cells",
        ]

    def test_html_is_escaped(self):
        provenance = Provenance(created=datetime.now(UTC), program="<script>x</script>")
        assert "<script>" not in provenance._repr_html_()
        assert "&lt;script&gt;" in provenance._repr_html_()

    def test_what_is_known_later_only_says_so(self):
        created = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))
        provenance = Provenance.post_hoc(created, format="table")
        assert provenance.is_post_hoc
        assert "post hoc" in repr(provenance)
        assert "post hoc" in provenance._repr_html_()
        assert "2026-01-31T12:00:00.000000Z" in repr(provenance)
        assert "git" not in repr(provenance)
        assert Provenance.post_hoc(datetime(2026, 1, 31)).created.tzinfo == UTC

    def test_lost_records_are_no_error(self):
        made = capture()
        provenance = Provenance.from_attributes(made.attributes, lambda path: None)
        assert provenance.environment is None
        assert "environment" not in repr(provenance)

    def test_it_turns_into_json(self):
        made = capture(duration=1.0, inputs=["a"])
        provenance = Provenance.from_attributes(made.attributes, made.records.get)
        read = json.loads(json.dumps(provenance.to_dict()))
        assert read["created"] == made.attributes["zdb_created"]
        assert read["inputs"] == ["a"]
        assert set(read) == {field.name for field in dataclasses.fields(Provenance)}

    def test_it_cannot_be_changed(self):
        provenance = Provenance.post_hoc(datetime.now(UTC))
        with pytest.raises(dataclasses.FrozenInstanceError):
            provenance.user = "eve"


def elsewhere(**changes) -> Provenance:
    made = Provenance(
        created=datetime(2019, 5, 17, 9, 30, 1, tzinfo=UTC),
        user="ada",
        hostname="node7",
        git_commit="6c2c82f110d882e7734b2cf1ad02ad8af87c0d03",
        git_state="dirty",
        writer_version="other 1.0",
        inputs=("a/b",),
        jobs={"slurm_job_id": "17"},
        parts={"number": 2, "by": [{"user": "ada", "hostname": "node7", "job": "17", "parts": 2}]},
        environment={"distributions": {"numpy": "1.19.2"}, "imported": {}},
        history=("import numpy", "token = 'hunter2hunter2'"),
        imported_from="/old/database, key x",
    )
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("value", [{"a": 1}, [1.0, 2.0]], ids=["small", "list"])
def test_the_provenance_of_what_was_made_elsewhere_is_kept(tmp_path, value):
    db = zdb.open(tmp_path / "new.zdb")
    before = datetime.now(UTC)
    db.set("x", value, provenance=elsewhere())
    kept = db.provenance("x")
    assert before - timedelta(seconds=1) <= kept.imported <= datetime.now(UTC)
    assert kept.duration >= 0
    assert "hunter2" not in str(kept.history)
    same = dataclasses.replace(kept, imported=None, duration=None, format="", history=elsewhere().history)
    assert same == elsewhere()
    assert db.info("x").created == elsewhere().created
    assert "imported from  /old/database, key x" in str(kept)
    assert "parts          2: 2 by ada@node7 (job 17)" in str(kept)
    assert kept.to_dict()["imported"].startswith("20")
    json.dumps(kept.to_dict())


def test_records_of_what_was_made_elsewhere_are_written_once(tmp_path):
    db = zdb.open(tmp_path / "new.zdb")
    for key in "abc":
        db.set(key, 1, provenance=elsewhere())
    assert len(list((tmp_path / "new.zdb" / "_zdb" / "environments").glob("*/zarr.json"))) == 1


def test_a_time_stamp_of_elsewhere_is_post_hoc(tmp_path):
    db = zdb.open(tmp_path / "new.zdb")
    db.set("x", 1, provenance=elsewhere(is_post_hoc=True, environment=None, history=None))
    kept = db.provenance("x")
    assert kept.is_post_hoc
    assert kept.environment is None
    assert "(post hoc)" in str(kept)
