# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps from the observed tun device to the desired one; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from .._core.errors import OversshError
from .._core.plan import Plan, Step
from .._linux import tun_ioctl, unit_steps
from .._linux.systemd import UnitState
from . import routing
from .model import ALIAS, Address, Desired, Device, Observed, Route, check, device_result

# What a device has and may be wanted by the same name.
SETTINGS = (
    "owner",
    "group",
    "mtu",
    "txqueuelen",
    "addresses",
    "routes",
    "up",
    "forwarding",
    "forwarding6",
    "failover",
    "incoming_table",
    "multi_queue",
)
# The kernel does these only while no process has the device open.
ALONE = ("set_owner", "set_group", "clear_offload")


def plan_tun(desired: Desired, observed: Observed, unit: str, unit_text: str, texts: Mapping[str, str]) -> Plan:
    """The steps to the desired device; a device of others is changed only where the user allows it.

    texts: the text for each network manager, by its name.
    """
    check(desired)
    found = observed.device
    if found is not None and not found.ours and (desired.present or observed.unit.text is not None):
        _refuse_foreign(desired)
    before = _shown(observed)
    if not desired.present:
        steps = [
            *_without_unit(desired, observed.unit, unit),
            *_without_device(desired, found),
            *_network(desired, observed, {}),
        ]
        return Plan(before, {"state": "absent", **_manager_files(observed, {})}, tuple(steps))
    _refuse_impossible(desired, observed)
    texts = texts if desired.persist else {}
    steps = list(_network(desired, observed, texts))
    # A manager that had the device takes away what it has when it lets go of it, which can't be seen beforehand.
    lets_go = found is not None and bool(steps)
    if found is not None and not (found.ours and _serves(desired, found)):
        back = Step("restore_device", f"bring the device {desired.name} back that was there", {"device": found})
        steps.append(Step("delete_device", f"remove the device {desired.name} that was there", inverse=back))
        found = None
    if found is None:
        steps.append(_create(desired))
        found = _new(desired)
    of_device = list(_device_steps(desired, found))
    # While a device with several queues is down, the kernel gives anybody one more of them.
    alone = not found.carrier or (found.multi_queue and not found.up)
    if not alone and any(step.action in ALONE for step in of_device):
        raise OversshError(tun_ioctl.in_use(desired.name))
    steps += of_device
    steps += _with_unit(desired, observed.unit, unit, unit_text, again=lets_go)
    return Plan(before, {**_after(desired, found), **_manager_files(observed, texts)}, tuple(steps))


def _network(desired: Desired, observed: Observed, texts: Mapping[str, str]) -> Iterator[Step]:
    """The files by which managers of the network leave the device alone; they come before the device."""
    for manager, found in observed.manager_files.items():
        text = texts.get(manager)
        if text != found:
            name = desired.name
            back = Step(
                "write_network", f"restore what {manager} was told of {name}", {"manager": manager, "text": found}
            )
            words = f"tell {manager} {'to leave' if text else 'no more to leave'} {name} alone"
            yield Step("write_network", words, {"manager": manager, "text": text}, back)


def _manager_files(observed: Observed, texts: Mapping[str, str | None]) -> dict[str, Any]:
    """The text for each manager on this host."""
    return {manager: texts.get(manager) for manager in observed.manager_files}


def _refuse_foreign(desired: Desired) -> None:
    if desired.on_change != "recreate":
        raise OversshError(
            f"{desired.name} exists and overssh.swarm did not make it; take another number, or set on_change: recreate "
            "to have it replaced"
        )


def _refuse_impossible(desired: Desired, observed: Observed) -> None:
    """OversshError where this host can't have the desired device."""
    for what in observed.unknown:
        raise OversshError(f"there is no {what} on this host; make it first")
    if desired.forwarding6 is not None and observed.host_forwards6 not in (None, desired.forwarding6):
        raise OversshError(routing.one_switch(desired.name, desired.forwarding6))


def _serves(desired: Desired, found: Device) -> bool:
    """Whether our device can become the one that is wanted; False where the user agreed to have it replaced."""
    if found.is_tun and found.multi_queue != desired.multi_queue and not found.carrier:
        return False  # nobody will miss it
    if not found.is_tun:
        reason = "was made with other flags than OpenSSH needs (IFF_TUN and IFF_NO_PI)"
    elif found.multi_queue != desired.multi_queue:
        had, wanted = ("several queues", "one") if found.multi_queue else ("one queue", "several")
        reason = f"is in use and was made with {had}, and only a new device has {wanted}"
    elif found.owner is not None and desired.owner is None:
        reason = f"belongs to {found.owner}, and the kernel takes an owner away only together with the device"
    elif found.group is not None and desired.group is None:
        reason = f"belongs to the group {found.group}, and the kernel takes a group away only together with the device"
    else:
        return True
    if desired.on_change != "recreate":
        raise OversshError(f"{desired.name} {reason}; set on_change: recreate to have it replaced")
    return False


def _create(desired: Desired) -> Step:
    return Step(
        "create_device",
        f"create the device {desired.name}",
        {"owner": desired.owner, "group": desired.group, "multi_queue": desired.multi_queue},
        Step("delete_device", f"remove the device {desired.name}"),
    )


def _new(desired: Desired) -> Device:
    """A device as the kernel has just made it."""
    # It gives it the host's defaults for what is None, and Docker changes that for forwarding.
    return Device(
        desired.name,
        owner=desired.owner,
        group=desired.group,
        forwarding=None,
        forwarding6=None,
        failover=None,
        multi_queue=desired.multi_queue,
    )


def steps_to(device: Device) -> tuple[Step, ...]:
    """The steps that make a removed device of ours again."""
    desired = Desired(
        name=device.name,
        description=device.alias[len(ALIAS) :],
        **{what: getattr(device, what) for what in SETTINGS},
    )
    return (_create(desired), *_device_steps(desired, _new(desired)))


def _device_steps(desired: Desired, found: Device) -> Iterator[Step]:
    """The steps on a device that exists, in an order in which the kernel takes them."""
    if found.stale_offload:
        yield Step("clear_offload", f"clear the stale offload flags of {desired.name}")
    for what, is_, wanted in (
        ("owner", found.owner, desired.owner),
        ("group", found.group, desired.group),
        ("alias", found.alias, desired.alias),
        ("mtu", found.mtu, desired.mtu),
        ("txqueuelen", found.txqueuelen, desired.txqueuelen),
    ):
        if is_ != wanted:
            yield _set(desired.name, what, is_, wanted)
    # Before its addresses: the kernel forgets the route to an IPv6 address's peer when a device comes up.
    if found.up != desired.up:
        yield _set(desired.name, "up", found.up, desired.up)
    yield from _addresses(desired.name, found.addresses, desired.addresses)
    for what, now, then in (
        ("forwarding", found.forwarding, desired.forwarding),
        ("forwarding6", found.forwarding6, desired.forwarding6),
        ("failover", found.failover, desired.failover),
    ):
        if then is not None and now != then:
            yield _set(desired.name, what, now, then)
    if found.incoming_table != desired.incoming_table:
        yield _set(desired.name, "incoming_table", found.incoming_table, desired.incoming_table)
    if desired.up:
        yield from _routes(desired.name, found.routes, desired.routes)


def _set(name: str, what: str, is_: Any, wanted: Any) -> Step:
    words = {True: "on", False: "off", None: "none" if what == "incoming_table" else "nobody in particular"}
    return Step(
        f"set_{what}",
        f"set {what} of {name} to {words.get(wanted, wanted)}",
        {"value": wanted},
        Step(f"set_{what}", f"set {what} of {name} back to {words.get(is_, is_)}", {"value": is_}),
    )


def _addresses(name: str, found: tuple[Address, ...], wanted: tuple[Address, ...]) -> Iterator[Step]:
    """Removals come first: the kernel would take a second address with the same peer away with the first one."""
    for item in found:
        if item not in wanted:
            yield replace(_put("remove", name, "address", item), inverse=_put("add", name, "address", item))
    for item in wanted:
        if item not in found:
            yield replace(_put("add", name, "address", item), inverse=_put("remove", name, "address", item))


def _routes(name: str, found: tuple[Route, ...], wanted: tuple[Route, ...]) -> Iterator[Step]:
    """Additions come first, so that no moment is without a route.

    The kernel has one route for each place, so another of the same takes the place of the first.
    """
    places = {item.place: item for item in found}
    for item in wanted:
        if item not in found:
            rival = places.get(item.place)
            back = _put("add", name, "route", rival) if rival else _put("remove", name, "route", item)
            yield replace(_put("add", name, "route", item), inverse=back)
    taken = {item.place for item in wanted}
    for item in found:
        if item.place not in taken:
            yield replace(_put("remove", name, "route", item), inverse=_put("add", name, "route", item))


def _put(action: str, name: str, what: str, item: Any) -> Step:
    preposition = "to" if action == "add" else "from"
    return Step(f"{action}_{what}", f"{action} the {what} {item} {preposition} {name}", {what: item})


def _with_unit(desired: Desired, found: UnitState, unit: str, text: str, again: bool) -> Iterator[Step]:
    """The unit that makes the device again at boot; started now too, so that what it does is tried now.

    again: start it in any case.
    """
    if not desired.persist:
        yield from _without_unit(desired, found, unit)
        return
    yield from unit_steps.written(unit, text, found.text)
    if not found.enabled:
        yield unit_steps.enabled(unit)
    if again or found.text != text or found.active != "active":
        yield unit_steps.restarted(unit, runs=found.active == "active")


def _without_unit(desired: Desired, found: UnitState, unit: str) -> Iterator[Step]:
    if found.active != "inactive":
        yield unit_steps.stopped(unit)
    if found.enabled:
        yield unit_steps.disabled(unit)
    yield from unit_steps.written(unit, None, found.text)


def _without_device(desired: Desired, found: Device | None) -> Iterator[Step]:
    if found is not None and (found.ours or desired.on_change == "recreate"):
        yield Step("delete_device", f"remove the device {desired.name}")


def _shown(observed: Observed) -> dict[str, Any]:
    texts = _manager_files(observed, observed.manager_files)
    if observed.device is None:
        return {"state": "absent", **texts}
    return {**device_result(observed.device), "persist": observed.unit.enabled, **texts}


def _after(desired: Desired, found: Device) -> dict[str, Any]:
    wanted = Device(
        name=desired.name,
        alias=desired.alias,
        owner=desired.owner,
        group=desired.group,
        mtu=desired.mtu,
        txqueuelen=desired.txqueuelen,
        addresses=desired.addresses,
        routes=desired.routes if desired.up else (),
        up=desired.up,
        carrier=found.carrier,
        forwarding=found.forwarding if desired.forwarding is None else desired.forwarding,
        forwarding6=found.forwarding6 if desired.forwarding6 is None else desired.forwarding6,
        failover=found.failover if desired.failover is None else desired.failover,
        incoming_table=desired.incoming_table,
        multi_queue=desired.multi_queue,
    )
    return {**device_result(wanted), "persist": desired.persist}
