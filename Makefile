# polybatch: `make help` lists the targets. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
GO := $(firstword $(shell command -v go 2>/dev/null) $(wildcard /usr/local/go/bin/go))
NODE_PACKAGES := tests/support/web/node/node_modules/.installed
NODE_TESTS := $(if $(shell command -v npm 2>/dev/null),$(NODE_PACKAGES))
CHROMIUM := $(shell command -v chromium 2>/dev/null || command -v google-chrome 2>/dev/null)
PROTOS := $(wildcard protos/polybatch/v1/*.proto)
GENERATED := clients/python/src
# buf and pyright, which come as npm packages.
NPM_TOOLS := $(if $(shell command -v npm 2>/dev/null),tools/node_modules/.installed)
BUF := tools/node_modules/.bin/buf
DIST ?= dist
# Tests mostly wait for other processes.
WORKERS ?= 4
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
# With made-up examples, of which make test tries some.
PROPERTIES := tests/fuzz tests/unit tests/integration/blobs tests/integration/sandbox
SOURCES := core services clients/python/src docsite tests benchmarks examples tools

# A suite is many processes that import the same: each would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

comma := ,

.DEFAULT_GOAL := help
.PHONY: help setup up demo env test test-long test-replicas test-fast audit fuzz s3-server compose-test node-packages clients-test differential screenshots chaos interleavings soak outage bench bench-scale bench-peers simulate key lint dist release format generate verify docs lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "polybatch needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) (once; later starts skip this) ..."
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e clients/python -e .
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
endif
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
endif
	@touch $@

# The lock is whole, and litellm's wish for an older openai is not heeded: no dependencies.
$(VENV)/.differential: $(VENV)/.dev requirements/differential.lock
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/differential.lock
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/differential.lock
endif
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.lock
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/fuzz.lock
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.lock
endif
	@touch $@

# Apart from the rest: what looks for holes must not bring some.
$(VENV)/audit/.made: requirements/audit.lock
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.lock
	@touch $@

$(VENV)/release/.made: requirements/release.lock
	@$(PYTHON) -m venv $(VENV)/release
	@$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.lock
	@touch $@

# Whom make bench-peers compares with: each by itself, with nothing of ours.
$(VENV)/peers/%/.made: benchmarks/peers/%.lock
	@echo "Setting up $(@D) (once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

setup: $(VENV)/.dev ## Make the virtual environment with everything, for development

up: $(VENV)/.runtime ## Start everything on this machine; stays until Ctrl-C (SANDBOX=1: made-up answers, no keys; PORTS=auto: free ports; GATEWAYS=2 DISPATCHERS=3 COLLECTORS=3: replicas)
	@$(BIN)/python -m services.supervisor $(if $(SANDBOX),--sandbox) $(if $(PORTS),--ports $(PORTS)) $(if $(GATEWAYS),--gateways $(GATEWAYS)) \
	  $(if $(DISPATCHERS),--dispatchers $(DISPATCHERS)) $(if $(COLLECTORS),--collectors $(COLLECTORS))

demo: $(VENV)/.runtime ## Run the main job on the sandbox, from nothing to printed results
	@$(BIN)/python -m examples.demo

# A machine without Go, Node.js or Chromium skips the tests that need them, and says so.
test: $(VENV)/.dev $(if $(GO),$(BIN)/versitygw) $(NODE_TESTS) ## Run the tests, in some minutes (WORKERS=0: in one process)
	@$(PYTEST) -m "not long"

test-long: $(VENV)/.dev $(if $(GO),$(BIN)/versitygw) $(NODE_TESTS) $(if $(CHROMIUM),$(VENV)/.browser) ## Run the long tests: deaths at every write, outages, clusters, replicas, the dashboard in Chromium
	@$(PYTEST) -m long
	@POLYBATCH_FUZZ_FACTOR=1 $(PYTEST) -m "not long" --timeout=600 $(PROPERTIES)

# For the tests of what is released.
test test-long: $(NPM_TOOLS)
test-long: $(VENV)/release/.made

test-replicas: $(VENV)/.dev $(if $(GO),$(BIN)/versitygw) $(NODE_TESTS) ## Run the end-to-end tests on replicas, PostgreSQL, a NATS cluster and S3
	@POLYBATCH_TEST_FLEET=1 $(BIN)/python -m pytest tests/e2e

test-fast: $(VENV)/.dev ## Run the tests that do not start the whole suite
	@$(PYTEST) -m "not e2e and not long"

fuzz: $(VENV)/.fuzz ## Feed hostile input for a while (SECONDS=300; SEED=n FACTOR=10: repeat a round)
	@$(BIN)/python -m tests.fuzz.fuzz --seconds $(or $(SECONDS),300) --factor $(or $(FACTOR),10) \
	  $(if $(SEED),--seed $(SEED))

$(BIN)/versitygw: tests/support/stores/versitygw.version | $(VENV)/.runtime
	@test -n "$(GO)" || { echo "Go is missing: see https://go.dev/dl"; exit 1; }
	@echo "Building versitygw, the S3-compatible server of the tests (once, some minutes) ..."
	@GOBIN=$(abspath $(BIN)) GOFLAGS=-trimpath $(GO) install -ldflags="-s -w" \
	  github.com/versity/versitygw/cmd/versitygw@$$(cat $<)
	@touch $@

node-packages: $(NODE_PACKAGES) ## Install the npm packages of the tests (needs Node.js 20)

%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing; on Debian: apt-get install nodejs npm"; exit 1; }
	@cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(BIN)/grpcurl: tests/conformance/grpcurl.version | $(VENV)/.runtime
	@test -n "$(GO)" || { echo "Go is missing: see https://go.dev/dl"; exit 1; }
	@echo "Building grpcurl, one of the clients (once, some minutes) ..."
	@GOBIN=$(abspath $(BIN)) GOFLAGS=-trimpath $(GO) install -ldflags="-s -w" \
	  github.com/fullstorydev/grpcurl/cmd/grpcurl@$$(cat $<)
	@touch $@

# What a client's script ends with where its toolchain is missing: it has said so, and is skipped.
MISSING := 69

clients-test: $(VENV)/.dev $(if $(GO),$(BIN)/grpcurl) ## Run each client's own tests, then put all through the same scenarios (CLIENT=go SCENARIO=tls: some of it)
	@for each in clients/$(or $(CLIENT),*)/test.sh; do \
	  if test -x $$each; then echo "$$each"; $$each || test $$? = $(MISSING) || exit 1; fi; done
	@GRPC_VERBOSITY=NONE $(BIN)/python -m tests.conformance \
	  $(if $(CLIENT),--client $(CLIENT)) $(if $(SCENARIO),--scenario $(SCENARIO))

s3-server: $(BIN)/versitygw ## Build the S3-compatible server of the tests (needs Go)

compose-test: $(VENV)/.dev ## Build the image, start docker-compose.yml and kill parts of it (needs Docker)
	@$(BIN)/python -m pytest tests/integration/containers/compose_run.py

differential: $(VENV)/.differential ## Compare the translation with litellm's
	@$(BIN)/python -m pytest tests/unit/differential

$(VENV)/.browser: $(VENV)/.runtime requirements/browser.lock
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/browser.lock
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/browser.lock
endif
	@touch $@

screenshots: $(VENV)/.browser ## Write docs/images: each page of the dashboard, in Chromium (needs Debian's chromium), and the command's progress bar
	@$(BIN)/python -m tests.browser.screenshots
	@$(BIN)/python -m tests.browser.terminal_pictures

outage: $(VENV)/.dev ## Take the providers away for OUTAGE=300 seconds under a running suite with default settings
	@POLYBATCH_OUTAGE=$(or $(OUTAGE),300) $(BIN)/python -m pytest -s \
	  tests/e2e/test_provider_outages.py -k settings_of_production

chaos: $(VENV)/.dev $(if $(REPLICAS),$(BIN)/versitygw) ## Kill the services at random named points, hundreds of times (SCHEDULES=200 SEED=1, FIRST=17 or ONLY=17; REPLICAS=1: past one machine)
	@$(BIN)/python -m tests.chaos $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST)) $(if $(ONLY),--only $(ONLY)) $(if $(REPLICAS),--replicas)

interleavings: $(VENV)/.dev ## Play the steps of a batch in orders that seeds choose, until a promise is broken (RUNS=1000 SEED=1)
	@$(BIN)/python -m tests.interleavings $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev ## Run batches of all sizes with faults all along; memory and open files stay flat (MINUTES=10)
	@$(BIN)/python -m tests.chaos.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.dev ## Measure, and print each figure beside its limit
	@$(BIN)/python -m benchmarks

env: .env ## Write .env for docker compose, with random passwords (SANDBOX=1: made-up answers, no keys)
ifneq ($(wildcard .env),)
ifneq ($(SANDBOX),)
	@grep -q '^COMPOSE_PROFILES=sandbox' .env || { \
	  echo ".env is there already, without the sandbox: give it the lines for that of .env.example."; \
	  echo "A new one would have other passwords than the database was started with."; exit 1; }
endif
	@echo ".env is there already, and stays as it is."
endif

.env:
	@umask 077; while IFS= read -r line; do \
	  case "$$line" in *_PASSWORD=) line="$$line$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')";; esac; \
	  printf '%s\n' "$$line"; \
	done < .env.example | sed '$(if $(SANDBOX),/^#COMPOSE_PROFILES/$(comma)/^$$/ s/^#//)' > .env.unfinished
	@mv .env.unfinished .env
	@echo "Wrote .env, with random passwords$(if $(SANDBOX), and the sandbox in the place of the providers,: put your providers' keys there)."

bench-scale: $(VENV)/.dev $(if $(GO),$(BIN)/versitygw) ## Measure replicas on PostgreSQL, NATS and S3 beside the embedded mode (SCALE=...: options)
	@$(BIN)/python -m benchmarks.scale $(SCALE)

bench-peers: $(VENV)/.dev $(VENV)/peers/sdk/.made $(VENV)/peers/litellm/.made ## Race a script with the vendor's SDK and LiteLLM's proxy, and see what each loses (PEERS='race --rounds 3': some of it)
	@$(BIN)/python -m benchmarks.peers $(PEERS)

simulate: $(VENV)/.dev ## Simulate a day of 10,000 accounts with limits and outages of the providers (SEED=1 ACCOUNTS=10000)
	@$(BIN)/python -m benchmarks.simulation $(if $(SEED),--seed $(SEED)) $(if $(ACCOUNTS),--accounts $(ACCOUNTS))

key: $(VENV)/.runtime ## Make an API key: make key ACCOUNT=name (NAME=..., SCOPE=account, BUDGET=100 or MONTHLY=50 in USD, PROVIDERS=openai,... MODELS='gpt-5*,...')
	@$(BIN)/python -m services.gateway keys create --account "$(or $(ACCOUNT),default)" $(if $(NAME),--name "$(NAME)") \
	  $(if $(SCOPE),--scope "$(SCOPE)") $(if $(BUDGET),--budget "$(BUDGET)") $(if $(MONTHLY),--monthly "$(MONTHLY)") \
	  $(if $(PROVIDERS),--providers "$(PROVIDERS)") $(if $(MODELS),--models "$(MODELS)")

lint: $(VENV)/.dev $(NPM_TOOLS) ## Check style, types, the directions of imports, and the protos against the last release
	@$(BIN)/ruff check $(wildcard $(SOURCES))
	@$(BIN)/ruff format --check $(wildcard $(SOURCES))
	@$(BIN)/mypy
	@$(BIN)/lint-imports
ifneq ($(NPM_TOOLS),)
	@$(BUF) lint
	@$(BUF) breaking --against $(wildcard protos/released/*.binpb)
else
	@echo "The protos were not checked: npm is missing; on Debian: apt-get install nodejs npm"; test -z "$$CI"
endif

dist: $(VENV)/.dev $(VENV)/release/.made tools/node_modules/.installed ## Build and check the Python packages (DIST=dist; needs Node.js)
	@$(VENV)/release/bin/python -m tools.release dist $(DIST)
	@$(VENV)/release/bin/twine --no-color check --strict $(DIST)/*
	@$(BIN)/python -m tools.release types $(DIST) tools/node_modules/.bin/pyright
	@$(BIN)/python -m tools.release sums $(DIST)

release: $(VENV)/.dev ## Check and build a release, and say what to publish: make release VERSION=1.2.3
	@$(BIN)/python -m tools.release check "$(VERSION)"
	@$(MAKE) --no-print-directory lint verify
	@$(MAKE) --no-print-directory dist
	@$(BUF) build protos --exclude-source-info --output $(DIST)/$(VERSION).binpb
	@cp requirements/runtime.lock $(DIST)
	@$(BIN)/python -m tools.release sums $(DIST)
	@$(BIN)/python -m tools.release finish $(VERSION) $(DIST)

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix $(wildcard $(SOURCES))
	@$(BIN)/ruff format $(wildcard $(SOURCES))

audit: $(VENV)/.dev $(VENV)/audit/.made ## Ask for known holes in what is locked (needs the network)
	@$(BIN)/python -m pytest -q tests/unit/dependencies
	@$(VENV)/audit/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes \
	  -r requirements/runtime.lock -r requirements/dev.lock

generate: $(VENV)/.dev ## Write the generated code: protobuf, and the blocking client
	@$(BIN)/python -m grpc_tools.protoc -I protos --python_out=$(GENERATED) \
	  --pyi_out=$(GENERATED) --grpc_python_out=$(GENERATED) $(PROTOS)
	@$(BIN)/python clients/python/make_blocking.py

verify: $(VENV)/.dev ## Fail where the generated code is stale
	@rm -rf $(VENV)/generated && mkdir -p $(VENV)/generated
	@$(BIN)/python -m grpc_tools.protoc -I protos --python_out=$(VENV)/generated \
	  --pyi_out=$(VENV)/generated --grpc_python_out=$(VENV)/generated $(PROTOS)
	@diff -r -x __pycache__ -x __init__.py $(VENV)/generated/polybatch/v1 $(GENERATED)/polybatch/v1 \
	  || { echo "The generated code is stale: run make generate."; exit 1; }
	@mkdir $(VENV)/generated/blocking
	@$(BIN)/python clients/python/make_blocking.py $(VENV)/generated/blocking
	@for made in $(VENV)/generated/blocking/*.py; do \
	  diff $$made clients/python/src/polybatch/$${made##*/} || \
	    { echo "The blocking client is stale: run make generate."; exit 1; }; done
	@rm -rf $(VENV)/generated
	@echo "The generated code is up to date."

$(VENV)/.docs: $(VENV)/.dev requirements/docs.lock
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/docs.lock
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.lock
endif
	@touch $@

docs: $(VENV)/.docs ## Write the pages that are made of the code, and the site of all: build/site (a broken link fails)
	@$(BIN)/python -m docsite
	@$(BIN)/python -m zensical build --strict

lock: ## Pin the newest versions that requirements/*.in admit (needs uv)
	@for set in runtime dev audit; do \
	  uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	    --generate-hashes --upgrade requirements/$$set.in -o requirements/$$set.lock; done
	@for peer in sdk litellm; do \
	  uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	    --generate-hashes --upgrade benchmarks/peers/$$peer.in -o benchmarks/peers/$$peer.lock; done
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	  --generate-hashes --upgrade --constraints requirements/dev.lock \
	  requirements/browser.in -o requirements/browser.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	  --generate-hashes --upgrade --constraints requirements/dev.lock \
	  requirements/docs.in -o requirements/docs.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	  --generate-hashes --upgrade --constraints requirements/dev.lock \
	  requirements/fuzz.in -o requirements/fuzz.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	  --generate-hashes --upgrade --constraints requirements/dev.lock \
	  requirements/release.in -o requirements/release.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-strip-extras \
	  --generate-hashes --upgrade --constraints requirements/dev.lock \
	  --overrides requirements/differential.overrides \
	  --excludes requirements/differential.excludes \
	  requirements/differential.in -o requirements/differential.lock

clean: ## Remove the virtual environment and caches (data in .polybatch stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
