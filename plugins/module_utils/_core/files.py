# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small text files of ours on the host: read, written whole or not at all, removed."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .errors import OversshError
from .wait import wait_until

# Attributes that vouch for what a file holds, or for the program that it is.
OF_CONTENT = ("security.capability", "security.evm", "security.ima")


def read_text(path: str) -> str | None:
    """The file's text, or None where there is no such file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OversshError(f"can't read {path}: {error}") from error


def readable(path: str) -> str:
    """The file's text, empty where there is none or it can't be read."""
    try:
        return read_text(path) or ""
    except OversshError:
        return ""


def layered(folders: Iterable[str], pattern: str) -> list[str]:
    """The paths that fit the pattern in these folders, by their names.

    A file hides those of the same name in later folders, as with the files of systemd and of sysctl.
    """
    named: dict[str, str] = {}
    for folder in folders:
        for path in glob.glob(f"{folder}/{pattern}"):
            named.setdefault(os.path.basename(path), path)
    return [named[name] for name in sorted(named)]


def below(top: str, *, folders: bool = False) -> list[str]:
    """The paths of all files under a folder, with folders=True those of folders too; empty where there is none."""
    return [
        f"{folder}/{name}" for folder, inside, files in os.walk(top) for name in (*(inside if folders else ()), *files)
    ]


def write_text(path: str, text: str, mode: int = 0o644) -> None:
    """Replace the file by one rename, so that a reader sees the old text or the new; folders above it are made.

    Its attributes are as put_in_place has them; its owner is this process.
    """
    _write(path, text, mode, None)


def rewrite_text(path: str, text: str) -> None:
    """Replace the text of a file of somebody else's, likewise: its owner and its permissions stay.

    A link stays one to the file. A file that is not there is made.
    """
    path = os.path.realpath(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        write_text(path, text)
    except OSError as error:
        raise OversshError(f"can't write {path}: {error}") from error
    else:
        _write(path, text, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))


def put_in_place(draft: str, path: str) -> None:
    """Have the draft, a whole file, stand where the other one stands or is to stand; both lie in one folder.

    What is replaced leaves its extended attributes, and so its SELinux context and its access list. A new file has the
    context that the host's policy has for one of its name; it would have that of a draft otherwise. The rename outlasts
    a loss of power.
    """
    try:
        _label(draft, path)
        os.rename(draft, path)
        _keep_names(os.path.dirname(path))
    except OSError as error:
        raise OversshError(f"can't write {path}: {error}") from error


def _write(path: str, text: str, mode: int, owner: tuple[int, int] | None) -> None:
    folder = os.path.dirname(path)
    try:
        _make_folder(folder)
        handle, draft = tempfile.mkstemp(prefix=".overssh-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                _label(draft, path)
                # An owner's change takes bits of the mode, and an access list others.
                if owner is not None:
                    os.fchown(stream.fileno(), *owner)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        _keep_names(folder)
    except OSError as error:
        raise OversshError(f"can't write {path}: {error}") from error


def _label(draft: str, path: str) -> None:
    """Give the draft what the file in whose place it comes has, or what a new one is to have."""
    if os.path.isfile(path) and not os.path.islink(path):
        _copy_attributes(path, draft)
    else:
        _set_policys_context(draft, path, stat.S_IFREG)


def _copy_attributes(path: str, draft: str) -> None:
    """Those that the file system or this process can't give are let go, as `cp --preserve` does."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            if name not in OF_CONTENT:
                _copy_attribute(name, path, draft)


def _copy_attribute(name: str, path: str, draft: str) -> None:
    with contextlib.suppress(OSError):
        value = os.getxattr(path, name)
        with contextlib.suppress(OSError):
            if os.getxattr(draft, name) == value:
                return  # as a context that the folder gave; even to set it again takes a right
        os.setxattr(draft, name, value)


def _set_policys_context(file: str, path: str, kind: int) -> None:
    """Give a file or folder the SELinux context of one at that path; kind: S_IFREG or S_IFDIR.

    Ansible brings what asks the policy. A program of ours that runs without it has the folder decide.
    """
    try:
        from ansible.module_utils.compat import selinux  # noqa: PLC0415  # a program without Ansible needs none
    except (ImportError, NotImplementedError):
        return
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if selinux.is_selinux_enabled() == 1:
        with contextlib.suppress(OSError):  # of some paths the policy says nothing, and some file systems have none
            selinux.lsetfilecon(file, selinux.matchpathcon(real, kind)[1])


def _keep_names(folder: str) -> None:
    """Have a folder's names outlast a loss of power."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _make_folder(path: str) -> None:
    """Make the folder and those above it, readable by all whatever the umask is."""
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103  # programs of other accounts read what lies in it
        _set_policys_context(path, path, stat.S_IFDIR)


class Lock:
    """A folder that is held until it is released, by one program at a time.

    The end of a process releases it too. Not every module has a process of its own: Mitogen runs them all in one.
    """

    def __init__(self, path: str) -> None:
        self._folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def take(self) -> bool:
        """Whether it is held now."""
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others have it; for good."""
        os.close(self._folder)


def lock_folder(path: str, timeout: float = 60) -> Lock | None:
    """Wait until nobody else holds the folder, at most timeout seconds; None where there is none."""
    try:
        lock = Lock(path)
        wait_until(lock.take, timeout, f"the end of another run that holds {path}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OversshError(f"can't lock {path}: {error}") from error
    return lock


def remove(path: str) -> None:
    """Remove the file; one that is already gone is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OversshError(f"can't remove {path}: {error}") from error


def write_or_remove(path: str, text: str | None) -> None:
    """Replace the file, or remove it where there is no text for it."""
    if text is None:
        remove(path)
    else:
        write_text(path, text)


def remove_empty_tree(path: str) -> None:
    """Remove a folder of ours and those below it where nothing is left in them; keep the others."""
    for folder, _folders, _files in os.walk(path, topdown=False):
        remove_empty_folder(folder)


def remove_empty_folder(path: str) -> None:
    """Remove a folder of ours where nothing is left in it; keep it otherwise."""
    try:
        os.rmdir(path)
    except OSError:
        return
