# Two commands do everything on a fresh machine: `make demo` and `make test`.
# the first Python of 3.11 or newer that ci/python finds
PYTHON ?= $(shell bash ci/python)
BIN := .venv/bin
# as in the workers: threads that wait for each other are slower than one
export OMP_NUM_THREADS ?= 1
# or each worker compiles all tests anew, and each process that they start, all of bench
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile
SPEED := $(BIN)/python -m pytest tests/speed --benchmark-columns min,median,rounds
SPEED += --benchmark-sort name --benchmark-group-by group

.PHONY: demo test test-slow lint speed speed-short site clean

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
	mkdir -p .bench
	$(SPEED) --benchmark-json .bench/speed.json

speed-short: .venv/tools
	mkdir -p .bench
	$(SPEED) --benchmark-json .bench/speed-short.json -m short

site: .venv/tools
	$(BIN)/bench site .bench/site

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
