# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a unit dials a peer that refuses it: the scripts of the unit, with an ssh that says what it is told."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.config import unit_text

from tests.unit.plugins.module_utils._linux.unit_programs import programs_of
from tests.unit.plugins.module_utils._tunnel.journal_lines import CHANGED_KEY, CONNECTED, DENIED, PENALTY
from tests.unit.plugins.module_utils._tunnel.test_model import link

STREAM = "overssh-stream: connected to cloud1, 1 lane"
NO_NETWORK = ["ssh: connect to host 192.0.2.1 port 2222: No route to host"]


def script(directive: str) -> str:
    """A shell script of the unit, as systemd hands it to the shell."""
    (found,) = [text for name, text in programs_of(unit_text(link(transport="tun"), "")) if name == directive]
    return found


class Unit:
    """The unit's runtime directory, and what is done in it."""

    def __init__(self, folder: Path) -> None:
        self._environment = {"RUNTIME_DIRECTORY": str(folder), "PATH": "/usr/bin:/bin"}
        self._refused = folder / "refused"

    @property
    def refusals(self) -> int:
        """In a row."""
        return len(self._refused.read_text(encoding="ascii").splitlines()) if self._refused.exists() else 0

    @refusals.setter
    def refusals(self, number: int) -> None:
        self._refused.write_text("\n" * number, encoding="ascii")

    def attempt(self, *says: str) -> str:
        """An ssh that says this, and ends; what reaches the journal, when the refusals are counted."""
        ssh = ["/bin/sh", "-c", 'printf "%s\\n" "$@" >&2; exit 255', "ssh", *says]
        done = subprocess.run(
            ["/bin/sh", "-c", script("ExecStart"), "sh", *ssh],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 255
        return done.stderr

    def pause(self) -> subprocess.Popen[str]:
        """Begin to wait as before an attempt."""
        command = ["/bin/sh", "-c", script("ExecStartPre"), "sh", "cloud1"]
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        pytest.param([DENIED], True, id="key"),
        pytest.param(PENALTY, True, id="penalty"),
        pytest.param(CHANGED_KEY, True, id="host key"),
        pytest.param([*CONNECTED, DENIED], True, id="behind a jump host"),
        pytest.param(NO_NETWORK, False, id="no network"),
        pytest.param([*CONNECTED, "Timeout, server 192.0.2.1 not responding."], False, id="lost"),
        pytest.param([DENIED, *CONNECTED], False, id="let in at last"),
        pytest.param([*CONNECTED, STREAM, DENIED], False, id="a further lane"),
        pytest.param([*CONNECTED, DENIED, STREAM], False, id="a further lane before the link is up"),
    ],
)
def test_what_counts_as_a_refusal(unit: Unit, says: Sequence[str], refused: bool) -> None:
    unit.refusals = 2
    said = unit.attempt(*says)
    assert said.splitlines() == list(says)
    assert unit.refusals == (3 if refused else 0)


def test_words_of_ssh_arrive_as_they_are(unit: Unit) -> None:
    words = r"  a \n backslash, $HOME, `id`, 'quotes', 100 % and *"
    assert unit.attempt(words) == f"{words}\n"


@pytest.mark.parametrize(("refusals", "seconds"), [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (50, 300)])
def test_each_refusal_doubles_the_pause_up_to_minutes(unit: Unit, refusals: int, seconds: int) -> None:
    unit.refusals = refusals
    begun = time.monotonic()
    with unit.pause() as pause:
        assert pause.stderr is not None
        said = pause.stderr.readline()
        pause.send_signal(signal.SIGTERM)
        assert pause.wait(10) == 0
    assert time.monotonic() - begun < seconds
    found = re.fullmatch(
        r"overssh-link: cloud1 refused this host (\d+) times in a row; the next attempt is in (\d+) s\n", said
    )
    assert found is not None
    assert int(found[1]) == refusals
    assert seconds <= int(found[2]) < seconds * 1.25
    assert unit.refusals == 0, "whoever stops the pause begins anew"


def test_there_is_no_pause_where_nothing_was_refused(unit: Unit) -> None:
    with unit.pause() as pause:
        assert pause.wait(10) == 0
        assert pause.stderr is not None
        assert pause.stderr.read() == ""
