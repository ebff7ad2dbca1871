# The two commands of the README are `make demo` and `make test`; both create .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

export MPLBACKEND := Agg

.PHONY: demo test check check-slurm format study gpu-check bench bench-forecast bench-constants bench-bootstrap check-core clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,demo,dev]'
	touch $@

demo: $(READY)  ## train a ladder, seal predictions, train the target, write the report
	$(BIN)/workbench run sweeps/demo.toml

test: $(READY)  ## the whole test suite, but for what needs a Slurm cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not slurm'

check: $(READY)  ## what CI runs: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

check-slurm: $(READY)  ## sweeps on a real Slurm, started on this machine; skipped where it is not installed
	OMP_NUM_THREADS=1 timeout --signal=INT 1200 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m slurm tests/slurm

check-core: constraints.txt pyproject.toml  ## from a table to the PDF in an environment without torch
	$(PYTHON) -m venv --clear .venv-core
	.venv-core/bin/pip install --quiet --disable-pip-version-check -c constraints.txt . pytest
	! .venv-core/bin/python -c 'import torch' 2>/dev/null
	.venv-core/bin/python -m pytest -q tests/workbench/test_without_torch.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

study: $(READY)  ## the 1000x study, for a machine with hours
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,demo,study]'
	$(BIN)/workbench run sweeps/study.toml

bench: $(READY)  ## speed ratios, measured in one run, into benchmarks/results/
	$(BIN)/python benchmarks/speed.py

bench-forecast: $(READY)  ## forecasts against single laws on the tables of WORKBENCH_TABLES, into benchmarks/results/
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecast.py

bench-constants: $(READY)  ## each constant of the forecaster moved, and chosen without one source (20 min)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecast_constants.py

bench-bootstrap: $(READY)  ## bootstrap refits: speed, and whether each is at its optimum; prints only
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bootstrap.py

bench-slurm: $(READY)  ## submit, status and jobs on a real Slurm, started on this machine, into benchmarks/results/
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/slurm.py

gpu-check:  ## tests and measures everything that needs a GPU; stops where there is none
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu_check.py

clean:
	rm -rf $(VENV) .venv-core build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
