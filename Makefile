# The words that README uses. Every target makes the virtual environment when it is missing.

PYTHON ?= python3
# The version the project is tested with; any torch >= 2.10 works: make TORCH="torch --index-url ..."
TORCH ?= torch==2.13.0
VENV ?= .venv
OUT ?= runs/shapes

# nvcc takes minutes; without a GPU there is nothing to run what it makes.
export YOLO_CUDA ?= $(if $(wildcard /dev/nvidia0),auto,0)

PY := $(VENV)/bin/python
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: train test test-all fuzz lint format docs bench clean

train: $(VENV)/.built
	$(PY) -m yolo train cfg/shapes.cfg --map --out $(OUT)

test: $(VENV)/.built
	$(PY) -m pytest

# Looks for input that breaks a reader, with other random numbers each time; make fuzz EXAMPLES=5000
fuzz: $(VENV)/.built
	YOLO_FUZZ=$(or $(EXAMPLES),1000) $(PY) -m pytest --timeout 0 tests/fuzz -m "long or not long"

test-all: $(VENV)/.built
	$(PY) -m pytest -m "long or not long"

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(SOURCES)

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(SOURCES)

# The site, into build/site; a warning is an error. While writing: .venv/bin/mkdocs serve
docs: $(VENV)/.built
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(VENV)/.built
	$(PY) benchmarks/bench_conv.py --cfg cfg/yolov4-tiny.cfg
	$(PY) benchmarks/bench_plan.py yolov3:416 yolov4-tiny:416
	$(PY) benchmarks/bench_network.py

$(VENV)/.installed: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -c "import torch" 2>/dev/null || $(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet --editable ".[dev]"
	touch $@

# The C++ extension is built in place, and again when one of its sources changed.
$(VENV)/.built: $(VENV)/.installed setup.py $(SOURCES)
	$(PY) setup.py --quiet build_ext --inplace
	touch $@

clean:
	rm -rf build runs yolo/*.so
