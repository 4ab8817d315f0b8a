# Two commands do all: `make demo` and `make test`. PYTHON chooses the interpreter, VENV where its environment lies.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
DEMO ?= demo

.PHONY: demo test faults hpc services lint types bench docs clean

demo: $(VENV)/.demo
	$(RUN)/python -m zdb.neuro.demo $(DEMO)

# Servers that some tests start and that PyPI does not have, for Debian and its kin; in CI a test fails without them.
SERVICES = redis-server zookeeper slurmctld slurmd slurm-client munge openmpi-bin
services:
	dpkg --status $(SERVICES) >/dev/null 2>&1 || (apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $(SERVICES))

test: $(VENV)/.test
	$(RUN)/python -m pytest -n 2 --ignore tests/faults --ignore tests/hpc $(ARGS)

# Kills, losses of power, bad networks, full disks, wrong clocks: half an hour. FAULTS=few makes fewer rounds, in five minutes.
FAULTS ?= full
faults: $(VENV)/.test
	ZDB_FAULTS=$(FAULTS) $(RUN)/python -m pytest -n 2 tests/faults $(ARGS)

# Jobs of Slurm, dask and MPI on a cluster of two nodes, which this machine plays: a minute or two.
hpc: $(VENV)/.test
	$(RUN)/python -m pytest -n 2 tests/hpc $(ARGS)

lint: $(VENV)/.lint
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/.lint
	$(RUN)/mypy

bench: $(VENV)/.bench
	$(RUN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.test
	$(RUN)/python docs/generate_api.py

clean:
	rm -rf $(VENV) $(DEMO) build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet -e '.[plot]'
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet -e '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet -e '.[lint]'
	touch $@

$(VENV)/.bench: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet -e '.[bench]'
	touch $@
