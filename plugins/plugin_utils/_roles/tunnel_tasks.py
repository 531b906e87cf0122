# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's devices and links as module options, and whether its other preparations are done; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.overssh.swarm.plugins.module_utils._account.model import PROGRAMS

Options = dict[str, Any]


def interfaces(
    devices: Iterable[Mapping[str, Any]], owner: str, obsolete: Iterable[Mapping[str, Any]] = ()
) -> list[Options]:
    """Options for tun_interface: obsolete devices to remove, then the planned ones, all owned by one account."""
    return [
        *({"name": device["device"], "state": "absent"} for device in obsolete),
        *(_interface(device, owner) for device in devices),
    ]


def _interface(device: Mapping[str, Any], owner: str) -> Options:
    options = {name: value for name, value in device.items() if name != "peer"}
    # What the plan has no say in is left as the host has it.
    for option in ("forwarding", "forwarding6"):
        options[option] = device[option] or None
    return {**options, "description": device["peer"], "owner": owner, "group": owner}


def links(planned: Iterable[Mapping[str, Any]], shared: Mapping[str, Any]) -> list[Options]:
    """Options for ssh_tunnel; shared: the options common to all links of a node."""
    return [
        {"name": link["peer"], **{name: value for name, value in link.items() if name not in ("peer", "mtu")}, **shared}
        for link in planned
    ]


def prepared(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a host has all that its links need besides themselves.

    found: host_info's facts. wanted: account: as in the facts; folders: their paths; texts: those of files by path,
    none for a file that must be absent; programs: their texts by name, without any others of all_programs, which are
    files and folders; block: the text of our block in sshd's own file, None where any will do; effective: lines that
    sshd has to print; pending: whether a pending change is acceptable; keys: keys that must exist.
    """
    texts = {**wanted["texts"], **{f"{PROGRAMS}/{name}": text for name, text in wanted["programs"].items()}}
    files = {**dict.fromkeys(wanted["folders"], _folder()), **{path: _file(of) for path, of in texts.items()}}
    return (
        found.get("account") == wanted["account"]
        and all(found["files"].get(path) == file for path, file in files.items())
        and all(path in files for path in found["files"] if _program_of(path) in wanted["all_programs"])
        and wanted["block"] in (None, found["block"])
        and set(wanted["effective"]) <= set(found["effective"])
        and (wanted["pending"] or not found["pending"])
        and all(wanted["keys"])
    )


def _program_of(path: str) -> str:
    """The program that this is, or lies in; empty where it is elsewhere."""
    return path[len(PROGRAMS) :].split("/")[1] if path.startswith(f"{PROGRAMS}/") else ""


def _folder() -> Options:
    return {"uid": 0, "gid": 0, "mode": "0755", "kind": "d", "sha256": ""}


def _file(text: str | None) -> Options | None:
    if not text:  # releases of ansible-core before 2.19 make an empty text of nothing
        return None
    return {"uid": 0, "gid": 0, "mode": "0644", "kind": "-", "sha256": hashlib.sha256(text.encode()).hexdigest()}
