# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ours: what one that is replaced keeps, what a new one is given, and what is left where that fails.

The kernels that this runs on have no SELinux. Attributes are real ones of real files, also the one that holds a context
where this runs as root; what the host's policy says comes from a stand-in for its library.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core import files
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.files import (
    below,
    put_in_place,
    read_text,
    rewrite_text,
    write_text,
)

LIBRARY = "ansible.module_utils.compat.selinux"
NOTES = {"user.note": b"somebody's", "security.selinux": b"system_u:object_r:sshd_t:s0\0"}


class Policy:
    """A host's SELinux, as its library tells of it.

    labelled: by the path that a context is for, its kind, whether there was such a file then, and the folder of what
    was given it.
    """

    def __init__(self, enabled: bool = True, known: bool = True) -> None:
        self._enabled, self._known = enabled, known
        self.labelled: dict[str, tuple[str, bool, str]] = {}

    def is_selinux_enabled(self) -> int:
        return int(self._enabled)

    def matchpathcon(self, path: str, mode: int) -> list[Any]:
        if not self._known:
            raise OSError(2, "No such file or directory")
        return [0, f"{path}:{'folder' if stat.S_ISDIR(mode) else 'file'}"]

    def lsetfilecon(self, path: str, context: str) -> int:
        meant, _colon, kind = context.rpartition(":")
        self.labelled[meant] = (kind, os.path.exists(meant), os.path.dirname(path))
        return 0


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Policy:
    found = Policy()
    there(monkeypatch, found)
    return found


def there(monkeypatch: pytest.MonkeyPatch, found: Policy | None) -> None:
    """The host has this for its library of SELinux; None for no library, or no Ansible."""
    monkeypatch.delattr("ansible.module_utils.compat.selinux", raising=False)
    monkeypatch.setitem(sys.modules, LIBRARY, found)


def noted(path: Path, name: str) -> None:
    """Give a file an attribute, where its file system and this account may."""
    try:
        os.setxattr(path, name, NOTES[name])
    except OSError as error:
        pytest.skip(f"no {name} here: {error.strerror}")


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("write", [write_text, rewrite_text])
def test_a_file_that_is_replaced_keeps_its_attributes(tmp_path: Path, write: Any, name: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    noted(path, name)
    number = path.stat().st_ino
    write(str(path), "new")
    assert (path.read_text(), os.getxattr(path, name)) == ("new", NOTES[name])
    assert path.stat().st_ino != number


def test_an_attribute_that_can_not_be_kept_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    noted(path, "user.note")

    def refused(*_words: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refused)
    write_text(str(path), "new")
    assert (path.read_text(), os.listxattr(path), os.listdir(tmp_path)) == ("new", [], ["file"])


def test_what_vouches_for_the_old_content_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    given = []
    monkeypatch.setattr(os, "listxattr", lambda _path, **_how: ["security.ima", "security.evm", "security.capability"])
    monkeypatch.setattr(os, "setxattr", lambda _path, name, _value: given.append(name))
    write_text(str(path), "new")
    assert given == []


def test_a_file_system_without_attributes_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_words: Any, **_how: Any) -> list[str]:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", unsupported)
    (tmp_path / "file").write_text("old")
    write_text(str(tmp_path / "file"), "new")
    assert read_text(str(tmp_path / "file")) == "new"


def test_a_new_file_has_the_context_of_its_name_before_it_has_the_name(tmp_path: Path, policy: Policy) -> None:
    path = tmp_path / "made" / "file"
    write_text(str(path), "text")
    assert policy.labelled == {
        str(tmp_path / "made"): ("folder", True, str(tmp_path)),
        str(path): ("file", False, str(tmp_path / "made")),
    }
    policy.labelled.clear()
    write_text(str(path), "other")
    assert policy.labelled == {}


def test_the_policy_is_asked_about_the_real_folder(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    write_text(str(tmp_path / "linked" / "file"), "text")
    assert list(policy.labelled) == [str(tmp_path / "real" / "file")]


@pytest.mark.parametrize("found", [None, Policy(enabled=False), Policy(known=False)], ids=["none", "off", "silent"])
def test_without_a_word_of_the_policy_the_folder_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Policy | None
) -> None:
    there(monkeypatch, found)
    write_text(str(tmp_path / "made" / "file"), "text")
    assert read_text(str(tmp_path / "made" / "file")) == "text"
    assert found is None or not found.labelled


def test_a_file_of_somebody_elses_keeps_owner_and_permissions(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 7, 8)
    before = path.stat()
    link.symlink_to("file")
    rewrite_text(str(link), "new")
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert (path.read_text(), link.is_symlink()) == ("new", True)


def test_one_that_is_not_there_is_made(tmp_path: Path) -> None:
    rewrite_text(str(tmp_path / "file"), "text")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_draft_takes_a_files_place_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    """A rename that a folder has not been told to keep is lost where power fails next."""
    kept: list[tuple[bool, list[str]]] = []
    monkeypatch.setattr(os, "fsync", lambda opened: kept.append((stat.S_ISDIR(os.fstat(opened).st_mode), names())))

    def names() -> list[str]:
        return sorted(os.listdir(tmp_path))

    (tmp_path / "draft").write_text("text")
    put_in_place(str(tmp_path / "draft"), str(tmp_path / "file"))
    assert names() == ["file"]
    assert kept == [(True, ["file"])]
    assert list(policy.labelled) == [str(tmp_path / "file")]
    with pytest.raises(OversshError, match="can't write"):
        put_in_place(str(tmp_path / "draft"), str(tmp_path / "file"))


def test_text_is_kept_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    monkeypatch.setattr(files.os, "fsync", lambda opened: kept.append(os.readlink(f"/proc/self/fd/{opened}")))
    write_text(str(tmp_path / "file"), "text")
    assert [os.path.dirname(kept[0]), kept[1]] == [str(tmp_path), str(tmp_path)]
    assert len(kept) == 2


def test_below_are_files_and_on_demand_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("")
    (tmp_path / "one").write_text("")
    found = {f"{tmp_path}/a/b/file", f"{tmp_path}/one"}
    assert set(below(str(tmp_path))) == found
    assert set(below(str(tmp_path), folders=True)) == {*found, f"{tmp_path}/a", f"{tmp_path}/a/b"}
    assert below(str(tmp_path / "nowhere")) == []
