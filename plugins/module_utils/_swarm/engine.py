# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of swarm_node: creates a swarm, joins one, stays in it, or leaves it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .._core.command import Runner
from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.plan import Plan
from .._core.wait import WaitError, wait_until
from .._docker import gossip
from .._docker.client import NOT_FOUND, Docker, DockerError, patiently, stuck_manager
from .._docker.update import Spec, update_entry, update_swarm
from .._linux.devices import read_devices
from .._linux.routes import read_routes
from . import labels as node_labels
from .info import node_result, nodes_result
from .model import Desired, Ground, Observed, believed, endpoint, forgotten
from .observe import BRIDGE, BRIDGE_ICC, BRIDGE_LABELS, BRIDGE_MTU, BRIDGE_OPTIONS, observe_node
from .plan import UNJOINABLE, listen_addr, plan_node, refuse_gossip, says
from .settings import AUTOLOCK, Settings, with_settings

# What the engine takes where a pool is given without a size of its networks, or the other way round.
DEFAULT_POOL = ("10.0.0.0/8",)
DEFAULT_SUBNET_SIZE = 24
PROBE_SECONDS = 3
BRIDGE_SECONDS = 10
# An engine's last word to its peers takes at most one second; to a single peer it takes almost that long.
GOSSIP_SECONDS = 5
# The engine answers so when its part of the swarm has not stopped in time (daemon/cluster/noderunner.go).
NOT_STOPPED = "context deadline exceeded"
# And so when it goes on joining by itself.
STILL_JOINING = "will continue in the background"
DOUBTED = (
    "the engine on this host calls its part in the swarm 'error'{words}, but the managers list it as ready and it "
    "works; the word goes when Docker is restarted, with 'systemctl restart docker' when the containers "
    "here may be interrupted"
)
LOCKS = (
    "from now on a manager of this swarm is locked whenever its Docker starts, until 'docker swarm unlock' is given "
    "the key; 'docker swarm unlock-key' on a manager shows it, so keep it where it is found without the swarm"
)
# Words of the engine when a join fails, and what they mean to the operator.
JOIN_TROUBLE = (
    ("invalid join token", "the join token is none; take it from 'docker swarm join-token' on a manager"),
    ("valid join token is necessary", "the manager refuses the join token; it was rotated, so take the present one"),
    ("does not match fingerprint", "the join token belongs to another swarm than the manager at that address"),
    (
        "using its advertised address",
        "the manager can't reach this node at its listen_addr, so open that port on this host; its entry stays in the "
        "managers' list until state: removed clears it",
    ),
    ("connection refused", "no manager listens there; see 'docker info' on it"),
)


class SwarmNodeEngine(Engine[Observed]):
    """This node, through its own engine.

    Check mode needs no join token, because no join happens; a missing address may come by an earlier task of the run.
    """

    def __init__(
        self, docker: Docker, run: Runner, desired: Desired, timeout: float, wait: bool = True, check_mode: bool = False
    ) -> None:
        self._docker = docker
        self._run = run
        self._desired = desired
        self._timeout = timeout
        self._wait = wait
        self._check_mode = check_mode
        self._lacks_token = False
        self._entered = False
        self.warnings: list[str] = []

    def observe(self) -> Observed:
        """The node in a lasting state; a starting engine says "pending" for a moment."""
        with self._docker.at_most(self._timeout):
            try:
                found = wait_until(self._settled, self._timeout if self._wait else 0, "the swarm's start")
            except WaitError:
                found = self._look()
        stuck = stuck_manager() if found.error and self._desired.state != "left" else ""
        if stuck:
            raise OversshError(f"{stuck}{says(found)}")
        return replace(found, ground=self._ground()) if self._may_enter(found) else found

    def _may_enter(self, found: Observed) -> bool:
        """Whether the plan may create or join a swarm."""
        if self._desired.state == "left":
            return False
        stays = found.local_state == "active" and self._desired.on_change != "recreate"
        return not stays or forgotten(found, self._desired.members)

    def _ground(self) -> Ground:
        return Ground(
            None if self._check_mode else _addresses(),
            read_routes(self._run) if self._desired.founds else (),
            gossip.listens(str(self._desired.advertise_addr)),
        )

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_node; a join without a token is refused before any step."""
        plan = plan_node(self._desired, observed)
        self._lacks_token = not self._desired.join_token and any(step.action == "join" for step in plan.steps)
        if self._lacks_token and not self._check_mode:
            raise OversshError(UNJOINABLE, join_token_missing=True)
        return plan

    @performs("promote")
    def _promote(self, node_id: str) -> None:
        raise OversshError(f"run 'docker node promote {node_id}' on another manager")

    @performs("go_back")
    def _go_back(self) -> None:
        raise OversshError("Docker keeps nothing of a swarm that it has left")

    @performs("set_availability")
    def _set_availability(self, availability: str) -> None:
        self._update_self(lambda spec: {**spec, "Availability": availability})

    @performs("set_labels")
    def _set_labels(self, labels: node_labels.Change) -> None:
        """On a manager that has just joined, once the others count it as one."""
        if self._entered:
            self._wait_until_part_of_it()
        self._update_self(lambda spec: {**spec, "Labels": node_labels.changed(spec.get("Labels") or {}, labels)})

    @performs("set_swarm")
    def _set_swarm(self, settings: Settings) -> None:
        update_swarm(self._docker, lambda spec: with_settings(spec, settings), self._timeout)
        self._say_of_lock(settings)

    @performs("rotate_tokens")
    def _rotate_tokens(self, roles: Sequence[str]) -> None:
        update_swarm(self._docker, lambda spec: spec, self._timeout, roles)
        self._desired = replace(self._desired, rotate_tokens=())

    @performs("put_tokens_back")
    def _put_tokens_back(self) -> None:
        raise OversshError("a join token that was rotated is void for ever")

    def _say_of_lock(self, settings: Settings) -> None:
        if settings.get(AUTOLOCK):
            self.warnings.append(LOCKS)

    def wait(self) -> None:
        """Wait until the node is active in the desired swarm, and the others reach a manager."""
        if self._desired.state == "left":
            return
        if self._wait:
            self._wait_until_part_of_it()
            self._wait_for_gossip()
        if self._entered:
            self.plan(self.observe())

    def in_effect(self, observed: Observed) -> bool:
        """Whether the node is out of its swarm, or takes part and gossips."""
        if self._desired.state == "left" or not self._wait:
            return True
        return takes_part(observed) and gossip.listens(observed.node_address)

    def result(self, observed: Observed) -> dict[str, Any]:
        """The return values of node_result, and warnings."""
        said = [*self.warnings, *([DOUBTED.format(words=says(observed))] if observed.doubted else [])]
        answer: dict[str, Any] = {"warnings": said} if said else {}
        if self._lacks_token and self._check_mode:
            # For the controller, which alone knows whether it could have had one.
            answer["join_token_missing"] = True
        return {**node_result(observed), "nodes": nodes_result(observed), **answer}

    def _look(self) -> Observed:
        return believed(observe_node(self._docker, self._run), self._desired.members)

    def _settled(self) -> Observed | None:
        """A node that was removed by its managers may wait for them for ever."""
        found = self._look()
        return found if found.settled or forgotten(found, self._desired.members) else None

    @performs("init")
    def _init(self) -> None:
        desired = self._desired
        self._require_free_gossip_port()
        body: dict[str, Any] = {
            **self._addresses(),
            "DataPathPort": desired.data_path_port or 0,
            "ForceNewCluster": False,
            "Spec": with_settings({}, desired.settings),
        }
        if desired.availability:
            body["Availability"] = desired.availability
        if desired.default_addr_pool or desired.subnet_size:
            body["DefaultAddrPool"] = list(desired.default_addr_pool or DEFAULT_POOL)
            body["SubnetSize"] = desired.subnet_size or DEFAULT_SUBNET_SIZE
        self._docker.post("/swarm/init", body)
        self._has_entered()
        self._say_of_lock(desired.settings)

    @performs("join")
    def _join(self) -> None:
        self._require_free_gossip_port()
        manager = self._reachable_manager()
        # The engine tries the first address only, so it is given one that answers.
        body: dict[str, Any] = {
            **self._addresses(),
            "RemoteAddrs": [manager],
            "JoinToken": self._desired.join_token,
        }
        if self._desired.availability:
            body["Availability"] = self._desired.availability
        try:
            self._docker.post("/swarm/join", body)
        except DockerError as error:
            if STILL_JOINING not in str(error):
                raise OversshError(_join_trouble(manager, str(error))) from error
            self._finish_join(manager)
        self._has_entered()

    def _has_entered(self) -> None:
        """It is a new node from now on, which nobody can have listed before; a new swarm has new join tokens."""
        self._entered, self._desired = True, replace(self._desired, members={}, rotate_tokens=())

    def _finish_join(self, manager: str) -> None:
        """The engine gave up waiting for itself, but not joining: wait on, or call it off."""
        try:
            wait_until(lambda: self._local_state() == "active", self._timeout, f"the join at {manager}")
        except WaitError as error:
            found = observe_node(self._docker, self._run)
            words = says(found)
            if found.node_id and self._desired.state == "manager":
                # The managers may count it already: without it they might have no majority.
                raise OversshError(f"{error}{words}; it goes on in the background, see 'docker info'") from error
            self._out(force=True)
            raise OversshError(f"{error}{words}; it was called off") from error

    @performs("leave")
    def _leave(self, force: bool, comes_back: bool) -> None:
        if comes_back and not self._desired.founds:
            self._reachable_manager()
        address = self._node_address()
        try:
            self._out(force)
        except DockerError as error:
            hint = "" if force or "force" not in str(error) else "; set force: true to agree"
            raise OversshError(f"Docker says: {error}{hint}") from error
        self._let_go_of_gossip(address)

    def _out(self, force: bool) -> None:
        """The engine waits 15 s for its own part of the swarm to stop; asked again, it waits on."""
        patiently(lambda: self._docker.leave_swarm(force=force), lambda said: NOT_STOPPED in said, self._timeout)

    def _let_go_of_gossip(self, address: str) -> None:
        """Until the engine has closed its gossip's port; where it never will, it is restarted if nobody notices."""
        with contextlib.suppress(WaitError):
            wait_until(lambda: not gossip.listens(address), GOSSIP_SECONDS, "the end of the gossip")
            return
        kept = f"Docker kept port {gossip.PORT} of the swarm that it left, by a fault of its own"
        affected = self._restart_unnoticed(kept)
        if affected:
            self.warnings.append(f"{kept}, and can't join another until it is restarted; {_restart_later(affected)}")

    def _restart_unnoticed(self, kept: str) -> list[str]:
        """Restart the engine where no container is touched, and say so; otherwise the containers' names.

        kept: a sentence on what the restart is for.
        """
        affected = containers_that_a_restart_touches(self._docker)
        if not affected:
            self._run(["systemctl", "restart", "docker"])
            wait_until(self._answers, self._timeout, "Docker's restart")
            self.warnings.append(f"{kept}, and was restarted; no container was running")
        return affected

    def _answers(self) -> bool:
        try:
            self._docker.info()
        except DockerError:
            return False
        return True

    @performs("demote")
    def _demote(self) -> None:
        try:
            self._become_worker()
        except OversshError:
            # Where all managers leave at once, nobody is left to agree; with force, the leave does without.
            if not (self._desired.force and self._desired.state == "left"):
                raise

    @performs("leave_again")
    def _leave_again(self) -> None:
        """Out of a swarm that this run brought the node into, with nothing of it left."""
        found = observe_node(self._docker, self._run)
        if found.role == "manager" and not self._desired.founds:
            self._become_worker()
        self._out(force=self._desired.founds)
        self._let_go_of_gossip(found.node_address)

    @performs("make_bridge")
    def _make_bridge(self) -> None:
        """The bridge as the engine itself would make it, but for what is asked for; its label shows its owner."""
        subnet = self._desired.bridge_subnet
        ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]} if subnet else None
        options = {**BRIDGE_OPTIONS, BRIDGE_ICC: "true"} if self._desired.bridge_icc else dict(BRIDGE_OPTIONS)
        if self._desired.bridge_mtu is not None:
            options[BRIDGE_MTU] = str(self._desired.bridge_mtu)
        self._docker.create_network(BRIDGE, driver="bridge", options=options, labels=BRIDGE_LABELS, ipam=ipam)

    @performs("remove_bridge")
    def _remove_bridge(self) -> None:
        """Once the swarm's own sandbox has let go of it; a container of the host that stays on it keeps it."""
        if self._bridge_is_removed() or observe_node(self._docker, self._run).bridge_used:
            return
        kept = f"Docker kept the bridge {BRIDGE} for a swarm that it has forgotten, by a fault of its own"
        affected = self._restart_unnoticed(kept)
        if affected:
            raise OversshError(f"{kept}, until it is restarted; {_restart_later(affected)}")
        state = self._settled_state()
        if state != "inactive":
            if not self._desired.force:
                raise OversshError(
                    f"Docker was restarted, as it kept the bridge {BRIDGE} for a swarm that it had forgotten, and "
                    f"knows that swarm again, as {state}; set force: true to leave it"
                )
            self._out(force=True)
        if not self._bridge_is_removed():
            raise OversshError(
                f"{kept}, also after its restart; see 'docker network inspect {BRIDGE}' for who is on it"
            )

    def _settled_state(self) -> str:
        """The engine's word for its part in a swarm, once it has started."""
        with contextlib.suppress(WaitError):
            wait_until(lambda: self._local_state() != "pending", self._timeout, "the swarm's start")
        return self._local_state()

    def _bridge_is_removed(self) -> bool:
        """Whether the bridge is gone, at the latest when the engine has had the time to let it go."""

        def removed() -> bool:
            try:
                self._docker.remove_network(BRIDGE)
            except DockerError as error:
                if error.status == NOT_FOUND:
                    return True
                if "active endpoints" not in str(error):
                    raise
                return False
            return True

        with contextlib.suppress(WaitError):
            return wait_until(removed, BRIDGE_SECONDS, f"the release of the bridge {BRIDGE}")
        return False

    def _update_self(self, change: Callable[[Spec], Spec]) -> None:
        """Change this node's own entry, through this node as a manager."""
        update_entry(self._docker, self._docker.info()["Swarm"]["NodeID"], change, self._timeout)

    def _become_worker(self) -> None:
        self._update_self(lambda spec: {**spec, "Role": "worker"})
        wait_until(self._is_worker, self._timeout, "this node's change from manager to worker")

    def _is_worker(self) -> bool:
        found = observe_node(self._docker, self._run)
        return found.settled and found.role == "worker"

    def _node_address(self) -> str:
        return str((self._docker.info().get("Swarm") or {}).get("NodeAddr") or "")

    def _require_free_gossip_port(self) -> None:
        """Refuse a taken port again, as the swarm that this node has just left may have kept it."""
        address = str(self._desired.advertise_addr)
        refuse_gossip(address, gossip.listens(address))

    def _wait_for_gossip(self) -> None:
        try:
            address = self._node_address()
            wait_until(lambda: gossip.listens(address), self._timeout, "the start of the swarm's gossip")
        except WaitError as error:
            raise OversshError(
                f"{error}: nothing listens on {address} port {gossip.PORT}, and containers here would reach nobody; "
                "see 'journalctl -u docker' for 'agentInit'"
            ) from error

    def _local_state(self) -> str:
        return str((self._docker.info().get("Swarm") or {}).get("LocalNodeState"))

    def _wait_until_part_of_it(self) -> None:
        last: list[Observed] = []

        def ready() -> bool:
            last[:] = [self._look()]
            return takes_part(last[0])

        try:
            wait_until(ready, self._timeout, f"this node's part as {self._desired.state} of the swarm")
        except WaitError as error:
            words = says(last[0])
            stuck = stuck_manager()
            words += f"; {stuck}" if stuck else ""
            raise OversshError(f"{error}; its engine calls itself {last[0].local_state}{words}") from error

    def _addresses(self) -> dict[str, Any]:
        desired = self._desired
        return {
            "AdvertiseAddr": desired.advertise_addr,
            "ListenAddr": listen_addr(desired),
            "DataPathAddr": desired.data_path_addr or desired.advertise_addr,
        }

    def _reachable_manager(self) -> str:
        managers = self._desired.remote_managers
        what = f"an answer from a manager at {' or '.join(managers)}"
        try:
            return wait_until(lambda: next(filter(reaches, managers), None), self._timeout if self._wait else 0, what)
        except WaitError as error:
            raise OversshError(f"{error}; see that the tunnel is up and that the port is open there") from error


def _addresses() -> frozenset[str]:
    """The addresses of this host, in one spelling."""
    return frozenset(str(ipaddress.ip_address(each)) for device in read_devices() for each in device.own)


def takes_part(observed: Observed) -> bool:
    """Whether the node is active in its swarm, and the others reach it where it is a manager."""
    if observed.local_state != "active" or observed.role is None:
        return False
    own = observed.own
    return observed.role == "worker" or (own is not None and own.status == "ready" and own.reachability == "reachable")


def containers_that_a_restart_touches(docker: Docker) -> list[str]:
    """Names of running containers, and of those that a start of the engine would start."""
    found = []
    for container in docker.containers(all=True):
        policy = (docker.inspect_container(container["Id"])["HostConfig"].get("RestartPolicy") or {}).get("Name")
        if container.get("State") == "running" or policy == "always":
            found.append(str(container["Names"][0]).lstrip("/"))
    return found


def _restart_later(affected: list[str]) -> str:
    """What to do about an engine that has to be restarted, where containers run."""
    return (
        "do that with 'systemctl restart docker' when the containers on this host may be interrupted: "
        f"{', '.join(affected)}"
    )


def reaches(address: str) -> bool:
    """Whether the address accepts a TCP connection."""
    try:
        with socket.create_connection(endpoint(address), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def _join_trouble(manager: str, words: str) -> str:
    for known, meaning in JOIN_TROUBLE:
        if known in words:
            return f"{meaning} (at {manager} Docker says: {words})"
    return f"at {manager} Docker says: {words}"
