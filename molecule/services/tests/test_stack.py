# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of a stack, as its users run it: deployed, waited for, scaled, and updated to what does not work."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import lab

NODES = list(lab.hosts())
HUB = lab.hub()
EXAMPLES = lab.PROJECT / "examples" / "stack"
MESH, HOST_MODE = 8080, 8081
# A web server that serves its container's name, of what the node has itself: no image can be pulled here.
MAKE_IMAGE = """
cd /
libraries=$(ldd /usr/bin/python3 | grep -o '/[^ ]*')
serve='CMD ["/usr/bin/python3", "-m", "http.server", "80", "--directory", "/etc"]'
tar --create --exclude=__pycache__ --dereference /usr/bin/python3 /usr/lib/python3.* $libraries 2>/dev/null |
    docker import --change "$serve" - shop:1
docker create --name made shop:1
docker commit --change 'CMD ["/usr/bin/python3", "-c", "raise SystemExit(1)"]' made shop:2
docker rm made
"""


@pytest.fixture(scope="module", autouse=True)
def image() -> Iterator[None]:
    """The manager has an image that works, and one that ends at once."""
    lab.inside(HUB, MAKE_IMAGE)
    yield
    assert lab.play(str(EXAMPLES / "remove.yml")).status == 0


def deploy(*arguments: str) -> lab.Play:
    return lab.play(str(EXAMPLES / "deploy.yml"), *arguments)


def service(name: str) -> dict[str, Any]:
    (found,) = lab.task(HUB, "overssh.swarm.swarm_service_info", names=[name])["services"]
    return dict(found)


def answers(node: str, port: int, number: int) -> set[str]:
    """The containers that answer a number of requests to a node, asked from outside."""
    address = lab.hosts()[node]["ansible_host"]
    found = set()
    for _request in range(number):
        with urllib.request.urlopen(f"http://{address}:{port}/hostname", timeout=10) as answer:
            found.add(answer.read().decode().strip())
    return found


def until(condition: Callable[[], bool], what: str, timeout: float = 120) -> None:
    """Wait for a condition; a refused connection is none."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"{what} did not come; {service('shop_web')}"
        time.sleep(1)


def test_a_stack_runs_everywhere_with_no_registry() -> None:
    played = deploy("--extra-vars", "image=shop:1")
    assert played.status == 0, played.output
    web = service("shop_web")
    assert (web["converged"], web["running"]) == (True, 3)
    assert {task["node"] for task in service("shop_edge")["tasks"]} == set(NODES)
    ids = {lab.inside(node, "docker image inspect shop:1 --format '{{.Id}}'") for node in NODES}
    assert len(ids) == 1
    assert not any(lab.inside(node, "ls /var/tmp/*.tar 2>/dev/null || :") for node in NODES)


def test_each_node_answers_for_all_replicas_by_the_routing_mesh() -> None:
    seen = [answers(node, MESH, 9) for node in NODES]
    assert [len(containers) for containers in seen] == [3] * len(NODES)
    assert len(set.union(*seen)) == 3


def test_a_port_of_mode_host_is_the_nodes_own_task() -> None:
    seen = [answers(node, HOST_MODE, 3) for node in NODES]
    assert [len(containers) for containers in seen] == [1] * len(NODES)
    assert len(set.union(*seen)) == len(NODES)


def test_it_is_scaled_and_a_second_run_changes_nothing() -> None:
    arguments = ("--extra-vars", "image=shop:1 replicas=5")
    assert deploy(*arguments).status == 0
    assert service("shop_web")["running"] == 5
    assert len(answers(HUB, MESH, 15)) == 5
    again = deploy(*arguments)
    assert (again.status, again.total("changed")) == (0, 0)


def test_an_update_that_does_not_work_is_undone_and_no_success() -> None:
    played = deploy("--extra-vars", "image=shop:2 replicas=5")
    assert played.status != 0
    assert re.search(r"the service shop_(web|edge) has not converged: its update failed and", played.output)
    until(lambda: service("shop_web")["update"] == "rollback_completed", "the rollback")
    assert service("shop_web")["image"] == "shop:1"
    # For a moment the routing mesh still leads to tasks that were undone.
    until(lambda: len(answers(HUB, MESH, 15)) == 5, "answers of all tasks")
