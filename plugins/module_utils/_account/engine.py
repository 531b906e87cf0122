# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of tunnel_account: the tunnels' account, its key, its programs, and its authorized keys."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from typing import Any

from .._checkpoint import checkpoint, left
from .._checkpoint.left import LeftSteps
from .._core.command import Runner
from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.files import (
    put_in_place,
    read_text,
    readable,
    remove,
    remove_empty_folder,
    rewrite_text,
    write_text,
)
from .._core.plan import Plan, Step
from .._core.wait import WaitError, wait_until
from .._linux.systemd import Systemd
from .._sshd import facts as sshd_facts
from .info import public_key
from .model import (
    AUTHORIZED_KEYS,
    CHECKPOINT,
    COMMENT,
    FILE_MODE,
    FOLDER_MODE,
    HOME,
    KEY,
    KEY_MODE,
    KEYS,
    KEYS_MODE,
    PROGRAMS,
    Desired,
    Entry,
    Observed,
    Path,
    plan_account,
)

# userdel's exit statuses: the account is in use, and there is none.
IN_USE, UNKNOWN = 8, 6
ENDING_SECONDS = 15.0


class TunnelAccountEngine(LeftSteps, Engine[Observed]):
    """One account on this host."""

    def __init__(
        self,
        desired: Desired,
        run: Runner,
        stages: bool = False,
        rollback_timeout: int = 60,
        takes_back: bool = False,
        check: bool = False,
    ) -> None:
        """stages: have the host roll back a change of sshd after rollback_timeout seconds, unless it is confirmed.

        takes_back: first roll back a change that an interrupted run left pending; check: check mode.
        """
        self._desired = desired
        self._run = run
        self._stages = stages
        self._rollback_timeout = rollback_timeout
        self._takes_back = takes_back
        self._check = check
        self._created = False
        # Whether a change of before waits to be confirmed.
        self._pending = False
        self._systemd = Systemd(run)

    @functools.cached_property
    def _unit(self) -> str:
        """sshd's; all processes are gone through for it, so it is looked for once, before the first change."""
        return sshd_facts.service()

    def recovery(self) -> tuple[Step, ...]:
        """Steps that roll back a change of an interrupted run, before its timer does so during this run.

        Where all files are going to be removed, its checkpoint is removed without a rollback.
        """
        if self._takes_back:
            return tuple(left.taken_back(CHECKPOINT))
        return () if self._desired.present else tuple(left.forgotten(CHECKPOINT))

    def observe(self) -> Observed:
        """The account, all our files around it, and sshd's settings for it where the task sets any."""
        wanted = self._desired
        waiting = checkpoint.settled(self._systemd, CHECKPOINT)
        self._pending = waiting is not None and waiting.pending
        if self._check and self.recovery():
            waiting = None
        asked = not wanted.present or wanted.sshd_config is not None
        main = (read_text(sshd_facts.MAIN) or "") if asked else ""
        probed: list[str] = []
        if wanted.present and wanted.sshd_config:
            probed = sshd_facts.probe_block(self._run, main, wanted.sshd_config, wanted.name)
        names = [AUTHORIZED_KEYS, sshd_facts.OUR_DROP_IN, *(f"{PROGRAMS}/{name}" for name in wanted.programs)]
        inside = [path for folder in wanted.folders for path in _inside(folder) if path not in names]
        found = {path: _path(path) for path in (HOME, KEYS, PROGRAMS, *wanted.folders, *names)}
        found.update({path: _path(path, read=readable) for path in inside})
        found[KEY] = _path(KEY, read=None)
        return Observed(
            entry=_entry(wanted.name),
            paths={path: each for path, each in found.items() if each is not None},
            public_key=public_key(),
            main=main,
            effective=tuple(sshd_facts.effective(self._run, wanted.name)) if probed else (),
            probed=tuple(probed),
            change=waiting,
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_account."""
        staged = self._stages and not self._created
        return plan_account(self._desired, observed, self._rollback_timeout if staged else None)

    @performs("file")
    def _write_file(self, path: str, text: str | None) -> None:
        _write(path, text)

    @performs("mkdir")
    def _make_folder(self, path: str) -> None:
        _own_folder(path, 0, 0, FOLDER_MODE)

    @performs("rmdir")
    def _remove_folder(self, path: str) -> None:
        remove_empty_folder(path)

    @performs("rmtree")
    def _remove_tree(self, path: str) -> None:
        _rmtree(path)
        remove_empty_folder(os.path.dirname(path))

    @performs("clear")
    def _clear_away(self, path: str) -> None:
        _clear(path)

    @performs("shell")
    def _give_shell(self, name: str, shell: str) -> None:
        self._run(["usermod", "--shell", shell, name])

    @performs("own_key")
    def _give_key(self, name: str) -> None:
        _own_key(name)

    @performs("unkey")
    def _remove_key(self) -> None:
        _rmtree(KEYS)

    def in_effect(self, observed: Observed) -> bool:
        """True, because no step takes effect later."""
        return True

    def result(self, observed: Observed) -> dict[str, Any]:
        """The public half of the key, and the pending change."""
        return {
            "public_key": observed.public_key,
            "pending": self._pending,
            "checkpoint": CHECKPOINT if self._pending else "",
        }

    @performs("sshd")
    def _tell_sshd(self, texts: dict[str, str | None]) -> None:
        """Change what sshd reads, and have it read that; or nothing of it."""
        if self._stages and not self._created:
            files = tuple(os.path.realpath(path) for path in texts)
            desired = checkpoint.Desired(files, tuple(filter(None, [self._unit])), self._rollback_timeout)
            checkpoint.create_for_files(self._systemd, CHECKPOINT, desired)
            self._created = True
            self._change_sshd(texts)
            checkpoint.changed(CHECKPOINT)
        else:
            self._change_sshd(texts)
            self._discard()

    def _change_sshd(self, texts: dict[str, str | None]) -> None:
        before = {path: read_text(path) for path in texts}
        try:
            for path, text in texts.items():
                _write(path, text)
            self._reload()
        except OversshError:
            for path, text in before.items():
                _write(path, text)
            self._reload()
            self._discard()
            raise

    def _reload(self) -> None:
        """Have sshd read its files, where one listens; one that is started for each connection does so by itself."""
        if self._desired.present or self._unit:
            self._run(["sshd", "-t"])
        if self._unit:
            sshd_facts.reload(self._systemd, self._unit)

    def _discard(self) -> None:
        if self._created:
            checkpoint.discard(self._systemd, CHECKPOINT)
            self._created = False

    @performs("make")
    def _make(self, name: str, shell: str) -> None:
        """With "*" for a password nobody can log in with one, and sshd does not call the account locked."""
        group = ["--gid", name] if _has_group(name) else ["--user-group"]
        about = ["--comment", COMMENT, "--home-dir", HOME, "--no-create-home", "--shell", shell, "--password", "*"]
        self._run(["useradd", "--system", *group, *about, name])

    @performs("unmake")
    def _unmake(self, name: str) -> None:
        """End its sessions, and wait for that: logind keeps a session's service manager for some seconds longer."""
        # Hosts without logind, and without a session, say that there is nothing to end.
        self._run(["loginctl", "terminate-user", name], check=False)
        try:
            wait_until(lambda: self._deleted(name), ENDING_SECONDS, "the end of its processes")
        except WaitError as error:
            raise OversshError(f"{error}; see `ps -u {name}`") from error
        # What others have left in it is theirs.
        remove_empty_folder(HOME)

    def _deleted(self, name: str) -> bool:
        answer = self._run(["userdel", name], check=False)
        if answer.rc not in (0, IN_USE, UNKNOWN):
            raise OversshError(f"userdel {name}: {answer.stderr.strip() or answer.rc}")
        return answer.rc != IN_USE

    @performs("key")
    def _make_key(self, name: str, comment: str) -> None:
        """The public half first: where there is a key, there are both."""
        entry = pwd.getpwnam(name)
        _own_folder(KEYS, entry.pw_uid, entry.pw_gid, KEYS_MODE)
        draft = f"{KEY}.new"
        remove(draft)
        self._run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", draft])
        try:
            for path in (f"{draft}.pub", draft):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        except OSError as error:
            raise OversshError(f"can't write {KEY}: {error}") from error
        put_in_place(f"{draft}.pub", f"{KEY}.pub")
        put_in_place(draft, KEY)


def _entry(name: str) -> Entry | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Entry(found.pw_uid, found.pw_gid, found.pw_gecos, found.pw_dir, found.pw_shell)


def _has_group(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(grp.getgrnam(name))
    return False


def _path(path: str, read: Callable[[str], str | None] | None = read_text) -> Path | None:
    """A file or folder; read: what its text is found with, where it is wanted."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    text = None
    if stat.S_ISREG(found.st_mode):
        text = (read(path) or "") if read else ""
    special = not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
    return Path(text, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), special)


def _inside(folder: str) -> list[str]:
    """What lies in a folder, where there is one."""
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _clear(path: str) -> None:
    """Remove a file, or a folder with all that is in it."""
    if os.path.isdir(path) and not os.path.islink(path):
        _rmtree(path)
    else:
        remove(path)


def _write(path: str, text: str | None) -> None:
    """A file of root's, or none; sshd's own keeps its owner and its permissions."""
    if text is None or text == "":
        remove(path)
        return
    if path == sshd_facts.MAIN:
        rewrite_text(path, text)
    else:
        write_text(path, text, FILE_MODE)


def _own_folder(path: str, uid: int, gid: int, mode: int) -> None:
    try:
        os.makedirs(path, exist_ok=True)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
    except OSError as error:
        raise OversshError(f"can't make {path}: {error}") from error


def _own_key(name: str) -> None:
    entry = pwd.getpwnam(name)
    _own_folder(KEYS, entry.pw_uid, entry.pw_gid, KEYS_MODE)
    try:
        os.chown(KEY, entry.pw_uid, entry.pw_gid)
        os.chmod(KEY, KEY_MODE)
    except OSError as error:
        raise OversshError(f"can't give {KEY} to {name}: {error}") from error


def _rmtree(path: str) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OversshError(f"can't remove {path}: {error}") from error
