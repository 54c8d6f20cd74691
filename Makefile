# Every command CONTRIBUTING names is a target here, and CI runs no other. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PYTEST_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The tools are the ones of the checkout's own environment; nothing is kept in, or read from, the home folder.
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/build/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

STAMPS := build/stamps
NATIVE := $(shell find native cmake -name '*.cpp' -o -name '*.h' -o -name '*.cmake') CMakeLists.txt pyproject.toml
FORMATTED := $(shell find native -name '*.cpp' -o -name '*.h')
PIP := $(BIN)/python -m pip
BUILD_MODULE := $(PIP) install --quiet --no-build-isolation --no-deps -C cmake.define.PENSTOCK_WERROR=ON

.PHONY: help setup demo test check bench native-test sanitize sanitize-native sanitize-thread sanitize-python fuzz \
  test-lowest wheel docs clean check-format check-lint check-types check-native check-layers check-docs system

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

## ---- setting up

setup: $(STAMPS)/module  ## system packages, .venv, and Penstock in it, editable; quick the second time

system: $(STAMPS)/system
$(STAMPS)/system: scripts/system_packages.sh
	@mkdir -p $(STAMPS)
	@scripts/system_packages.sh "$(PYTHON)"
	@touch $@

$(BIN)/python: | $(STAMPS)/system
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: expected Python 3.11 or newer as $(PYTHON), found $$("$(PYTHON)" --version)." \
	       "Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"

$(STAMPS)/packages: pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p $(STAMPS)
	@echo "setup: installing the Python packages into $(VENV)"
	@$(PIP) install --quiet -c constraints.txt "pip>=25.1"
	@$(PIP) install --quiet -c constraints.txt $$($(BIN)/python scripts/dependencies.py dev)
	@touch $@

$(STAMPS)/module: $(NATIVE) src/penstock/_version.py $(STAMPS)/packages
	@echo "setup: building penstock._native"
	@$(BUILD_MODULE) -e .
	@touch $@

## ---- using it

demo: setup  ## the main job on your pictures (PHOTOS=dir), or on bundled photographs
	@$(BIN)/python examples/demo.py $(if $(PHOTOS),"$(PHOTOS)")

bench: setup  ## measure, and write BENCHMARKS.md and the README's table (ARGS=...)
	@$(BIN)/python benchmarks/run.py $(ARGS)

## ---- testing it

test: setup native-test  ## the C++ tests of the core, then the Python tests
	@$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

CONFIGURE = $(BIN)/cmake -S . -G Ninja -DPENSTOCK_TESTS=ON -DPENSTOCK_WERROR=ON --log-level=WARNING
CTEST = $(BIN)/ctest --output-on-failure --no-tests=error -j $(JOBS)

native-test: setup  ## the C++ tests of the core, without Python
	@$(CONFIGURE) -B build/native -DCMAKE_BUILD_TYPE=Release
	@$(BIN)/cmake --build build/native -j $(JOBS) -- --quiet
	@$(CTEST) --test-dir build/native

sanitize: sanitize-native sanitize-thread sanitize-python  ## all tests under the sanitizers

sanitize-native: setup  ## the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(CONFIGURE) -B build/asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPENSTOCK_SANITIZE=address,undefined
	@$(BIN)/cmake --build build/asan -j $(JOBS) -- --quiet
	@$(CTEST) --test-dir build/asan

# ThreadSanitizer maps its shadow at fixed addresses, which some kernels' address randomisation takes first.
FIXED_ADDRESSES = $(shell setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R)

sanitize-thread: setup  ## the C++ tests under ThreadSanitizer
	@$(CONFIGURE) -B build/tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPENSTOCK_SANITIZE=thread
	@$(BIN)/cmake --build build/tsan -j $(JOBS) -- --quiet
	@$(FIXED_ADDRESSES) $(CTEST) --test-dir build/tsan

# A second environment that borrows the first one's packages and holds a penstock built with the sanitizer. Leaks are
# not looked for: the interpreter keeps its own until the process ends. The C++ library is loaded first so that the
# sanitizer finds what it wraps in it.
ASAN_VENV := build/asan-venv
sanitize-python: setup  ## the Python tests under AddressSanitizer
	@test -x $(ASAN_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(ASAN_VENV)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(ASAN_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	@$(BIN)/python -m pip --python $(ASAN_VENV)/bin/python install --quiet --no-build-isolation --no-deps \
	  --force-reinstall -C build-dir=build/asan-module -C cmake.define.PENSTOCK_SANITIZE=address,undefined \
	  -C cmake.build-type=RelWithDebInfo -C install.strip=false .
	@LD_PRELOAD="$$(c++ -print-file-name=libasan.so):$$(c++ -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 PENSTOCK_TEST_SANITIZED=1 \
	  $(ASAN_VENV)/bin/python -m pytest -n $(JOBS) -p no:cacheprovider $(PYTEST_ARGS)

FUZZ_SECONDS ?= 60
fuzz: setup  ## every fuzz target for FUZZ_SECONDS (needs clang)
	@$(BIN)/cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DPENSTOCK_FUZZ=ON \
	  -DPENSTOCK_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo --log-level=WARNING
	@$(BIN)/cmake --build build/fuzz -j $(JOBS) -- --quiet
	@for source in native/fuzz/*.cpp; do name=$$(basename $$source .cpp); mkdir -p build/fuzz/corpus/$$name; \
	  build/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 build/fuzz/corpus/$$name; done

LOWEST_VENV := build/lowest-venv
test-lowest: setup  ## the Python tests with the lowest supported versions
	@test -x $(LOWEST_VENV)/bin/python || "$(PYTHON)" -m venv $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/python -m pip install --quiet -c constraints-lowest.txt $$($(BIN)/python scripts/dependencies.py test)
	@rm -rf build/lowest-dist
	@$(PIP) wheel --quiet --no-build-isolation --no-deps -C build-dir=build/lowest-module -w build/lowest-dist .
	@$(LOWEST_VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall build/lowest-dist/*.whl
	@$(LOWEST_VENV)/bin/python -m pytest -n $(JOBS) -p no:cacheprovider $(PYTEST_ARGS)

WHEEL_VENV := build/wheel-venv
wheel: setup  ## build the wheel in isolation and run the tests on it, installed in an environment of its own
	@rm -rf dist $(WHEEL_VENV)
	@$(PIP) wheel --quiet --no-deps -w dist .
	@"$(PYTHON)" -m venv $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/python -m pip install --quiet -c constraints.txt "$$(echo dist/*.whl)[test]"
	@$(WHEEL_VENV)/bin/python -m pytest -n $(JOBS) -p no:cacheprovider $(PYTEST_ARGS)
	@ls -l dist

## ---- keeping it straight

check: check-format check-lint check-types check-native check-layers check-docs  ## everything but the tests

check-format: setup  ## formatting, Python and C++
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

format: setup  ## rewrite the formatting in place
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/clang-format -i $(FORMATTED)
.PHONY: format

check-lint: setup  ## ruff
	@$(BIN)/ruff check .

check-types: setup  ## mypy and pyright, on the library and on tests/typing
	@$(BIN)/mypy
	@$(BIN)/pyright --warnings

check-native: setup  ## clang-tidy on the core
	@$(CONFIGURE) -B build/native -DCMAKE_BUILD_TYPE=Release
	@printf '%s\n' native/*.cpp | grep -v '^native/module.cpp$$' \
	  | xargs -n 1 -P $(JOBS) $(BIN)/clang-tidy --quiet -p build/native

check-layers: setup  ## imports go up a row, or left within one
	@$(BIN)/python -m pytest --quiet tests/test_layers.py tests/test_import_cost.py

check-docs: docs  ## the documentation builds, and its examples run
	@$(BIN)/python -m pytest --quiet tests/test_docs.py

docs: setup  ## build the documentation into docs/_build/html
	@$(BIN)/python -m sphinx --quiet -W --keep-going -b html -d build/doctrees docs docs/_build/html

clean:  ## remove what was built; .venv stays
	rm -rf build dist docs/_build demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
