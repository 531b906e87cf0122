# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that the host rolls back by itself unless it is confirmed in time.

The rollback lies on the host as a program for sh before the change is made. A systemd timer runs it, outside of any
session. So does the next boot, where the host goes down before the change is confirmed.

A command confirms the change, if it reaches the host by a connection that began after the change. That proves that the
host can still be reached; an older connection may survive where no new one gets through.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._core.errors import OversshError
from .._core.files import read_text, remove, remove_empty_folder, write_text
from .._core.shell import with_values
from .._core.wait import wait_until
from .._linux import way_in
from .._linux.systemd import Systemd, unit_path
from .._linux.way_in import Way
from . import rollback_sh

FOLDER = "/var/lib/overssh/checkpoint"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
SHORTEST, LONGEST = 5, 86400
# Seconds that a running rollback may take to finish.
ROLLBACK_SECONDS = 120

SERVICE = """\
# Written by overssh.swarm; gone as soon as the change is confirmed or rolled back.
[Unit]
Description=Rolls back the change {name}, which nobody confirmed
# After a reboot nobody can confirm it any more.
After=local-fs.target
Before=ssh.service sshd.service docker.service

[Service]
Type=oneshot
ExecStart=/bin/sh {folder}/rollback

[Install]
WantedBy=multi-user.target
"""
TIMER = """\
# Written by overssh.swarm; gone as soon as the change is confirmed or rolled back.
[Unit]
Description=Rolls back the change {name} unless it is confirmed

[Timer]
OnActiveSec={seconds}
AccuracySec=100ms
"""


@dataclass(frozen=True)
class Checkpoint:
    """A change that is pending or was rolled back.

    deadline: seconds of the epoch; rolled_back: the time of the rollback, None where there was none.
    """

    name: str
    deadline: float
    rolled_back: float | None

    @property
    def pending(self) -> bool:
        """Whether the change still has to be confirmed."""
        return self.rolled_back is None


@dataclass(frozen=True)
class Proof:
    """The evidence that the host can still be reached after a change.

    since: the time of the change, in seconds since the boot; way: the connection of this run, None where the host sees
    none; given: whether an earlier run has proved it.
    """

    since: float = float("inf")
    way: Way | None = None
    given: bool = False


@dataclass(frozen=True)
class Desired:
    """The files that the change is about, the units that read them, and the seconds until the rollback."""

    files: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    seconds: int = 60


def check(name: str, seconds: int) -> None:
    """OversshError for a name or a number of seconds that no checkpoint can have."""
    if not NAME.match(name):
        raise OversshError(f"{name!r} can't name a checkpoint: use small letters, digits and -, up to 31 of them")
    if not SHORTEST <= seconds <= LONGEST:
        raise OversshError(f"a checkpoint waits for {SHORTEST} to {LONGEST} seconds, not for {seconds}")


def unkept(files: Sequence[str]) -> dict[str, str]:
    """The files that no copy can be kept of, each with the reason."""
    why = os.strerror(errno.EISDIR)
    return {path: f"[Errno {errno.EISDIR}] {why}: {path!r}" for path in files if os.path.isdir(path)}


def refuse_unkept(unkept: Mapping[str, str]) -> None:
    """OversshError for the first file in unkept, which has the reason for each file."""
    for path, why in unkept.items():
        raise OversshError(f"can't keep a copy of {path}: {why}")


def restoring_files(systemd: Systemd, name: str, files: Sequence[str], reload: Sequence[str]) -> str:
    """Copy the files; return shell commands that put the copies back and have the units read them again."""
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


def refuse_second(found: Checkpoint | None) -> None:
    """OversshError where a change of the same name is pending already."""
    if found is not None and found.pending:
        raise OversshError(
            f"the change {found.name} before this one is not confirmed yet, and is rolled back {_at(found.deadline)}; "
            "confirm it with overssh.swarm.confirm, or wait until then"
        )


def create(systemd: Systemd, name: str, rollback: str, seconds: int, commit: Mapping[str, Any] | None = None) -> None:
    """Have the host run these shell commands after so many seconds; they must be right whenever they run.

    commit: the options of the module that keeps the change after it is confirmed, see commit_of.
    """
    check(name, seconds)
    make_room(systemd, name)
    if commit is not None:
        write_text(f"{_folder(name)}/commit", json.dumps(commit), 0o600)
    _start(systemd, name, rollback, seconds)


def create_for_files(systemd: Systemd, name: str, desired: Desired) -> None:
    """Have the host put the files back as they are now, and have the units read them again."""
    check(name, desired.seconds)
    make_room(systemd, name)
    discard(systemd, name)
    _start(systemd, name, restoring_files(systemd, name, desired.files, desired.reload), desired.seconds)


def commit_of(name: str) -> dict[str, Any] | None:
    """The options of the module that keeps the change of that name; None where confirming alone keeps it."""
    text = read_text(f"{_folder(name)}/commit")
    return None if text is None else dict(json.loads(text))


def make_room(systemd: Systemd, name: str) -> None:
    """Wait for a running rollback to finish; OversshError where a change of that name is pending."""
    refuse_second(settled(systemd, name))


def rollback_script(name: str) -> str:
    """The program that the units of a checkpoint run."""
    service, timer = _unit(name, "service"), _unit(name, "timer")
    units = os.path.dirname(unit_path(service))
    return with_values(rollback_sh.PROGRAM, folder=_folder(name), units=units, service=service, timer=timer)


def _start(systemd: Systemd, name: str, rollback: str, seconds: int) -> None:
    folder, service, timer = _folder(name), _unit(name, "service"), _unit(name, "timer")
    remove(f"{folder}/rolled_back")
    try:
        write_text(f"{folder}/commands", f"{rollback.rstrip()}\n", 0o600)
        write_text(f"{folder}/rollback", rollback_script(name), 0o700)
        write_text(unit_path(service), SERVICE.format(name=name, folder=folder))
        systemd.write(timer, TIMER.format(name=name, seconds=seconds))
        systemd.enable(service)
        changed(name)
        write_text(f"{folder}/deadline", f"{time.time() + seconds:.3f}\n")
        # One that has run off before counts as started.
        systemd.restart(timer)
    except OversshError:
        discard(systemd, name)
        raise


def changed(name: str) -> None:
    """Record that the change is made now; only a connection that begins from here on confirms it."""
    remove(f"{_folder(name)}/proved")
    write_text(f"{_folder(name)}/changed", f"{way_in.now():.3f}\n")


def require_proof(name: str) -> None:
    """OversshError, with unproved as its answer, unless this command's connection began after the change."""
    if find(name) is not None:
        refuse_unproved(name, proof_of(name))


def proof_of(name: str) -> Proof:
    """The evidence that the host can still be reached after the change of that name."""
    if os.path.exists(f"{_folder(name)}/proved"):
        return Proof(given=True)
    return Proof(float(read_text(f"{_folder(name)}/changed") or "inf"), way_in.found())


def refuse_unproved(name: str, proof: Proof) -> None:
    """OversshError, with unproved as its answer, where the proof is missing; pure."""
    if proof.given:
        return
    if proof.way is None:
        raise OversshError(
            f"the change {name} was not confirmed: this command came by no connection that the host can see, so that "
            "it does not show whether the host can still be reached; confirm it from a new login over the network, or "
            "say with force: true of overssh.swarm.checkpoint that you know",
            unproved=True,
        )
    if proof.way.since <= proof.since:
        older = proof.since - proof.way.since
        raise OversshError(
            f"the change {name} was not confirmed: this command came by a connection that had begun {older:.0f} s "
            "before the change, and the host may not be reached by a new one; something keeps connections open, such "
            "as ControlMaster in an ssh configuration or a program in the place of ssh",
            unproved=True,
        )


def prolong(systemd: Systemd, name: str, enough: int, seconds: int) -> None:
    """Give a change with fewer seconds left than enough this many seconds from now; OversshError where it is too late.

    Setting the timer anew takes time itself, so a change with enough seconds left keeps its timer.
    """
    found = find(name)
    if found is None or (found.pending and found.deadline - time.time() >= enough):
        return
    timer = _unit(name, "timer")
    systemd.write(timer, TIMER.format(name=name, seconds=seconds))
    write_text(f"{_folder(name)}/deadline", f"{time.time() + seconds:.3f}\n")
    systemd.restart(timer)
    # The timer may have been faster.
    refuse_rolled_back(systemd, name)


def prove(name: str) -> None:
    """Record that the host was reached; the module that keeps the change need not prove it again."""
    if find(name) is not None:
        write_text(f"{_folder(name)}/proved", "")


def confirm(systemd: Systemd, name: str) -> None:
    """Keep the change; OversshError where it was rolled back before, or where the proof is missing."""
    found = find(name)
    if found is None:
        return
    if found.pending:
        require_proof(name)
        systemd.stop(_unit(name, "timer"))
    # The timer may have been faster.
    refuse_rolled_back(systemd, name)
    discard(systemd, name)


def refuse_rolled_back(systemd: Systemd, name: str) -> None:
    """OversshError where the change of that name was rolled back or is just being; its checkpoint is removed."""
    try:
        refuse_gone(settled(systemd, name))
    except OversshError:
        discard(systemd, name)
        raise


def refuse_gone(found: Checkpoint | None) -> None:
    """OversshError where the change was rolled back; pure."""
    if found is not None and found.rolled_back is not None:
        raise OversshError(rolled_back_words(found.name, found.rolled_back))


def rolled_back_words(name: str, moment: float) -> str:
    """The sentence on a change that was rolled back; moment: seconds of the epoch."""
    return (
        f"the change {name} was rolled back {_at(moment)}, because nobody confirmed it in time; the host is as it was "
        "before"
    )


def settled(systemd: Systemd, name: str) -> Checkpoint | None:
    """The checkpoint of that name, after a running rollback of it has finished; only looks."""
    service = _unit(name, "service")
    if find(name) is not None:
        wait_until(
            lambda: systemd.observe(service).active != "activating",
            ROLLBACK_SECONDS,
            f"the end of the rollback of the change {name}",
        )
    return find(name)


def roll_back(systemd: Systemd, name: str) -> None:
    """Roll the change back now, where one is pending."""
    found = find(name)
    if found is None:
        return
    if found.pending:
        systemd.stop(_unit(name, "timer"))
        systemd.start(_unit(name, "service"))
    discard(systemd, name)


def discard(systemd: Systemd, name: str) -> None:
    """Remove all files of a checkpoint; the change itself stays as it is."""
    timer, service, folder = _unit(name, "timer"), _unit(name, "service"), _folder(name)
    if read_text(unit_path(timer)) is not None:
        systemd.stop(timer)
        systemd.remove([service, timer])
    for file in ("rollback", "commands", "deadline", "rolled_back", "commit", "changed", "proved"):
        remove(f"{folder}/{file}")
    shutil.rmtree(f"{folder}/files", ignore_errors=True)
    for path in (folder, FOLDER, os.path.dirname(FOLDER)):
        remove_empty_folder(path)


def find(name: str) -> Checkpoint | None:
    """The checkpoint of that name, None where there is none."""
    deadline, rolled_back = (read_text(f"{_folder(name)}/{file}") for file in ("deadline", "rolled_back"))
    if deadline is None:
        return None
    return Checkpoint(name, float(deadline), None if rolled_back is None else float(rolled_back))


def remains(name: str) -> bool:
    """Whether any file of a checkpoint of that name is left, also of one that was never completed."""
    return os.path.isdir(_folder(name)) or os.path.exists(unit_path(_unit(name, "timer")))


def find_all() -> Iterator[Checkpoint]:
    """Every pending change, and those that were rolled back since anybody last asked."""
    for name in sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else ():
        found = find(name)
        if found is not None:
            yield found


def _folder(name: str) -> str:
    return f"{FOLDER}/{name}"


def _unit(name: str, kind: str) -> str:
    return f"overssh-checkpoint-{name}.{kind}"


def _at(moment: float) -> str:
    return time.strftime("at %H:%M:%S (UTC)", time.gmtime(moment))
