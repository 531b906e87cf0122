# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of tun_interface: persistent tun devices with addresses and routes, there again after a reboot."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.files import Lock, lock_folder, read_text, write_or_remove
from .._core.plan import Plan, Step
from .._core.several import Several
from .._linux import tun_ioctl
from .._linux.devices import find
from .._linux.systemd import UNIT_FOLDER, Systemd
from .._linux.unit_steps import UnitSteps
from .._watcher import unit as watcher_unit
from .._watcher.unit import Watch, WatcherSteps
from . import routing
from .managers import MANAGERS, Managers
from .model import Address, Desired, Device, Observed, Route, device_result
from .observe import netlink, read_named
from .plan import plan_tun, steps_to
from .unit import unit_name, unit_text

with contextlib.suppress(ImportError):  # netlink() reports it
    from pyroute2.netlink.exceptions import NetlinkError

# Numbers of linux/rtnetlink.h and linux/if_addr.h.
RTPROT_STATIC = 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
# Whoever made a route and however far it reaches: what the kernel takes for "any" when it removes one.
ANY_ORIGIN = {"proto": 0, "scope": RT_SCOPE_NOWHERE}
IFA_F_NODAD = 0x02


# See stage().
STAGES = {"write_network": -1, "write_unit": 1, "watch_program": 1, "enable_unit": 2, "restart_unit": 3}


class TunInterfaceEngine(UnitSteps, Engine[Observed]):
    """One device of this host; ip: the path of the program ip for the unit.

    In check mode a missing account is no error, because the same run may make it.
    """

    def __init__(
        self, systemd: Systemd, desired: Desired, ip: str, managers: Managers, check_mode: bool = False
    ) -> None:
        self._systemd = systemd
        self._managers = managers
        self._check_mode = check_mode
        self._desired = desired
        self._unit = unit_name(desired.name)
        self._unit_text = unit_text(desired, ip)
        self._found: Observed | None = None

    def observe(self) -> Observed:
        """The device and its unit; observed again only after a step."""
        if self._found is None:
            (found,) = observe_all([self._desired.name], self._systemd)
            self._found = self.on_this_host(found)
        return self._found

    def on_this_host(self, found: Observed) -> Observed:
        """The observation, completed with the settings of the whole host that the device needs."""
        unknown = () if self._check_mode else tuple(_unknown(self._desired))
        return replace(found, unknown=unknown, host_forwards6=routing.host_forwards_6())

    def plan(self, observed: Observed) -> Plan:
        """The plan of plan_tun."""
        texts = {name: manager.text_for(self._desired.name) for name, manager in MANAGERS.items()}
        return plan_tun(self._desired, observed, self._unit, self._unit_text, texts)

    def result(self, observed: Observed) -> dict[str, Any]:
        """The device and its unit."""
        device = device_result(observed.device) if observed.device else None
        return {"device": device, "unit": self._unit if observed.unit.text is not None else None}

    def begin(self, action: str) -> None:
        """Have network managers read our files before any change of the device."""
        self._found = None
        if action != "write_network":
            self._managers.tell()

    def wait(self) -> None:
        """Have network managers read our files, where no other step came after them."""
        self._managers.tell()

    @performs("write_network")
    def _write_network(self, manager: str, text: str | None) -> None:
        told = MANAGERS[manager]
        write_or_remove(told.path(self._desired.name), text)
        if text is not None:
            self._managers.written(told, self._desired.name)

    @performs("create_device")
    def _create_device(self, owner: str | None, group: str | None, multi_queue: bool) -> None:
        tun_ioctl.create(self._desired.name, _uid(owner), _gid(group), multi_queue)

    @performs("restore_device")
    def _restore_device(self, device: Device) -> None:
        if not (device.ours and device.is_tun):
            raise OversshError("only the program that made it can make it again")
        for step in steps_to(device):
            self.perform(step)

    @performs("delete_device")
    def _delete_device(self) -> None:
        with netlink() as kernel:
            kernel.link("del", index=self._index())
            routing.set_incoming_table(kernel, self._desired.name, None)

    @performs("clear_offload")
    def _clear_offload(self) -> None:
        tun_ioctl.clear_offload(self._desired.name)

    @performs("add_address")
    def _add_address(self, address: Address) -> None:
        with netlink() as kernel:
            kernel.addr("add", index=self._index(), **_address_arguments(address))

    @performs("remove_address")
    def _remove_address(self, address: Address) -> None:
        with netlink() as kernel, _gone_is_fine():
            kernel.addr("del", index=self._index(), **_address_arguments(address))

    @performs("add_route")
    def _add_route(self, route: Route) -> None:
        with netlink() as kernel:
            kernel.route("replace", oif=self._index(), **_route_arguments(route), **_route_origin(route))

    @performs("remove_route")
    def _remove_route(self, route: Route) -> None:
        """It goes with its address."""
        with netlink() as kernel, _gone_is_fine():
            kernel.route("del", oif=self._index(), **_route_arguments(route), **ANY_ORIGIN)

    @performs("set_owner")
    def _set_owner(self, value: str | None) -> None:
        tun_ioctl.set_owner(self._desired.name, _uid(value))

    @performs("set_group")
    def _set_group(self, value: str | None) -> None:
        tun_ioctl.set_group(self._desired.name, _gid(value))

    @performs("set_forwarding")
    def _set_forwarding(self, value: bool) -> None:
        routing.set_forwarding(self._desired.name, value)

    @performs("set_forwarding6")
    def _set_forwarding_6(self, value: bool) -> None:
        routing.set_forwarding_6(self._desired.name, value)

    @performs("set_failover")
    def _set_failover(self, value: bool) -> None:
        routing.set_failover(self._desired.name, value)

    @performs("set_incoming_table")
    def _set_incoming_table(self, value: int | None) -> None:
        with netlink() as kernel:
            routing.set_incoming_table(kernel, self._desired.name, value)

    @performs("set_alias")
    def _set_alias(self, value: str) -> None:
        self._set_link(IFLA_IFALIAS=value)

    @performs("set_mtu")
    def _set_mtu(self, value: int) -> None:
        self._set_link(mtu=value)

    @performs("set_txqueuelen")
    def _set_txqueuelen(self, value: int) -> None:
        self._set_link(txqlen=value)

    @performs("set_up")
    def _set_up(self, value: bool) -> None:
        self._set_link(state="up" if value else "down")

    def _set_link(self, **attributes: Any) -> None:
        with netlink() as kernel:
            kernel.link("set", index=self._index(), **attributes)

    def _index(self) -> int:
        found = find(self._desired.name)
        if found is None:
            raise OversshError(f"{self._desired.name} is gone; another program removed it meanwhile")
        return found.index


class TunInterfaceEngines(Several[Observed]):
    """Several devices of this host, by name."""

    def __init__(
        self, systemd: Systemd, wanted: Mapping[str, Desired], ip: str, managers: Managers, check_mode: bool = False
    ) -> None:
        self._engines = {
            name: TunInterfaceEngine(systemd, desired, ip, managers, check_mode) for name, desired in wanted.items()
        }
        super().__init__(self._engines, stage)
        self._systemd = systemd

    def _look(self) -> tuple[Observed, ...]:
        found = observe_all(list(self._engines), self._systemd)
        return tuple(engine.on_this_host(each) for engine, each in zip(self._engines.values(), found))

    def result(self, observed: tuple[Observed, ...]) -> dict[str, Any]:
        """The existing devices, each with its unit."""
        found = super().result(observed)["of_each"]
        return {"devices": [{**each["device"], "unit": each["unit"]} for each in found if each["device"] is not None]}


class Watched(WatcherSteps, Engine[tuple[Any, Watch]]):
    """Devices together with the watcher that undoes changes by others.

    engine: of the devices; wanted: the desired devices, by name. This holds the host's lock of changes, so the watcher
    does nothing meanwhile.
    """

    def __init__(
        self, engine: Engine[Any], systemd: Systemd, wanted: Mapping[str, Desired], managers: Managers
    ) -> None:
        self._engine = engine
        self._systemd = systemd
        self._wanted = wanted
        self._managers = managers
        self._lock: Lock | None = None

    def observe(self) -> tuple[Any, Watch]:
        """The devices and the watcher."""
        return self._engine.observe(), watcher_unit.observe(self._systemd)

    def plan(self, observed: tuple[Any, Watch]) -> Plan:
        """The devices' plan together with the watcher's."""
        of_devices = self._engine.plan(observed[0])
        lasting = any(desired.present and desired.persist for desired in self._wanted.values())
        others = observed[1].devices - set(self._wanted)
        of_watcher = watcher_unit.plan_watch(lasting or bool(others) or observed[1].rules, observed[1])
        return Plan(
            {**of_devices.before, **of_watcher.before},
            {**of_devices.after, **of_watcher.after},
            tuple(sorted((*of_devices.steps, *of_watcher.steps), key=stage)),
        )

    def perform(self, step: Step) -> None:
        """Do one step."""
        self._lock = self._lock or lock_folder(UNIT_FOLDER)
        if watcher_unit.is_own(step):
            super().perform(step)
        else:
            self._engine.perform(step)

    def result(self, observed: tuple[Any, Watch]) -> dict[str, Any]:
        """The result of the devices' engine."""
        return {**self._engine.result(observed[0]), "warnings": self._managers.warnings}

    def wait(self) -> None:
        """Wait with the devices' engine."""
        self._engine.wait()

    def close(self) -> None:
        """Release the lock, and close the devices' engine."""
        if self._lock:
            self._lock.release()
        self._engine.close()


def observe_all(names: Sequence[str], systemd: Systemd) -> tuple[Observed, ...]:
    """The devices of these names, and their units."""
    with netlink() as kernel:
        found = read_named(kernel, names)
    for name in names:
        if name not in found and find(name) is not None:
            raise OversshError(f"{name} exists and is no tun device; take another number")
    units = systemd.observe_all([unit_name(name) for name in names])
    here = [manager for manager in MANAGERS.values() if os.path.isdir(manager.folder)]
    return tuple(
        Observed(found.get(name), unit, {manager.name: read_text(manager.path(name)) for manager in here})
        for name, unit in zip(names, units)
    )


def stage(step: Step) -> int:
    """The order of a step: files of network managers come first, so that a manager reads them once.

    Units come after all devices, so that systemd reads them once, and are started last.
    """
    return STAGES.get(step.action, 0)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """What is to be removed may be gone already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ESRCH, errno.EADDRNOTAVAIL):
            raise


def _address_arguments(item: Address) -> dict[str, Any]:
    arguments: dict[str, Any] = {"address": item.address, "prefixlen": item.prefix}
    if item.peer:
        arguments.update(local=item.address, address=item.peer)
    if ":" in item.address:
        # On a tunnel there is nobody else who could have it, and until the check is over it can't be used.
        arguments["flags"] = IFA_F_NODAD
    return arguments


def _route_arguments(item: Route) -> dict[str, Any]:
    arguments: dict[str, Any] = {"dst": item.destination, "table": item.table}
    if item.source:
        arguments["prefsrc"] = item.source
    if item.metric:
        arguments["priority"] = item.metric
    if item.via:
        arguments["gateway"] = item.via
    return arguments


def _route_origin(item: Route) -> dict[str, int]:
    beyond = item.via or ":" in item.destination
    return {"proto": RTPROT_STATIC, "scope": RT_SCOPE_UNIVERSE if beyond else RT_SCOPE_LINK}


def _uid(owner: str | None) -> int:
    return _number(owner, lambda name: pwd.getpwnam(name).pw_uid, "account")


def _gid(group: str | None) -> int:
    return _number(group, lambda name: grp.getgrnam(name).gr_gid, "group")


def _unknown(desired: Desired) -> Iterator[str]:
    """The desired account and group that this host lacks, each in words."""
    for what, name, number_of in (("account", desired.owner, pwd.getpwnam), ("group", desired.group, grp.getgrnam)):
        if desired.present and name is not None and not name.isdigit():
            try:
                number_of(name)
            except KeyError:
                yield f"{what} {name}"


def _number(name: str | None, number_of: Callable[[str], int], what: str) -> int:
    if name is None:
        return tun_ioctl.NOBODY_IN_PARTICULAR
    if name.isdigit():
        return int(name)
    try:
        return number_of(name)
    except KeyError as error:
        raise OversshError(f"there is no {what} {name} on this host; make it first") from error
