# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""shellcheck over the programs for sh of the rooms, as hosts get them; `make shell` does the same for shell files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._checkpoint import checkpoint
from ansible_collections.overssh.swarm.plugins.module_utils._core.shell import SHEBANG
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
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel import dial_sh, pause_sh
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.config import unit_text

from tests.unit.plugins.module_utils._linux.unit_programs import programs_of
from tests.unit.plugins.module_utils._tunnel.test_model import link

ROOMS = Path(__file__).resolve().parents[4] / "plugins" / "module_utils"
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


# Every program that has a file of its own, as a host gets it.
WHOLE = {
    "_checkpoint/rollback_sh": checkpoint.rollback_script("x"),
    "_firewall/restore_sh": persistence.SCRIPT,
    "_firewall/rollback_sh": f"{SHEBANG}{rollback_of_rules(None)}",
    "_tunnel/dial_sh": f"{SHEBANG}{dial_sh.PROGRAM}",
    "_tunnel/pause_sh": f"{SHEBANG}{pause_sh.PROGRAM}",
}
EXCUSES = {"_firewall/restore_sh": [2094], "_tunnel/pause_sh": [2064]}
FILES = sorted(path.relative_to(ROOMS).with_suffix("").as_posix() for path in ROOMS.rglob("*_sh.py"))


def test_every_program_is_looked_at() -> None:
    assert sorted(WHOLE) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_program_has_no_fault_and_stands_word_for_word_in_its_file(name: str) -> None:
    # The path makes it the file's own text, without what Python would make of it.
    _begin, _quotes, program = (ROOMS / f"{name}.py").read_text(encoding="utf-8").partition('PROGRAM = r"""')
    assert program.removesuffix('"""\n').rstrip() in WHOLE[name]
    assert found_in(WHOLE[name], *EXCUSES.get(name, ())) == []


def test_no_other_file_has_a_program_in_it() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in ROOMS.rglob("*.py")}
    assert [path.name for path, text in texts.items() if SHEBANG.strip() in text] == ["shell.py"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(listing.BOTH, id="the ruleset twice"),
        pytest.param(normalize.SCRIPT, id="rules on trial"),
        pytest.param(f"{listing.PATH}iptables-nft-restore && {normalize.LISTING}", id="iptables-legacy"),
        pytest.param(rollback_of_rules("a record\n"), id="rules and a record that are rolled back"),
        pytest.param(rollback_of_firewalld(), id="a zone of firewalld that is rolled back"),
    ],
)
def test_commands(text: str) -> None:
    assert found_in(f"{SHEBANG}{text}") == []


def test_files_that_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "checkpoint"))
    assert found_in(f"{SHEBANG}{rollback_of_files(tmp_path)}") == []


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
    found = [program for _directive, program in programs_of(unit)]
    assert len(found) == programs == unit.count("/bin/sh -c")
    assert [fault for program in found for fault in found_in(f"{SHEBANG}{program}", 2064)] == []


def test_a_fault_would_be_found() -> None:
    (fault,) = found_in("#!/bin/sh\ncat $1\n")
    assert fault == "SC2086 Double quote to prevent globbing and word splitting.: cat $1"
