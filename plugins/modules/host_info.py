#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Look at a host before it joins a fleet
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Gathers the facts of a host that the plan for a fleet needs, and the obstacles to its taking part, in one run.
  - Used by the role P(overssh.swarm.preflight#role).
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  user:
    description:
      - The account that tunnels log in to.
    type: str
    default: overssh
  python:
    description:
      - The interpreter that the helper of the stream transport would run with.
    type: str
    default: /usr/bin/python3
  data_path_port:
    description:
      - The UDP port that VXLAN is to have.
    type: int
    default: 4789
  encrypted:
    description:
      - Whether overlay networks are to be encrypted. Only then the module asks the kernel for ESP, also in check mode.
        The kernel may load its module esp4 for the answer.
    type: bool
    default: false
  dials:
    description:
      - The places that this host is to dial, see P(overssh.swarm.fleet_ways#filter). The module sends the first packet
        of a connection to each place without a connection yet, and makes no connection.
    type: list
    elements: dict
    default: []
    suboptions:
      peer:
        description: The inventory name of the dialled host.
        type: str
        required: true
      host:
        description: The name or address.
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        required: true
  dialled_by:
    description:
      - The hosts that dial this one, see P(overssh.swarm.fleet_ways#filter). The module asks sshd about each.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its inventory name.
        type: str
        required: true
      address:
        description: The host's own address, which it also dials from, unless there is a NAT.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Look at a host
  overssh.swarm.host_info:
  register: found

- name: Say what the host lacks
  ansible.builtin.debug:
    var: found.host.problems
"""

RETURN = r"""
host:
  description: The host as found.
  returned: always
  type: dict
  contains:
    problems:
      description: Why it can't take part, one sentence each; empty where it can.
      type: list
      elements: str
      sample: ["the program nft is missing; install the package nftables."]
    undialled:
      description: >-
        The entries of O(dials) that it can't dial, one sentence each, with this host's rule that drops the packets, if
        any.
      type: list
      elements: str
      sample: ["can't dial cloud1 at 198.51.100.7 port 22: it has no way there (Network is unreachable); give it one."]
    lines:
      description: >-
        The measured speed of the links that this host dials, by peer. M(overssh.swarm.ssh_tunnel) measures once after
        each start of a link.
      type: list
      elements: dict
      contains:
        peer:
          description: The link's peer.
          type: str
          sample: cloud1
        mtu:
          description: The link's MTU at the measurement, in bytes.
          type: int
          sample: 65000
        rtt_ms:
          description: The shortest round trip of a few small packets, in milliseconds.
          type: float
          sample: 31.4
        mbit_s:
          description: The speed with full packets, in megabits a second; 40 and more is a lower bound.
          type: float
          sample: 8.1
    operator:
      description: The source address of this run's ssh connection; empty without one.
      type: str
      sample: 198.51.100.20
    machine:
      description: A value that differs between machines; a machine with several names has it under each.
      type: str
      sample: 5b1f0c3ad2e94d10
    devices:
      description: Its tun devices, including foreign ones.
      type: list
      elements: dict
      sample:
        - name: tun1001
          alias: overssh cloud1
          addresses: [{"address": "172.30.0.2", "peer": "172.30.0.1"}]
    families:
      description: The address families that it can dial with, according to its addresses.
      type: list
      elements: int
      sample: [4, 6]
    routes:
      description: Its routes with their devices, without the default routes.
      type: list
      elements: dict
      sample: [{"destination": "192.168.7.0/24", "device": "eth0"}]
    vxlans:
      description: >-
        Its VXLAN devices outside of containers, each with its UDP port, its number, and whether others can't have that
        port as well.
      type: list
      elements: dict
      sample: [{"name": "vxlan.calico", "port": 4789, "vni": 4096, "alone": false}]
    vxlan_port:
      description: The port O(data_path_port), and the program that holds it; empty where none does.
      type: dict
      sample: {"port": 4789, "holder": "vpnd (vpn.service)"}
    managers:
      description: >-
        Files of others that manage interfaces, as far as they may be about tun devices, in the order in which they are
        read - by whom, the kind of file, of which the first that fits counts, the place, patterns of names, whether
        all others are meant, whether it does no harm, and what it does; whether no tunnel works with it, and how a
        program that takes all interfaces is kept from some.
      type: list
      elements: dict
      sample:
        - by: systemd-networkd
          kind: network
          place: /etc/systemd/network/99-default.network line 2
          patterns: ["*"]
          negated: false
          harmless: false
          does: takes their addresses and routes away when it is reloaded
          breaks: false
          way_out: ""
    sysctl:
      description: Assignments in its sysctl files to settings that our devices need, each with key, value and place.
      type: list
      elements: dict
      sample: [{"key": "net.ipv4.ip_forward", "value": "0", "place": "/etc/sysctl.d/90-cis.conf line 4"}]
    resolvers:
      description: Its name servers.
      type: list
      elements: str
      sample: [192.0.2.53]
    ipv6:
      description: >-
        Whether new devices have IPv6. C(forwarding) is C(host) where the whole host forwards IPv6, C(device) where that
        can be set for each device (from Linux 6.17 on), and C(off) otherwise.
      type: dict
      sample: {"enabled": true, "forwarding": "device"}
    esp:
      description: >-
        Whether its kernel has ESP, which encrypted overlay networks need; none where O(encrypted) is not set, and where
        the kernel gives no clear answer.
      type: bool
      sample: true
    python:
      description: >-
        The interpreter of O(python), its version, and in C(error) why an account without privileges can't run it; empty
        where it can.
      type: dict
      sample: {"path": "/usr/bin/python3", "version": "3.13.5", "error": ""}
    public_key:
      description: The public half of this node's key for dialling; empty where it has none yet.
      type: str
      sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample overssh:edge1
    docker:
      description: >-
        Its engine's version, its host name in a swarm, its local node state as the engine calls it, its address there,
        the smallest MTU of the devices that carry traffic between containers, and its ID there; on a manager also the
        status of each node by its ID, and the nodes that take no new containers, by address, each with its
        availability. The configured address pools, empty for the built-in ones, with their place; the configured
        address of its bridge, with its place; the subnets of its own networks; and, on a manager, the swarm's data path
        port and pools.
      type: dict
      sample:
        version: 26.1.5
        hostname: edge1
        swarm: active
        swarm_address: 172.30.0.2
        underlay_mtu: 1500
        node_id: jgjr73fn0zzjbrjontko8l7lb
        members: {"jgjr73fn0zzjbrjontko8l7lb": "ready", "ulf67a7eyd4kpybej1va0m5zq": "down"}
        unavailable: {"172.30.0.3": "drain"}
        pools: [{"base": "10.200.0.0/15", "size": 24}]
        pools_place: /etc/docker/daemon.json line 3
        bip: {"address": "192.168.99.1/24", "place": "/etc/docker/daemon.json line 2"}
        networks: [{"name": "bridge", "subnet": "192.168.99.0/24"}]
        data_path_port: 4789
        swarm_pool: [10.201.0.0/16]
        swarm_pool_prefix: 24
    sshd:
      description: >-
        The server's public host keys; the unit of the listening sshd, empty where systemd starts one for each
        connection; whether it reads drop-in files; whether it can end unused connections; why it would refuse tunnels,
        and what may refuse some of them, one sentence each; settings for O(user) in foreign Match blocks that precede
        ours; its algorithms; the limits that PAM sets for O(user); and the file that it runs at every login, empty for
        none.
      type: dict
      sample:
        host_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample]
        service: ssh.service
        drop_ins: true
        ends_unused: true
        problems: []
        warnings: []
        decided: [{"keyword": "PermitTunnel", "value": "no", "file": "/etc/ssh/sshd_config line 3", "address": ""}]
        algorithms: {"kexalgorithms": ["curve25519-sha256"], "ciphers": ["aes128-gcm@openssh.com"]}
        limits: [{"item": "nproc", "value": 20, "place": "/etc/security/limits.conf line 1"}]
        rc: /etc/ssh/sshrc
    ssh:
      description: The algorithms of its ssh client.
      type: dict
      sample: {"kexalgorithms": ["curve25519-sha256"], "ciphers": ["aes128-gcm@openssh.com"]}
    tunnel:
      description: >-
        What exists of the results of the role P(overssh.swarm.tunnel#role) - the account O(user), empty where it is
        missing; owner, mode and checksum of files and folders; our block in sshd's own file; whether a change of sshd
        is pending, see M(overssh.swarm.checkpoint); and, where sshd has settings of ours, the effective ones for
        O(user), as C(sshd -T) prints them.
      type: dict
      sample:
        account: {"comment": "overssh tunnels", "home": "/etc/overssh", "shell": "/bin/sh"}
        files:
          /etc/overssh: {"uid": 0, "gid": 0, "mode": "0755", "kind": "d", "sha256": ""}
        block: ""
        pending: false
        effective: ["permittunnel no"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._host.info import Host

DIAL = {
    "peer": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
}

DIALLER = {"name": {"type": "str", "required": True}, "address": {"type": "str", "required": True}}


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "overssh"},
            "python": {"type": "str", "default": "/usr/bin/python3"},
            "data_path_port": {"type": "int", "default": 4789},
            "encrypted": {"type": "bool", "default": False},
            "dialled_by": {"type": "list", "elements": "dict", "default": [], "options": DIALLER},
            "dials": {"type": "list", "elements": "dict", "default": [], "options": DIAL},
        },
        supports_check_mode=True,
    )
    host = Host(runner(module), lambda program: module.get_bin_path(program) is not None, connect)
    run_info(module, lambda: {"host": host.info(**module.params)})


if __name__ == "__main__":
    main()
