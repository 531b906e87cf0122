# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a link's account can run the helper, with what setpriv and Python really said where it could not."""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.helper import NOT_YET, Helper, digest_of

ME = pwd.getpwuid(os.getuid())
FINE = Answer(0, "1\n", "")


class Host:
    """Gives one answer, and remembers what it was asked."""

    def __init__(self, answer: Answer = FINE) -> None:
        self._answer = answer
        self.asked: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        assert not check
        self.asked.append(argv)
        return self._answer


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    path = tmp_path / "watch.py"
    path.write_text("print(1)\n")
    return Helper(str(path), "/usr/bin/python3", ME.pw_name)


@pytest.fixture
def folder(tmp_path: Path) -> Helper:
    path = tmp_path / "stream"
    path.mkdir()
    (path / "__main__.py").write_text("import b\n")
    (path / "b.py").write_text("print(1)\n")
    return Helper(str(path), "/usr/bin/python3", ME.pw_name)


@pytest.mark.parametrize("check_mode", [True, False])
def test_it_is_run_as_the_account_and_known_by_its_digest(helper: Helper, check_mode: bool) -> None:
    host = Host()
    assert digest_of(helper, host, check_mode) == hashlib.sha256(b"print(1)\n").hexdigest()
    as_it = ["setpriv", f"--reuid={ME.pw_uid}", f"--regid={ME.pw_gid}", "--init-groups"]
    assert host.asked == [[*as_it, "/usr/bin/python3", "-I", "-B", helper.path, "version"]]


def test_a_folder_is_known_by_all_its_files(folder: Helper) -> None:
    path = Path(folder.path)
    whole = digest_of(folder, Host(), False)
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"\0")
    assert digest_of(folder, Host(), False) == whole
    seen = {whole}
    (path / "b.py").write_text("print(2)\n")
    seen.add(digest_of(folder, Host(), False))
    (path / "b.py").rename(path / "c.py")
    seen.add(digest_of(folder, Host(), False))
    (path / "b.py").write_text("print(2)\n")
    seen.add(digest_of(folder, Host(), False))
    assert len(seen) == 4


def test_a_folder_that_nothing_starts_is_no_helper(folder: Helper) -> None:
    Path(folder.path, "__main__.py").unlink()
    with pytest.raises(OversshError, match=r"there is no helper .*/stream on this host; the role tunnel installs it"):
        digest_of(folder, Host(), False)
    assert digest_of(folder, Host(), True) == NOT_YET


def test_one_that_is_missing_is_named_and_in_check_mode_expected() -> None:
    missing = Helper("/nowhere/stream", "/usr/bin/python3", ME.pw_name)
    host = Host()
    with pytest.raises(OversshError, match=r"there is no helper /nowhere/stream on this host; the role tunnel"):
        digest_of(missing, host, False)
    assert digest_of(missing, host, True) == NOT_YET
    assert host.asked == []


def test_an_account_that_is_missing_is_named_and_in_check_mode_expected(helper: Helper) -> None:
    nobodys = Helper(helper.path, helper.python, "no-such-account")
    with pytest.raises(OversshError, match="the account no-such-account does not exist on this host; make it first"):
        digest_of(nobodys, Host(), False)
    host = Host()
    assert digest_of(nobodys, host, True) == digest_of(helper, Host(), True)
    assert host.asked == []


def test_a_path_that_is_neither_file_nor_folder_is_named(helper: Helper) -> None:
    with pytest.raises(OversshError, match=r"can't read the helper .* on this host \(Not a directory\)"):
        digest_of(Helper(f"{helper.path}/stream", "/usr/bin/python3", ME.pw_name), Host(), False)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            Answer(127, "", "setpriv: failed to execute /usr/bin/python3: No such file or directory\n"),
            "python is /usr/bin/python3, which can't be run on this host (No such file or directory); name another one",
        ),
        (
            Answer(2, "", "/usr/bin/python3: can't open file '/x/stream': [Errno 13] Permission denied\n"),
            "can't read the helper PATH on this host (Permission denied); it takes mode 0644, and 0755 above it",
        ),
        (
            Answer(1, "", "/usr/bin/python3: can't find '__main__' module in '/x/stream'\n"),
            "can't read the helper PATH on this host; it takes mode 0644, and 0755 above it",
        ),
        (
            Answer(
                1,
                "",
                'Traceback (most recent call last):\n  File "<frozen importlib._bootstrap_external>", line 1130, in '
                "get_data\nPermissionError: [Errno 13] Permission denied: '/x/stream/wire.py'\n",
            ),
            "can't read the helper PATH on this host (Permission denied); it takes mode 0644, and 0755 above it",
        ),
        (
            Answer(2, "", "overssh-stream: refused: it takes Python 3.9 or later, and /usr/bin/python3 is 3.7\n"),
            "the helper takes Python 3.9 or later, and /usr/bin/python3 on this host is 3.7; name a later one",
        ),
        (
            Answer(1, "", '  File "/x/stream/wire.py", line 9\n    f"x"\n       ^\nSyntaxError: invalid syntax\n'),
            "/usr/bin/python3 can't run the helper PATH on this host (SyntaxError: invalid syntax); it takes Python",
        ),
        (
            Answer(
                2,
                "",
                "Unknown option: -I\nusage: /usr/bin/python2 [option] ...\nTry `python -h' for more information.\n",
            ),
            "/usr/bin/python3 can't run the helper PATH on this host (Unknown option: -I); it takes Python 3.9",
        ),
        (
            Answer(1, "", 'Traceback (most recent call last):\n  raise ValueError("a")\njson.JSONDecodeError: b\n'),
            "on this host (json.JSONDecodeError: b); it takes Python 3.9",
        ),
        (Answer(9, "", ""), "/usr/bin/python3 can't run the helper PATH on this host (exit status 9)"),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_one_that_can_not_be_run_is_told(helper: Helper, answer: Answer, sentence: str, check_mode: bool) -> None:
    with pytest.raises(OversshError) as caught:
        digest_of(helper, Host(answer), check_mode)
    assert sentence.replace("PATH", helper.path) in str(caught.value)
