# The commands that people call. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Made anew when the lock or the package's metadata change.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say which: make PYTHON=python3.12 ...")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch .venv/ready

.PHONY: setup
setup: .venv/ready ## Install everything into .venv

.PHONY: quickstart
quickstart: setup ## Train four small networks on digits and compare them: minutes, no download
	dvc repro explore@digits compare@quickstart
	@echo
	@cat reports/tables/quickstart/claims.md
	@echo
	@echo "Next: open reports/notebooks/studies/quickstart.ipynb (make lab), or run a study:"
	@echo "  . .venv/bin/activate && dvc repro compare@r2-regularisation"

.PHONY: test
test: setup ## Lint, check types, run the tests
	ruff check .
	ruff format --check .
	mypy
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-faults
test-faults: setup ## Kill trainings at random moments, starve and lie to them; simulate at length: 30 minutes
	pytest --numprocesses 2 --dist worksteal -m "" tests/faults
	pytest -m faults tests/scheduling
	pytest --numprocesses 2 -m faults tests/analysis

.PHONY: lint
lint: setup ## Format the code and mend what can be mended
	ruff check --fix .
	ruff format .

.PHONY: repro
repro: setup ## Run every stage that is out of date, on all cores: downloads, and hours of training
	cnn-ablations repro

.PHONY: bench
bench: setup ## Measure against plain Keras, idle, and write reports/benchmarks.md: two hours on two cores
	dvc repro --quiet preprocess
	python -m benchmarks

.PHONY: lab
lab: setup ## Open JupyterLab
	jupyter lab

.PHONY: lock
lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra cpu --group dev --python-version 3.11 \
		--python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock

.PHONY: clean
clean: ## Remove the environment and all scratch: checkpoints, half downloads, caches
	rm -rf .venv data/scratch .mypy_cache .ruff_cache .pytest_cache .hypothesis
