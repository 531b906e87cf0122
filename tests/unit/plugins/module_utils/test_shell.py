# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""shellcheck over the shell that stands in Python, as hosts get it; `make shell` does the same for shell files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._firewall import (
    desired,
    firewalld_plan,
    options,
    persistence,
    plan,
    rollback_script,
)
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd
from ansible_collections.overssh.swarm.plugins.module_utils._nftables import listing, normalize
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.firewalld import Firewalld, Zone
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import parse
from ansible_collections.overssh.swarm.plugins.module_utils._tun import unit as tun_unit
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import Desired
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.config import unit_text

from tests.unit.plugins.module_utils._tunnel.test_model import link

RECORDED = Path(__file__).resolve().parents[3] / "recorded" / "nft" / "1.1.3"
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))
RULE = {"name": "swarm/tcp", "protocol": "tcp", "ports": ["2377"], "in_interfaces": ["tun1"]}


# What is meant as it stands, with what shellcheck says of it.
EXCUSED = {
    # The list of rules is read by a loop and by a grep in it; nobody writes to it.
    2094: "Make sure not to read and write the same file in the same pipeline.",
    # All of a unit's program stands in single quotes, so none can be within; what the trap names is set before it.
    2064: "Use single quotes, otherwise this expands now rather than when signalled.",
}


def found_in(text: str, *excused: int) -> list[str]:
    """What shellcheck has to say about a program for sh."""
    assert set(excused) <= set(EXCUSED)
    left_out = [f"--exclude=SC{code}" for code in excused]
    done = subprocess.run(
        [SHELLCHECK, "--norc", "--shell=sh", *left_out, "--format=json", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = text.splitlines()
    return [f"SC{fault['code']} {fault['message']}: {lines[fault['line'] - 1]}" for fault in json.loads(done.stdout)]


def of_unit(text: str) -> Iterator[str]:
    """The shell programs of a unit, as systemd hands them to the shell."""
    for script in re.findall(r"^Exec\w+=/bin/sh -c '([^']*)'", text.replace("\\\n", " "), re.MULTILINE):
        yield script.replace("\\n", "\n").replace("$$", "$").replace("%%", "%")


def rollback_of_rules(placed_text: str | None) -> str:
    """What takes back an accept that a firewall of ours got."""
    as_json, words = (RECORDED / f"cloud_reject_last.{kind}" for kind in ("json", "txt"))
    firewall = plan.Observed(parse(as_json.read_text(encoding="utf-8"), words.read_text(encoding="utf-8")))
    defaults = {name: option.get("default") for name, option in options.ARGUMENTS.items()}
    decision = plan.decide(desired.desired_from({**defaults, "rules": [RULE]}), firewall)
    return rollback_script.rollback_commands(decision, firewall.ruleset, "f3b1", placed_text)


def rollback_of_firewalld() -> str:
    """The same for a zone of firewalld."""
    zone = Zone(frozenset({"tun1"}), frozenset({'rule protocol value="esp" accept'}))
    return firewalld_plan.rollback_commands(firewalld_plan.calls(Firewalld(), zone, None).running)


def rollback_of_files(folder: Path) -> str:
    """The same for a file that was there and one that was not, which a service reads."""
    (folder / "there").write_text("", encoding="utf-8")
    systemd = Systemd(lambda _argv, _data=None, _check=True: pytest.fail("nothing is asked"))
    return checkpoint.restoring_files(systemd, "sshd", [str(folder / "there"), str(folder / "missing")], [])


def checkpointed(rollback: str) -> str:
    """The script that lies on a host while a change waits to be confirmed."""
    service, timer = "overssh-guard-x.service", "overssh-guard-x.timer"
    return checkpoint.SCRIPT.format(
        body=rollback, folder=f"{checkpoint.FOLDER}/x", units=f"{service} {timer}", service=service
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"#!/bin/sh\n{listing.BOTH}", id="the ruleset twice"),
        pytest.param(f"#!/bin/sh\n{normalize.SCRIPT}", id="rules on trial"),
        pytest.param(f"#!/bin/sh\n{listing.PATH}iptables-nft-restore && {normalize.LISTING}", id="iptables-legacy"),
        pytest.param(checkpointed(rollback_of_rules(None)), id="rules that are rolled back"),
        pytest.param(checkpointed(rollback_of_rules("a record\n")), id="rules and a record that are rolled back"),
        pytest.param(checkpointed(rollback_of_firewalld()), id="a zone of firewalld that is rolled back"),
    ],
)
def test_programs(text: str) -> None:
    assert found_in(text) == []


def test_the_program_that_puts_rules_back() -> None:
    assert found_in(persistence.SCRIPT, 2094) == []


def test_files_that_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "checkpoint"))
    assert found_in(checkpointed(rollback_of_files(tmp_path))) == []


@pytest.mark.parametrize(
    ("unit", "programs"),
    [
        pytest.param(unit_text(link(transport="tun"), ""), 2, id="tun"),
        pytest.param(unit_text(link(transport="tun", watchdog=True), "0123abc"), 2, id="watched tun"),
        pytest.param(unit_text(link(), "0123abc"), 2, id="stream"),
        pytest.param(
            tun_unit.unit_text(
                Desired("tun1001", owner="overssh", forwarding=True, failover=True, incoming_table=9), "/sbin/ip"
            ),
            9,
            id="device",
        ),
    ],
)
def test_programs_of_units(unit: str, programs: int) -> None:
    found = list(of_unit(unit))
    assert len(found) == programs == unit.count("/bin/sh -c")
    assert [fault for program in found for fault in found_in(f"#!/bin/sh\n{program}", 2064)] == []


def test_a_fault_would_be_found() -> None:
    (fault,) = found_in("#!/bin/sh\ncat $1\n")
    assert fault == "SC2086 Double quote to prevent globbing and word splitting.: cat $1"
