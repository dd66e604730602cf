# `make` lists the targets.  The first one that needs Python makes .venv; nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-docs test-slow test-gpu test-serve test-ray coverage fuzz lint format types docs gpu-figures wheel release-check clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## make .venv with the pinned packages (about 5 GB)

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| (echo "Python 3.11, 3.12 or 3.13 is needed; name one with: make PYTHON=python3.12 ..."; exit 1)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev,sweep,live,ray,serve,export,docs]'
	@touch $@

# The matrices are small: more threads than one would wait for one another.
demo: export OMP_NUM_THREADS = 1
demo: NAME := demo_$(shell date +%Y-%m-%d_%H-%M-%S)
demo: .venv/.ready  ## synthetic machines -> training -> tables and a report, in minutes
	$(BIN)/asd synth --preset demo -o data/demo
	$(BIN)/asd train -m scale=demo experiment=statistics,system1 name=$(NAME)
	$(BIN)/asd report runs/$(NAME) -o runs/$(NAME)/report.html
	@echo "Look at it in a browser: file://$(CURDIR)/runs/$(NAME)/report.html"
	@echo "One seed of tiny encoders that began with random weights, on a few updates: system1 may score below statistics,"
	@echo "which trains nothing. The spread over seeds, and what training brings: README.md, What to expect."
	@echo "For the asd command in this shell: source .venv/bin/activate"

# By file: what the tests of a module look at is made once; in the order of tests/conftest.py.
# Compiled files are kept: every process that a test starts would compile them anew.
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/.ready  ## all quick tests
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder \
		-m "not slow and not gpu and not network and not weights and not ray and not serve and not pages"

test-docs: export PYTHONDONTWRITEBYTECODE =
test-docs: .venv/.ready  ## the pages' commands and code, line by line
	$(BIN)/pytest -n 2 --dist load -m "pages and not slow" tests/test_tutorials.py

test-slow: .venv/.ready  ## full-size encoders, long trainings
	$(BIN)/pytest -m "slow"

test-gpu: .venv/.ready  ## what a CUDA device computes is what the processor computes
	$(BIN)/pytest -m "gpu"

test-serve: .venv/.ready  ## requests made from the API's own document, by the thousand
	$(BIN)/pytest -m "serve"

test-ray: .venv/.ready  ## an archive on a cluster of several Ray nodes, of which one is killed
	$(BIN)/pytest -m "ray"

coverage: .venv/.ready  ## which lines the quick tests run, by room, into benchmarks/coverage.md; wants PYTHON=python3.13
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		-m "not slow and not gpu and not network and not weights and not ray and not serve and not pages"
	$(BIN)/python benchmarks/covered_lines.py

fuzz: .venv/.ready  ## mutated inputs by the ten thousand, which no test has time for
	@status=0; for target in recordings weights pickles safetensors fitted fitted_bytes npz npy yaml json csv run submission checkpoints detectors; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m fuzz.run $$target --count 20000 || status=1; done; exit $$status

lint: .venv/.ready  ## ruff: errors and layout; codespell: misspelled words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: .venv/.ready  ## ruff: mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.ready  ## mypy --strict
	$(BIN)/mypy

docs: .venv/.ready  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# MACHINES and MN04: folder of recordings and file of weights for what bfloat16 changes of real scores; may be left out.
gpu-figures: .venv/.ready  ## measure encoders, training and bfloat16 on a GPU, into benchmarks/
	$(BIN)/python benchmarks/training_gpu.py
	$(BIN)/python benchmarks/low_precision.py $(if $(MACHINES),--machines $(MACHINES) --mn04 $(MN04))
	$(BIN)/python benchmarks/gated_attention_gpu.py
	$(BIN)/python benchmarks/encoders_gpu.py

wheel: .venv/.ready  ## build dist/*.whl
	$(BIN)/python -m build --wheel --outdir dist .

# Each installed as a user would, into an environment of its own, which goes when it has passed: one is several GB.
# uv fetches a Python that is not there.
release-check: .venv/.ready  ## build wheel and source, install both on Python 3.11 to 3.13, run the demo from each
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist .
	$(BIN)/uvx twine check --strict dist/*
	@set -e; for version in 3.11 3.12 3.13; do for file in $(CURDIR)/dist/*.whl $(CURDIR)/dist/*.tar.gz; do \
		folder=build/release/$$version-$${file##*.}; echo "== $$folder"; \
		$(BIN)/uv venv --quiet --python $$version $$folder; \
		$(BIN)/uv pip install --quiet --python $$folder/bin/python --constraint constraints.txt "$$file"; \
		(cd $$folder && export OMP_NUM_THREADS=1 && bin/asd synth --preset demo -o data/demo && \
			bin/asd train -m scale=demo experiment=statistics,system1 trainer.max_steps=20 name=demo && \
			bin/asd report runs/demo -o report.html && bin/asd enrol data/demo/fan/train -o fan.asd && bin/asd info fan.asd); \
		rm -rf $$folder; \
	done; done; echo "Wheel and source run on 3.11, 3.12 and 3.13."

clean:  ## remove the environment and caches, not data and runs
	rm -rf .venv dist build site .mypy_cache .ruff_cache .pytest_cache
