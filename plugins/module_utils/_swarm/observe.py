# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a node's part in a swarm: the engine's answers, and its own record where it does not answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .._core.command import Runner
from .._core.errors import OversshError
from .._core.files import read_text
from .._docker.client import NOT_FOUND, Docker, DockerError, Read, swarm_folder, swarm_record
from .._linux.devices import read_devices, smallest_mtu
from .model import Entry, Observed, endpoint, joined, root_ca_digest
from .settings import read_settings

BRIDGE = "docker_gwbridge"
BRIDGE_ICC = "com.docker.network.bridge.enable_icc"
BRIDGE_MTU = "com.docker.network.driver.mtu"
# What the engine itself would make the bridge with.
BRIDGE_OPTIONS = {
    BRIDGE_ICC: "false",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.name": BRIDGE,
}
# It is made before the engine does, so that it can be distinguished from an earlier one.
BRIDGE_LABELS = {"overssh.managed": "true"}
# The engine's own end on the bridge, which goes with the swarm.
BRIDGE_OWN = {"ingress-sbox"}
# Object identifiers in DER, as they stand in a certificate's subject; its issuer has neither.
ORGANIZATION = bytes.fromhex("060355040a")
ORGANIZATIONAL_UNIT = bytes.fromhex("060355040b")


def observe_node(docker: Docker, run: Runner, read: Read = read_text) -> Observed:
    """This node as it is; asks only the local engine."""
    info = docker.info()
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState") or "inactive"
    manager = bool(swarm.get("ControlAvailable"))
    cluster = swarm.get("Cluster") or {}
    record: Mapping[str, Any] = {} if state == "inactive" else swarm_record(info, read)
    # An engine that waited for the other managers in vain says so, and would wait as long again.
    nodes, trouble = _nodes(docker) if manager and not swarm.get("Error") else ((), "")
    address = swarm.get("NodeAddr") or ""
    certificates = f"{swarm_folder(info)}/certificates"
    certified_id, certified_role = (
        (None, None) if state == "inactive" else _certificate(f"{certificates}/swarm-node.crt", read)
    )
    data_path = record.get("DataPathAddr") or (address if record else "")
    return Observed(
        local_state=state,
        error=swarm.get("Error") or trouble,
        node_id=swarm.get("NodeID") or "",
        node_address=address,
        role="manager" if manager else "worker" if state == "active" else certified_role,
        certificate_role=certified_role,
        hostname=info.get("Name") or "",
        cluster_id=cluster.get("ID") or certified_id,
        root_ca_digest=None if state == "inactive" else _digest(cluster, f"{certificates}/swarm-root-ca.crt", read),
        listen_addr=_listening(record.get("ListenAddr")),
        data_path_addr=data_path or None,
        data_path_port=cluster.get("DataPathPort") or None,
        default_addr_pool=tuple(cluster["DefaultAddrPool"]) if cluster.get("DefaultAddrPool") else None,
        subnet_size=cluster.get("SubnetSize") or None,
        settings=read_settings(cluster["Spec"]) if cluster.get("Spec") else None,
        managers=tuple(sorted(peer["Addr"] for peer in swarm.get("RemoteManagers") or [] if peer.get("Addr"))),
        nodes=nodes,
        underlay_mtu=smallest_mtu(read_devices(), data_path) if data_path else None,
        **_bridge(docker),
    )


def entry(node: Mapping[str, Any]) -> Entry:
    """A node of the engine's list."""
    spec, status, manager = node.get("Spec") or {}, node.get("Status") or {}, node.get("ManagerStatus") or {}
    return Entry(
        node_id=node["ID"],
        hostname=(node.get("Description") or {}).get("Hostname") or "",
        role=spec.get("Role") or "worker",
        availability=spec.get("Availability") or "active",
        status=status.get("State") or "unknown",
        address=status.get("Addr") or "",
        reachability=manager.get("Reachability") or "",
        manager_address=manager.get("Addr") or "",
        leader=bool(manager.get("Leader")),
        labels=dict(spec.get("Labels") or {}),
    )


def _nodes(docker: Docker) -> tuple[tuple[Entry, ...], str]:
    """The managers' list, and why there is none: a swarm without a leader answers with an error."""
    try:
        found = docker.nodes()
    except DockerError as error:
        return (), str(error)
    return tuple(sorted((entry(node) for node in found), key=lambda one: (one.hostname, one.node_id))), ""


def _digest(cluster: Mapping[str, Any], path: str, read: Read) -> str | None:
    """From the engine, which returns it on managers; else from the certificate that every node keeps."""
    certificate = (cluster.get("TLSInfo") or {}).get("TrustRoot")
    if not certificate:
        try:
            certificate = read(path)
        except OversshError:
            certificate = None
    return root_ca_digest(certificate) if certificate else None


def _listening(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return joined(*endpoint(text))
    except ValueError:
        return text


def _certificate(path: str, read: Read) -> tuple[str | None, str | None]:
    """The swarm's ID and the node's role: swarmkit writes both into the subject of the certificate of every node."""
    try:
        body = (read(path) or "").split("-----BEGIN CERTIFICATE-----")[1].split("-----END CERTIFICATE-----")[0]
        certificate = base64.b64decode(body)
    except (OversshError, IndexError, ValueError):
        return None, None
    unit = _subject(certificate, ORGANIZATIONAL_UNIT) or ""
    role = unit[len("swarm-") :] if unit in ("swarm-manager", "swarm-worker") else None
    return _subject(certificate, ORGANIZATION), role


def _subject(certificate: bytes, attribute: bytes) -> str | None:
    """The attribute's text in DER: identifier, one byte of type, one of length, and the text itself."""
    _before, found, after = certificate.partition(attribute)
    return after[2 : 2 + after[1]].decode("ascii", errors="replace") if found and len(after) > 2 else None


def _bridge(docker: Docker) -> dict[str, Any]:
    """Whether the bridge for overlays is there, is ours, and serves containers."""
    try:
        bridge = docker.inspect_network(BRIDGE)
    except DockerError as error:
        if error.status == NOT_FOUND:
            return {}
        raise
    own = BRIDGE_LABELS.items() <= (bridge.get("Labels") or {}).items()
    return {"bridge": True, "bridge_own": own, "bridge_used": bool(set(bridge.get("Containers") or {}) - BRIDGE_OWN)}
