# The ways in: `make demo` shows the main job, `make test` proves it. Both set the machine up first
# (uv from PyPI, Debian packages, npm packages, the built UI) and are quick the second time.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test check conformance unit lane-parts lane-real fuzz setup-demo setup-test ui bench clean

UV := $(shell command -v uv 2>/dev/null || echo .setup/uv/bin/uv)
# the machine's own Python: uv must not try to download one
export UV_PYTHON_DOWNLOADS := never
RUN := $(UV) run --frozen --no-sync
PY := $(RUN) python
PYTEST := $(RUN) pytest -q --durations=5

UI_SOURCES := $(shell find ui -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

demo: setup-demo
	$(RUN) factoryplus demo $(ARGS)

test: setup-test check unit

check: .setup/python ui/node_modules/.stamp
	@echo "== lint, types, import contracts"
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	cd ui && npm run --silent check && npm test --silent

# Two lanes beside each other, as most tests wait for real processes. Pages have a process of their own:
# playwright's loop does not go together with the asynchronous tests of the others.
unit: setup-test
	@$(MAKE) --no-print-directory -j2 -Otarget lane-parts lane-real

lane-parts:
	@echo "== tests of the parts"
	$(PYTEST) tests --ignore=tests/browser --ignore=tests/system --ignore=tests/faults

lane-real:
	@echo "== real processes: system and faults"
	$(PYTEST) tests/system tests/faults
	@echo "== pages in a browser"
	$(PYTEST) tests/browser

fuzz: setup-demo
	$(UV) run --frozen --all-extras --group fuzz python tests/sparkplug_b/fuzz.py --seconds 60 $(ARGS)

# docs/sparkplug-conformance.md: runs every test that is marked with a requirement, writes what became of it
conformance: setup-test
	CONFORMANCE_PAGE=1 $(PYTEST) -m sparkplug tests --ignore=tests/browser

bench: setup-demo
	$(PY) -m bench path --tags 5000 --period-ms 100 --seconds 20 --repeat 3 --json
	$(PY) -m bench path --tags 1000 --period-ms 100 --seconds 20 --repeat 3 --json
	$(PY) -m bench path --tags 1000 --period-ms 1000 --seconds 20 --repeat 3 --json
	$(PY) -m bench path --tags 100 --period-ms 1000 --seconds 20 --repeat 3 --json

setup-demo: .setup/mosquitto .setup/python .setup/ui
setup-test: setup-demo .setup/chromium .setup/interop .setup/node-opcua

ui: .setup/ui

.setup:
	@mkdir -p .setup

# -- one stamp for each thing that is installed or built -------------------------------------------

.setup/uv-ready: | .setup
	@packaging/install-uv
	@touch $@

.setup/python: pyproject.toml uv.lock .setup/uv-ready
	@echo "== Python packages (uv sync)"
	$(UV) sync --frozen --all-extras --quiet
	@touch $@

.setup/mosquitto: | .setup
	@packaging/install-debian mosquitto:mosquitto
	@touch $@

.setup/chromium: | .setup
	@packaging/install-debian chromium:chromium fc-list:fontconfig :fonts-dejavu-core
	@touch $@

ui/node_modules/.stamp: ui/package-lock.json
	@echo "== npm packages of the UI"
	cd ui && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.setup/interop: tests/sparkplug_b/interop/package-lock.json | .setup
	@echo "== npm packages of the interoperation tests"
	npm ci --prefix tests/sparkplug_b/interop --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.setup/node-opcua: tests/gateway/sources/node_opcua/package-lock.json | .setup
	@echo "== npm packages of the OPC UA tests"
	npm ci --prefix tests/gateway/sources/node_opcua --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.setup/ui: $(UI_SOURCES) ui/node_modules/.stamp | .setup
	@echo "== UI (vite build)"
	cd ui && npm run --silent build
	@touch $@

clean:
	rm -rf .setup .venv ui/node_modules tests/sparkplug_b/interop/node_modules tests/gateway/sources/node_opcua/node_modules \
	    gateway/web/static central/web/static
