# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller for many ad-hoc tasks: the program `ansible` costs more to start than most tasks take.

Run as a program it takes the arguments of `ansible`, a JSON list on a line each, and answers each with a line: the
status, the output and the errors. It is a process of its own, so that Ansible's global state is not that of the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Controller:
    """A process that lives until the tests end."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        """The status that `ansible` ends with, given these arguments, what it prints, and what it tells besides."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(f"{json.dumps(arguments)}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, f"the controller ended with status {self._process.wait()}"
        status, printed, told = json.loads(line)
        return status, printed, told

    def close(self) -> None:
        """It ends with its input, and removes its temporary files."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def _serve() -> None:
    # What else may be printed here or by a child is no answer.
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)
    from ansible.cli.adhoc import AdHocCLI  # noqa: PLC0415 (it looks at the descriptors)

    for line in questions:
        # Its settings can be read once in a process, so each task has one that begins where this one stands.
        child = os.fork()
        if not child:
            answers.write(f"{json.dumps(_answer(AdHocCLI, json.loads(line)))}\n")
            answers.flush()
            os._exit(0)  # the temporary files are for the others too
        _child, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"a task ended with status {status} and without an answer")


def _answer(program: Any, arguments: list[str]) -> tuple[int, str, str]:
    printed, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        try:
            status = int(program(["ansible", *arguments]).run())
        except Exception:
            status = 1
            traceback.print_exc()
    return status, printed.getvalue(), told.getvalue()


if __name__ == "__main__":
    _serve()
