#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""swarm_node_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_node_info
short_description: Look at a host's part in a Docker swarm
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Returns this host's role and addresses in its swarm, and on a manager also the other nodes.
  - Join tokens and unlock keys are never read.
requirements:
  - Docker 19.03 or later
  - Python library C(docker) 5.0 or later (Debian's package python3-docker)
extends_documentation_fragment:
  - overssh.swarm.attributes.info
seealso:
  - module: overssh.swarm.swarm_node
"""

EXAMPLES = r"""
- name: Look at the swarm from a manager
  overssh.swarm.swarm_node_info:
  register: swarm

- name: Name the nodes that are not ready
  ansible.builtin.debug:
    msg: "{{ swarm.nodes | rejectattr('status', 'eq', 'ready') | map(attribute='hostname') }}"
"""

RETURN = r"""
active:
  description: Whether the node takes part in a swarm.
  returned: always
  type: bool
  sample: true
local_state:
  description: The engine's own word for its state, one of V(inactive), V(pending), V(active), V(error) or V(locked).
  returned: always
  type: str
  sample: active
error:
  description: The engine's error message, empty for none.
  returned: always
  type: str
  sample: ""
role:
  description: V(manager) or V(worker) of an active node.
  returned: always
  type: str
  sample: manager
node_id:
  description: The node's ID in the swarm.
  returned: always
  type: str
  sample: ww85rk3dxl2c1ddky7tlmxlt9
node_address:
  description: The node's address in the swarm.
  returned: always
  type: str
  sample: 172.30.0.1
hostname:
  description: The name that the swarm lists the node by.
  returned: always
  type: str
  sample: cloud1
cluster_id:
  description: The swarm's ID, on workers too.
  returned: always
  type: str
  sample: 87y7os2sl5hhzhkufg1ruk5vx
managers:
  description: The managers that this node knows.
  returned: always
  type: list
  elements: str
  sample: ["172.30.0.1:2377"]
leader:
  description: Whether the node leads the managers.
  returned: always
  type: bool
  sample: true
availability:
  description: Whether the swarm gives the node tasks; known on managers.
  returned: always
  type: str
  sample: active
labels:
  description: The node's labels; known on managers.
  returned: always
  type: dict
  sample: {"zone": "north"}
listen_addr:
  description: The address at which a manager listens, as the engine was started.
  returned: always
  type: str
  sample: 172.30.0.1:2377
data_path_addr:
  description: The address for the traffic between containers.
  returned: always
  type: str
  sample: 172.30.0.1
data_path_port:
  description: The UDP port for the traffic between containers; known on managers.
  returned: always
  type: int
  sample: 4789
default_addr_pool:
  description: Address pool for overlay networks that are created without a subnet; known on managers.
  returned: always
  type: list
  elements: str
  sample: ["10.201.0.0/16"]
subnet_size:
  description: Prefix length of the subnets from the pool; known on managers.
  returned: always
  type: int
  sample: 24
settings:
  description:
    - The settings of the swarm that can change while it runs, by the names of the options of
      M(overssh.swarm.swarm_node).
    - Known on managers.
  returned: always
  type: dict
  sample:
    dispatcher_heartbeat: 5
    node_cert_expiry: 7776000
    task_history_limit: 5
    snapshot_interval: 10000
    max_snapshots: 0
    log_entries_for_slow_followers: 500
    autolock: false
underlay_mtu:
  description: The smallest MTU of the devices that have RV(data_path_addr).
  returned: always
  type: int
  sample: 1500
nodes:
  description: All nodes, as managers list them; empty on workers.
  returned: always
  type: list
  elements: dict
  contains:
    node_id:
      description: Its ID.
      type: str
      sample: votjyh8w2iech6x19whccntft
    hostname:
      description: Its host name.
      type: str
      sample: edge1
    role:
      description: V(manager) or V(worker).
      type: str
      sample: worker
    availability:
      description: One of V(active), V(pause) or V(drain).
      type: str
      sample: active
    status:
      description: V(ready), V(down), V(disconnected) or V(unknown).
      type: str
      sample: ready
    address:
      description: The node's address as the managers see it.
      type: str
      sample: 172.30.0.2
    reachability:
      description: Of a manager, whether the others reach it, V(reachable), V(unreachable) or V(unknown).
      type: str
      sample: ""
    leader:
      description: Whether it leads the managers.
      type: bool
      sample: false
    labels:
      description: Its labels.
      type: dict
      sample: {"zone": "north"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.info import info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_info(module, lambda: info(connect(), runner(module)))


if __name__ == "__main__":
    main()
