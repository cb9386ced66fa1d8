# `make run` and `make test` are all a newcomer needs; each installs what is missing and otherwise starts at once.
PYTHON ?= python3
# how many processes share the tests; 0 runs them one after another
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run test test-versions lab dashboard bench lint lock readme clean

run: $(INSTALLED)
	$(BIN)/class-kit run

# CLASS_KIT_SLOW=1 also builds the corpus again, byte for byte.
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The suite on the oldest supported and on the newest versions of the dependencies, each in an environment of its own.
test-versions: $(INSTALLED)
	$(BIN)/python -m tests.versions oldest
	$(BIN)/python -m tests.versions newest

lab: $(INSTALLED)
	$(BIN)/jupyter lab --notebook-dir=notebooks

dashboard: $(INSTALLED)
	$(BIN)/voila notebooks/dashboard/dashboard.ipynb

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables and figures of the README, and the committed outputs of the notebooks, come from the default run.
readme: $(INSTALLED)
	$(BIN)/class-kit run
	$(BIN)/python figures/publish.py runs/default

# Torch goes first and alone: where a CPU build has been chosen or is at hand, nothing later replaces it.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "class_kit needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.11")'
	@echo "installing into $(VENV): a few minutes and about 3 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Rewrites the lock from what pyproject.toml asks for, in a clean environment; run `make test` afterwards.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet "$$(grep -o 'torch==[0-9.]*' pyproject.toml)"
	build/lock/bin/python -m pip install --quiet ".[dask,trainers,excel,bench,book,dev]"
	build/lock/bin/python -m pip freeze --exclude class-kit | sed 's/+cpu$$//; s/+cpu / /' > build/requirements.lock
	mv build/requirements.lock requirements.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
