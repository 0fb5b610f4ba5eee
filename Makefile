# make demo: predict the phantom and write its report; make test: lint and all tests. Both set up their own .venv.
# On Linux, PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" fetches PyTorch without CUDA.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: demo test lint benchmarks clean

demo: $(VENV)/.demo
	$(BIN)/deepdose phantom demo/phantom
	$(BIN)/deepdose predict demo/phantom -o demo/prediction
	@echo "Open demo/prediction/report.png"

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .

benchmarks: $(VENV)/.test
	for benchmark in bitmask prediction crop scoring dvh module dicom; do echo "== $$benchmark"; $(BIN)/python Testing/benchmarks/$$benchmark.py || exit 1; done

# The package itself is installed editable and without its dependencies: the lock files pin those.
$(VENV)/.demo: requirements/run.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements/run.lock
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.test: $(VENV)/.demo requirements/test.lock
	$(PIP) -r requirements/test.lock
	touch $@

clean:
	rm -rf $(VENV) demo
