# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel itself tells whether it has ESP, and keeps nothing of the question."""

from __future__ import annotations

import subprocess

from ansible_collections.overssh.swarm.plugins.module_utils._linux.esp import STATE, has_esp


def xfrm(net, *words: str) -> subprocess.CompletedProcess[str]:
    argv = ["ip", "netns", "exec", net.namespace("host"), "ip", "xfrm", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_what_is_told_is_what_an_encrypted_network_would_find(net):
    told = has_esp(net.run)
    assert told is not None
    assert xfrm(net, "state").stdout == ""
    tried = xfrm(net, "state", "add", *STATE)
    xfrm(net, "state", "flush")
    assert told is (tried.returncode == 0)
