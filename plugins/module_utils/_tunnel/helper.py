# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper, the program that carries a stream at this host's end: whether it can run, and its digest."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from .._core.command import Answer, Runner
from .._core.errors import OversshError

# In check mode a helper may be missing: the same run is going to install it.
NOT_YET = "(the helper is yet to be installed)"
TOO_OLD = re.compile(r"it takes Python (?P<least>\S+) or later, and (?P<python>\S+) is (?P<version>\S+)")
CANT_OPEN = re.compile(r"can't open file '?(?P<path>[^':]+)'?: \[Errno (?P<number>\d+)\] (?P<why>.+)")
# A folder without a __main__.py, or one that it can't look into.
CANT_FIND = re.compile(r"can't find '__main__' module in '(?P<path>[^']+)'")
CANT_READ = re.compile(r"^PermissionError: \[Errno \d+\] (?P<why>[^:]+): '(?P<path>[^']+\.py)'", re.MULTILINE)
# Why Python itself gives up: an exception, or Python 2, which does not know -I.
CANT_GO_ON = re.compile(r"^([\w.]+(Error|Exception)\b|Unknown option: -I).*", re.MULTILINE)
CANT_START = re.compile(r"failed to execute (?P<program>\S+): (?P<why>.+)")


@dataclass(frozen=True)
class Helper:
    """The helper's path, its Python, and its account."""

    path: str
    python: str
    run_as: str


def digest_of(helper: Helper, run: Runner, check_mode: bool) -> str:
    """The helper's SHA-256; OversshError where the account can't run it."""
    try:
        digest = _digest(helper.path)
    except FileNotFoundError as error:
        if check_mode:
            return NOT_YET
        raise OversshError(f"there is no helper {helper.path} on this host; the role tunnel installs it") from error
    except OSError as error:
        raise OversshError(f"can't read the helper {helper.path} on this host ({error.strerror})") from error
    try:
        account = pwd.getpwnam(helper.run_as)
    except KeyError as error:
        if not check_mode:
            raise OversshError(f"the account {helper.run_as} does not exist on this host; make it first") from error
    else:
        as_it = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
        answer = run([*as_it, helper.python, "-I", "-B", helper.path, "version"], check=False)
        if answer.rc != 0:
            raise OversshError(_cant_run(helper, answer))
    return digest


def _digest(path: str) -> str:
    """Of a file, or of all files of a folder, each with its name."""
    if not os.path.isdir(path):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    whole = hashlib.sha256()
    # Without this one a folder is no program; others may be bytecode.
    names = {"__main__.py", *(entry.name for entry in os.scandir(path) if entry.is_file())}
    for name in sorted(names):
        content = Path(path, name).read_bytes()
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def too_old(found: re.Match[str], where: str) -> str:
    """The sentence on a Python that is too old for the helper."""
    return f"the helper takes Python {found['least']} or later, and {found['python']} {where} is {found['version']}"


def _cant_run(helper: Helper, answer: Answer) -> str:
    words = answer.stderr.strip() or answer.stdout.strip() or f"exit status {answer.rc}"
    old, absent = TOO_OLD.search(words), CANT_START.search(words)
    closed, unseen = CANT_OPEN.search(words) or CANT_READ.search(words), CANT_FIND.search(words)
    if old:
        return f"{too_old(old, 'on this host')}; name a later one in python"
    if closed or unseen:
        why = f" ({closed['why']})" if closed else ""
        return (
            f"{helper.run_as} can't read the helper {helper.path} on this host{why}; it takes mode 0644, and 0755 "
            "above it"
        )
    if absent:
        return f"python is {helper.python}, which can't be run on this host ({absent['why']}); name another one"
    given_up = CANT_GO_ON.search(words)
    last = given_up[0] if given_up else words.splitlines()[-1].rstrip(".")
    return f"{helper.python} can't run the helper {helper.path} on this host ({last}); it takes Python 3.9 or later"
