# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of nft_rule: those of one rule, and those of the task."""

from __future__ import annotations

from typing import Any

from .._nftables import chain_rule
from .._nftables.accept import PATHS, PROTOCOLS
from .._nftables.owner import OWNERS

RULE_OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "choices": list(PATHS), "default": "input"},
    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "any"},
    "ports": {"type": "list", "elements": "str", "default": []},
    "in_interfaces": {"type": "list", "elements": "str", "default": []},
    "out_interfaces": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "list", "elements": "str", "default": []},
    "destination": {"type": "list", "elements": "str", "default": []},
    "verdict": {"type": "str", "choices": list(chain_rule.VERDICTS), "default": "accept"},
    "chain": {"type": "str"},
    **{option: dict(spec) for option, spec in chain_rule.OPTIONS.items()},
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    **RULE_OPTIONS,
    "rules": {"type": "list", "elements": "dict"},
    "exclusive_prefix": {"type": "list", "elements": "str"},
    "all": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "persist": {"type": "bool", "default": True},
    "owner": {"type": "str", "choices": list(OWNERS), "default": "auto"},
    "confirm": {"type": "str", "choices": ["auto", "manual", "none"], "default": "auto"},
    "rollback_timeout": {"type": "int", "default": 60},
    "probe": {"type": "list", "elements": "str", "default": []},
    "force_lockout": {"type": "bool", "default": False},
    "phase": {"type": "str", "choices": ["apply", "stage", "commit"], "default": "apply"},
}

CONSTRAINTS: dict[str, Any] = {
    "mutually_exclusive": [("name", "rules")],
    "required_one_of": [("name", "rules", "exclusive_prefix", "all")],
    "supports_check_mode": True,
}
