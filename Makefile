# The commands that people call. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
# Those for which TensorFlow has wheels.
SUPPORTED := import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("error: Python 3.11, 3.12 or 3.13 is needed, and this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 setup")
PIP_OPTIONS := --quiet --disable-pip-version-check
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Made anew when the lock or the package's metadata change.
.venv/ready: requirements.lock pyproject.toml
	@git rev-parse --git-dir > /dev/null 2>&1 || { echo >&2 "error: this folder is not a git repository, which DVC needs; clone the project, or run: git init"; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)'
	@{ .venv/bin/python -c '$(SUPPORTED)' && .venv/bin/python -c 'import pip'; } 2> /dev/null || $(PYTHON) -m venv --clear .venv
	@echo 'installing packages into .venv: minutes'
	@.venv/bin/python -m pip install $(PIP_OPTIONS) --require-hashes -r requirements.lock
	@.venv/bin/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation --editable .
	@touch .venv/ready

.PHONY: setup
setup: .venv/ready ## Install everything into .venv

.PHONY: quickstart
quickstart: setup ## Train four small networks on digits and compare them: minutes, no download
	dvc repro explore@digits compare@quickstart
	@echo
	@cat reports/tables/quickstart/claims.md
	@echo
	@cnn-ablations site
	@echo "then ask your own question: README.md. (git status shows reports/timings, which are measured.)"

.PHONY: site
site: setup ## Make pages of all results, site/index.html: seconds, nothing is executed
	cnn-ablations site

.PHONY: test
test: setup ## Lint, check types, run the tests (of the pages in Chromium)
	@[ -n "$$(type -P chromium chromium-browser google-chrome chrome)" ] || { \
		echo "the tests of the pages need Chromium: apt-get install chromium"; exit 1; }
	ruff check .
	ruff format --check .
	mypy
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The conftest.py of tests/faults, which prints the random seed, is read only where it is named.
.PHONY: test-faults
test-faults: setup ## Kill trainings at random moments; simulate at length; type what docs say: 30 minutes
	pytest --numprocesses 2 --dist worksteal -m faults tests/faults tests

.PHONY: lint
lint: setup ## Format the code and mend what can be mended
	ruff check --fix .
	ruff format .

.PHONY: repro
repro: setup ## Run every stage that is out of date, on all cores: downloads, and hours of training
	cnn-ablations repro

.PHONY: bench
bench: setup ## Measure against plain Keras and ictonyx, idle, and write reports/benchmarks.md: 40 minutes on two cores
	dvc repro --quiet preprocess
	python -m benchmarks

.PHONY: lab
lab: setup ## Open JupyterLab
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: lock
lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra cpu --group dev --python-version 3.11 \
		--python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock

.PHONY: clean
clean: ## Remove the environment and all scratch: checkpoints, half downloads, caches
	rm -rf .venv data/scratch .mypy_cache .ruff_cache .pytest_cache .hypothesis
