# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real swarm on the underlay addresses, and one container on each node with an overlay network for each MTU.

The swarm stays while the link under it changes: for Docker only a route does.
"""

from __future__ import annotations

from collections.abc import Iterable

from .cases import Case
from .nodes import Node, Pair

# How long a swarm may take to notice that a link is back.
SETTLE_SECONDS = 60.0
# Out of the way of the addresses that Docker takes for itself, from the lowest on.
CLOUD, EDGE = 200, 201


class Overlay:
    """The containers, and how to reach one from the other."""

    def __init__(self, pair: Pair, mtus: Iterable[int]) -> None:
        """Form the swarm over whatever carries the underlay now."""
        self._pair = pair
        self._subnets = {mtu: f"10.210.{number}" for number, mtu in enumerate(sorted(set(mtus)))}
        self._form()
        self._namespaces = [node.sh("docker inspect --format '{{.State.Pid}}' bench") for node in pair.both]

    @property
    def namespace(self) -> str:
        """The process in whose network the transfers begin."""
        return self._namespaces[1]

    def _form(self) -> None:
        cloud, edge = self._pair.both
        token = cloud.sh(f"""
            docker swarm init {_addresses(cloud)} --default-addr-pool 10.201.0.0/16 >/dev/null
            docker swarm join-token --quiet worker
        """)
        edge.sh(f"docker swarm join --token {token} {_addresses(edge)} {cloud.underlay}:2377")
        for mtu, subnet in self._subnets.items():
            cloud.sh(
                f"docker network create --driver overlay --attachable --subnet {subnet}.0/24 "
                f"--opt com.docker.network.driver.mtu={mtu} bench{mtu}"
            )
        for number, node in zip((CLOUD, EDGE), self._pair.both, strict=True):
            networks = [f"--ip {subnet}.{number} bench{mtu}" for mtu, subnet in self._subnets.items()]
            node.sh(_IMAGE)
            node.sh(_CONTAINER.format(network=networks[0].replace(" bench", " --network bench")))
            for network in networks[1:]:
                node.sh(f"docker network connect {network} bench")

    def target(self, case: Case) -> str:
        """The address of the far container on the network that fits a case."""
        return f"{self._subnets[case.mtu]}.{CLOUD}"

    def settle(self, case: Case) -> None:
        """Wait until the far container answers.

        What an earlier link of a smaller MTU taught the containers' kernel about the way is forgotten: connections
        that were still closing while it had its turn would hold the packets of this one down for ten minutes.
        """
        for node, namespace in zip(self._pair.both, self._namespaces, strict=True):
            node.sh(f"nsenter --target={namespace} --net ip route flush cache; ip route flush cache")
        ping = f"nsenter --target={self.namespace} --net ping -q -c 1 -W 1 {self.target(case)}"
        self._pair.edge.until(ping, SETTLE_SECONDS, f"{case.label}: a packet's way from container to container")


def _addresses(node: Node) -> str:
    """Docker's own words for where a node is."""
    return f"--advertise-addr {node.underlay} --listen-addr {node.underlay}:2377 --data-path-addr {node.underlay}"


# An empty image with the node's own programs in it; there is no registry.
_IMAGE = """
    cd "$(mktemp -d)"
    ln -s usr/bin bin && ln -s usr/lib lib && ln -s usr/lib64 lib64
    tar -c . | docker import - bench >/dev/null
"""
_CONTAINER = """
    docker run --detach --name bench {network} --sysctl net.ipv4.tcp_no_metrics_save=1 --tmpfs /tmp \\
        --volume /usr:/usr:ro bench /usr/bin/iperf3 --server --rcv-timeout 10000 >/dev/null
"""
