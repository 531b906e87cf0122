#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tun_interface: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tun_interface
short_description: Persistent tun devices for tunnels over ssh
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Makes or removes a tun device with its owner, addresses, routes and settings.
  - The device is persistent, so addresses and routes stay while no tunnel runs over it, and an unprivileged account can
    run the tunnel.
  - A systemd unit makes it again at boot, before Docker starts. One process for the whole host,
    C(overssh-watch.service), undoes changes by others within seconds. Files for systemd-networkd and NetworkManager
    have them leave the device alone.
  - The alias C(overssh DESCRIPTION) marks a device as ours. A foreign device is left alone, unless
    O(on_change=recreate).
requirements:
  - Python library C(pyroute2) 0.7 or later (Debian's package python3-pyroute2)
  - iproute2
extends_documentation_fragment:
  - overssh.swarm.attributes
options:
  name:
    description:
      - The device. OpenSSH opens devices named C(tunN) only.
      - Use O(interfaces) for several devices in one task.
    type: str
  state:
    description:
      - Whether the device should exist.
    type: str
    choices: [present, absent]
    default: present
  all:
    description:
      - Removes every device of ours from the host, and the units that would make them again at boot.
      - Only with O(state=absent), and without O(name) and O(interfaces).
    type: bool
    default: false
  description:
    description:
      - A description, such as the name of the node at the other end; by default the device's name.
      - One line without quotes, backslash, C(%) and C($), of at most 247 bytes.
    type: str
    default: ""
  owner:
    description:
      - The account that may run a tunnel over the device; by default only root.
    type: str
  group:
    description:
      - A group whose members may run a tunnel over the device, too.
    type: str
  mtu:
    description:
      - The largest packet in bytes, from 576 to 65535, which is the kernel's limit. IPv6 takes 1280 or more.
      - Over C(ssh -w) it takes 16380 or less, at both ends. A larger packet would be lost in OpenSSH's buffer, and
        every packet after it too. A stream carries packets of any size, see
        O(overssh.swarm.ssh_tunnel#module:transport).
    type: int
    default: 1500
  txqueuelen:
    description:
      - The number of packets that may queue for the tunnel.
    type: int
    default: 500
  addresses:
    description:
      - The device's addresses. Other addresses are removed, except IPv6 link-local ones.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description:
          - This end's address, such as V(172.30.0.2); with a prefix length where there is no O(addresses[].peer).
        type: str
        required: true
      peer:
        description:
          - The other end's address.
        type: str
  routes:
    description:
      - The routes through the device. Other routes are removed, except the kernel's own.
    type: list
    elements: dict
    default: []
    suboptions:
      destination:
        description:
          - The network behind the tunnel, such as V(172.30.0.0/16).
        type: str
        required: true
      source:
        description:
          - The address that packets of this host leave with.
          - Docker's VXLAN needs it where the node's address is not the device's own.
        type: str
      metric:
        description:
          - The route's metric. Of several routes to one network the lowest metric wins.
        type: int
      via:
        description:
          - The next hop, where there is one.
        type: str
      table:
        description:
          - The routing table's number; by default the main one, 254.
        type: int
  up:
    description:
      - Whether the device is up. It has no carrier without a tunnel, even if it is up.
    type: bool
    default: true
  forwarding:
    description:
      - Whether the host forwards IPv4 packets that come in over this device, independent of its other devices.
      - Left as it is, unless given.
      - On a host that did not forward before, Docker switches forwarding on for every device when it starts. There
        V(false) lasts until the next boot, and the next run sets it again.
    type: bool
  forwarding6:
    description:
      - Whether the host forwards IPv6 packets that come in over this device. Left as it is, unless given.
      - Linux has this setting by device from 6.17 on. An older kernel forwards IPv6 for the whole host or not at all,
        and a host that begins to forward may lose addresses and routes from its router. With such a kernel this option
        is an error, unless the host's C(net.ipv6.conf.all.forwarding) has the value already.
    type: bool
  failover:
    description:
      - Whether routes through this device are ignored while no tunnel runs over it. Then a route through another
        device, with a higher metric or to a larger network, takes over at once.
      - Packets may then come in over one device while answers leave over another, so the kernel's check of their
        source (C(rp_filter)) is made loose for this device. V(false) gives it the host's default.
      - Left as it is, unless given.
    type: bool
  incoming_table:
    description:
      - The only routing table for forwarding packets that come in over this device. Packets without a route in it are
        refused. Packets for this host itself arrive in any case.
      - Nodes that forward for each other should have only routes to their neighbours in this table. Then no packet
        loops between two nodes that both can't reach its target.
      - The module adds two rules for each address family, with priorities 7946 and 7947, see C(ip rule).
      - By default the host's usual rules hold.
    type: int
  multi_queue:
    description:
      - Whether the device has several queues. A link of two lanes and more needs them; a link of lanes V(auto), and
        C(ssh -w), can't open such a device.
      - A device of the other kind is replaced, and a link over it ends. While a link runs over it, that needs
        O(on_change=recreate).
    type: bool
    default: false
  persist:
    description:
      - Whether the device is made again when the host boots.
    type: bool
    default: true
  on_change:
    description:
      - What to do where a device of that name exists and can't be changed. Such a device is foreign, or lacks flags
        that OpenSSH needs, or is in use with another O(multi_queue), or has an O(owner) or O(group) that has to go.
      - V(fail) names the reason. V(recreate) replaces the device.
    type: str
    choices: [fail, recreate]
    default: fail
  interfaces:
    description:
      - Several devices in one task, each with the same options. Where one fails, all are restored to their previous
        state.
      - Mutually exclusive with O(name). All other options belong in the list's entries.
      - Each entry is a dictionary with a O(name) and any of a device's options, including O(state).
    type: list
    elements: dict
seealso:
  - module: overssh.swarm.tun_interface_info
  - module: overssh.swarm.ssh_tunnel
"""

EXAMPLES = r"""
- name: The device of an edge's link to its hub
  overssh.swarm.tun_interface:
    name: tun1001
    description: cloud1
    owner: overssh
    group: overssh
    addresses:
      - address: 172.30.0.2
        peer: 172.30.0.1
    routes:
      - destination: 172.30.0.0/16
        source: 172.30.0.2

- name: The device of its link to a second hub, which takes over when the first link ends
  overssh.swarm.tun_interface:
    name: tun1003
    description: cloud2
    owner: overssh
    group: overssh
    addresses:
      - address: 172.30.0.2
        peer: 172.30.0.3
    routes:
      - destination: 172.30.0.0/16
        source: 172.30.0.2
        metric: 100
    failover: true

- name: The hub's end of it, which passes packets on to other tunnels, of both address families
  overssh.swarm.tun_interface:
    name: tun1002
    description: edge1
    owner: overssh
    group: overssh
    addresses:
      - address: 172.30.0.1
        peer: 172.30.0.2
      - address: fd8a:91c4:6e27::1
        peer: fd8a:91c4:6e27::2
    forwarding: true
    forwarding6: true

- name: One for a link of two lanes, and of the largest packets that a stream can take
  overssh.swarm.tun_interface:
    name: tun1001
    description: cloud1
    owner: overssh
    group: overssh
    addresses:
      - address: 172.30.0.2
        peer: 172.30.0.1
    mtu: 65000
    multi_queue: true

- name: All devices of a hub in one task, and one that is not wanted any more
  overssh.swarm.tun_interface:
    interfaces:
      - name: tun1002
        description: edge1
        owner: overssh
        group: overssh
        addresses:
          - address: 172.30.0.1
            peer: 172.30.0.2
        forwarding: true
      - name: tun1003
        description: edge2
        owner: overssh
        group: overssh
        addresses:
          - address: 172.30.0.1
            peer: 172.30.0.3
        forwarding: true
      - name: tun1004
        state: absent

- name: Remove a device
  overssh.swarm.tun_interface:
    name: tun1002
    state: absent
"""

RETURN = r"""
device:
  description: The device O(name); none where there is none.
  returned: success, with O(name)
  type: dict
  sample:
    name: tun1001
    ours: true
    description: cloud1
    owner: overssh
    group: overssh
    mtu: 1500
    txqueuelen: 500
    addresses: [{"address": "172.30.0.2", "prefix": 32, "peer": "172.30.0.1"}]
    routes:
      - {"destination": "172.30.0.0/16", "source": "172.30.0.2", "metric": 0, "via": null, "table": 254}
    up: true
    carrier: false
    forwarding: false
    forwarding6: false
    failover: false
    incoming_table: null
    multi_queue: false
unit:
  description: The systemd unit that makes it again at boot; none where there is none.
  returned: success, with O(name)
  type: str
  sample: overssh-tun1001.service
devices:
  description: The existing devices of O(interfaces), in this order, each as RV(device) with its RV(unit).
  returned: success, with O(interfaces)
  type: list
  elements: dict
  sample:
    - name: tun1002
      ours: true
      description: edge1
      owner: overssh
      group: overssh
      mtu: 1500
      txqueuelen: 500
      addresses: [{"address": "172.30.0.1", "prefix": 32, "peer": "172.30.0.2"}]
      routes: []
      up: true
      carrier: false
      forwarding: true
      forwarding6: false
      failover: false
      incoming_table: null
      multi_queue: false
      unit: overssh-tun1002.service
steps:
  description: What was done, or in check mode would be done, in words.
  returned: success
  type: list
  elements: str
  sample: ["create the device tun1001", "add the address 172.30.0.2 peer 172.30.0.1/32 to tun1001"]
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.several import checked, named_once
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd
from ansible_collections.overssh.swarm.plugins.module_utils._tun.engine import (
    TunInterfaceEngine,
    TunInterfaceEngines,
    Watched,
)
from ansible_collections.overssh.swarm.plugins.module_utils._tun.managers import Managers
from ansible_collections.overssh.swarm.plugins.module_utils._tun.model import Desired, address_from, route_from
from ansible_collections.overssh.swarm.plugins.module_utils._tun.observe import our_names

ADDRESS = {"address": {"type": "str", "required": True}, "peer": {"type": "str"}}
ROUTE = {
    "destination": {"type": "str", "required": True},
    "source": {"type": "str"},
    "metric": {"type": "int"},
    "via": {"type": "str"},
    "table": {"type": "int"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "description": {"type": "str", "default": ""},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mtu": {"type": "int", "default": 1500},
    "txqueuelen": {"type": "int", "default": 500},
    "addresses": {"type": "list", "elements": "dict", "default": [], "options": ADDRESS},
    "routes": {"type": "list", "elements": "dict", "default": [], "options": ROUTE},
    "up": {"type": "bool", "default": True},
    "forwarding": {"type": "bool"},
    "forwarding6": {"type": "bool"},
    "failover": {"type": "bool"},
    "incoming_table": {"type": "int"},
    "multi_queue": {"type": "bool", "default": False},
    "persist": {"type": "bool", "default": True},
    "on_change": {"type": "str", "choices": ["fail", "recreate"], "default": "fail"},
}


def desired_from(options: Mapping[str, Any]) -> Desired:
    """The device that these options ask for; OversshError for what is none."""
    rest = {name: options[name] for name in OPTIONS if name not in ("state", "addresses", "routes")}
    return Desired(
        name=options["name"],
        present=options["state"] == "present",
        addresses=tuple(dict.fromkeys(map(address_from, options["addresses"]))),
        routes=tuple(dict.fromkeys(map(route_from, options["routes"]))),
        **rest,
    )


def wanted_of(params: Mapping[str, Any]) -> list[Desired]:
    """The device that the options describe, or each of the list, or each that is there."""
    if params["all"]:
        if params["state"] != "absent":
            raise OversshError("all removes every device of ours; it goes with state: absent")
        return [desired_from({**params, "name": name}) for name in our_names()]
    several = params["interfaces"]
    return list(map(desired_from, [params] if several is None else checked(several, OPTIONS, "interfaces")))


def main() -> None:
    """Wire the arguments to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            **OPTIONS,
            "interfaces": {"type": "list", "elements": "dict"},
            "all": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("name", "interfaces")],
        required_one_of=[("name", "interfaces", "all")],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, params: Mapping[str, Any]) -> Watched:
    command, ip, name = runner(module), module.get_bin_path("ip", required=True), params["name"]
    systemd, managers = Systemd(command), Managers(command)
    wanted = named_once(wanted_of(params), "interfaces")
    devices = (
        TunInterfaceEngines(systemd, wanted, ip, managers, module.check_mode)
        if name is None
        else TunInterfaceEngine(systemd, wanted[name], ip, managers, module.check_mode)
    )
    return Watched(devices, systemd, wanted, managers)


if __name__ == "__main__":
    main()
