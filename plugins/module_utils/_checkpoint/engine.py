# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that the host takes back by itself, unless it is confirmed in time.

The undoing lies on the host as a shell script before the change is made. A timer of systemd runs it, outside of any
session; so does the next boot, where the host goes down before anybody could confirm.

It is confirmed by a command that reaches the host by a connection which began after the change. That is the proof that
the host can still be reached; an older connection gets through where no new one does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.command import CommandError
from .._core.errors import OversshError
from .._core.files import read_text, remove, remove_empty_folder, write_text
from .._linux import way_in
from .._linux.systemd import Systemd, unit_path

FOLDER = "/var/lib/overssh/guard"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
SHORTEST, LONGEST = 5, 86400

SCRIPT = """\
#!/bin/sh
# Takes back a change that nobody confirmed. Written by overssh.swarm.
{body}
rm -f {units} /etc/systemd/system/*.wants/{service}
systemctl daemon-reload
date +%s >{folder}/taken_back
"""
SERVICE = """\
# Written by overssh.swarm; gone as soon as the change is confirmed or taken back.
[Unit]
Description=Takes back the change {name}, which nobody confirmed
# After a reboot nobody can confirm it any more.
After=local-fs.target
Before=ssh.service sshd.service docker.service

[Service]
Type=oneshot
ExecStart=/bin/sh {folder}/undo

[Install]
WantedBy=multi-user.target
"""
TIMER = """\
# Written by overssh.swarm; gone as soon as the change is confirmed or taken back.
[Unit]
Description=Takes back the change {name} unless it is confirmed

[Timer]
OnActiveSec={seconds}
AccuracySec=100ms
"""


@dataclass(frozen=True)
class Guarded:
    """A change under guard; deadline: seconds of the epoch; taken_back: when that was, None where it was not."""

    name: str
    deadline: float
    taken_back: float | None


def check(name: str, seconds: int) -> None:
    """OversshError for what no guard can be."""
    if not NAME.match(name):
        raise OversshError(f"{name!r} can't name a guard: use small letters, digits and -, up to 31 of them")
    if not SHORTEST <= seconds <= LONGEST:
        raise OversshError(f"a guard waits for {SHORTEST} to {LONGEST} seconds, not for {seconds}")


def restoring(systemd: Systemd, name: str, files: Sequence[str], reload: Sequence[str]) -> str:
    """Shell commands that put files back as they are now and have units read them again; keeps copies of the files."""
    lines = []
    for number, path in enumerate(files):
        copy = f"{_folder(name)}/files/{number}"
        there = shlex.quote(path)
        if os.path.exists(path):
            _copy(path, copy)
            lines.append(f"cp -a {copy} {there}.overssh && mv -f {there}.overssh {there}")
        else:
            lines.append(f"rm -f {there}")
    # They come after the service that this runs in, so it can't wait for them.
    lines += [f"systemctl --no-block {systemd.reloading(unit)} {shlex.quote(unit)}" for unit in reload]
    return "\n".join(lines)


def _copy(path: str, copy: str) -> None:
    """A copy with owner, mode and times, which nobody else may read."""
    try:
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        shutil.copy2(path, copy)
        found = os.stat(path)
        os.chown(copy, found.st_uid, found.st_gid)
    except OSError as error:
        raise OversshError(f"can't keep a copy of {path}: {error}") from error


def refuse_second(name: str) -> None:
    """OversshError where a change of that name waits for its confirmation already."""
    found = find(name)
    if found is not None and found.taken_back is None:
        raise OversshError(
            f"the change {name} before this one is not confirmed yet, and is taken back {_at(found.deadline)}; confirm "
            "it with overssh.swarm.confirm, or wait until then"
        )


def arm(systemd: Systemd, name: str, undo: str, seconds: int, task: Mapping[str, Any] | None = None) -> None:
    """Have the host run the shell commands undo after so many seconds; they have to be right whenever they run.

    task: what has to be done to keep the change once it is confirmed, for task_of.
    """
    check(name, seconds)
    _make_room(systemd, name)
    if task is not None:
        write_text(f"{_folder(name)}/task", json.dumps(task), 0o600)
    _start(systemd, name, undo, seconds)


def task_of(name: str) -> dict[str, Any] | None:
    """What has to be done to keep the change of that name, None where nothing has."""
    text = read_text(f"{_folder(name)}/task")
    return None if text is None else dict(json.loads(text))


def _make_room(systemd: Systemd, name: str) -> None:
    """Wait for the end of a change that is being taken back; OversshError where one is still on trial."""
    _await_end(systemd, name)
    refuse_second(name)


def _start(systemd: Systemd, name: str, undo: str, seconds: int) -> None:
    folder, service, timer = _folder(name), _unit(name, "service"), _unit(name, "timer")
    script = SCRIPT.format(
        body=undo.rstrip(), folder=folder, units=f"{unit_path(service)} {unit_path(timer)}", service=service
    )
    remove(f"{folder}/taken_back")
    try:
        write_text(f"{folder}/undo", script, 0o700)
        write_text(unit_path(service), SERVICE.format(name=name, folder=folder))
        systemd.write(timer, TIMER.format(name=name, seconds=seconds))
        systemd.enable(service)
        changed(name)
        write_text(f"{folder}/deadline", f"{time.time() + seconds:.3f}\n")
        # One that has run off before counts as started.
        systemd.restart(timer)
    except OversshError:
        forget(systemd, name)
        raise


def changed(name: str) -> None:
    """The change has been made now; it is confirmed by what begins from here on."""
    write_text(f"{_folder(name)}/changed", f"{way_in.now():.3f}\n")


def require_proof(name: str) -> None:
    """OversshError, with unproved as its answer, unless this command came by a way that was opened after the change."""
    if find(name) is None:
        return
    since = float(read_text(f"{_folder(name)}/changed") or "inf")
    way = way_in.found()
    if way is None:
        raise OversshError(
            f"the change {name} was not confirmed: this command came by no connection that the host can see, so that "
            "it does not show whether the host can still be reached; confirm it from a new login over the network, or "
            "say with force: true of overssh.swarm.guard that you know",
            unproved=True,
        )
    if way.since <= since:
        older = since - way.since
        raise OversshError(
            f"the change {name} was not confirmed: this command came by a connection that had begun {older:.0f} s "
            "before the change, and the host may not be reached by a new one; something keeps connections open, such "
            "as ControlMaster in an ssh configuration or a program in the place of ssh",
            unproved=True,
        )


def prolong(systemd: Systemd, name: str, enough: int, seconds: int) -> None:
    """Give a change that has not enough seconds left so many from now; OversshError where it is too late.

    To be given time takes time itself, so that one with enough left is not.
    """
    found = find(name)
    if found is None or (found.taken_back is None and found.deadline - time.time() >= enough):
        return
    timer = _unit(name, "timer")
    systemd.write(timer, TIMER.format(name=name, seconds=seconds))
    write_text(f"{_folder(name)}/deadline", f"{time.time() + seconds:.3f}\n")
    systemd.restart(timer)
    # The timer may have been faster.
    refuse_gone(systemd, name)


def confirm(systemd: Systemd, name: str, force: bool = False) -> None:
    """Have the change stay; OversshError where it was taken back before, or without the proof.

    force: somebody knows without it.
    """
    found = find(name)
    if found is None:
        return
    if not force and found.taken_back is None:
        require_proof(name)
    if found.taken_back is None:
        systemd.stop(_unit(name, "timer"))
    # The timer may have been faster.
    refuse_gone(systemd, name)
    forget(systemd, name)


def refuse_gone(systemd: Systemd, name: str) -> None:
    """OversshError where the change of that name was taken back, or is just being; then it is forgotten."""
    _await_end(systemd, name)
    found = find(name)
    if found is not None and found.taken_back is not None:
        forget(systemd, name)
        raise OversshError(
            f"the change {name} was taken back {_at(found.taken_back)}, because nobody confirmed it in time; the host "
            "is as it was before"
        )


def _await_end(systemd: Systemd, name: str) -> None:
    """Until a change that is being taken back is so."""
    service = _unit(name, "service")
    if systemd.observe(service).active == "activating":
        with contextlib.suppress(CommandError):  # it removes itself
            systemd.start(service)


def take_back(systemd: Systemd, name: str) -> None:
    """Take the change back at once, where there is one on trial."""
    found = find(name)
    if found is None:
        return
    if found.taken_back is None:
        systemd.stop(_unit(name, "timer"))
        systemd.start(_unit(name, "service"))
    forget(systemd, name)


def forget(systemd: Systemd, name: str) -> None:
    """Remove all that is left of a guard, armed or not."""
    timer, service, folder = _unit(name, "timer"), _unit(name, "service"), _folder(name)
    if read_text(unit_path(timer)) is not None:
        systemd.stop(timer)
        systemd.remove([service, timer])
    for file in ("undo", "deadline", "taken_back", "task", "changed"):
        remove(f"{folder}/{file}")
    shutil.rmtree(f"{folder}/files", ignore_errors=True)
    for path in (folder, FOLDER, os.path.dirname(FOLDER)):
        remove_empty_folder(path)


@dataclass(frozen=True)
class Wanted:
    """What a change is about: the files that it changes, the units that read them, and how many seconds it has."""

    files: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    seconds: int = 60


def bring_about(systemd: Systemd, name: str, state: str, wanted: Wanted, rehearsal: bool) -> bool:
    """Have a guard be armed, taken back or absent, and say whether that took anything; rehearsal: only say so."""
    check(name, wanted.seconds)
    found = find(name)
    if state == "armed":
        _make_room(systemd, name)
        if not rehearsal:
            forget(systemd, name)
            _start(systemd, name, restoring(systemd, name, wanted.files, wanted.reload), wanted.seconds)
        return True
    if found is not None and not rehearsal:
        {"taken_back": take_back, "absent": forget}[state](systemd, name)
    return found is not None


def find(name: str) -> Guarded | None:
    """The change of that name, None where there is none."""
    deadline, taken_back = (read_text(f"{_folder(name)}/{file}") for file in ("deadline", "taken_back"))
    if deadline is None:
        return None
    return Guarded(name, float(deadline), None if taken_back is None else float(taken_back))


def find_all() -> Iterator[Guarded]:
    """Every change under guard, and those that were taken back and nobody has asked for since."""
    for name in sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else ():
        found = find(name)
        if found is not None:
            yield found


def _folder(name: str) -> str:
    return f"{FOLDER}/{name}"


def _unit(name: str, kind: str) -> str:
    return f"overssh-guard-{name}.{kind}"


def _at(moment: float) -> str:
    return time.strftime("at %H:%M:%S (UTC)", time.gmtime(moment))
