# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of nft_trace, for its module and its action plugin."""

from __future__ import annotations

from typing import Any

from .table import ENTRIES, MATCHES

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "choices": list(ENTRIES), "default": "input"},
    "protocol": {"type": "str", "choices": list(MATCHES), "required": True},
    "port": {"type": "int"},
    "source_port": {"type": "int"},
    "in_interface": {"type": "str"},
    "source": {"type": "str"},
    "destination": {"type": "str"},
    "peer": {"type": "str"},
    "peer_destination": {"type": "str"},
    "peer_port": {"type": "int"},
    "inject": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 10},
}
CONSTRAINTS: dict[str, Any] = {
    "mutually_exclusive": [("peer", "inject")],
    "required_by": {"peer_destination": ["peer"], "peer_port": ["peer"]},
    "supports_check_mode": True,
}
