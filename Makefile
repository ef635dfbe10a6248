# Everything a newcomer needs is `make demo` and `make test`; both work with only Python, make and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# processes that run tests; TensorFlow takes more than one core in each
WORKERS ?= 2
READY := $(VENV)/.ready

.PHONY: install demo test test-all test-rare check format bench bench-full clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "bottleneck needs Python 3.11 or newer, found " + sys.version.split()[0] + "; choose another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/bottleneck demo

# all but the tests that take long
test: check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# those as well: what has to pass before anything is merged
test-all: check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not rare"

# what both leave out: each member of each family of bases
test-rare: $(READY)
	$(BIN)/pytest -m rare

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# what ours is compared with, in an environment of its own
PEERS := .venv-peers

$(PEERS)/.ready: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@

bench: $(READY)
	$(BIN)/python -m benchmarks.extraction

bench-full: $(READY) $(PEERS)/.ready
	$(BIN)/python -m benchmarks --peers $(PEERS)/bin/python
	$(BIN)/python -m benchmarks.precision

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
