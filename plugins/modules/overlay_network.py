#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_network: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_network
short_description: Docker overlay networks with an MTU that fits the underlay
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Makes and removes overlay networks of a swarm. Runs on a manager.
  - A subnet that overlaps the underlay, a route of this host or another Docker network is refused, and so is one that
    has a name server of this host. Docker itself accepts it, and then one network hides the other.
  - A new network takes no whole address pool of the swarm; a part of a pool is left out when Docker takes subnets from
    it. Its name must not be the beginning of another network's ID, nor differ from another name in capitals only.
  - Docker can't change a network in place. An existing network with other settings is an error that names the
    differences; see O(on_change). An existing network with the desired settings stays, whoever made it.
  - Every network made here has the label C(overssh.managed=true).
  - With O(ingress=true), the module manages the swarm's ingress network, which carries published ports.
requirements:
  - Docker 19.03 or later
  - Python library C(docker) 5.0 or later (Debian's package python3-docker)
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  name:
    description:
      - The network's name. Give either this or O(networks).
    type: str
  networks:
    description:
      - Several networks in one task and by one plan. Where one of them can't be made, the ones made before it are
        removed again.
      - Mutually exclusive with O(name). Each entry has the options of one network. O(state), O(underlay),
        O(underlay_mtus), O(wait) and O(wait_timeout) hold for all of them.
      - Networks may swap their subnets; each is checked against the planned state of those before it.
      - Each entry is a dictionary with a O(name) and any of a network's options, including O(on_change).
    type: list
    elements: dict
  state:
    description:
      - V(present) waits until the swarm has given the network its subnet.
      - V(absent) waits until nothing uses the network any more. After O(wait_timeout), the error names the users. A
        network that others made is removed only with O(on_change=recreate).
    type: str
    choices: [present, absent]
    default: present
  ingress:
    description:
      - Whether the swarm's ingress network (its routing mesh) is meant. Docker makes it with every swarm, with an MTU
        of 1500, whatever the underlay's MTU.
      - A swarm has only one ingress network. An existing one keeps its name; O(name) is the name of a new one.
      - It keeps its O(subnet), O(gateway), O(ip_range), O(subnets), O(internal), O(encrypted), O(labels) and
        O(options), unless the task sets them. O(attachable) does not apply to it.
      - Docker removes it only while no service publishes ports through it. Where services do, it stays as it is. A too
        large MTU is then an error that names the services, a too small one a warning.
      - Docker does not inform the nodes of a new ingress network. Nodes without a task of a service then don't answer
        on its published ports. So this module has the managers inform each node, and waits up to 15 seconds for each
        node that is up. A node that has to be informed twice has the label C(overssh.touched) for a moment.
    type: bool
    default: false
  subnet:
    description:
      - The network's IPv4 subnet, such as V(10.200.0.0/24). By default the swarm takes one from its address pool.
    type: str
  gateway:
    description:
      - The network's gateway, an address within O(subnet). By default Docker takes the first address.
    type: str
  ip_range:
    description:
      - The part of O(subnet) for the addresses of containers.
    type: str
  subnets:
    description:
      - The network's IPv4 subnets, where it has several; in the place of O(subnet), O(gateway) and O(ip_range). Each
        container gets an address from one of them. Their order does not matter.
      - Containers reach each other across subnets, but not from every node the virtual address of every service (tried
        with Docker 26.1). Services with the endpoint mode C(dnsrr) have none. One larger subnet has no such limits.
      - Docker keeps no auxiliary addresses of an overlay network, and does not say so. With O(subnets[].ip_range) the
        rest of a subnet stays free. Nor does an overlay network take anything from another one that is named as
        C(--config-from).
    type: list
    elements: dict
    default: []
    suboptions:
      subnet:
        description: The subnet, as O(subnet).
        type: str
        required: true
      gateway:
        description: Its gateway, as O(gateway).
        type: str
      ip_range:
        description: The part of it for the addresses of containers, as O(ip_range).
        type: str
  attachable:
    description:
      - Whether containers that belong to no service can be attached.
    type: bool
    default: true
  internal:
    description:
      - Whether the network has no way out of the swarm.
    type: bool
    default: false
  encrypted:
    description:
      - Whether IPsec encrypts the network's packets. Tunnels over ssh are encrypted anyway.
      - The kernels of all nodes need ESP for that. Where this host's has none, the module refuses such a network;
        Docker itself accepts it, and then containers don't reach those on other nodes. The question may have the kernel
        load its module esp4, also in check mode. M(overssh.swarm.host_info) asks the same of any host.
    type: bool
    default: false
  mtu:
    description:
      - The MTU of the underlay, in bytes. Docker itself subtracts VXLAN's headers from it.
      - V(auto) is the smallest of O(underlay_mtus) and of the MTUs of the devices on this host that have the node's
        data path address. Docker's own default is always 1500.
      - V(auto) is 20 bytes less for an IPv6 data path address, because Docker subtracts only IPv4's header.
      - With V(auto), an existing network with a larger MTU counts as different, because it loses large packets. An
        existing network with a smaller MTU works, but more slowly; it causes a warning, and counts as different only
        with O(on_change=recreate).
    type: str
    default: auto
  underlay_mtus:
    description:
      - The underlay MTUs of the other nodes, as RV(overssh.swarm.swarm_node_info#module:underlay_mtu).
    type: list
    elements: int
    default: []
  labels:
    description:
      - Labels of the network.
    type: dict
    default: {}
  options:
    description:
      - Further options of the overlay driver.
    type: dict
    default: {}
  underlay:
    description:
      - The network of tunnel addresses. O(subnet) must not overlap it, also where this host has no route to it.
    type: str
  on_change:
    description:
      - What to do where a network of that name exists with other settings.
      - V(fail) names the differences, and the services and containers that use the network.
      - V(recreate) removes the network, once nothing uses it, and makes it anew. Services of the swarm and containers
        of this host are taken off it before and put back after, so that services begin their tasks anew, twice.
        Containers that were attached by hand on other nodes are waited for. If a step fails, everything is put back.
      - A container keeps its address where the new O(subnet) has it.
    type: str
    choices: [fail, recreate]
    default: fail
seealso:
  - module: overssh.swarm.overlay_network_info
  - module: overssh.swarm.swarm_node
"""

EXAMPLES = r"""
- name: A network for all containers of the fleet
  overssh.swarm.overlay_network:
    name: overssh
    subnet: 10.200.0.0/24
    underlay: 172.30.0.0/16

- name: Look at what lies under each node
  overssh.swarm.swarm_node_info:
  register: part

- name: The same with the largest MTU that all nodes can take, after the tunnels got a larger one
  overssh.swarm.overlay_network:
    name: overssh
    subnet: 10.200.0.0/24
    underlay_mtus: "{{ ansible_play_hosts | map('extract', hostvars, ['part', 'underlay_mtu']) }}"
    on_change: recreate
  when: part.role == 'manager' and part.leader

- name: A network of two subnets, with room for addresses that Docker does not give to containers
  overssh.swarm.overlay_network:
    name: wide
    subnets:
      - subnet: 10.200.2.0/24
        gateway: 10.200.2.254
        ip_range: 10.200.2.0/25
      - subnet: 10.200.3.0/24

- name: Published ports through tunnels of 1300 bytes
  overssh.swarm.overlay_network:
    name: ingress
    ingress: true
    underlay_mtus: [1300]
    on_change: recreate

- name: Two networks and the ingress network, all of them or none
  overssh.swarm.overlay_network:
    underlay: 172.30.0.0/16
    networks:
      - name: front
        subnet: 10.200.0.0/24
      - name: back
        subnet: 10.200.1.0/24
        internal: true
      - name: ingress
        ingress: true
        on_change: recreate

- name: No network any more
  overssh.swarm.overlay_network:
    name: overssh
    state: absent
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample: ["make the overlay network overssh on 10.200.0.0/24"]
underlay_mtu:
  description:
    - The smallest MTU under any node, as far as known; 20 bytes less where the swarm runs over IPv6, see O(mtu).
  returned: where O(state=present)
  type: int
  sample: 1500
networks:
  description: The networks as they are now, in the order of O(networks), each as RV(network).
  returned: where O(networks) was given
  type: list
  elements: dict
  sample:
    - name: overssh
      subnet: 10.200.0.0/24
      mtu: 1500
network:
  description: The network as it is now; none where there is none.
  returned: where O(name) was given
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: overssh
    id:
      description: Its ID.
      type: str
      sample: sjl0ypcn5gfepmqh3nxtgdrzs
    managed:
      description: Whether this collection made it.
      type: bool
      sample: true
    allocated:
      description: Whether the swarm has given it its subnet.
      type: bool
      sample: true
    ingress:
      description: Whether it is the swarm's ingress network.
      type: bool
      sample: false
    subnet:
      description: Its subnet.
      type: str
      sample: 10.200.0.0/24
    gateway:
      description: Its gateway.
      type: str
      sample: 10.200.0.1
    ip_range:
      description: The part of the subnet that containers get their addresses from.
      type: str
      sample: 10.200.0.128/25
    subnets:
      description: All its subnets, each with its gateway and ip_range. Those of the first one stand above too.
      type: list
      elements: dict
      sample: [{"subnet": "10.200.0.0/24", "gateway": "10.200.0.1", "ip_range": "10.200.0.128/25"}]
    attachable:
      description: Whether containers that belong to no service can be attached.
      type: bool
      sample: true
    internal:
      description: Whether it has no way out of the swarm.
      type: bool
      sample: false
    encrypted:
      description: Whether its packets go through IPsec.
      type: bool
      sample: false
    mtu:
      description: The MTU of the underlay that it reckons with.
      type: int
      sample: 1500
    container_mtu:
      description: The MTU that its containers have.
      type: int
      sample: 1450
    vxlan_id:
      description: Its VXLAN network identifier.
      type: int
      sample: 4097
    labels:
      description: Its labels.
      type: dict
      sample: {"overssh.managed": "true"}
    options:
      description: Its driver's options.
      type: dict
      sample: {"com.docker.network.driver.mtu": "1500", "com.docker.network.driver.overlay.vxlanid_list": "4097"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import Engine, run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.several import checked
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WAIT_OPTIONS
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.engine import OverlayNetworkEngine
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.model import desired_of
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.several import OverlayNetworkEngines

SUBNET: dict[str, dict[str, Any]] = {
    "subnet": {"type": "str", "required": True},
    "gateway": {"type": "str"},
    "ip_range": {"type": "str"},
}
ONE: dict[str, dict[str, Any]] = {
    "ingress": {"type": "bool", "default": False},
    "subnet": {"type": "str"},
    "gateway": {"type": "str"},
    "ip_range": {"type": "str"},
    "subnets": {"type": "list", "elements": "dict", "default": [], "options": SUBNET},
    "attachable": {"type": "bool", "default": True},
    "internal": {"type": "bool", "default": False},
    "encrypted": {"type": "bool", "default": False},
    "mtu": {"type": "str", "default": "auto"},
    "labels": {"type": "dict", "default": {}},
    "options": {"type": "dict", "default": {}},
}
CHOICES = ["fail", "recreate"]


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "networks": {"type": "list", "elements": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **ONE,
            "underlay_mtus": {"type": "list", "elements": "int", "default": []},
            "underlay": {"type": "str"},
            "on_change": {"type": "str", "choices": CHOICES, "default": "fail"},
            **WAIT_OPTIONS,
        },
        mutually_exclusive=[("name", "networks")],
        required_one_of=[("name", "networks")],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, params: dict[str, Any]) -> Engine[Any]:
    listed = params["networks"]
    options = {**ONE, "on_change": {"type": "str", "choices": CHOICES}}
    # What an entry leaves out is said for all of them.
    entries = [
        {**params, **entry, "on_change": entry["on_change"] or params["on_change"]}
        for entry in checked(listed or (), options, "networks")
    ]
    desired = [desired_of(entry) for entry in ([params] if listed is None else entries)]
    docker = connect()
    engines = [
        OverlayNetworkEngine(
            docker, runner(module), one, params["wait_timeout"], params["wait"], check_mode=module.check_mode
        )
        for one in desired
    ]
    return engines[0] if listed is None else OverlayNetworkEngines(engines)


if __name__ == "__main__":
    main()
