#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""overlay_network_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_network_info
short_description: Look at the overlay networks of a Docker swarm
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Lists the overlay networks of this host's engine, with their endpoints anywhere in the swarm.
  - A manager knows all networks. A worker knows only those that it has used, and no endpoints on other nodes.
requirements:
  - Docker 19.03 or later
  - Python library C(docker) 5.0 or later (Debian's package python3-docker)
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  name:
    description:
      - Only the network of this name.
    type: str
  managed:
    description:
      - Only the networks that this collection made.
    type: bool
    default: false
seealso:
  - module: overssh.swarm.overlay_network
"""

EXAMPLES = r"""
- name: Look at our networks
  overssh.swarm.overlay_network_info:
    managed: true
  register: found

- name: Name what uses the networks
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.endpoints | map(attribute='container') }}"
  loop: "{{ found.networks }}"
"""

RETURN = r"""
manager:
  description: Whether this host is a manager, and can make and remove networks.
  returned: always
  type: bool
  sample: true
networks:
  description: The networks, by name.
  returned: always
  type: list
  elements: dict
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
      sample: {"com.docker.network.driver.mtu": "1500"}
    peers:
      description: Addresses of the nodes that take part in it, where this node does too.
      type: list
      elements: str
      sample: ["172.30.0.1", "172.30.0.2"]
    endpoints:
      description: What is attached to it, anywhere in the swarm; empty on workers.
      type: list
      elements: dict
      contains:
        task:
          description: ID of the task that holds the network.
          type: str
          sample: amkivmq2mhgxfqok2pemblzlo
        service:
          description: Name of its service, empty for a container attached by hand.
          type: str
          sample: ""
        container:
          description: Short ID of the container.
          type: str
          sample: 64ee2551a98c
        node:
          description: Host name of its node.
          type: str
          sample: edge1
        node_id:
          description: ID of its node.
          type: str
          sample: xt8y56qc8ez01y8i5b0mwfega
        addresses:
          description: Its addresses in the network.
          type: list
          elements: str
          sample: ["10.200.0.2/24"]
        state:
          description: The task's state.
          type: str
          sample: running
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._overlay.info import info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "str"}, "managed": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    run_info(module, lambda: info(connect(), module.params["name"], module.params["managed"]))


if __name__ == "__main__":
    main()
