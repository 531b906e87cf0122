#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tun_interface_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tun_interface_info
short_description: The tun devices of a host
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Lists all tun devices of a host, including foreign ones, with their addresses and routes.
requirements:
  - Python library C(pyroute2) 0.7 or later (Debian's package python3-pyroute2)
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options: {}
seealso:
  - module: overssh.swarm.tun_interface
"""

EXAMPLES = r"""
- name: Look at the tun devices
  overssh.swarm.tun_interface_info:
  register: tun

- name: Show the names of ours
  ansible.builtin.debug:
    msg: "{{ tun.devices | selectattr('ours') | map(attribute='name') }}"
"""

RETURN = r"""
devices:
  description: The devices, each as M(overssh.swarm.tun_interface) returns it.
  returned: success
  type: list
  elements: dict
  sample:
    - name: tun1001
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
      carrier: true
      forwarding: false
      forwarding6: false
      failover: false
      incoming_table: null
      multi_queue: false
left_alone:
  description:
    - Settings that C(overssh-watch.service) leaves alone for now, because others undid them again and again.
  returned: success
  type: list
  elements: dict
  contains:
    device:
      description: The device.
      type: str
      sample: tun1001
    what:
      description: The setting, in words.
      type: str
      sample: the route 172.30.0.0/16 src 172.30.0.2 metric 2000
    by:
      description: The program that undid it, as far as the kernel says.
      type: str
      sample: NetworkManager (process 812)
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._tun.info import info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_info(module, info)


if __name__ == "__main__":
    main()
