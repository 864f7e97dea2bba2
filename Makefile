# Everything runs in .venv, which each target sets up by itself. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
# torch is installed first, by its exact version, so that the machine's own build of it is taken.
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup serve text traces test lint typecheck audit format bench peers lock clean
.DEFAULT_GOAL := help

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(VENV)/.serve  ## Set up and serve on http://127.0.0.1:8000 (PORT=, HOST=, DATA_DIR= change that)
	@exec $(BIN)/python -m app serve

text: $(VENV)/.serve $(VENV)/.text  ## Add the encoder of sentences (90 MB), so that text models take text

traces: $(VENV)/.serve $(VENV)/.traces  ## Add what sends traces of requests to a collector of OpenTelemetry

test: $(VENV)/.dev $(VENV)/.text  ## Set up and run all tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.dev  ## Check style, layers, the compose file and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile

typecheck: $(VENV)/.dev $(VENV)/.text  ## Check types strictly
	$(BIN)/mypy

audit: $(VENV)/.dev  ## Hold the lock files against known vulnerabilities
	$(BIN)/python .ci/audit $(ARGS)

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure the speed and that of its peers (10 minutes; ARGS='--only adapts' runs a part)
	$(BIN)/python -m benchmarks.speed $(ARGS)

peers: $(PEERS)/.done  ## Install the libraries that meta-steps are measured against, in an environment of their own

lock: $(VENV)/.dev  ## Make the lock files anew from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	    --group pyproject.toml:serve -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	    --group pyproject.toml:dev -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --no-deps \
	    --group pyproject.toml:text -o requirements-text.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	    -c requirements-dev.lock --group pyproject.toml:traces -o requirements-traces.lock

setup: $(VENV)/.serve $(VENV)/.dev $(VENV)/.text

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or later is needed; name it with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install '$(TORCH)'
	@touch $@

$(VENV)/.serve: $(VENV)/.torch requirements.lock
	$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.torch requirements-dev.lock
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.serve

$(VENV)/.text: $(VENV)/.torch requirements-text.lock
	$(PIP) install --require-hashes --no-deps -r requirements-text.lock
	@touch $@

$(VENV)/.traces: $(VENV)/.torch requirements-traces.lock
	$(PIP) install --require-hashes -r requirements-traces.lock
	@touch $@

# learn2learn's C sources no longer build: of its source package only the Python files are taken.
$(PEERS)/.done: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install '$(TORCH)'
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet download \
	    --no-deps --no-binary :all: --no-build-isolation -d $(PEERS)/source learn2learn==0.2.0
	tar -xzf $(PEERS)/source/learn2learn-0.2.0.tar.gz --strip-components 1 \
	    -C "$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	    learn2learn-0.2.0/learn2learn
	@touch $@

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
