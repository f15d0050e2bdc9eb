# make install | demo | test | test-slow | golden | figures | lint | check | clean: all one must know.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-slow test-older-diffusers golden figures lint check clean

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "likeness needs Python 3.11 or newer: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[test,dev,browser,heic]'
	touch $(STAMP)

demo: install
	$(BIN)/likeness demo --out demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder  # what a file shares is made once, tests/helpers/heavy_files.py comes first

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

test-older-diffusers: install  # the oldest minor that pyproject.toml allows
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/older 'diffusers==0.41.*'
	PYTHONPATH=$(VENV)/older OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto tests/backbones tests/generate

golden: install
	OMP_NUM_THREADS=1 $(BIN)/python tests/golden/golden.py

figures: install  # every table and picture of the pages, hours; figures/all.py --list says which
	OMP_NUM_THREADS=1 $(BIN)/python figures/all.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(MAKE) test

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
