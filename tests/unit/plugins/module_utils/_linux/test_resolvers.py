# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's name servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._linux import resolvers


def test_name_servers_are_read_from_what_programs_are_told() -> None:
    text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver 10.200.0.53\nnameserver fe80::1%eth0\nnameserver\n"
    assert resolvers.parse_resolvers(text) == ["10.200.0.53", "fe80::1"]


def test_those_of_systemd_resolved_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53")
    real.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr(resolvers, "FILES", (str(stub), str(tmp_path / "missing"), str(real)))
    assert resolvers.read_resolvers() == ["127.0.0.53", "192.0.2.53"]
