# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for an overlay network to be there as asked for, or to be gone; pure."""

from __future__ import annotations

import ipaddress
from typing import Any

from ._errors import OversshError
from ._overlay_model import AUTO, DRIVER_MTU, ENCRYPTED, MANAGED, MTU, VXLAN_IDS, Desired, Observed, OverlayNetwork
from ._plan import Plan, Step

ABSENT: dict[str, Any] = {"state": "absent"}


def plan_network(desired: Desired, observed: Observed) -> Plan:
    """The plan; OversshError where it would take what the operator has not agreed to."""
    if desired.name == "ingress":
        raise OversshError("the network ingress is the engine's own; choose another name")
    found = observed.network
    if desired.state == "absent" and observed.state == "inactive" and not (found and found.is_overlay):
        return Plan(ABSENT, ABSENT)
    _refuse_elsewhere(observed)
    if found and not found.is_overlay:
        raise OversshError(
            f"{found.name} is a {found.driver} network of this host, which is not touched; choose another name"
        )
    if desired.state == "absent":
        return _plan_absent(desired, found)
    refuse_overlap(desired.name, [desired.subnet] if desired.subnet else [], desired.underlay, observed)
    body = creation(desired, observed)
    after = _described(network_of_creation(body))
    if desired.mtu is None and observed.to_come:
        after["mtu"] = AUTO
    if found is None:
        return Plan(ABSENT, after, (_create(body),))
    differences = _differences(desired, observed, found)
    if not differences:
        return Plan(_described(found), _described(found))
    if desired.on_change != "recreate":
        raise OversshError(
            f"the network {found.name} is there, but {', '.join(differences)}; Docker can't change that in place: set "
            "on_change: recreate to have it removed and made anew, once no container uses it"
        )
    return Plan(_described(found), after, (_remove(found), _create(body)))


def refuse_overlap(name: str, subnets: list[str], underlay: str | None, observed: Observed) -> None:
    """A subnet must not hide the underlay, what a host has a route to, or another network."""
    for subnet in subnets:
        network = ipaddress.ip_network(subnet)
        for other in observed.others:
            for theirs in other.subnets:
                if _overlap(network, ipaddress.ip_network(theirs)):
                    raise OversshError(
                        f"the subnet {subnet} of {name} overlaps {theirs} of the Docker network {other.name}; choose "
                        "another subnet"
                    )
        if underlay and _overlap(network, ipaddress.ip_network(underlay)):
            raise OversshError(f"the subnet {subnet} of {name} overlaps the underlay {underlay}; choose another subnet")
        for route in observed.routes:
            if _overlap(network, route.destination):
                raise OversshError(
                    f"the subnet {subnet} of {name} overlaps the route {route.destination} of this host (device "
                    f"{route.device or 'none'}); choose another subnet"
                )


def creation(desired: Desired, observed: Observed) -> dict[str, Any]:
    """What the engine is asked for."""
    ipam: dict[str, Any] = {"Driver": "default"}
    if desired.subnet:
        config = {"Subnet": desired.subnet}
        if desired.gateway:
            config["Gateway"] = desired.gateway
        if desired.ip_range:
            config["IPRange"] = desired.ip_range
        ipam["Config"] = [config]
    options = dict(desired.options)
    if desired.mtu is not None or not observed.to_come:
        options[MTU] = str(_mtu(desired, observed))
    if desired.encrypted:
        options[ENCRYPTED] = ""
    return _body(desired.name, ipam, desired.attachable, desired.internal, {**desired.labels, MANAGED: "true"}, options)


def network_of_creation(body: dict[str, Any]) -> OverlayNetwork:
    """The network that such a request makes, as far as it says."""
    config = (body["IPAM"].get("Config") or [{}])[0]
    return OverlayNetwork(
        name=body["Name"],
        network_id="",
        driver="overlay",
        scope="swarm",
        subnets=(config["Subnet"],) if config else (),
        gateway=config.get("Gateway"),
        ip_range=config.get("IPRange"),
        attachable=body["Attachable"],
        internal=body["Internal"],
        labels=body["Labels"],
        options=body["Options"],
    )


def _plan_absent(desired: Desired, found: OverlayNetwork | None) -> Plan:
    if found is None:
        return Plan(ABSENT, ABSENT)
    if not found.ours and desired.on_change != "recreate":
        raise OversshError(
            f"the network {found.name} was not made by this collection (it has no label {MANAGED}); remove it with "
            f"'docker network rm {found.name}', or set on_change: recreate to agree"
        )
    return Plan(_described(found), ABSENT, (_remove(found),))


def _refuse_elsewhere(observed: Observed) -> None:
    if not (observed.manager or observed.to_come):
        what = {"active": "a worker of its swarm", "inactive": "in no swarm"}.get(
            observed.state, f"in a swarm whose state here is {observed.state}"
        )
        raise OversshError(
            f"overlay networks are made and removed on a manager, and this host is {what}; run it on one"
        )


def _differences(desired: Desired, observed: Observed, found: OverlayNetwork) -> list[str]:
    """What is not as asked for, each in words. What only an allocated network has is left out before that."""
    asked: list[tuple[str, Any, Any]] = [
        ("attachable", found.attachable, desired.attachable),
        ("internal", found.internal, desired.internal),
    ]
    if found.allocated:
        asked += [
            ("subnet", found.subnet, desired.subnet),
            ("gateway", found.gateway, desired.gateway),
            ("ip_range", found.ip_range, desired.ip_range),
            ("encrypted", found.encrypted, desired.encrypted),
            ("mtu", found.mtu, _mtu(desired, observed)),
        ]
        asked += [(f"option {key}", found.options.get(key), value) for key, value in desired.options.items()]
    asked += [(f"label {key}", found.labels.get(key), value) for key, value in desired.labels.items()]
    return [
        f"its {name} is {_word(is_)}, not {_word(wanted)}"
        for name, is_, wanted in asked
        if wanted is not None and is_ != wanted
    ]


def _mtu(desired: Desired, observed: Observed) -> int:
    """As asked for, or that of the devices under the data path address: Docker itself never looks at them."""
    if desired.mtu is not None:
        return desired.mtu
    if observed.underlay_mtu is None:
        raise OversshError(
            f"mtu: auto follows the device with the node's address {observed.data_path_addr or '(unknown)'}, and no "
            f"device of this host has it; bring the tunnel up, or give mtu as a number (Docker takes {DRIVER_MTU})"
        )
    return observed.underlay_mtu


def _create(body: dict[str, Any]) -> Step:
    name = body["Name"]
    subnet = (body["IPAM"].get("Config") or [{}])[0].get("Subnet", "the swarm's pool")
    return Step(
        "create",
        f"make the overlay network {name} on {subnet}",
        {"name": name, "body": body},
        Step("remove", f"remove the overlay network {name} again", {"name": name, "network_id": None}),
    )


def _remove(found: OverlayNetwork) -> Step:
    """The inverse asks for the same network again, VXLAN ID included."""
    ipam: dict[str, Any] = {"Driver": "default"}
    if found.subnet:
        config = {"Subnet": found.subnet, "Gateway": found.gateway, "IPRange": found.ip_range}
        ipam["Config"] = [{key: value for key, value in config.items() if value}]
    body = _body(found.name, ipam, found.attachable, found.internal, dict(found.labels), dict(found.options))
    return Step(
        "remove",
        f"remove the overlay network {found.name}",
        {"name": found.name, "network_id": found.network_id},
        Step("create", f"make the overlay network {found.name} again", {"name": found.name, "body": body}),
    )


def _body(
    name: str, ipam: dict[str, Any], attachable: bool, internal: bool, labels: dict[str, str], options: dict[str, str]
) -> dict[str, Any]:
    return {
        "Name": name,
        "Driver": "overlay",
        "Scope": "swarm",
        "CheckDuplicate": True,
        "Attachable": attachable,
        "Internal": internal,
        "IPAM": ipam,
        "Labels": labels,
        "Options": options,
    }


def _described(network: OverlayNetwork) -> dict[str, Any]:
    """The network for the operator's eyes, before and after."""
    found: dict[str, Any] = {
        "state": "present",
        "attachable": network.attachable,
        "internal": network.internal,
        "encrypted": network.encrypted,
        "mtu": network.mtu,
        "labels": dict(network.labels),
    }
    options = {key: value for key, value in network.options.items() if key not in (MTU, ENCRYPTED, VXLAN_IDS)}
    for name, value in (
        ("subnet", network.subnet),
        ("gateway", network.gateway),
        ("ip_range", network.ip_range),
        ("options", options),
    ):
        if value:
            found[name] = value
    return found


def _overlap(one: Any, other: Any) -> bool:
    return bool(one.version == other.version and one.overlaps(other))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
