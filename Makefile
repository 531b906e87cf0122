# One obvious command for each thing; CONTRIBUTING.md says more about the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
COLLECTIONS := $(VENV)/collections
LAB_NAME ?= overssh
LAB_STATE := .lab$(if $(filter-out overssh,$(LAB_NAME)),/$(LAB_NAME))
INVENTORY := $(LAB_STATE)/inventory.yml

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LAB_NAME

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# The checkout stands in the environment as the installed collection overssh.swarm, for Ansible and for Python alike.
$(READY): requirements-dev.txt
	@$(PYTHON) -m venv $(VENV) || { echo "Python 3.11 or later with venv is needed; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(VENV)/bin/pip install --quiet --requirement requirements-dev.txt
	@mkdir -p $(COLLECTIONS)/ansible_collections/overssh
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/overssh/swarm
	@echo $(CURDIR)/$(COLLECTIONS) >"$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/overssh.pth"
	@touch $@

.PHONY: demo
demo: lab-up ## Build the lab, run overssh.swarm.site on it, and show the proof
	ansible-playbook --inventory $(INVENTORY) overssh.swarm.site
	@echo
	@echo "The report:         reports/verify.json"
	@echo "Look around:        docker exec -it $(LAB_NAME)-cloud1 bash"
	@echo "Run it again:       make demo   (it changes nothing)"
	@echo "Take it all back:   .venv/bin/ansible-playbook -i $(INVENTORY) overssh.swarm.teardown"
	@echo "Remove the lab:     make lab-down"

.PHONY: lab-up
lab-up: $(READY) ## Build and start the lab of real nodes
	@python -m tests.lab up

.PHONY: lab-down
lab-down: $(READY) ## Remove the lab
	@python -m tests.lab down

.PHONY: unit
unit: $(READY) ## Test everything pure, in seconds
	pytest tests/unit

.PHONY: lint style types playbook-lint sanity
lint: style types playbook-lint sanity ## Check style, types, playbooks, and with Ansible's own tests the plugins

style: $(READY)
	ruff check
	ruff format --check

types: $(READY)
	MYPYPATH=$(COLLECTIONS) mypy --package ansible_collections.overssh.swarm.plugins
	mypy tests molecule docs roles/tunnel/files

# Without a lab there is no host for a play to match, and its syntax is looked at all the same.
playbook-lint: $(READY)
	ANSIBLE_HOST_PATTERN_MISMATCH=warning ansible-lint

sanity: $(READY)
	python tests/sanity/run.py

.PHONY: netns
netns: $(READY) ## Test the engines against this kernel, in network namespaces of their own (root)
	@tests/packages.sh ip=iproute2 nft=nftables iptables-nft=iptables ping=iputils-ping sysctl=procps
	pytest tests/netns

# The scenarios begin on fresh hosts, so they take a lab of their own, unless LAB_NAME names one; that of `make demo` stays.
MOLECULE_LAB := $(if $(filter file,$(origin LAB_NAME)),overssh-test,$(LAB_NAME))
SCENARIOS := fresh firewall site runner closed mishaps transports teardown broken_off ipv6
# These take a lab of two hubs and four spokes.
FLEET_SCENARIOS := fleet failover reboot keys topologies grow_and_shrink

# These take one of the Debian before, with its older OpenSSH and Docker.
OLDER_SCENARIOS := site closed older

# What is left of a broken run would pass for a fresh lab.
define scenarios
	@rm -rf build/molecule/$(LAB_NAME)
	molecule test --no-command-borders $(1:%=--scenario-name %) $(MOLECULE_ARGS)
endef

.PHONY: molecule
molecule: molecule-three molecule-fleet molecule-older ## Run the playbooks on fresh nodes, from check mode to teardown, and look at what they did

.PHONY: molecule-three
molecule-three: export LAB_NAME := $(MOLECULE_LAB)
molecule-three: export LAB_PACKAGES := firewalld ufw
molecule-three: export LAB_STATE := .lab$(if $(filter-out overssh,$(MOLECULE_LAB)),/$(MOLECULE_LAB))
molecule-three: export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/build/molecule/$(MOLECULE_LAB)
molecule-three: $(READY) ## Those of them on three nodes
	$(call scenarios,$(SCENARIOS))

.PHONY: molecule-fleet
molecule-fleet: export LAB_NAME := $(MOLECULE_LAB)-fleet
molecule-fleet: export LAB_NODES := 6
molecule-fleet: export LAB_HUBS := 2
molecule-fleet: export LAB_PACKAGES := network-manager udev
molecule-fleet: export LAB_STATE := .lab/$(MOLECULE_LAB)-fleet
molecule-fleet: export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/build/molecule/$(MOLECULE_LAB)-fleet
molecule-fleet: $(READY) ## Those of them on two hubs and four spokes
	$(call scenarios,$(FLEET_SCENARIOS))

.PHONY: molecule-older
molecule-older: export LAB_NAME := $(MOLECULE_LAB)-older
molecule-older: export LAB_RELEASE := bookworm
molecule-older: export LAB_STATE := .lab/$(MOLECULE_LAB)-older
molecule-older: export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/build/molecule/$(MOLECULE_LAB)-older
molecule-older: $(READY) ## Those of them on the Debian before
	$(call scenarios,$(OLDER_SCENARIOS))

.PHONY: bench
bench: $(READY) ## Compare the transports with others, site with a shell script, and nft_rule with nft (half an hour; BENCH_ARGS=--quick: three minutes)
	python -m tests.bench $(BENCH_ARGS)

.PHONY: test
test: lint unit netns molecule ## Everything that guards the project
.NOTPARALLEL: test

.PHONY: docs
docs: $(READY) ## Write docs/settings.md from the settings' declarations, and the figures of docs/ from docs/bench*.json
	@python docs/make_settings.py
	@python -m tests.bench.page

.PHONY: clean
clean: ## Remove what was made here, except the lab
	@rm -rf $(VENV) build reports .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache *.tar.gz
	@find . -path ./.lab -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
