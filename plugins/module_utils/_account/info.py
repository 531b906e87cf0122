# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnels' account and its files on a host, without devices and links; only looks."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from .._checkpoint import checkpoint
from .._core.command import CommandError, Runner
from .._core.files import below, read_text
from .._sshd import facts as sshd_facts
from .model import AUTHORIZED_KEYS, CHECKPOINT, HOME, KEY, PROGRAMS

PATHS = (HOME, AUTHORIZED_KEYS, PROGRAMS, sshd_facts.OUR_DROP_IN)


def info(run: Runner, user: str, sshd: bool) -> dict[str, Any]:
    """All facts of the account; user: the account's name; sshd: whether an sshd can be asked."""
    files = {path: found for path in (*PATHS, *below(PROGRAMS, folders=True)) if (found := file(path)) is not None}
    block = sshd_facts.OUR_BLOCK.search(read_text(sshd_facts.MAIN) or "")
    ours = sshd_facts.OUR_DROP_IN in files or block is not None
    return {
        "account": account(user),
        "public_key": public_key(),
        "files": files,
        "block": "" if block is None else sshd_facts.inside(block[0]),
        "pending": checkpoint.find(CHECKPOINT) is not None,
        "effective": _effective(run, user) if sshd and ours else [],
    }


def _effective(run: Runner, user: str) -> list[str]:
    """sshd's settings for the account; empty where sshd does not accept its configuration."""
    try:
        return sshd_facts.effective(run, user)
    except CommandError:
        return []


def public_key() -> str:
    """The public half of the account's key, empty where it has none."""
    return (read_text(f"{KEY}.pub") or "").strip()


def account(user: str) -> dict[str, str]:
    """The entry of an account, empty where there is none of that name."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return {}
    return {"comment": found.pw_gecos, "home": found.pw_dir, "shell": found.pw_shell}


def file(path: str) -> dict[str, Any] | None:
    """The owner and the content of a file or folder; None where it is missing."""
    try:
        found = os.lstat(path)
        content = Path(path).read_bytes() if stat.S_ISREG(found.st_mode) else b""
    except OSError:
        return None
    return {
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "kind": stat.filemode(found.st_mode)[0],
        "sha256": hashlib.sha256(content).hexdigest() if stat.S_ISREG(found.st_mode) else "",
    }
