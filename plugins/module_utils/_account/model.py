# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that tunnels run as and log in to, with its files on a host; pure.

The account owns nothing but its key. Root owns its programs, its authorized keys and the configuration of sshd.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._checkpoint import checkpoint
from .._checkpoint.checkpoint import Checkpoint
from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._sshd import facts as sshd_facts

COMMENT = "overssh tunnels"
HOME = "/etc/overssh"
AUTHORIZED_KEYS = f"{HOME}/authorized_keys"
KEYS = f"{HOME}/keys"
KEY = f"{KEYS}/id_ed25519"
PROGRAMS = "/usr/local/lib/overssh"
# The name of the checkpoint of a change of sshd's configuration.
CHECKPOINT = "sshd"
FOLDER_MODE, FILE_MODE, KEYS_MODE, KEY_MODE = 0o755, 0o644, 0o700, 0o600


@dataclass(frozen=True)
class Desired:
    """The desired account.

    key: the comment of its key for dialling, empty for no key. programs: texts of files in PROGRAMS by name, where a
    folder may precede the name. authorized_keys, sshd_config: the text of each, empty for none, None to leave it alone.
    effective: lines that `sshd -T` has to print for the account.
    """

    name: str
    present: bool = True
    login_shell: str = "/bin/false"
    key: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)
    authorized_keys: str | None = None
    sshd_config: str | None = None
    effective: tuple[str, ...] = ()

    @property
    def folders(self) -> list[str]:
        """The programs that are folders; nothing else may be in one."""
        return sorted({f"{PROGRAMS}/{name.partition('/')[0]}" for name in self.programs if "/" in name})


@dataclass(frozen=True)
class Entry:
    """An account as the host has it."""

    uid: int
    gid: int
    comment: str
    home: str
    shell: str


@dataclass(frozen=True)
class Path:
    """A file or folder: its text, None where it is no file; its owner; its permissions.

    special: neither a file nor a folder, such as a symbolic link.
    """

    text: str | None
    uid: int
    gid: int
    mode: int
    special: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, in whose place no file can be written."""
        return self.text is None and not self.special


@dataclass(frozen=True)
class Observed:
    """The account, our files and folders by path, and sshd.

    main: the text of sshd's own file. effective: what `sshd -T` prints for the account. probed: what it would print
    with the desired configuration in place. Both are lines, of our settings only. change: the change of sshd that is
    pending or was rolled back.
    """

    entry: Entry | None
    paths: Mapping[str, Path]
    public_key: str = ""
    main: str = ""
    effective: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    change: Checkpoint | None = None


def plan_account(desired: Desired, observed: Observed, rollback_timeout: int | None = None) -> Plan:
    """The steps to the desired account, in a safe order.

    rollback_timeout: the seconds until a change of sshd is rolled back, None where it needs no confirmation.
    """
    refuse_foreign(desired, observed)
    steps = [*_present(desired, observed)] if desired.present else [*_absent(desired, observed)]
    if rollback_timeout is not None and any(step.action == "sshd" for step in steps):
        checkpoint.refuse_second(observed.change)
        checkpoint.check(CHECKPOINT, rollback_timeout)
    return Plan(_described(observed, desired), _wanted(observed, desired, steps), tuple(steps))


def refuse_foreign(desired: Desired, observed: Observed) -> None:
    """OversshError where the account of that name is not ours."""
    entry = observed.entry
    if desired.present and entry is not None and not ours(entry):
        raise OversshError(
            f"the account {desired.name} is there and not ours (its home is {entry.home}, its comment "
            f"{entry.comment!r}); choose another name with overssh_user"
        )


def ours(entry: Entry) -> bool:
    """Whether this collection made the account."""
    return (entry.comment, entry.home) == (COMMENT, HOME)


def _present(desired: Desired, observed: Observed) -> Iterator[Step]:
    yield from _folder(HOME, observed)
    yield from _entry(desired, observed)
    if desired.key:
        yield from _key(desired, observed)
    if desired.programs:
        yield from _programs(desired, observed)
    # Whoever is let in finds its key there as soon as sshd knows; nobody is let in by a key that is to go.
    if desired.sshd_config:
        yield from file_steps(AUTHORIZED_KEYS, desired.authorized_keys, observed)
        yield from sshd_steps(desired, observed)
    else:
        yield from sshd_steps(desired, observed)
        yield from file_steps(AUTHORIZED_KEYS, desired.authorized_keys, observed)


def _programs(desired: Desired, observed: Observed) -> Iterator[Step]:
    """A folder is started by its __main__.py, which comes after all that it needs, and before what it does not goes."""
    for folder in (PROGRAMS, *desired.folders):
        yield from _folder(folder, observed)
    for name in sorted(desired.programs, key=lambda name: name.endswith("/__main__.py")):
        yield from file_steps(f"{PROGRAMS}/{name}", desired.programs[name], observed)
    for path in _strays(desired, observed):
        text = _text(observed, path)
        back = Step("file", f"put {path} back", {"path": path, "text": text}) if text else None
        yield Step("clear", f"remove {path}", {"path": path}, back)


def _strays(desired: Desired, observed: Observed) -> list[str]:
    """Files in a program's folder that are no part of the program."""
    wanted = {f"{PROGRAMS}/{name}" for name in desired.programs}
    return sorted(path for path in observed.paths if path.rpartition("/")[0] in desired.folders and path not in wanted)


def _absent(desired: Desired, observed: Observed) -> Iterator[Step]:
    yield from sshd_steps(desired, observed)
    yield from file_steps(AUTHORIZED_KEYS, "", observed)
    if observed.entry is not None and ours(observed.entry):
        args = {"name": desired.name, "shell": observed.entry.shell}
        again = Step("make", f"make the account {desired.name} again", args)
        yield Step("unmake", f"remove the account {desired.name}", {"name": desired.name}, again)
    for folder in (KEYS, PROGRAMS):
        if folder in observed.paths:
            yield Step("rmtree", f"remove {folder}", {"path": folder})


def _entry(desired: Desired, observed: Observed) -> Iterator[Step]:
    args = {"name": desired.name, "shell": desired.login_shell}
    if observed.entry is None:
        unmake = Step("unmake", f"remove the account {desired.name}", {"name": desired.name})
        yield Step("make", f"make the account {desired.name}", args, unmake)
    elif observed.entry.shell != desired.login_shell:
        back = Step(
            "shell", f"give {desired.name} its shell {observed.entry.shell}", {**args, "shell": observed.entry.shell}
        )
        yield Step("shell", f"give {desired.name} the shell {desired.login_shell}", args, back)


def _key(desired: Desired, observed: Observed) -> Iterator[Step]:
    args = {"name": desired.name, "comment": desired.key}
    found = observed.paths.get(KEY)
    if found is None:
        yield Step("key", f"make a key for {desired.name}", args, Step("unkey", "remove the key"))
        return
    owner = observed.entry.uid if observed.entry is not None else None
    folder = observed.paths.get(KEYS)
    if (
        (found.uid, found.mode) != (owner, KEY_MODE)
        or folder is None
        or (folder.uid, folder.mode) != (owner, KEYS_MODE)
    ):
        yield Step("own_key", f"give the key to {desired.name} alone", {"name": desired.name})


def _folder(path: str, observed: Observed) -> Iterator[Step]:
    found = observed.paths.get(path)
    if found is not None and found.text is not None:
        raise OversshError(f"can't make {path}: {_words(errno.EEXIST, path)}")
    if found != Path(None, 0, 0, FOLDER_MODE):
        undo = Step("rmdir", f"remove {path}", {"path": path}) if found is None else None
        yield Step("mkdir", f"make the folder {path}", {"path": path}, undo)


def _words(number: int, path: str) -> str:
    """The kernel's error for the path, in words."""
    return f"[Errno {number}] {os.strerror(number)}: {path!r}"


def file_steps(path: str, text: str | None, observed: Observed) -> Iterator[Step]:
    """The steps that give a file that text: "" removes the file, None leaves it alone."""
    found = observed.paths.get(path)
    if text is None or (not text and found is None) or found == Path(text, 0, 0, FILE_MODE):
        return
    if found is not None and found.is_folder:
        raise OversshError(f"can't {'write' if text else 'remove'} {path}: {_words(errno.EISDIR, path)}")
    before = None if found is None else found.text
    back = Step("file", f"put {path} back", {"path": path, "text": before})
    label = f"write {path}" if text else f"remove {path}"
    yield Step("file", label, {"path": path, "text": text or None}, back)


def sshd_steps(desired: Desired, observed: Observed) -> Iterator[Step]:
    """One step for all of sshd's files and its reload, so that its inverse undoes all of it."""
    wanted = "" if not desired.present else desired.sshd_config
    if wanted is None:
        return
    texts = sshd_texts(observed.main, wanted)
    before = {sshd_facts.OUR_DROP_IN: _text(observed, sshd_facts.OUR_DROP_IN), sshd_facts.MAIN: observed.main or None}
    changes = {path: text for path, text in texts.items() if (text or None) != before[path]}
    if _badly_owned(observed):
        changes[sshd_facts.OUR_DROP_IN] = texts[sshd_facts.OUR_DROP_IN]
    refuse_undecided(desired, observed.probed if changes else observed.effective)
    if not changes:
        return
    label = f"tell sshd about {desired.name}" if wanted else f"have sshd forget {desired.name}"
    back = Step("sshd", "put sshd's configuration back", {"texts": {path: before[path] for path in changes}})
    yield Step("sshd", label, {"texts": changes}, back)


def sshd_texts(main: str, wanted: str) -> dict[str, str]:
    """The texts of our drop-in and of sshd's own file; "" for a file of ours that is not needed.

    Where sshd reads drop-ins, its own file is left alone. Elsewhere our block comes last in it, because a Match block
    extends to the next one.
    """
    others = sshd_facts.OUR_BLOCK.sub("", main)
    if not wanted:
        return {sshd_facts.OUR_DROP_IN: "", sshd_facts.MAIN: others}
    if sshd_facts.includes_drop_ins(main):
        return {sshd_facts.OUR_DROP_IN: wanted, sshd_facts.MAIN: others}
    return {sshd_facts.OUR_DROP_IN: "", sshd_facts.MAIN: sshd_facts.with_block(main, wanted)}


def refuse_undecided(desired: Desired, lines: tuple[str, ...]) -> None:
    """OversshError where sshd would ignore our configuration; lines: what it prints."""
    lacking = [line for line in map(sshd_facts.small, desired.effective) if line not in lines]
    if lacking and desired.sshd_config:
        raise OversshError(
            f'sshd does not hold to our Match block for {desired.name}: it lacks "{", ".join(lacking)}"; another Match '
            f"block decides before ours, look in {sshd_facts.MAIN} and {sshd_facts.DROP_INS} for one that matches this "
            "account"
        )


def _badly_owned(observed: Observed) -> bool:
    found = observed.paths.get(sshd_facts.OUR_DROP_IN)
    return found is not None and (found.uid, found.gid, found.mode) != (0, 0, FILE_MODE)


def _text(observed: Observed, path: str) -> str | None:
    found = observed.paths.get(path)
    return None if found is None else found.text


def _described(observed: Observed, desired: Desired) -> dict[str, Any]:
    """The host in the diff's words."""
    entry = observed.entry
    described: dict[str, Any] = {"account": {} if entry is None else {"name": desired.name, "shell": entry.shell}}
    described["key"] = KEY in observed.paths
    names = [*desired.programs, *(path[len(PROGRAMS) + 1 :] for path in _strays(desired, observed))]
    described["programs"] = {name: _digest(_text(observed, f"{PROGRAMS}/{name}")) for name in names if desired.present}
    described["authorized_keys"] = _lines(_text(observed, AUTHORIZED_KEYS))
    block = sshd_facts.OUR_BLOCK.search(observed.main)
    in_block = sshd_facts.inside(block[0]) if block else None
    described["sshd"] = _lines(_text(observed, sshd_facts.OUR_DROP_IN) or in_block)
    return described


def _wanted(observed: Observed, desired: Desired, steps: list[Step]) -> dict[str, Any]:
    described = _described(observed, desired)
    if not steps:
        return described
    if not desired.present:
        return {"account": {}, "key": False, "programs": {}, "authorized_keys": [], "sshd": []}
    described["account"] = {"name": desired.name, "shell": desired.login_shell}
    described["key"] = described["key"] or bool(desired.key)
    described["programs"] = {name: _digest(text) for name, text in desired.programs.items()}
    for name, text in (("authorized_keys", desired.authorized_keys), ("sshd", desired.sshd_config)):
        if text is not None:
            described[name] = _lines(text)
    return described


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines()


def _digest(text: str | None) -> str:
    """A program in short, for the eye."""
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()[:12]
