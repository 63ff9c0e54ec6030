# Two commands for a newcomer: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PACKAGES := $(VENV)/.packages
READY  := $(VENV)/.ready
BOARD  ?= ESP32_GENERIC_SPIRAM

# Hundreds of processes are started by the tests: none of them compiles what another one has.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-all lint bench deploy lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: $(READY)  ## a hub and three virtual readers do the reader's whole job, in under a minute
	@$(BIN)/kalitka demo

test: $(READY)  ## every test: CPython, real MicroPython, real LittleFS, real sockets (ORDER=--random-order)
	@# Twice as many as processors: many tests wait for a board or a server.
	@$(BIN)/pytest -q -n $$(( $$(nproc) * 2 )) --dist loadfile --no-loadscope-reorder $(ORDER)

test-long: $(READY)  ## every power cut, every damaged bit, thousands of syncs, a week of passes: forty minutes
	@$(BIN)/pytest -q -s host_tests/long
	@KALITKA_EVERY_DATABASE=1 $(BIN)/pytest -q -n auto --dist loadfile host_tests/hub -k postgresql
	@KALITKA_EVERY_BYTE=1 $(BIN)/pytest -q -n auto --dist load host_tests -k at_any_byte
	@# What held keeps holding, with its counts.
	@$(BIN)/pytest -q -n auto --dist loadfile host_tests/test_survival.py host_tests/test_damaged_flash.py
	@KALITKA_EVERY_EXAMPLE=1 $(BIN)/pytest -q -n auto --dist loadfile host_tests -k 'property or timezone or schedule_rules'
	@# No turn of the loop keeps the door waiting.
	@PYTHONPATH=host_tests $(BIN)/pytest -q -p loop_monitor host_tests/test_sync.py \
	    host_tests/device/case_gate.py host_tests/device/case_http.py -k 'not micropython'

test-all: $(READY)  ## what takes hours: no memory at every allocation, four damages of every block, every turn of the loop
	@KALITKA_EVERYTHING=1 $(BIN)/pytest -q -s host_tests/long/test_short_memory.py \
	    host_tests/long/test_small_heaps.py host_tests/long/test_damaged_blocks.py
	@PYTHONPATH=host_tests $(BIN)/pytest -q -p loop_monitor host_tests/device

lint: $(READY)  ## ruff, and pyright: over firmware/ with the ESP32 stubs, over tools/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --project firmware/pyrightconfig.json --pythonpath $(BIN)/python \
	    --typeshedpath $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	@$(BIN)/pyright --project tools/pyrightconfig.json --pythonpath $(BIN)/python

bench: $(READY)  ## what table, access log, hub and Kormitel cost, each beside a plain one: half an hour
	@$(BIN)/kalitka bench

deploy: $(READY)  ## compile for a board and copy the firmware there: make deploy PORT=/dev/ttyUSB0 BOARD=ESP32_GENERIC_SPIRAM
	@$(BIN)/kalitka deploy --board $(BOARD) $(if $(PORT),--port $(PORT))

lock: $(READY)  ## renew requirements.lock with the newest versions that fit pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes \
	    --no-emit-index-url --no-header --upgrade -q -o requirements.lock

clean:  ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): $(PACKAGES) pyproject.toml
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

$(PACKAGES): requirements.lock
	@echo "setting up $(VENV): once, about a minute"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Kalitka's tools need Python 3.11 or later: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
	    || { echo "no virtual environment could be made: apt install python3-venv"; exit 1; }
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(PACKAGES)
