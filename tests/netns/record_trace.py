# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what this kernel tells of some traced packets, for the unit tests.

As root: unshare --net .venv/bin/python -m tests.netns.record_trace tests/recorded/nft/trace.json
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer, checked
from ansible_collections.overssh.swarm.plugins.module_utils._linux import packet as linux_packet
from ansible_collections.overssh.swarm.plugins.module_utils._trace import inject as trace_inject
from ansible_collections.overssh.swarm.plugins.module_utils._trace import netlink, table
from ansible_collections.overssh.swarm.plugins.module_utils._trace.engine import described_from

RULES = """
table inet f {
    chain c { type filter hook input priority 0; policy drop;
        tcp dport 22 accept
        counter
        tcp dport 2377 jump d
    }
    chain d {
        ip saddr 192.0.2.1 drop
        reject
    }
}
"""
PACKETS = {
    "reject": ("tcp", "172.30.2.1", 2377),
    "policy": ("udp", "fd00:30:2::1", 4789),
    "accept": ("tcp", "172.30.2.1", 22),
}
# Seconds without a word after which there is nothing more to come.
SILENCE = 0.5


def run(argv, data=None, check=True):
    done = subprocess.run(argv, input=data, capture_output=True, text=True, check=False)
    return checked(Answer(done.returncode, done.stdout, done.stderr), argv, check)


def told(protocol: str, destination: str, port: int) -> list[str]:
    options = {"path": "input", "protocol": protocol, "port": port, "timeout": 1, "in_interface": "tun1002"}
    described = described_from({**options, "inject": True, "destination": destination})
    here = trace_inject.read_inlet("tun1002")
    source, target = trace_inject.ends(here, None, None, table.single(described.destination))
    text = table.table_text("overssh-trace-7", described)
    with trace_inject.injector(run, here) as inject, netlink.Monitor() as monitor, table.armed(text):
        inject(linux_packet.first_packet(protocol, source, target, 50000, port))
        found = []
        while select.select([monitor._socket], [], [], SILENCE)[0]:
            found.append(monitor._socket.recv(1 << 20).hex())
        return found


def main() -> None:
    run(["ip", "link", "add", "tun1002", "type", "veth", "peer", "name", "up0"])
    for device in ("lo", "tun1002", "up0"):
        run(["ip", "link", "set", device, "up"])
    run(["ip", "address", "add", "172.30.2.1/24", "dev", "tun1002"])
    run(["ip", "address", "add", "fd00:30:2::1/64", "dev", "tun1002", "nodad"])
    run(["nft", "-f", "-"], RULES)
    recorded = {name: told(*packet) for name, packet in PACKETS.items()}
    lists = {
        "listing": run(["nft", "-j", "list", "ruleset"]).stdout,
        "text": run(["nft", "-s", "-a", "list", "ruleset"]).stdout,
    }
    Path(sys.argv[1]).write_text(json.dumps({**recorded, **lists}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
