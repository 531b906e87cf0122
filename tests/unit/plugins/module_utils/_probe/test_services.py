# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.plan import Step
from ansible_collections.overssh.swarm.plugins.module_utils._probe import services
from ansible_collections.overssh.swarm.plugins.module_utils._probe.services import Desired, Observed
from ansible_collections.overssh.swarm.plugins.module_utils._service.model import Service, Task

WANTED = Desired("overssh-verify", "net")
GLOBAL, REPLICATED = "overssh-verify-global", "overssh-verify-replicated"


def there(desired: Desired = WANTED) -> Observed:
    """The services as they are once they have been made."""
    tasks = (Task("t1", None, "edge1", "n1", "running", "running", addresses={"net": "10.200.0.9"}),)
    made = [
        Service(
            f"id-{name}",
            name,
            "global",
            None,
            body["EndpointSpec"]["Mode"],
            vips={"net": "10.200.0.8"} if body["EndpointSpec"]["Mode"] == "vip" else {},
            labels=body["Labels"],
            tasks=tasks,
        )
        for name, body in services.specifications(desired).items()
    ]
    return Observed(tuple(made))


def labels(desired: Desired, observed: Observed) -> list[str]:
    return [step.label for step in services.plan_services(desired, observed).steps]


def test_services_are_made_from_nothing_and_can_be_taken_back() -> None:
    plan = services.plan_services(WANTED, Observed())
    assert [step.label for step in plan.steps] == [f"create the service {GLOBAL}", f"create the service {REPLICATED}"]
    assert [step.action for step in plan.inverse] == ["remove_service", "remove_service"]


def test_what_is_there_stays() -> None:
    assert labels(WANTED, there()) == []


@pytest.mark.parametrize("change", [{"network": "other"}, {"outside": ("n9",)}])
def test_services_of_another_network_or_other_nodes_are_replaced(change: dict[str, Any]) -> None:
    assert labels(replace(WANTED, **change), there()) == [
        f"remove the service {GLOBAL}",
        f"remove the service {REPLICATED}",
        f"create the service {GLOBAL}",
        f"create the service {REPLICATED}",
    ]


def test_another_number_of_replicas_is_the_replicated_ones_alone() -> None:
    assert labels(replace(WANTED, replicas=2), there()) == [
        f"remove the service {REPLICATED}",
        f"create the service {REPLICATED}",
    ]


def test_absent_leaves_none_and_is_quiet_where_none_is() -> None:
    gone = replace(WANTED, network=None)
    assert labels(gone, there()) == [f"remove the service {GLOBAL}", f"remove the service {REPLICATED}"]
    assert labels(gone, Observed()) == []


def test_a_service_of_somebody_else_is_left_alone() -> None:
    foreign = Observed((Service("x", GLOBAL, "global", None, "vip"),))
    with pytest.raises(OversshError, match=f"a service named {GLOBAL} exists that overssh.swarm did not make"):
        services.plan_services(WANTED, foreign)
    assert labels(replace(WANTED, network=None), foreign) == []


def test_a_task_has_no_right_that_its_container_has_not() -> None:
    for body in services.specifications(replace(WANTED, outside=("n9",))).values():
        container = body["TaskTemplate"]["ContainerSpec"]
        assert (container["User"], container["ReadOnly"], container["CapabilityDrop"]) == ("65534:65534", True, ["ALL"])
        assert all(mount["ReadOnly"] for mount in container["Mounts"])
        assert body["TaskTemplate"]["Placement"] == {"Constraints": ["node.id!=n9"]}
        assert body["EndpointSpec"]["Ports"] == []


def test_ports_are_published_only_where_that_is_wanted() -> None:
    published = [
        body["EndpointSpec"]["Ports"] for body in services.specifications(replace(WANTED, publish=True)).values()
    ]
    assert [[(port["PublishMode"], port["TargetPort"]) for port in ports] for ports in published] == [
        [("ingress", 7337)],
        [("host", 7337)],
    ]
    assert not any("PublishedPort" in port for ports in published for port in ports)


def test_a_published_port_is_told_with_who_answers_there() -> None:
    tasks = tuple(
        Task(f"t{number}", None, f"edge{number}", f"n{number}", "running", "running", ports=({"PublishedPort": 32768},))
        for number in (1, 2)
    )
    one = Service("s", REPLICATED, "replicated", 2, "dnsrr", tasks=tasks)
    several = Service(
        "s",
        GLOBAL,
        "global",
        None,
        "vip",
        ports=({"PublishedPort": 30000},),
        tasks=tuple(replace(task, ports=()) for task in tasks),
    )
    nodes = {"n1": "172.30.0.1", "n2": "172.30.0.2"}
    assert services.measurable(one, "net", nodes)["published"] == [
        {"address": "172.30.0.1", "port": 32768, "mode": "host", "tasks": ["t1"]},
        {"address": "172.30.0.2", "port": 32768, "mode": "host", "tasks": ["t2"]},
    ]
    assert services.measurable(several, "net", nodes)["published"] == [
        {"address": address, "port": 30000, "mode": "ingress", "tasks": ["t1", "t2"]} for address in nodes.values()
    ]


class Manager:
    """A manager's engine; its swarm takes some looks until the tasks of a removed service are gone."""

    def __init__(self, manager: bool = True) -> None:
        self._manager = manager
        self.posted: list[tuple[str, str]] = []
        self.left = 3

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"ControlAvailable": self._manager}}

    def nodes(self) -> list[dict[str, Any]]:
        return []

    def services(self) -> list[dict[str, Any]]:
        return [{"ID": "gone", "Spec": {"Name": GLOBAL, "Mode": {"Global": {}}, "Labels": {"overssh.verify": "true"}}}]

    def tasks(self) -> list[dict[str, Any]]:
        self.left -= 1
        return [{"ID": "t", "ServiceID": "gone"}] if self.left > 0 else []

    def post(self, path: str, body: dict[str, Any]) -> None:
        self.posted.append((path, body["Name"]))

    def inspect_service(self, service_id: str) -> dict[str, Any]:
        return {"ID": service_id}

    def remove_service(self, service_id: str) -> None:
        self.posted.append(("remove", service_id))


def test_a_removed_service_is_gone_when_its_tasks_are() -> None:
    docker = Manager()
    engine = services.ServiceProbeEngine(docker, replace(WANTED, network=None), 10)
    engine.perform(Step("remove_service", "remove it", args={"service_id": "gone"}))
    engine.wait()
    assert docker.posted == [("remove", "gone")]
    assert docker.left == 0


def test_where_no_manager_is_nothing_is_left_to_remove() -> None:
    engine = services.ServiceProbeEngine(Manager(manager=False), replace(WANTED, network=None), 10)
    assert engine.observe() == Observed()
    with pytest.raises(OversshError, match="no manager"):
        services.ServiceProbeEngine(Manager(manager=False), WANTED, 10).observe()


def test_the_answer_is_what_overlay_probe_measures() -> None:
    found = services.ServiceProbeEngine(Manager(), WANTED, 10).result(there())["services"]
    assert found[0] == {
        "name": GLOBAL,
        "endpoint_mode": "vip",
        "address": "10.200.0.8",
        "tasks": [{"id": "t1", "node": "edge1", "address": "10.200.0.9"}],
        "published": [],
    }
    assert (found[1]["name"], found[1]["address"]) == (REPLICATED, "")


def test_nodes_that_take_part_are_known_by_their_addresses() -> None:
    nodes = [
        {"ID": "a", "Status": {"Addr": "172.30.0.1"}, "ManagerStatus": {"Addr": "172.30.0.1:2377"}},
        {"ID": "b", "Status": {"Addr": "127.0.0.1"}, "ManagerStatus": {"Addr": "[fd00::2]:2377"}},
        {"ID": "c", "Status": {"Addr": "172.30.0.3"}},
        {"ID": "d"},
    ]
    assert services.taking_part(nodes, ["172.30.0.1", "fd00::2", "172.30.0.9"]) == {"a": "172.30.0.1", "b": "fd00::2"}
    assert services.taking_part(nodes, None) == {"a": "172.30.0.1", "b": "fd00::2", "c": "172.30.0.3"}
