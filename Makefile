# Two commands: `make demo` explains real models within a query budget; `make test` runs every test.
# Each makes its own virtual environment from nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.PHONY: demo test lint clean

demo: .venv/demo.stamp
	.venv/bin/python -m blackbox_xai demo --out demo.html

test: .venv-test/test.stamp
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n 2 --dist worksteal

lint: .venv-test/test.stamp
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

.venv/demo.stamp: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet ".[demo]"
	touch $@

.venv-test/test.stamp: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --upgrade pip
	.venv-test/bin/python -m pip install --quiet ".[test]"
	touch $@

clean:
	rm -rf .venv .venv-test build *.egg-info
