# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose an overlay network's MTU, and judge an existing one; pure.

A network with an MTU above the underlay's loses large packets. A network with a lower one works, at a higher cost per
byte.
"""

from __future__ import annotations

from .._core.errors import OversshError
from .model import DRIVER_MTU, Desired, Observed, OverlayNetwork

# Docker leaves room for VXLAN over IPv4 (50 bytes) also where it goes over IPv6, whose header is larger by this.
MORE_OF_IPV6 = 20


def fitting_mtu(desired: Desired, observed: Observed) -> int | None:
    """The smallest underlay MTU of all nodes; None where none is known.

    It is less for an IPv6 underlay, because Docker ignores the longer header.
    """
    own = () if observed.underlay_mtu is None else (observed.underlay_mtu,)
    smallest = min((*own, *desired.underlay_mtus), default=None)
    return smallest - MORE_OF_IPV6 if smallest is not None and ":" in observed.data_path_addr else smallest


def wanted_mtu(desired: Desired, observed: Observed) -> int | None:
    """The MTU of the task, else the fitting one; None in check mode, where none is known."""
    if desired.mtu is not None:
        return desired.mtu
    if observed.underlay_mtu is None and not observed.to_come:
        raise OversshError(
            f"mtu: auto follows the device with the node's address {observed.data_path_addr or '(unknown)'}, and no "
            f"device of this host has it; bring the tunnel up, or give mtu as a number (Docker takes {DRIVER_MTU})"
        )
    return fitting_mtu(desired, observed)


def mtu_difference(desired: Desired, observed: Observed, found: OverlayNetwork) -> str:
    """What is wrong with the network's MTU, in words; empty where it is right.

    The engine does not return the MTU before the network is allocated.
    """
    wanted = wanted_mtu(desired, observed)
    if wanted is None or not found.driver or found.mtu == wanted:
        return ""
    if desired.mtu is not None:
        return f"its mtu is {found.mtu}, not {wanted}"
    if found.mtu > wanted:
        return f"its mtu is {found.mtu} where only {wanted} fits through the underlay, so that large packets are lost"
    consent = desired.on_change == "recreate" and not observed.publishers
    return f"its mtu is {found.mtu} where {wanted} fits through the underlay" if consent else ""


def remarks(desired: Desired, observed: Observed) -> list[str]:
    """Sentences on a network that stays although it differs."""
    found = observed.network
    if desired.state == "absent" or found is None:
        return []
    said = []
    wanted = wanted_mtu(desired, observed)
    if wanted is not None and found.driver and found.mtu < wanted and not mtu_difference(desired, observed, found):
        if observed.publishers:
            once = f"once no service publishes ports through it ({', '.join(observed.publishers)} now)"
        else:
            once = "once nothing uses it"
        said.append(
            f"The network {found.name} has an MTU of {found.mtu} where {wanted} fits through the underlay. It works, "
            f"and is slower than it could be; with on_change: recreate it is made anew with {wanted}, {once}."
        )
    if observed.given_up:
        said.append(
            f"{', '.join(observed.given_up)} did not take part in the network {found.name} in time, so that ports "
            "published through it are not answered there; see 'journalctl -u docker' there, and restart Docker."
        )
    return said
