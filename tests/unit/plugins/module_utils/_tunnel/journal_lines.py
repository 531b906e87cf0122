# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link and a journal of it, for the tests of what is made of them; the lines are OpenSSH 10.0's and systemd 257's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.causes import Context
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.diagnosis import Finding, explain
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.journal import attempts_of

OFFERED = "SHA256:4hZ8lNlrIuGwFVFetJ36BB00fs3GbqLCq90jpdDOUxo"
CONTEXT = Context(
    name="cloud1",
    transport="tun",
    lanes=1,
    host="192.0.2.1",
    port=2222,
    user="overssh",
    run_as="overssh",
    identity_file="/etc/overssh/keys/id_ed25519",
    helper="/usr/local/lib/overssh/stream",
    device="tun1001",
    remote_device="tun1002",
    remote_address="172.30.0.1",
    fingerprints=("SHA256:expected",),
    device_owner="overssh",
    several_queues=False,
    device_up=True,
    carrier=False,
)
VERSION = "debug1: kex.c:kex_exchange_identification():1286 (bin=ssh, pid=9): Local version string SSH-2.0"
SERVER_KEY = f"debug1: sshconnect.c:verify_host_key():1514 (bin=ssh, pid=9): Server host key: ssh-ed25519 {OFFERED}"
CONNECTED = [VERSION, SERVER_KEY, 'Authenticated to 192.0.2.1 ([192.0.2.1]:2222) using "publickey".']
OPEN = "debug1: port-net.c:sys_tun_open():179 (bin=ssh, pid=9): sys_tun_open: failed to "
NOT_OPENED = ["Tunnel device open failed.", "Could not request tunnel forwarding."]
REMOTE = "debug1: packet.c:ssh_packet_read_poll_seqnr():1859 (bin=ssh, pid=9): Remote: "
REFUSED_OPEN = ["channel 0: open failed: connect failed: open failed", "Tunnel forwarding failed"]
DENIED = "overssh@192.0.2.1: Permission denied (publickey)."
PENALTY = [
    VERSION,
    "debug1: kex.c:kex_exchange_identification():1369 (bin=ssh, pid=9): banner line 0: Not allowed at this time",
    "kex.c:kex_exchange_identification():1322 (bin=ssh, pid=9): Connection closed by remote host",
    "Connection closed by 192.0.2.1 port 2222",
]
CHANGED_KEY = [
    VERSION,
    SERVER_KEY,
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
    "The fingerprint for the ED25519 key sent by the remote host is",
    f"{OFFERED}.",
    "Offending ED25519 key in /etc/overssh/links/cloud1.known_hosts:1",
    "Host key for cloud1 has changed and you have requested strict checking.",
    "Host key verification failed.",
]


def journal(*runs: Sequence[str]) -> str:
    """As journalctl -o json prints it, with systemd's own lines in between; each line is another process's."""
    entries = []
    for number, run in enumerate(runs):
        invocation = f"{number:032x}"
        started = {"SYSLOG_IDENTIFIER": "systemd", "_PID": "1", "MESSAGE": "Started overssh-link-cloud1.service."}
        entries.append({**started, "INVOCATION_ID": invocation})
        for process, line in enumerate(run):
            said = {"SYSLOG_IDENTIFIER": "ssh", "_PID": str(100 + process), "MESSAGE": line}
            entries.append({**said, "_SYSTEMD_INVOCATION_ID": invocation})
    return "\n".join(json.dumps(entry) for entry in entries)


def found(*runs: Sequence[str], **changes: Any) -> Finding | None:
    return explain(attempts_of(journal(*runs)), dataclasses.replace(CONTEXT, **changes))
