# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of `make demo`."""

from __future__ import annotations

from ansible_collections.overssh.swarm.plugins.plugin_utils._verify import report as verify_report

from tests.demo.__main__ import closing

NODES = [{"name": name, "underlay": "172.30.0.1", "overlay": "10.200.0.2"} for name in ("cloud1", "edge1")]


def test_the_matrix_of_each_network_comes_before_what_to_do_next() -> None:
    report = verify_report.merge([verify_report.build(network, NODES, {}) for network in ("overssh", "second")])
    lines = closing(report, "overssh-two", ".lab/two/inventory.yml").splitlines()
    assert [line for line in lines if line.startswith("network ")] == [
        "network overssh: 0 of 2 pairs pass icmp, tcp, udp, dns, mtu",
        "network second: 0 of 2 pairs pass icmp, tcp, udp, dns, mtu",
    ]
    assert lines[-5:] == [
        "The report:         reports/verify.json",
        "Look around:        docker exec -it overssh-two-cloud1 bash",
        "Run it again:       make demo   (it changes nothing)",
        "Take it all back:   .venv/bin/ansible-playbook -i .lab/two/inventory.yml overssh.swarm.teardown",
        "Remove the lab:     make lab-down",
    ]
    assert lines.index("") == 0
