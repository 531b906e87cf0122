# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab that the scenarios run on, as its inventory tells it, and plays on it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab.inside import command as command_inside
from tests.lab.settings import read_settings

from . import controller

PROJECT = Path(__file__).resolve().parents[2]
NAME = os.environ.get("LAB_NAME") or "overssh"
STATE = PROJECT / ".lab" / ("" if NAME == "overssh" else NAME)
INVENTORY = STATE / "inventory.yml"
REPORT = STATE / "verify.json"
GROUP = "overssh"
SETTINGS = read_settings(os.environ, PROJECT)


def hosts() -> dict[str, dict[str, Any]]:
    """The variables of every node by its name, the hub first."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))[GROUP]["hosts"]
    return found


def hubs() -> list[str]:
    """The nodes that the others dial."""
    return [name for name, variables in hosts().items() if variables.get("overssh_hub")]


def hub() -> str:
    """The first of them."""
    return hubs()[0]


def container(node: str) -> str:
    """The container that a node is."""
    return f"{NAME}-{node}"


def inside(node: str, script: str) -> str:
    """What a shell script prints on a node as root; seen from outside, so it leaves no session there."""
    done = _run(node, script)
    if done.returncode:
        raise AssertionError(f"on {node}, status {done.returncode}: {script}\n{done.stderr}")
    return done.stdout


def _run(node: str, script: str) -> subprocess.CompletedProcess[str]:
    words = command_inside(SETTINGS, node, "sh", "-eu")
    return subprocess.run(words, input=script, capture_output=True, text=True, check=False, timeout=60)


def wait_for(node: str, script: str, timeout: float = 60) -> None:
    """Until a shell script succeeds on a node, at most timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        done = _run(node, script)
        if not done.returncode:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"on {node}, after {timeout:g} s still: {script}\n{done.stdout}{done.stderr}")
        time.sleep(0.5)


def wait_for_boot(node: str, before: str, timeout: float = 120) -> None:
    """Until a node answers that had this boot ID before, and has another one."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = _run(node, "cat /proc/sys/kernel/random/boot_id")
            if not done.returncode and done.stdout.strip() != before:
                return
        assert time.monotonic() < deadline, f"{node} did not come back within {timeout:g} s"
        time.sleep(0.5)


def machine(action: str, node: str, *words: str) -> None:
    """Do to a node what one does to a machine: pause, unpause, stop, start, restart."""
    subprocess.run(["docker", action, *words, container(node)], check=True, capture_output=True, timeout=120)


def all_ready(manager: str) -> None:
    """Until the swarm has every node, and each of them ready."""
    wait_for(manager, f"test $(docker node ls --format '{{{{.Status}}}}' | grep -cx Ready) = {len(hosts())}", 120)


def all_take_part(manager: str) -> None:
    """Until all of them are in the ingress network besides, which comes last after a reboot."""
    all_ready(manager)
    wait_for(manager, f"test $(docker network inspect ingress --format '{{{{len .Peers}}}}') = {len(hosts())}", 120)


def is_finished() -> bool:
    """Whether all nodes are in one swarm and ready."""
    script = "docker node ls --format '{{.Hostname}} {{.Status}}' 2>/dev/null || true"
    return sorted(inside(hub(), script).splitlines()) == sorted(f"{node} Ready" for node in hosts())


@dataclass(frozen=True)
class Play:
    """What ansible-playbook came to."""

    status: int
    output: str
    recap: Mapping[str, Mapping[str, int]]

    def total(self, what: str) -> int:
        """The recap's number over all hosts, of `changed` say."""
        return sum(host[what] for host in self.recap.values())


def play(playbook: str, *arguments: str, inventory: Path = INVENTORY) -> Play:
    """Run a playbook on the lab from the checkout, as a person would."""
    # Services are what the scenarios site and services are about; in all others they would cost more than they show.
    extra = ["--inventory", str(inventory), "--extra-vars", f"overssh_report={REPORT} overssh_verify=[]"]
    command = ["ansible-playbook", *extra, *arguments, playbook]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    return Play(done.returncode, done.stdout, read_recap(done.stdout))


def task(node: str, module: str, /, **arguments: Any) -> dict[str, Any]:
    """What one module says on a node, run as an operator would from the command line."""
    return task_of(INVENTORY, node, module, **arguments)


def foreseen(node: str, module: str, /, **arguments: Any) -> dict[str, Any]:
    """What one module says on a node in check mode."""
    return task_of(INVENTORY, node, module, ("--check",), **arguments)


def task_of(inventory: Path, node: str, module: str, flags: Sequence[str] = (), /, **arguments: Any) -> dict[str, Any]:
    """The same of another inventory; flags: further ones of the command line."""
    words = [node, "--inventory", str(inventory), "--module-name", module, *flags]
    words += ["--args", json.dumps(arguments)] if arguments else []
    status, printed, told = _controller().run(words)
    print(printed, told)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return {**answer, "failed": status != 0}


@functools.cache
def _controller() -> controller.Controller:
    """The one that all tasks of a test run share."""
    settings = {
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_CONNECTION_PLUGINS": str(PROJECT / "tests" / "support" / "connection_plugins"),
    }
    return controller.Controller(PROJECT, {**os.environ, **settings})


@contextlib.contextmanager
def changed_inventory(variables: Mapping[str, Mapping[str, Any]], only: Sequence[str] | None = None) -> Iterator[Path]:
    """The lab's inventory with other variables for some hosts or more hosts, and if need be with only some hosts."""
    inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
    for node, more in variables.items():
        inventory[GROUP]["hosts"].setdefault(node, {}).update(more)
    if only is not None:
        inventory[GROUP]["hosts"] = {node: inventory[GROUP]["hosts"][node] for node in only}
    # Beside the lab's own inventory, which names its keys by their place.
    there = STATE / "changed.yml"
    there.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    try:
        yield there
    finally:
        there.unlink()


def changed_to(variables: Mapping[str, Mapping[str, Any]], again: bool = True) -> None:
    """Run site with other variables for some hosts; again: and once more, when nothing is left to do.

    The networks' MTU follows the links', and Docker has to make a network anew for that: with the user's word.
    """
    arguments = ("--extra-vars", "overlay_on_change=recreate")
    with changed_inventory(variables) as there:
        assert play("overssh.swarm.site", *arguments, inventory=there).status == 0
        if again:
            second = play("overssh.swarm.site", *arguments, inventory=there)
            assert (second.status, second.total("changed")) == (0, 0)


def read_recap(output: str) -> dict[str, dict[str, int]]:
    """The numbers of each host from under PLAY RECAP."""
    found = {}
    for line in output.rpartition("PLAY RECAP")[2].splitlines():
        name, colon, numbers = line.partition(" : ")
        if colon:
            found[name.strip()] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", numbers)}
    return found
