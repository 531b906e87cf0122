# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small text files of ours on the host: read, written whole or not at all, removed."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .errors import OversshError
from .wait import wait_until


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
    """Replace the file by one rename, so that a reader sees the old text or the new; folders above it are made."""
    folder = os.path.dirname(path)
    try:
        _make_folder(folder)
        handle, draft = tempfile.mkstemp(prefix=".overssh-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise OversshError(f"can't write {path}: {error}") from error


def _make_folder(path: str) -> None:
    """Make the folder and those above it, readable by all whatever the umask is."""
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103  # programs of other accounts read what lies in it


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
