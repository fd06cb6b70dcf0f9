# The data lake's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ENV ?= local
PYTHON ?= python3.11
INVENTORY := inventories/$(ENV)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
COLLECTION := collections/ansible_collections/neocampus/datalake
export PATH := $(BIN):$(PATH)
export LC_ALL := C.UTF-8
export PYTHONUNBUFFERED := 1
# Mitogen for lakes on this machine; real hosts use Ansible's own strategy over ssh. MITOGEN=0 turns it off.
ifneq ($(filter local test kerberos,$(ENV)),)
MITOGEN ?= 1
endif
ifeq ($(MITOGEN),1)
export ANSIBLE_STRATEGY := mitogen_linear
endif

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "  ENV=<inventory> chooses the environment (local); YES=1 answers questions; REUSE=1 keeps what the last test deployed."

$(VENV)/.ready: locks/tools.txt pyproject.toml
	@echo "== tool chain: $(VENV) from locks/tools.txt"
	@tools/toolchain $(PYTHON) $(VENV) locks/tools.txt
	@touch $@

.PHONY: tools
tools: $(VENV)/.ready ## Install the pinned tool chain into .venv

.PHONY: engine
engine: tools
	@tools/engine

.PHONY: nodes
nodes: engine ## Make the local nodes (containers with systemd), or mend a half-made set
	ansible-playbook -i $(INVENTORY) playbooks/nodes.yml

.PHONY: deploy
deploy: tools ## Deploy the lake of ENV, or bring it to the declared state
	ansible-playbook -i $(INVENTORY) playbooks/site.yml

.PHONY: rotate
rotate: tools ## Give the running lake's secrets new values, without a failed request (SECRETS="mongodb_api redis_airflow" for some)
	ansible-playbook -i $(INVENTORY) playbooks/rotate.yml -e lake_rotate='$(SECRETS)'

.PHONY: demo
demo: tools ## Do all set-up, deploy the local lake, put real files in, show what comes out
	@tools/demo

.PHONY: down
down: tools ## Remove the local nodes, their networks and all their data
	ansible-playbook -i $(INVENTORY) playbooks/nodes.yml -e lake_nodes_state=absent
	@echo "Removed: nodes, networks, data, secrets and certificates of the lake. Kept for the next one: image, downloads, tool chain (make clean removes them)."

.PHONY: clean
clean: down ## Remove the lake, the downloads and the tool chain
	docker image ls -q 'neocampus-datalake-*' | xargs -r docker image rm -f >/dev/null
	rm -rf build $(VENV)

.PHONY: test
test: tools ## Pass all tests: lint, types, unit, sanity, and a whole lake deployed and tried
	@tools/test

.PHONY: lint
lint: tools ## Check style, types and declarations
	@tools/lint

.PHONY: unit
unit: tools ## Run the unit tests
	@tools/unit

.PHONY: sanity
sanity: tools ## Run ansible-test sanity on the collection
	@tools/sanity

.PHONY: scanners
scanners: tools
	@tools/scanners

.PHONY: lake-test
lake-test: engine scanners ## Deploy a lake of its own, try it from outside and inside, remove it
	@tools/scenario default

.PHONY: molecule
molecule: engine ## Run one zone's scenario: make molecule ZONE=identity
	@tools/scenario $(ZONE)

.PHONY: lock
lock: tools ## Renew the locks from the .in files
	@tools/lock

.PHONY: faults
faults: tools ## Break parts of the running local lake during an ingest, and see that nothing is lost (FAULTS="relay mongodb" for some)
	python tests/faults/run.py --environment $(ENV) --markdown build/faults.md $(FAULTS)

.PHONY: uploads-fault
uploads-fault: tools ## Kill client, API and Swift proxies during an upload of 1 GiB to the running local lake (MIB=1024, PARALLEL=1, FAULTS="api")
	python tests/faults/uploads.py --environment $(ENV) --mib $(or $(MIB),1024) --parallel $(or $(PARALLEL),1) --markdown build/uploads-fault.md $(FAULTS)

.PHONY: rotation-test
rotation-test: tools ## Rotate all secrets of the running local lake under load: no failed request, all in gold, no old secret works
	python tests/faults/rotation.py --environment $(ENV) --markdown build/rotation.md $(SECRETS)

.PHONY: swift-functional
swift-functional: tools ## Run Swift's own functional tests against the running local lake
	python tests/swift_functional/run.py --environment $(ENV) --markdown build/swift-functional.md

.PHONY: walls
walls: scanners ## Try the walls of the running local lake: all ports from everywhere, TLS, the edge's grade, secrets (docs/walls.md)
	python tests/walls/walls.py --environment $(ENV) --markdown build/walls.md $(WALLS)

.PHONY: schemathesis
schemathesis: tools ## Send the running API made-up requests, right ones and wrong ones (EXAMPLES=20)
	python tests/contract/made_up.py --environment $(ENV) --examples $(or $(EXAMPLES),20) --markdown build/schemathesis.md

.PHONY: bench
bench: tools ## Take the figures of the running local lake (docs/figures.md)
	python tests/bench/figures.py

.PHONY: bench-clients
bench-clients: tools ## Have many clients use the API at once for a minute: no error, p95 of each kind (CLIENTS=200 PAUSE=1)
	python tests/bench/clients.py --clients $(or $(CLIENTS),200) --pause $(or $(PAUSE),1) --markdown build/clients.md

.PHONY: bench-drain
bench-drain: tools ## Measure how fast stored objects get into gold once the event path is let go (OBJECTS="1000 10000 50000")
	python tests/bench/drain.py --objects $(or $(OBJECTS),1000 10000 50000)

.PHONY: bench-files
bench-files: tools ## Take large files of each kind through the lake: records a second, a worker's memory (KINDS="rows" MEGABYTES=2000)
	python tests/bench/files.py $(KINDS) --megabytes $(or $(MEGABYTES),100)

.PHONY: bench-ingest
bench-ingest: tools ## Compare inserting through the API with python-swiftclient (PAIRS=12)
	python tests/bench/ingest.py --pairs $(or $(PAIRS),12)

.PHONY: bench-keeping-up
bench-keeping-up: tools ## Put at full rate and see whether gold keeps up (MINUTES=10)
	python tests/bench/keeping_up.py --minutes $(or $(MINUTES),10)

.PHONY: bench-search
bench-search: tools ## Measure the search over metadata of a MongoDB that LAKE_TEST_MONGODB names (DOCUMENTS=1000000)
	python tests/bench/search.py --documents $(or $(DOCUMENTS),1000000)

.PHONY: bench-webhook
bench-webhook: tools ## Measure what the webhook costs a PUT, against the filter absent and a synchronous one (ROUNDS=30)
	python tests/bench/webhook.py --rounds $(or $(ROUNDS),30)
