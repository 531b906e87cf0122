# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of nft_rule on the host of a test network, and rulesets for that host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import desired as firewall_desired
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import engine as firewall_engine
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import options as firewall_options
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import persistence
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import plan as firewall_plan
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import rules_file

RULESETS = Path(__file__).resolve().parents[1] / "rulesets"

SWARM = [
    {"name": "swarm/tcp", "protocol": "tcp", "ports": ["2377", "7946"], "in_interfaces": ["tun1002", "tun1003"]},
    {"name": "swarm/udp", "protocol": "udp", "ports": ["4789"], "in_interfaces": ["tun1002", "tun1003"]},
]
TRANSIT = [{"name": "transit", "path": "forward", "in_interfaces": ["tun1002", "tun1003"]}]
BETWEEN = [{**TRANSIT[0], "out_interfaces": ["tun1002", "tun1003"]}]


class Module:
    """What run() needs of an AnsibleModule."""

    def __init__(self, check_mode=False):
        self.check_mode = check_mode
        self._diff = True
        self.warned = []

    def warn(self, words):
        self.warned.append(words)

    def exit_json(self, **answer):
        self.answer = answer

    def fail_json(self, **answer):
        pytest.fail(answer["msg"])


def options_of(**said):
    """The options of a task, those that it does not say too."""
    return {**{name: option.get("default") for name, option in firewall_options.ARGUMENTS.items()}, **said}


def task(net, check_mode=False, runner=None, **options):
    """Run the module's engine on the host, its rules not kept for the next boot.

    Whoever runs the tests may have come by ssh, to another network than this one.
    """
    module = Module(check_mode)
    desired = firewall_desired.desired_from(options_of(**{"persist": False, "force_lockout": True, **options}))
    run(module, firewall_engine.NftRuleEngine(desired, runner or net.run))
    return module.answer


def load(net, name):
    path = RULESETS / name
    program = {".nft": ["nft", "-f"], ".v4": ["iptables-nft-restore"]}[path.suffix]
    net.run([*program, str(path)])


def refused(net, **options):
    """What the module says when it refuses."""
    with pytest.raises((pytest.fail.Exception, OversshError)) as told:
        task(net, **options)
    return str(told.value)


def keep(net, folder, rules):
    """Write what keeps these rules into a folder, as the module does on a host."""
    desired = firewall_desired.desired_from(options_of(rules=rules))
    decision = firewall_plan.decide(desired, firewall_plan.Observed(firewall_engine.Nft(net.run).ruleset()))
    (folder / "rules").write_text(rules_file.file_text(decision.lines))
    (folder / "placed").write_text(decision.record.text)
    for path, text in {persistence.SCRIPT_FILE: persistence.SCRIPT, **persistence.PROGRAM_FILES}.items():
        there = folder / Path(path).relative_to(rules_file.FOLDER)
        there.parent.mkdir(parents=True, exist_ok=True)
        # The record is the host's, and so is its Docker; these tests have many hosts.
        own = text.replace('f"{FOLDER}/placed"', f'"{folder}/placed"').replace("/run/docker.pid", f"{folder}/pid")
        there.write_text(own)
