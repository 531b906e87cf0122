# One obvious command for each thing; CONTRIBUTING.md says more about the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
VENV_KIB := 524288
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
	@free=$$(df -Pk . | awk 'NR == 2 {print $$4}'); [ "$$free" -ge $(VENV_KIB) ] || \
	    { echo "$(CURDIR) has $$((free / 1024)) MiB free, the environment needs $$(($(VENV_KIB) / 1024)): make room there" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python 3.11 or later with venv is needed; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "making the environment $(VENV) with Ansible and the tools of the tests; this takes about a minute"
	@$(VENV)/bin/pip install --quiet --requirement requirements-dev.txt
	@mkdir -p $(COLLECTIONS)/ansible_collections/overssh
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/overssh/swarm
	@echo $(CURDIR)/$(COLLECTIONS) >"$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/overssh.pth"
	@touch $@

COMMUNITY := $(COLLECTIONS)/ansible_collections/community
$(COMMUNITY)/docker: tests/community.py $(READY)
	@python $< $(COLLECTIONS)
	@touch $@

.PHONY: demo
demo: $(READY) ## Build the lab, run overssh.swarm.site on it, and show the proof
	@python -m tests.demo $(INVENTORY)

.PHONY: lab-up
lab-up: $(READY) ## Build and start the lab of real nodes
	@python -m tests.lab up

.PHONY: lab-down
lab-down: $(READY) ## Remove the lab
	@python -m tests.lab down

.PHONY: unit
unit: $(READY) ## Test everything pure, in seconds
	pytest tests/unit

.PHONY: lint style types shell playbook-lint docs-lint changelog-lint licenses sanity
lint: style types shell playbook-lint docs-lint changelog-lint licenses sanity ## Check style, types, shell files, playbooks, documentation, licenses, and with Ansible's own tests the plugins

style: $(READY)
	ruff check
	ruff format --check

types: $(READY)
	MYPYPATH=$(COLLECTIONS) mypy --package ansible_collections.overssh.swarm.plugins
	mypy tests molecule docs roles/tunnel/files/watch.py
	MYPYPATH=roles/tunnel/files/stream mypy roles/tunnel/files/stream

# Programs that a module brings to a host stand in *_sh.py; the unit tests look at them (test_shell.py).
shell: $(READY)
	git grep --untracked -lE '^#! ?/(usr/)?bin/(env )?(ba)?sh' -- ':!*.py' | xargs shellcheck

# Without a lab there is no host for a play to match, and its syntax is looked at all the same.
playbook-lint: $(READY) $(COMMUNITY)/docker
	ANSIBLE_HOST_PATTERN_MISMATCH=warning ansible-lint

# Options, markup and references of plugins and roles, and what a documentation site would make of them.
docs-lint: $(READY)
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --disallow-unknown-collection-refs .

changelog-lint: $(READY)
	antsibull-changelog lint

# REUSE.toml speaks for files that don't say themselves who holds the rights in them.
licenses: $(READY)
	reuse lint --lines

sanity: $(READY)
	python tests/sanity/run.py

.PHONY: netns
netns: $(READY) ## Test the engines against this kernel, in network namespaces of their own (root)
	@tests/packages.sh ip=iproute2 nft=nftables iptables-nft=iptables ping=iputils-ping sysctl=procps
	pytest tests/netns

# Guards nothing: what fails here because coverage takes time as well passes without it.
.PHONY: coverage
coverage: $(READY) ## Say which share of each folder the unit tests run, and as root those of netns too
	@rm -rf reports/coverage; mkdir -p reports/coverage
	@[ "$$(id -u)" != 0 ] || tests/packages.sh ip=iproute2 nft=nftables iptables-nft=iptables ping=iputils-ping sysctl=procps
	@for folder in unit $$([ "$$(id -u)" != 0 ] || echo netns); do coverage run --append -m pytest --quiet tests/$$folder || :; done
	@coverage json --quiet -o reports/coverage/files.json
	@python -m tests.suite covered reports/coverage/files.json

# Each lab of the tests is one group of scenarios, which stand in an order in which one leaves what the next begins with.
# They have labs of their own, unless LAB_NAME names one; that of `make demo` stays.
TEST_LAB ?= $(if $(filter file,$(origin LAB_NAME)),overssh-test,$(LAB_NAME))
export TEST_LAB := $(TEST_LAB)
LABS := walk faults firewall fleet older services
SCENARIOS_walk := site awx exposure teardown
SCENARIOS_faults := fresh interrupted ipv6 faults transports
SCENARIOS_firewall := firewall
SCENARIOS_fleet := fleet topologies failover reboot key_rotation grow_and_shrink
SCENARIOS_older := site exposure older
SCENARIOS_services := services
# The Debian of the lab older: named here, or Debian 12 and testing take turns by the day (tests/lab/older.py).
OLDER_RELEASE ?= $(LAB_RELEASE)
# One image for all nodes of today's Debian: what a scenario does not need is there and switched off.
TEST_PACKAGES := firewalld network-manager python3-jsondiff python3-yaml udev ufw

# What is left of a broken run would pass for a fresh lab.
define scenarios
	@rm -rf $(MOLECULE_EPHEMERAL_DIRECTORY)
	@$(UNLESS_OBSTACLE) release="$(RELEASE)"; LAB_RELEASE="$$release" molecule test --no-command-borders $(1:%=--scenario-name %) $(MOLECULE_ARGS)
endef

.PHONY: molecule
ifdef SCENARIO
# The first lab that has it; the lab is made for it alone.
molecule: export MOLECULE_SCENARIOS := $(SCENARIO)
molecule: $(READY) ## Run one scenario on a lab of its own: make molecule SCENARIO=failover; without SCENARIO all of them
	@lab="$(firstword $(foreach lab,$(LABS),$(if $(filter $(SCENARIO),$(SCENARIOS_$(lab))),$(lab))))"; \
	[ -n "$$lab" ] || { echo "There is no scenario $(SCENARIO): it is one of $(sort $(foreach lab,$(LABS),$(SCENARIOS_$(lab))))" >&2; exit 2; }; \
	$(MAKE) --no-print-directory molecule-$$lab
else
molecule: $(READY) ## Run the playbooks on fresh nodes, from check mode to teardown, and look at what they did
	$(call side_by_side,$(MOLECULE))
endif

MOLECULE := $(LABS:%=molecule-%)
.PHONY: $(MOLECULE)
$(MOLECULE): export LAB_NAME = $(TEST_LAB)-$(@:molecule-%=%)
$(MOLECULE): export LAB_STATE = .lab/$(LAB_NAME)
$(MOLECULE): export LAB_PACKAGES = $(TEST_PACKAGES)
$(MOLECULE): export MOLECULE_EPHEMERAL_DIRECTORY = $(CURDIR)/build/molecule/$(LAB_NAME)
molecule-fleet: export LAB_NODES = 6
molecule-fleet: export LAB_HUBS = 2
$(MOLECULE): RELEASE = $(LAB_RELEASE)
molecule-older: RELEASE = $$(OLDER_RELEASE=$(OLDER_RELEASE) python -m tests.lab older)
molecule-older: export LAB_PACKAGES =
# Nodes with kernels of their own.
molecule-services: $(COMMUNITY)/docker
molecule-services kernel: export LAB_KIND = vm
# Where a machine can't have them the sentence goes to the summary, and the rest of the tests is run.
molecule-services kernel: UNLESS_OBSTACLE = why="$$(python -m tests.lab obstacle)"; [ -z "$$why" ] || { echo "not run: services, on kernels of their own: $$why"; exit 0; };
$(MOLECULE): $(READY)
	$(call scenarios,$(or $(MOLECULE_SCENARIOS),$(SCENARIOS_$(@:molecule-%=%))))

.PHONY: image
image: export LAB_NAME = $(TEST_LAB)-image
image: export LAB_PACKAGES = $(TEST_PACKAGES)
image: $(READY) ## Build the image of the tests' nodes, if it is missing
	@python -m tests.lab image

.PHONY: kernel
kernel: export LAB_NAME = $(TEST_LAB)-kernel
kernel: export LAB_PACKAGES = $(TEST_PACKAGES)
kernel: $(READY) ## Build the kernel of the tests' nodes that have one of their own, if it is missing
	@$(UNLESS_OBSTACLE) python -m tests.lab image

.PHONY: bench
bench: $(READY) ## Compare the transports with others, site with a shell script, and nft_rule with nft (45 minutes; BENCH_ARGS='--parts site')
	python -m tests.bench $(BENCH_ARGS)

# In a folder of its own: the figures in reports/ stay.
.PHONY: bench-check
bench-check: $(READY) ## Run each part of the bench once in its smallest form, and look at what it wrote (root)
	@tests/packages.sh ip=iproute2 nft=nftables iptables-nft-restore=iptables
	pytest tests/bench

# Two jobs at a time, as the machines have two processors: their figures, and the output of each, go to reports/suite. One
# that fails lets the others come to their end. The image comes first, as all labs wait for it.
define side_by_side
	@env -u MAKEFLAGS python -m tests.suite all $(MAKE) --no-print-directory jobs JOBS='$(1)'
endef

.PHONY: jobs
jobs:
	@status=0; \
	for group in 'image $(filter unit,$(JOBS))' '$(filter-out unit,$(JOBS))'; do \
	    $(MAKE) --no-print-directory --keep-going --jobs=2 $$(printf 'job-%s ' $$group) || status=$$?; \
	done; exit $$status

EVERY_JOB := lint image kernel unit netns bench-check $(MOLECULE)
.PHONY: $(EVERY_JOB:%=job-%)
# molecule runs site and teardown itself in these two, and nothing that asserts seconds may run beside that.
ALONGSIDE := bench-check molecule-walk molecule-older
$(EVERY_JOB:%=job-%): $(READY)
	@env -u MAKEFLAGS python -m tests.suite run $(if $(filter $(@:job-%=%),$(ALONGSIDE)),--alongside) $(@:job-%=%) $(MAKE) --no-print-directory $(@:job-%=%)

.PHONY: test
test: $(READY) ## Everything that guards the project
	$(call side_by_side,unit kernel molecule-fleet bench-check lint netns molecule-faults molecule-firewall molecule-walk molecule-older molecule-services)

.PHONY: check
check: $(READY) ## The part of it that takes less than ten minutes: lint, unit, netns, and site, again, verify and teardown
	$(call side_by_side,unit molecule-walk lint netns)

.PHONY: timings
timings: $(READY) ## Say what the last make test or make check took, job by job, and which tests were slow
	@python -m tests.suite show

.PHONY: docs
docs: $(READY) ## Write docs/settings.md and the roles' README.md from what they declare, and the figures of docs/ from docs/bench*.json
	@python docs/make_settings.py
	@python docs/make_role_readmes.py
	@python -m tests.bench.page

.PHONY: clean
clean: ## Remove what was made here, except the lab
	@rm -rf $(VENV) build reports .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache *.tar.gz
	@find . -path ./.lab -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
