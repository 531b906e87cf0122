#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""swarm_node: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_node
short_description: Give a host its part in a Docker swarm
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Has this host create a swarm, join one as manager or worker, or leave it. Or drains a node, sets its availability
    and its labels, or removes the entry of a node that has left.
  - A node of another swarm is an error, never a success. O(cluster_id) identifies the desired swarm, or O(join_token),
    which begins with a digest of the swarm's root certificate, or, without both, O(remote_managers).
  - Docker can't change addresses, ports and pools of a running swarm. A difference in them is an error with both
    values; see O(on_change).
  - A join token is used only for the join. It never appears in results, diffs or process lists.
requirements:
  - Docker 19.03 or later
  - Python library C(docker) 5.0 or later (Debian's package python3-docker)
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  state:
    description:
      - V(manager) without O(remote_managers) creates a swarm on a host that is in none. With O(remote_managers) it
        joins.
      - V(worker) joins. A manager of the right swarm becomes a worker.
      - A worker can't become a manager by itself. V(manager) on a worker is an error that says how a manager promotes
        it; with O(on_change=recreate) it leaves and joins again as manager.
      - V(left) takes this host out of any swarm. A manager is demoted first. The bridge docker_gwbridge is removed too,
        where this module made it and no container uses it.
      - By a fault of its own, an engine sometimes keeps its gossip port when it leaves, and then can't join any swarm.
        V(left) restarts such an engine where no container runs on it, with a warning. Otherwise the warning says what
        to do.
      - V(drained) runs on a manager. The managers then give O(node) no more tasks, and the module waits until its tasks
        have ended. A node that is down has no tasks.
      - V(removed) runs on a manager, and removes the entries of O(node) from the managers' list. Such an entry stays as
        C(Down) when a node leaves. A manager's entry is demoted first.
      - V(listed) runs on a manager, and gives the entry of O(node) in the managers' list its O(availability) and its
        O(labels), whatever the node's role. It waits for no tasks; V(drained) does.
      - Docker still assigns tasks to a node for some 15 seconds after it has left. Such tasks, and their networks, stay
        until the entry is removed.
    type: str
    required: true
    choices: [manager, worker, left, drained, removed, listed]
  advertise_addr:
    description:
      - This node's address in the swarm, required for O(state=manager) and O(state=worker).
      - It has to be an address of this host, not a device's name. Docker itself would take any.
    type: str
  listen_addr:
    description:
      - The address at which a manager listens for other managers and for nodes, as C(ADDRESS:PORT).
      - The default is port 2377 on O(advertise_addr) only. The default is not compared on a node that is in the swarm
        already.
    type: str
  data_path_addr:
    description:
      - The address for the traffic between containers. The default is O(advertise_addr).
    type: str
  data_path_port:
    description:
      - The UDP port for the traffic between containers, by default 4789; fixed when the swarm is created.
      - Compared on managers only, and only where given.
    type: int
  default_addr_pool:
    description:
      - Address pool for overlay networks that are created without a subnet; fixed when the swarm is created.
      - Must not overlap a route of this host. Compared on managers only, and only where given.
    type: list
    elements: str
  subnet_size:
    description:
      - Prefix length of the subnets from O(default_addr_pool), by default 24; fixed when the swarm is created.
      - Compared on managers only, and only where given.
    type: int
  dispatcher_heartbeat:
    description:
      - After how many seconds a node reports to the managers, at least 1; Docker's own default is 5. A node that is
        silent for some three times as long counts as down, and others get its tasks.
      - This option, O(node_cert_expiry), O(task_history_limit), O(snapshot_interval), O(max_snapshots),
        O(log_entries_for_slow_followers) and O(autolock) belong to the swarm and not to one node. They are for
        O(state=manager) without O(remote_managers), on the node that creates the swarm or on any of its managers, and
        an error elsewhere. They are compared only where given, and change while the swarm runs.
    type: int
  node_cert_expiry:
    description:
      - For how many seconds a node's certificate is valid, at least 3600; Docker's own default is 90 days (7776000).
        Nodes renew it themselves, half-way through and later. A node that is away for longer has to join anew.
    type: int
  task_history_limit:
    description:
      - How many ended tasks the managers keep for each task that runs; Docker's own default is 5. V(-1) is for all.
    type: int
  snapshot_interval:
    description:
      - After how many entries of their log the managers write a snapshot of it; Docker's own default is 10000.
    type: int
  max_snapshots:
    description:
      - How many older snapshots the managers keep beside the last one; Docker's own default is 0.
    type: int
  log_entries_for_slow_followers:
    description:
      - How many entries of their log the managers keep after a snapshot, for managers that lag behind; Docker's own
        default is 500. A manager that lags more is sent the whole snapshot.
    type: int
  autolock:
    description:
      - Whether managers are locked when their Docker starts, until C(docker swarm unlock) is given the key. That also
        holds for each boot.
      - The key is never read. C(docker swarm unlock-key) shows it on a manager that is not locked.
    type: bool
  rotate_tokens:
    description:
      - The roles whose join tokens are made anew, where O(state=manager) without O(remote_managers) finds the swarm.
        The former tokens let nobody in any more; nodes in the swarm stay.
      - The new tokens are never read. C(docker swarm join-token) shows them on a manager, and O(manager) fetches them.
      - Each run changes them, for nobody can tell a token's age. So set this for the run that is to rotate them, and
        only there.
    type: list
    elements: str
    choices: [manager, worker]
    default: []
  bridge_subnet:
    description:
      - The subnet of the bridge C(docker_gwbridge), where the module makes it. By default Docker takes one from its
        pools, even if an overlay network has the same addresses.
    type: str
  bridge_mtu:
    description:
      - The MTU of the bridge C(docker_gwbridge) in bytes, where the module makes it. Containers of overlay networks
        reach the world through it. Docker's own default is 1500, whatever the host's devices have.
    type: int
  bridge_icc:
    description:
      - Whether containers of one host reach each other over the bridge C(docker_gwbridge), where the module makes it,
        besides their networks.
    type: bool
    default: false
  remote_managers:
    description:
      - Managers to join at, as C(ADDRESS:PORT). The first that answers is used.
    type: list
    elements: str
    default: []
  join_token:
    description:
      - The secret for joining the swarm. Prefer O(manager), with which it is not needed.
    type: str
  manager:
    description:
      - Inventory name of a manager of the swarm. Where this node has to join, this module's action plugin fetches the
        token for its role from there, and keeps it in memory only.
    type: str
  token_first:
    description:
      - Fetches the token from O(manager) at once, not only where the node has to join. That saves one run of the module
        on nodes that are known to be in no swarm.
    type: bool
    default: false
  cluster_id:
    description:
      - ID of the desired swarm, as RV(cluster_id) of this module on any of its nodes.
    type: str
  members:
    description:
      - The status of each node by its ID, as a manager of the swarm lists them. A node itself does not notice that it
        was removed while it was away, nor that it works again after a failed start.
      - A node that is not listed leaves its swarm and joins anew. A node that is listed as V(ready) counts as such,
        whatever its own engine says, and a warning names the remedy for the engine.
      - By default this module's action plugin asks O(manager), where that is given.
    type: dict
  availability:
    description:
      - Whether the swarm gives tasks to this node. Set when the node joins, and on a manager also later.
      - A worker doesn't know its own availability, so on a worker in the swarm it is neither compared nor changed. With
        O(state=listed), a manager compares and changes it.
    type: str
    choices: [active, pause, drain]
  labels:
    description:
      - Labels that the node shall have, by name. A label whose value is null is removed. Labels that are not named
        stay.
      - With O(state=manager) they are this node's own, with O(state=listed) those of O(node). Managers keep them, so a
        worker can't set its own, and with any other state they are an error.
      - Docker's placement constraints read them as C(node.labels.NAME).
    type: dict
  node:
    description:
      - The node for O(state=drained), O(state=removed) and O(state=listed), by its host name, its ID or its address in
        the swarm.
      - For O(state=listed) it has to be one node. Entries that a host left behind are down, and don't count beside the
        one that is not.
    type: str
  force:
    description:
      - Allows a loss that is refused otherwise. With O(state=left), the last manager may leave and the swarm is lost,
        or the remaining managers may lose their quorum, or a locked node may leave. With O(state=removed), the entry of
        a node that is still up may be removed.
    type: bool
    default: false
  on_change:
    description:
      - What to do where this node is in the right swarm with other addresses or another role than desired, or can't
        take part in it any more.
      - V(fail) names the differences. V(recreate) leaves and joins again; where that loses a swarm, O(force) is needed
        too.
    type: str
    choices: [fail, recreate]
    default: fail
notes:
  - An engine that starts before its O(advertise_addr) exists stays in the state C(error) until it is restarted. So
    tunnels have to be up before Docker when a host boots.
seealso:
  - module: overssh.swarm.swarm_node_info
  - module: overssh.swarm.overlay_network
"""

EXAMPLES = r"""
- name: Found the swarm on the hub
  overssh.swarm.swarm_node:
    state: manager
    advertise_addr: 172.30.0.1
    default_addr_pool: [10.201.0.0/16]
  register: founded
  when: inventory_hostname == 'cloud1'

- name: Let the other hosts in
  overssh.swarm.swarm_node:
    state: worker
    manager: cloud1
    remote_managers: ["172.30.0.1:2377"]
    cluster_id: "{{ hostvars.cloud1.founded.cluster_id }}"
    advertise_addr: "{{ underlay_address }}"
  when: inventory_hostname != 'cloud1'

- name: Bear with slow lines, and keep less of what has ended
  overssh.swarm.swarm_node:
    state: manager
    advertise_addr: 172.30.0.1
    dispatcher_heartbeat: 15
    task_history_limit: 2
    node_cert_expiry: "{{ 180 * 24 * 3600 }}"
  when: inventory_hostname == 'cloud1'

- name: Make the join tokens void that somebody may have seen
  overssh.swarm.swarm_node:
    state: manager
    advertise_addr: 172.30.0.1
    rotate_tokens: [manager, worker]
  when: inventory_hostname == 'cloud1'
  tags: [never, rotate_tokens]

- name: Take a host out of its swarm
  overssh.swarm.swarm_node:
    state: left

- name: Clear the entry of a host that has left
  overssh.swarm.swarm_node:
    state: removed
    node: edge2
  delegate_to: cloud1

- name: Say where tasks may run, whatever the node's role
  overssh.swarm.swarm_node:
    state: listed
    node: edge1
    availability: active
    labels:
      zone: north
      formerly:  # a label without a value is removed
  delegate_to: cloud1

- name: Dissolve the swarm
  overssh.swarm.swarm_node:
    state: left
    force: true
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample: ["join the swarm at 172.30.0.1:2377 as worker 172.30.0.2"]
active:
  description: Whether the node takes part in a swarm.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: bool
  sample: true
local_state:
  description: The engine's own word for its state, one of V(inactive), V(pending), V(active), V(error) or V(locked).
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: active
error:
  description: The engine's error message, empty for none.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: ""
role:
  description: V(manager) or V(worker) of an active node.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: worker
node_id:
  description: The node's ID in the swarm.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: votjyh8w2iech6x19whccntft
node_address:
  description: The node's address in the swarm.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: 172.30.0.2
hostname:
  description: The name that the swarm lists the node by.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: edge1
cluster_id:
  description: The swarm's ID, on workers too.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: 87y7os2sl5hhzhkufg1ruk5vx
managers:
  description: The managers that this node knows.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: list
  elements: str
  sample: ["172.30.0.1:2377"]
leader:
  description: Whether the node leads the managers.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: bool
  sample: false
availability:
  description: Whether the swarm gives the node tasks; known on managers.
  returned: where O(state) is not V(drained) or V(removed)
  type: str
  sample: active
labels:
  description: The node's labels; known on managers.
  returned: where O(state) is not V(drained) or V(removed)
  type: dict
  sample: {"zone": "north"}
listen_addr:
  description: The address at which a manager listens, as the engine was started.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: 172.30.0.2:2377
data_path_addr:
  description: The address for the traffic between containers.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: str
  sample: 172.30.0.2
data_path_port:
  description: The UDP port for the traffic between containers; known on managers.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: int
  sample: 4789
default_addr_pool:
  description: Address pool for overlay networks that are created without a subnet; known on managers.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: list
  elements: str
  sample: ["10.201.0.0/16"]
subnet_size:
  description: Prefix length of the subnets from the pool; known on managers.
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: int
  sample: 24
settings:
  description:
    - The settings of the swarm that can change while it runs, by the names of the options of this module.
    - Known on managers.
  returned: where O(state) is V(manager), V(worker) or V(left)
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
  returned: where O(state) is V(manager), V(worker) or V(left)
  type: int
  sample: 1500
nodes:
  description: All nodes, as managers list them, before a change in check mode; empty on workers.
  returned: where O(state) is V(manager), V(worker) or V(left)
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
node:
  description: O(node).
  returned: where O(state) is V(drained), V(removed) or V(listed)
  type: str
  sample: edge2
entries:
  description: IDs of the node's remaining entries; with O(state=listed), of the one that is meant.
  returned: where O(state) is V(drained), V(removed) or V(listed)
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import Engine, run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WAIT_OPTIONS
from ansible_collections.overssh.swarm.plugins.module_utils._docker.client import connect
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.drain import SwarmDrainEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.engine import SwarmNodeEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.entry import SwarmEntryEngine
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.listed import SwarmListedEngine, listed_of
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.model import LISTED, desired_of, refuse_misplaced
from ansible_collections.overssh.swarm.plugins.module_utils._swarm.settings import SETTINGS

STATES = ["manager", "worker", "left", "drained", "removed", LISTED]


def main() -> None:
    """The node's own part, or the managers' entry of another."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": STATES},
            "advertise_addr": {"type": "str"},
            "listen_addr": {"type": "str"},
            "data_path_addr": {"type": "str"},
            "data_path_port": {"type": "int"},
            "default_addr_pool": {"type": "list", "elements": "str"},
            "subnet_size": {"type": "int"},
            **{name: {"type": "bool" if each.least is None else "int"} for name, each in SETTINGS.items()},
            "rotate_tokens": {
                "type": "list",
                "elements": "str",
                "choices": ["manager", "worker"],
                "default": [],
                "no_log": False,
            },
            "bridge_subnet": {"type": "str"},
            "bridge_mtu": {"type": "int"},
            "bridge_icc": {"type": "bool", "default": False},
            "remote_managers": {"type": "list", "elements": "str", "default": []},
            "join_token": {"type": "str", "no_log": True},
            "manager": {"type": "str"},
            "token_first": {"type": "bool", "default": False, "no_log": False},
            "cluster_id": {"type": "str"},
            "members": {"type": "dict"},
            "availability": {"type": "str", "choices": ["active", "pause", "drain"]},
            "labels": {"type": "dict"},
            "node": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "on_change": {"type": "str", "choices": ["fail", "recreate"], "default": "fail"},
            **WAIT_OPTIONS,
        },
        required_if=[
            ("state", "manager", ["advertise_addr"]),
            ("state", "worker", ["advertise_addr", "remote_managers"]),
            ("state", "drained", ["node"]),
            ("state", "removed", ["node"]),
            ("state", LISTED, ["node"]),
            ("state", LISTED, ["availability", "labels"], True),
        ],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, params: dict[str, Any]) -> Engine[Any]:
    refuse_misplaced(params)
    docker, wait, timeout = connect(params["wait_timeout"]), params["wait"], params["wait_timeout"]
    if params["state"] == "drained":
        return SwarmDrainEngine(docker, params["node"], timeout if wait else None)
    if params["state"] == "removed":
        return SwarmEntryEngine(docker, params["node"], params["force"], timeout if wait else 0)
    if params["state"] == LISTED:
        return SwarmListedEngine(docker, listed_of(params), timeout)
    return SwarmNodeEngine(docker, runner(module), desired_of(params), timeout, wait, module.check_mode)


if __name__ == "__main__":
    main()
