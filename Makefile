# Two commands do everything on a fresh machine: `make demo` and `make test`.
# the first Python of 3.11 or newer that ci/python finds
PYTHON ?= $(shell bash ci/python)
BIN := .venv/bin
# as in the workers: threads that wait for each other are slower than one
export OMP_NUM_THREADS ?= 1
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

.PHONY: demo test test-slow lint speed speed-short clean

demo: .venv/installed
	rm -rf .bench/demo
	$(BIN)/bench run leaderboards/demo --into .bench/demo

test: .venv/tools
	$(PYTEST) -m "not slow"

test-slow: .venv/tools
	$(PYTEST) -m slow

lint: .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bench leaderboard --check leaderboards/*/

speed: .venv/tools
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

INSTALL := pyproject.toml plugins/*/pyproject.toml ci/plugins.txt ci/constraints.txt ci/install

.venv/installed: $(INSTALL)
	python="$(PYTHON)" && test -n "$$python" && "$$python" -m venv .venv
	bash ci/install $(BIN)/python
	touch $@

.venv/tools: .venv/installed
	bash ci/install $(BIN)/python tools
	touch $@

clean:
	rm -rf .venv .bench
