# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements of this host's probe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._core.errors import OversshError
from . import ports
from .engine import INSIDE

# What the engine calls the sandbox in which a network's IPVS works on a node, before the network's name.
BALANCER = "lb-"
# It is there as soon as the kernel has IPVS: the engine has loaded the module by the time a container has a network.
IPVS = "/proc/net/ip_vs"
NO_IPVS = (
    "the kernel has no IPVS, so containers here don't reach services at their own addresses, and nobody reaches "
    "published ports through this node; load the kernel module ip_vs, or use endpoint_mode dnsrr and ports of mode host"
)


@dataclass(frozen=True)
class Measured:
    """The checks' results by the peer's or service's name.

    done: whether all of these peers are done with this host's probe, too; limits: sentences on what this host's kernel
    can't do, which was not checked.
    """

    peers: Mapping[str, Any]
    done: bool
    services: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


def measure(
    docker: Any,
    name: str,
    peers: Sequence[Mapping[str, str]],
    timeout: float,
    linger: float = 0,
    services: Sequence[Mapping[str, Any]] = (),
) -> Measured:
    """Have the probe of this host check its peers and the services of service_probe.

    peers: name, host (the peer's container) and address of each; timeout: seconds per check; linger: seconds to wait
    for the peers to be done. Raises OversshError where the probe itself can't be asked.
    """
    ipvs = os.path.exists(IPVS)
    asks = {"peers": [dict(peer) for peer in peers], "services": [dict(service) for service in services]}
    balancer = _balancer(docker, name) if services and ipvs else None
    order = json.dumps({**asks, "balancer": balancer, "timeout": timeout, "linger": linger})
    asked = docker.exec_create(name, [sys.executable, "-I", f"{INSIDE}/agent.py", "measure", order])["Id"]
    stdout, stderr = docker.exec_start(asked, demux=True)
    status = docker.exec_inspect(asked)["ExitCode"]
    if status != 0:
        raise OversshError(f"the probe in {name} failed: {(stderr or b'').decode(errors='replace').strip()[-400:]}")
    found = Measured(**json.loads(stdout), limits=(NO_IPVS,) if services and not ipvs else ())
    tried = {service["name"]: ports.measure(service.get("published", ()), ipvs, timeout) for service in services}
    return replace(found, services={each: {**checks, **tried[each]} for each, checks in found.services.items()})


def _balancer(docker: Any, name: str) -> str:
    """The address on this node from which services see what comes by their own address; empty where there is none."""
    networks = docker.inspect_container(name)["NetworkSettings"]["Networks"]
    for network in networks:
        for found in (docker.inspect_network(network).get("Containers") or {}).values():
            if found["Name"] == f"{BALANCER}{network}":
                return str(found.get("IPv4Address") or "").partition("/")[0]
    return ""
