# Every target first runs the targets that it needs: `make run` and `make test` work on a fresh checkout.
# Required: Python 3.11 or newer with the module venv, and make; for `make bench` also a C compiler.
PYTHON ?= python3
CONFIG ?= config/config.yaml
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported: most never are, and their compiled form is a third of the whole.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# The number of processes that run the tests: more than processors, because most tests wait for something.
TESTERS ?= 5
NODE_PEERS := gearmanode@0.9.2 winston@3.19.0 abraxas@2.1.10

.PHONY: setup run test soak soak-workers soak-kills soak-cluster soak-dashboard lint docs bench peers compiled test-compiled clean

setup: $(VENV)/.installed

# Editable installs of both distributions with all that running needs, including the samples' Pillow; done again when
# their dependencies change. Python 3.11 puts setuptools into every environment; nothing here needs it.
$(VENV)/.installed: pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is missing or older than Python 3.11; name another one: make PYTHON=python3.11' >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) can make no virtual environments; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@test -x $(BIN)/pip || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && $(BIN)/pip uninstall -qq --yes setuptools; }
	@echo 'installing into $(VENV); later runs skip this until pyproject.toml changes'
	@$(INSTALL) -e ./client -e '.[samples]'
	@touch $@

# Each adds its own tools, from the extra of its name.
$(VENV)/.test $(VENV)/.lint $(VENV)/.bench $(VENV)/.compiled: $(VENV)/.%: pyproject.toml | setup
	@echo 'installing what make $* needs'
	@$(INSTALL) -e '.[$*]'
	@touch $@

# There is no shell between make and the manager: Ctrl-C reaches only the manager, which ends in order.
run: setup
	$(BIN)/gearman-manager -c $(CONFIG)

# A tester that breaks down is not replaced: its successor would run the same test again, and pytest-xdist can wait for it
# for ever. The run ends with its summary, which names that test.
test: setup $(VENV)/.test
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# The Node libraries that tests talk to. Nothing else needs them, and without them these tests are skipped.
peers: setup
	@command -v npm >/dev/null || { echo 'npm is needed; on Debian and Ubuntu: apt-get install nodejs npm' >&2; exit 1; }
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix $(VENV)/peers $(NODE_PEERS)

# The tests that take too long for every day. A thousand workers on this machine: minutes.
soak: soak-workers soak-kills soak-cluster soak-dashboard

soak-workers: setup $(VENV)/.test
	$(BIN)/python benchmarks/soak.py workers

# Pages of a manager with a thousand workers and a million jobs, open for ten minutes.
soak-dashboard: setup $(VENV)/.test
	$(BIN)/python benchmarks/soak.py dashboard

# Hundreds of kills with each kind of database: minutes too.
soak-kills: setup $(VENV)/.test
	GEARMAN_KILL_ROUNDS=300 $(BIN)/python -m pytest tests/server/stores/test_kills.py
	GEARMAN_KILL_ROUNDS=100 $(BIN)/python -m pytest tests/server/stores/test_kills_of_batches.py
	GEARMAN_KILL_ROUNDS=50 $(BIN)/python -m pytest tests/client/client/test_kills_under_load.py
	GEARMAN_KILL_ROUNDS=60 $(BIN)/python -m pytest tests/integration/outbox/test_kills_of_relays.py

# Forty job servers on one database; then an hour of random faults around three, half of it on each kind of database.
soak-cluster: setup $(VENV)/.test
	GEARMAN_CLUSTER_SERVERS=40 $(BIN)/python -m pytest -s tests/server/sharing/test_many_servers.py
	GEARMAN_CLUSTER_SOAK_S=1800 $(BIN)/python -m pytest -s -o faulthandler_timeout=0 tests/server/sharing/test_histories.py

lint: setup $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tables of keys and of metrics in the documentation, from the code; a test fails while they are out of date.
docs: setup
	$(BIN)/python -m gearman_manager.config.reference docs/configuration.md
	$(BIN)/python -m gearman_manager.metrics.reference docs/monitoring.md

bench: setup $(VENV)/.bench
	@command -v cc >/dev/null || { echo 'a C compiler (cc) is needed for the load generator' >&2; exit 1; }
	$(BIN)/python benchmarks/run.py

# The compiled core of the job server, optional: docs/job-server.md. It is made anew after each change of the sources.
compiled: setup $(VENV)/.compiled
	@command -v cc >/dev/null || { echo 'a C compiler (cc) and the headers of Python are needed' >&2; exit 1; }
	GEARMAN_COMPILED=0 $(BIN)/python -m gearman_server.compiled.building

# The tests of the job server and of the packets with the compiled core, which must be there. Without the client's plugin
# for pytest, which would import the pure packets before the core is chosen.
test-compiled: compiled $(VENV)/.test
	GEARMAN_COMPILED=1 $(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --max-worker-restart 0 -p no:gearman -m "not pure_core" \
		tests/server tests/client/test_packet.py tests/integration

clean:
	rm -rf $(VENV) dist server/gearman_server_core benchmarks/build
