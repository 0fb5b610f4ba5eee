# make demo: predict the phantom and write its report; make test: lint, types and all tests; make quick: the fast tests.
# Each sets up .venv first. TORCH_INDEX=https://download.pytorch.org/whl/cpu fetches PyTorch without CUDA, on Linux.
PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A file's tests run one after the other in one process, which makes what they share once.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test quick lint benchmarks clean

demo: $(VENV)/.demo
	$(BIN)/deepdose phantom demo/phantom
	$(BIN)/deepdose predict demo/phantom -o demo/prediction
	@echo "Open demo/prediction/report.png"

test: lint
	$(PYTEST)

quick: $(VENV)/.test
	$(PYTEST) -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmarks: $(VENV)/.test
	for benchmark in bitmask prediction crop scoring dvh module dicom; do echo "== $$benchmark"; $(BIN)/python Testing/benchmarks/$$benchmark.py || exit 1; done

# From TORCH_INDEX comes PyTorch and nothing else, so that no package of that index can stand in for one of PyPI's.
# The package itself is installed editable and without its dependencies: the lock files pin those.
$(VENV)/.demo: requirements/run.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) $(shell grep ^torch== requirements/run.lock))
	$(PIP) -r requirements/run.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.test: $(VENV)/.demo requirements/test.lock
	$(PIP) -r requirements/test.lock
	touch $@

clean:
	rm -rf $(VENV) demo
