# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller for many ad-hoc tasks: the program `ansible` costs more to start than most tasks take.

It is a process of its own, so that Ansible's global state is not that of the tests, and it forks for each task, as
Ansible reads its settings once in a process. Several may be asked for at once.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Controller:
    """A process that lives until the tests end."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        """The status that `ansible` ends with, given these arguments, what it prints, and what it tells besides."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._control, [b"?"], [theirs.fileno()])
            ours.sendall(json.dumps(arguments).encode())
            ours.shutdown(socket.SHUT_WR)
            with ours.makefile() as answer:
                words = answer.read()
        assert words, f"the controller gave no answer to {arguments}"
        status, printed, told = json.loads(words)
        return status, printed, told

    def close(self) -> None:
        """It ends with its last question, and removes its temporary files."""
        self._control.close()
        self._process.wait(60)


def _serve(control: socket.socket) -> None:
    from ansible.cli.adhoc import AdHocCLI  # noqa: PLC0415 (the tests have no use for it)

    while True:
        message, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if not os.fork():
            with socket.socket(fileno=descriptors[0]) as questioner, questioner.makefile() as question:
                questioner.sendall(json.dumps(_answer(AdHocCLI, json.loads(question.read()))).encode())
            os._exit(0)  # the temporary files are for the others too
        os.close(descriptors[0])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


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
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        _serve(_control)
