# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of overlay_network: makes and removes networks on a manager of the swarm."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._core.command import Runner
from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan
from .._core.wait import WaitError, wait_until
from .._docker.client import NOT_FOUND, Docker, DockerError, data_path_address, patiently
from .._linux.devices import read_devices, smallest_mtu
from .._linux.esp import has_esp
from .._linux.resolvers import read_resolvers
from .._linux.routes import Route, read_routes
from .attached import attach, attached, detach
from .info import endpoints, network_result, user
from .ingress import nodes_in_state, nodes_without, publishers, touch_node, touch_nodes
from .model import Desired, Observed, OverlayNetwork, network_of
from .mtu import fitting_mtu, remarks
from .plan import has_to_be_remade, plan_network, refuse_overlap

# How the engine says that containers or services still use a network.
IN_USE = ("in use by", "active endpoints")
# How it says that the swarm has no such network any more, where it still holds its own copy; the status is 500 then.
GONE = "not found"
REMOVAL_PAUSE = 0.1
# Nodes take part in the ingress network within half a second, and after a boot or a joining within three.
NODES_SECONDS = 15
GRACE_SECONDS = 5
NODES_PAUSE = 0.1
# The number of looks at a node before it is touched again.
PATIENCE = 3


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of networks: the engine's part in its swarm, all its networks, the host's routes and resolvers.

    address: the source of VXLAN packets, "" outside a swarm. underlay_mtu: the smallest MTU of the devices with that
    address.
    """

    swarm: Mapping[str, Any]
    networks: tuple[OverlayNetwork, ...]
    routes: tuple[Route, ...]
    resolvers: tuple[str, ...]
    address: str
    underlay_mtu: int | None


class OverlayNetworkEngine(Engine[Observed]):
    """One overlay network, by name. check_mode: a missing swarm is assumed to come."""

    def __init__(
        self, docker: Docker, run: Runner, desired: Desired, timeout: float, wait: bool = True, check_mode: bool = False
    ) -> None:
        self.desired = desired
        self._docker = docker
        self._run = run
        self._timeout = timeout
        self._wait = wait
        self._check_mode = check_mode
        self._given_up: frozenset[str] = frozenset()

    def observe(self) -> Observed:
        """The network and its surroundings."""
        return self.observe_in(self.look())

    def look(self) -> Surroundings:
        """The surroundings, which all networks share."""
        info = self._docker.info()
        address = data_path_address(info)
        return Surroundings(
            info.get("Swarm") or {},
            tuple(network_of(found) for found in self._docker.networks()),
            read_routes(self._run),
            tuple(read_resolvers()),
            address,
            smallest_mtu(read_devices(), address) if address else None,
        )

    def observe_in(self, around: Surroundings) -> Observed:
        """The network in these surroundings."""
        manager = bool(around.swarm.get("ControlAvailable"))
        mine = self._mine(around.networks)
        watched = self.desired.ingress and manager
        missing = self._still_missing(mine) if watched and mine else set()
        observed = Observed(
            manager=manager,
            state=around.swarm.get("LocalNodeState") or "inactive",
            check_mode=self._check_mode,
            network=mine,
            others=tuple(one for one in around.networks if mine is None or one.network_id != mine.network_id),
            routes=around.routes,
            resolvers=around.resolvers,
            pools=tuple((around.swarm.get("Cluster") or {}).get("DefaultAddrPool") or ()),
            esp=has_esp(self._run) if self.desired.encrypted and self.desired.state == "present" else None,
            data_path_addr=around.address,
            underlay_mtu=around.underlay_mtu,
            publishers=publishers(self._docker) if watched else (),
            missing=tuple(sorted(missing - self._given_up)),
            given_up=tuple(sorted(missing & self._given_up)),
        )
        if not (mine and manager and has_to_be_remade(self.desired, observed)):
            return observed
        return replace(
            observed,
            attached=attached(self._docker, mine),
            users=tuple(user(one) for one in endpoints(self._docker, mine.network_id)),
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_network."""
        return plan_network(self.desired, observed)

    @performs("create")
    def _create(self, body: Mapping[str, Any]) -> None:
        """Docker makes a network whole, or refuses."""
        self._docker.post("/networks/create", dict(body))
        if self.desired.ingress:
            touch_nodes(self._docker)

    @performs("detach")
    def _detach(self, kind: str, ident: str, name: str) -> None:
        """The network is looked for by its name, as it may have been made anew since."""
        found = self._mine([network_of(found) for found in self._docker.networks()])
        if found is None:
            raise OversshError(f"there is no network {name}")
        detach(self._docker, kind, ident, found)

    @performs("attach")
    def _attach(self, kind: str, ident: str, name: str, entry: Mapping[str, Any], at: int) -> None:
        """Once the network has its subnet; even then the engine does not find its name at once."""
        self._await_allocation(name)
        patiently(
            lambda: attach(self._docker, kind, ident, name, entry, at), lambda words: GONE in words, self._timeout
        )

    @performs("spread")
    def _spread(self) -> None:
        touch_nodes(self._docker)

    def wait(self) -> None:
        """Wait until the swarm has given the network a subnet, and all nodes take part in an ingress network.

        The engine says "created" before the swarm has found a subnet, and reports no failure.
        """
        if not self._wait or self.desired.state == "absent":
            return
        name = self.desired.name
        found = self._await_allocation(name)
        if self.desired.ingress:
            self._await_nodes(found)
        if self.desired.subnets or not self.desired.ingress:  # else it has the subnets that it had
            refuse_overlap(name, found.subnets, self.desired.underlay, self.observe())

    def _await_allocation(self, name: str) -> OverlayNetwork:
        try:
            return wait_until(self._allocated, self._timeout, f"the allocation of a subnet for the network {name}")
        except WaitError as error:
            raise OversshError(
                f"{error}; another network of the swarm has its subnet or its VXLAN ID, or the pool is used up: see "
                "'docker network ls' on a manager"
            ) from error

    def in_effect(self, observed: Observed) -> bool:
        """Whether the network has its subnet and all nodes take part; the swarm's own choices are read again."""
        if not self._wait or self.desired.state == "absent":
            return True
        found, chosen_here = observed.network, self.desired.ingress or bool(self.desired.subnets)
        return bool(found and found.allocated and chosen_here and not observed.missing)

    def result(self, observed: Observed) -> dict[str, Any]:
        """The network, None where it is missing, and the MTU that fits it."""
        found = observed.network
        network = {"network": network_result(found) if found and found.is_overlay else None}
        if self.desired.state == "absent":
            return network
        return {
            **network,
            "underlay_mtu": fitting_mtu(self.desired, observed),
            "warnings": remarks(self.desired, observed),
        }

    def _mine(self, networks: Sequence[OverlayNetwork]) -> OverlayNetwork | None:
        if self.desired.ingress:
            return next((one for one in networks if one.ingress), None)
        same = [one for one in networks if one.name == self.desired.name]
        # A local network can have the same name on one host; the swarm's own is the one that is meant.
        return next((one for one in same if one.scope == "swarm"), same[0] if same else None)

    def _still_missing(self, network: OverlayNetwork) -> set[str]:
        """The nodes that take no part in the ingress network, where that matters.

        One that has just joined, or come back, is waited for: it needs nobody's help.
        """
        if not (self._wait and self.desired.state == "present" and network.allocated):
            return set()

        def only_given_up() -> bool:
            return self._given_up.issuperset(nodes_without(self._docker, network.network_id).values())

        with contextlib.suppress(WaitError):
            wait_until(only_given_up, min(self._timeout, GRACE_SECONDS), f"the use of {network.name}", NODES_PAUSE)
        return set(nodes_without(self._docker, network.network_id).values())

    def _await_nodes(self, network: OverlayNetwork) -> None:
        """Wait for the nodes; one that does not join is reported in the end, and the others go on."""
        looks = 0

        def complete() -> bool:
            nonlocal looks
            looks += 1
            missing = nodes_without(self._docker, network.network_id)
            if looks % PATIENCE == 0:
                for node_id in missing:
                    touch_node(self._docker, node_id)
            return not missing

        try:
            wait_until(complete, min(self._timeout, NODES_SECONDS), f"the use of {network.name}", pause=NODES_PAUSE)
        except WaitError:
            self._given_up = frozenset(nodes_without(self._docker, network.network_id).values())

    def _allocated(self) -> OverlayNetwork | None:
        found = self._mine([network_of(found) for found in self._docker.networks()])
        return found if found and found.allocated else None

    @performs("remove")
    def _remove(self, name: str, network_id: str | None) -> None:
        """Wait for those who use it, and then for the copy that this engine keeps while a container of its own ends.

        The ingress network is different. The swarm lets it go while tasks still end on it, and nodes then
        keep their copies for ever. Otherwise the copies go by themselves, and asking again is an error.
        """
        wanted, ingress, let_go = network_id or name, self.desired.ingress, False

        def removed() -> bool:
            nonlocal let_go
            if not (ingress and let_go):
                if ingress and endpoints(self._docker, wanted):
                    return False
                let_go = self._let_go(wanted)
            return let_go and not any(wanted in (one["Id"], one["Name"]) for one in self._docker.networks())

        try:
            wait_until(removed, self._timeout, f"the end of all use of the network {name}", pause=REMOVAL_PAUSE)
        except WaitError as error:
            if ingress and let_go:
                raise OversshError(
                    f"{error}; the swarm has let it go, and the engine on this host has not: the swarm has no ingress "
                    "network until that engine is restarted with 'systemctl restart docker' and this is "
                    "run again"
                ) from error
            users = endpoints(self._docker, wanted)
            named = ", ".join(user(one) for one in users) or "a task that the managers don't list any more"
            raise OversshError(
                f"{error}; it is used by {named}: remove what uses it{self._of_the_dead(users)}, and run this again"
            ) from error

    def _of_the_dead(self, users: list[dict[str, Any]]) -> str:
        """What to do about tasks of nodes that are down: they stay, whatever becomes of their service."""
        down = {node["ID"] for node in nodes_in_state(self._docker, "down")}
        gone = " ".join(sorted({one["node_id"] for one in users} & down))
        return f" (tasks of a node that is down stay till it is back, or 'docker node rm {gone}')" if gone else ""

    def _let_go(self, wanted: str) -> bool:
        """Ask the swarm to remove the network; False where somebody uses it."""
        try:
            self._docker.remove_network(wanted)
        except DockerError as error:
            if any(words in str(error) for words in IN_USE):
                return False
            if error.status != NOT_FOUND and GONE not in str(error):
                raise
        return True
