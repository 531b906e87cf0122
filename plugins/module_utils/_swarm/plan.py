# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps to a node's desired part in the swarm; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._docker import gossip
from . import labels as node_labels
from .model import DEFAULT_PORT, Desired, Entry, Ground, Observed, endpoint, forgotten, joined, token_digest
from .settings import Settings, lacking
from .settings import words as words_of_settings

LEFT: dict[str, Any] = {"state": "left"}
UNJOINABLE = (
    "this node has to join a swarm, and there is no join token; name a manager of the inventory in the option manager, "
    "or give join_token"
)


def plan_node(desired: Desired, observed: Observed) -> Plan:
    """The plan for this node.

    OversshError where a needed change has to be allowed by the operator first, or where the host can't have it.
    """
    plan = _plan_node(desired, observed)
    if observed.ground is not None and any(step.action in ("init", "join") for step in plan.steps):
        _refuse_addresses(desired, observed.ground)
        # A node that leaves a swarm first has its gossip on that port, and closes it.
        if observed.local_state == "inactive":
            refuse_gossip(str(desired.advertise_addr), observed.ground.gossip)
        if desired.founds:
            _refuse_pool(desired, observed.ground)
    return plan


def _refuse_addresses(desired: Desired, ground: Ground) -> None:
    """OversshError for an address that the host lacks; the engine would join with it, and nothing would work."""
    listen = endpoint(listen_addr(desired))[0]
    for option, address in (
        ("advertise_addr", desired.advertise_addr),
        ("listen_addr", None if ipaddress.ip_address(listen).is_unspecified else listen),
        ("data_path_addr", desired.data_path_addr),
    ):
        if address and ground.addresses is not None and address not in ground.addresses:
            raise OversshError(
                f"{option} is {address}, and no device of this host has that address; bring the tunnel up first"
            )


def refuse_gossip(address: str, taken: bool) -> None:
    """OversshError where something listens on the port of the swarm's gossip already."""
    if taken:
        raise OversshError(
            f"something on this host listens on {address} port {gossip.PORT} already, which the swarm's gossip "
            f"needs; an engine that has left a swarm sometimes keeps it, then {gossip.WAY_OUT}"
        )


def _refuse_pool(desired: Desired, ground: Ground) -> None:
    """OversshError for a pool whose networks would hide addresses that the host itself has a route to."""
    for pool in desired.default_addr_pool or ():
        network = ipaddress.ip_network(pool)
        for route in ground.routes:
            if network.version == route.destination.version and network.overlaps(route.destination):
                raise OversshError(
                    f"default_addr_pool {pool} overlaps the route {route.destination} of this host "
                    f"(device {route.device}); choose another pool"
                )


def _plan_node(desired: Desired, observed: Observed) -> Plan:
    if desired.state == "left":
        return _plan_left(desired, observed)
    if desired.state == "worker" and not desired.remote_managers:
        raise OversshError("a worker joins through a manager; name one in remote_managers, such as 172.30.0.1:2377")
    if observed.local_state == "inactive":
        return Plan(LEFT, _after(desired), _enter(desired, observed))
    if forgotten(observed, desired.members):
        return _plan_anew(desired, observed)
    _refuse_unusable(desired, observed)
    if observed.local_state == "active":
        _refuse_another_swarm(desired, observed)
        differences = _differences(desired, observed)
        if not differences:
            return _plan_settings(desired, observed)
        _refuse_change(desired, observed, differences)
    _refuse_loss(desired, observed)
    steps = (*_way_out(desired, observed, comes_back=True), *_enter(desired, observed))
    return Plan(_before(observed), _after(desired), steps)


def _plan_anew(desired: Desired, observed: Observed) -> Plan:
    """A node that its managers have removed holds nothing of the swarm any more: it leaves, and joins as a new one."""
    _refuse_another_swarm(desired, observed)
    if desired.founds:
        raise OversshError(
            f"this node believes that it is in {_swarm(observed)}, whose managers have removed it; to join it anew, "
            "name one of them in remote_managers, or take this node out of it with state: left"
        )
    leave = Step(
        "leave",
        f"take this node out of {_swarm(observed)}, whose managers have removed it",
        {"force": True, "comes_back": True},
        Step("go_back", "put this node back into the swarm that has removed it"),
    )
    return Plan(_before(observed), _after(desired), (leave, *_enter(desired, observed)))


def _plan_left(desired: Desired, observed: Observed) -> Plan:
    steps = []
    if observed.local_state != "inactive":
        _refuse_loss(desired, observed)
        steps += _way_out(desired, observed)
    if observed.leftover_bridge:
        steps.append(Step("remove_bridge", "remove the bridge docker_gwbridge that was made for the swarm"))
    return Plan(_before(observed), LEFT, tuple(steps))


def _plan_settings(desired: Desired, observed: Observed) -> Plan:
    """A node of the right swarm that stays: its role and its availability can change in place, from a manager."""
    steps = []
    before, after = _before(observed), _before(observed)
    if desired.state == "worker" and observed.role == "manager":
        _refuse_loss(desired, observed)
        steps.append(_demote(observed))
        after["state"] = "worker"
    own = observed.own
    if desired.availability and own and own.availability != desired.availability:
        change = Step(
            "set_availability",
            f"set this node's availability to {desired.availability}",
            {"availability": desired.availability},
            Step(
                "set_availability",
                f"set this node's availability back to {own.availability}",
                {"availability": own.availability},
            ),
        )
        steps.insert(0, change)  # a worker may not change anything
        after["availability"] = desired.availability
    for step, was, becomes in (*_relabelled(desired, own), *_tuned(desired, observed.settings), *_rotated(desired)):
        steps.append(step)
        before.update(was)
        after.update(becomes)
    return Plan(before, after, tuple(steps))


# A step, and what it changes: before and after.
Change = tuple[Step, Mapping[str, Any], Mapping[str, Any]]


def _relabelled(desired: Desired, own: Entry | None) -> Iterator[Change]:
    """This node's labels; where the managers' list is not known, nobody knows what they lack."""
    change = node_labels.needed(own.labels, desired.labels) if own else {}
    if own and change:
        undone = node_labels.way_back(own.labels, change)
        back = Step("set_labels", f"label this node {node_labels.words(undone)} again", {"labels": undone})
        step = Step("set_labels", f"label this node {node_labels.words(change)}", {"labels": change}, back)
        after = node_labels.changed(own.labels, change)
        yield step, {"labels": node_labels.shown(own.labels)}, {"labels": node_labels.shown(after)}


def _tuned(desired: Desired, found: Settings | None) -> Iterator[Change]:
    """The swarm's own settings, likewise."""
    settings = {} if found is None else lacking(found, desired.settings)
    if found is not None and settings:
        undone = {name: found[name] for name in settings}
        back = Step("set_swarm", f"set the swarm's {words_of_settings(undone)} again", {"settings": undone})
        step = Step("set_swarm", f"set the swarm's {words_of_settings(settings)}", {"settings": settings}, back)
        yield step, undone, settings


def _rotated(desired: Desired) -> Iterator[Change]:
    """Nobody can tell a join token's age, so each task that asks for it changes it, as the last of its steps."""
    roles = desired.rotate_tokens
    if roles:
        whose = " and ".join(f"{role}s" for role in roles)
        back = Step("put_tokens_back", f"put the former join tokens of {whose} back")
        step = Step("rotate_tokens", f"rotate the join tokens of {whose}", {"roles": list(roles)}, back)
        yield (
            step,
            {f"join_token_of_{role}s": "the former" for role in roles},
            {f"join_token_of_{role}s": "a new one" for role in roles},
        )


def _enter(desired: Desired, observed: Observed) -> tuple[Step, ...]:
    """Found the swarm or join it, on a bridge that is known as ours where there was none."""
    out = Step("leave_again", "leave the swarm again")
    through = ", ".join(desired.remote_managers)
    if desired.founds:
        enter = Step("init", f"initialise a swarm on {listen_addr(desired)}", inverse=out)
    else:
        label = f"join the swarm at {through} as {desired.state} {desired.advertise_addr}"
        enter = Step("join", label, inverse=out)
    entered = (enter, *_first_labels(desired))
    if observed.bridge:
        return entered
    unmake = Step("remove_bridge", "remove the bridge docker_gwbridge")
    return Step("make_bridge", "make the bridge docker_gwbridge that overlay networks need", inverse=unmake), *entered


def _first_labels(desired: Desired) -> tuple[Step, ...]:
    """The labels of a node that has none yet, and that loses them when it leaves the swarm again."""
    labels = node_labels.needed({}, desired.labels)
    return (Step("set_labels", f"label this node {node_labels.words(labels)}", {"labels": labels}),) if labels else ()


def _way_out(desired: Desired, observed: Observed, comes_back: bool = False) -> list[Step]:
    """Leave; a manager beside others is made a worker first, so that they don't wait for its vote."""
    leave = Step(
        "leave",
        f"take this node out of {_swarm(observed)}",
        {"force": desired.force, "comes_back": comes_back},
        Step("go_back", f"put this node back into {_swarm(observed)}"),
    )
    return [_demote(observed), leave] if _quorum_without(observed) else [leave]


def _demote(observed: Observed) -> Step:
    back = Step("promote", "make this node a manager again", {"node_id": observed.node_id})
    return Step("demote", "make this manager a worker", inverse=back)


def _refuse_unusable(desired: Desired, observed: Observed) -> None:
    """A swarm that the engine can't open: locked, broken, or still being joined."""
    state = observed.local_state
    if state == "locked":
        raise OversshError(
            "the swarm on this node is locked; unlock it with 'docker swarm unlock' and its key, and run this again"
        )
    if state == "pending":
        raise OversshError(
            f"this node belongs to a swarm that has not started on it yet{says(observed)}; see that it reaches the "
            f"managers it knows ({', '.join(observed.managers) or 'none'}) and that most of them run, or take it "
            "out with state: left"
        )
    if state == "error" and desired.on_change != "recreate":
        raise OversshError(
            f"this node belongs to a swarm but can't take part in it{says(observed)}; when the cause is gone, "
            "'systemctl restart docker' brings it back; on_change: recreate leaves that swarm and starts anew"
        )


def _refuse_another_swarm(desired: Desired, observed: Observed) -> None:
    """A node of another swarm is an error, whatever role it has there."""
    expected = token_digest(desired.join_token)
    if desired.cluster_id and observed.cluster_id:
        same, here, asked = desired.cluster_id == observed.cluster_id, observed.cluster_id, desired.cluster_id
    elif expected and observed.root_ca_digest:
        same = expected == observed.root_ca_digest
        here, asked = f"{observed.cluster_id or 'with a root certificate of its own'}", "the one of the join token"
    elif desired.remote_managers and observed.managers:
        same = not set(desired.remote_managers).isdisjoint(observed.managers)
        here, asked = f"of {', '.join(observed.managers)}", f"that of {', '.join(desired.remote_managers)}"
    else:
        return
    if not same:
        raise OversshError(
            f"this node is in another swarm, {here}, not in {asked}; take it out of that one first, with state: left"
        )


def _differences(desired: Desired, observed: Observed) -> list[str]:
    """The settings that can't change while the node is in the swarm, each in words."""
    found = []
    if desired.state == "manager" and observed.role == "worker":
        found.append("its role is worker, not manager")
    for name, is_, wanted in (
        ("advertise_addr", observed.node_address or None, desired.advertise_addr),
        ("listen_addr", observed.listen_addr, desired.listen_addr),
        ("data_path_addr", observed.data_path_addr, desired.data_path_addr),
        ("data_path_port", observed.data_path_port, desired.data_path_port),
        ("default_addr_pool", observed.default_addr_pool, desired.default_addr_pool),
        ("subnet_size", observed.subnet_size, desired.subnet_size),
    ):
        if is_ is not None and wanted is not None and is_ != wanted:
            found.append(f"its {name} is {_word(is_)}, not {_word(wanted)}")
    return found


def _swarm_wide_differences(desired: Desired, observed: Observed) -> list[str]:
    """The differences that belong to the swarm and not to the node: a new join does not cure them."""
    settings = ("data_path_port", "default_addr_pool", "subnet_size")
    return [text for text in _differences(desired, observed) if text.split()[1] in settings]


def _refuse_change(desired: Desired, observed: Observed, differences: list[str]) -> None:
    what = ", ".join(differences)
    swarm_wide = [] if desired.founds else _swarm_wide_differences(desired, observed)
    if swarm_wide:
        raise OversshError(
            f"this node's swarm has other settings: {', '.join(swarm_wide)}; they are fixed when a swarm is "
            "initialised, so ask for what it has, or initialise a new one"
        )
    if desired.on_change != "recreate":
        way = "set on_change: recreate to have it leave and come in again"
        if differences == ["its role is worker, not manager"]:
            way = f"promote it on a manager with 'docker node promote {observed.node_id}', or {way}"
        raise OversshError(f"this node is in the swarm, but {what}; Docker can't change that in place: {way}")


def _refuse_loss(desired: Desired, observed: Observed) -> None:
    """OversshError where leaving would destroy something and the operator has not allowed it."""
    if desired.force:
        return
    if observed.role != "manager" and observed.local_state != "locked":
        return
    others = _other_managers(observed)
    if observed.own is None:
        raise OversshError(
            f"this node is a manager of a swarm that does not run here at present{says(observed)}, and leaving throws "
            "away what it holds of it; bring the swarm back first, or set force: true to agree"
        )
    if not others:
        left = len(observed.nodes) - 1
        behind = f", and {_nodes(left)} in it would stay behind without one" if left else ""
        raise OversshError(
            f"this node is the last manager of the swarm {observed.cluster_id}: without it the swarm is lost with its "
            f"services, networks, secrets and configs{behind}; set force: true to agree"
        )
    if not _quorum_without(observed):
        reachable = sum(node.reachability == "reachable" for node in others)
        raise OversshError(
            f"the swarm {observed.cluster_id} would be left without a quorum: of its {len(others)} other managers "
            f"only {reachable} can be reached; bring the others back, or set force: true to agree"
        )


def _other_managers(observed: Observed) -> list[Entry]:
    return [node for node in observed.nodes if node.role == "manager" and node.node_id != observed.node_id]


def _quorum_without(observed: Observed) -> bool:
    """Whether this is a manager beside others, of whom more than half can be reached."""
    others = _other_managers(observed)
    reachable = [node for node in others if node.reachability == "reachable"]
    return observed.role == "manager" and len(reachable) > len(others) // 2


def listen_addr(desired: Desired) -> str:
    """The listening address of the managers' port: the node's own address, unless the task sets another."""
    return desired.listen_addr or joined(desired.advertise_addr or "", DEFAULT_PORT)


def _before(observed: Observed) -> dict[str, Any]:
    if observed.local_state == "inactive":
        return dict(LEFT)
    found: dict[str, Any] = {"state": observed.role or observed.local_state}
    for name, value in (
        ("cluster_id", observed.cluster_id),
        ("advertise_addr", observed.node_address),
        ("listen_addr", observed.listen_addr),
        ("data_path_addr", observed.data_path_addr),
        ("data_path_port", observed.data_path_port),
        ("default_addr_pool", observed.default_addr_pool),
        ("subnet_size", observed.subnet_size),
        ("availability", observed.own.availability if observed.own else None),
    ):
        if value:
            found[name] = _plain(value)
    return found


def _after(desired: Desired) -> dict[str, Any]:
    found: dict[str, Any] = {
        "state": desired.state,
        "advertise_addr": desired.advertise_addr,
        "listen_addr": listen_addr(desired),
        "data_path_addr": desired.data_path_addr or desired.advertise_addr,
    }
    for name in ("data_path_port", "default_addr_pool", "subnet_size", "availability", "cluster_id"):
        value = getattr(desired, name)
        if value:
            found[name] = _plain(value)
    if desired.labels:
        found["labels"] = node_labels.shown(node_labels.changed({}, desired.labels))
    return {**found, **desired.settings}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _word(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _swarm(observed: Observed) -> str:
    return f"the swarm {observed.cluster_id}" if observed.cluster_id else "its swarm"


def says(observed: Observed) -> str:
    """The engine's own message about its swarm, in brackets; empty for none."""
    return f" (Docker says: {' '.join(observed.error.split())})" if observed.error else ""


def _nodes(count: int) -> str:
    return "1 other node" if count == 1 else f"{count} other nodes"
