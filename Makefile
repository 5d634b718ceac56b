# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
# as in the workers: threads that wait for each other are slower than one
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint speed clean

demo: .venv/installed
	$(BIN)/bench run leaderboards/demo

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bench leaderboard --check leaderboards/*/

speed: .venv/installed
	$(BIN)/python tests/speed/harness.py
	$(BIN)/python tests/speed/tables.py
	$(BIN)/python tests/speed/trainer.py
	$(BIN)/python tests/speed/attacks.py
	$(BIN)/python tests/speed/barycenters.py
	$(BIN)/python tests/speed/recovery.py --rounds 1
	$(BIN)/python tests/speed/matching.py --rounds 1
	$(BIN)/python tests/speed/guard.py
	$(BIN)/python tests/speed/generative.py
	$(BIN)/python tests/speed/d2c.py

.venv/installed: pyproject.toml plugins/*/pyproject.toml ci/plugins.txt ci/constraints.txt ci/install
	$(PYTHON) -m venv .venv
	bash ci/install $(BIN)/python
	touch $@

clean:
	rm -rf .venv .bench
