#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh_tunnel_info: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_tunnel_info
short_description: Look at a host's links over ssh
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Lists the links that M(overssh.swarm.ssh_tunnel) made on this host, and whether packets cross them.
extends_documentation_fragment:
  - overssh.swarm.attributes.info
options:
  name:
    description:
      - The peer of one link; by default all links are returned.
    type: str
seealso:
  - module: overssh.swarm.ssh_tunnel
"""

EXAMPLES = r"""
- name: Look at the links
  overssh.swarm.ssh_tunnel_info:
  register: tunnels

- name: Name the links that nothing crosses
  ansible.builtin.debug:
    msg: "{{ tunnels.links | selectattr('rtt_ms', 'none') | map(attribute='name') }}"
"""

RETURN = r"""
links:
  description: The links, by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The peer's name.
      type: str
      sample: cloud1
    unit:
      description: The unit that keeps up the link.
      type: str
      sample: overssh-link-cloud1.service
    host:
      description: The peer's name or address.
      type: str
      sample: hub.example.org
    port:
      description: The peer's ssh port.
      type: int
      sample: 2222
    device:
      description: The device of this host.
      type: str
      sample: tun1001
    remote_device:
      description: The device of the peer.
      type: str
      sample: tun1002
    remote_address:
      description: The peer's address in the underlay.
      type: str
      sample: 172.30.0.1
    transport:
      description: The transport, V(stream) or V(tun).
      type: str
      sample: stream
    lanes:
      description: V(auto), or the number of the link's sessions; none where unknown.
      type: raw
      sample: auto
    state:
      description: systemd's word for the unit, such as V(active), V(activating) (it tries again) or V(inactive).
      type: str
      sample: active
    active:
      description: Whether ssh, or the helper that runs it, is running.
      type: bool
      sample: true
    enabled:
      description: Whether the link is started at boot.
      type: bool
      sample: true
    refusals:
      description:
        - The number of the peer's refusals in a row; V(0) while the link is up, or where the last attempt failed for
          another reason.
        - Each refusal doubles the pause before the next attempt.
      type: int
      sample: 0
    restarts:
      description: How often systemd has started it again since the link was started.
      type: int
      sample: 0
    since:
      description: The time of the last start, where it runs.
      type: str
      sample: "2026-01-31T12:00:00Z"
    rtt_ms:
      description: The round trip of a packet to the peer, in milliseconds; none where no answer came.
      type: float
      sample: 0.412
    warnings:
      description: The number of complaints of each kind, as far back as the journal goes.
      type: dict
      contains:
        channel_window_ignored:
          description: Times that C(ssh -w) ended the connection because of its channel's window.
          type: int
          sample: 0
        too_much_data:
          description: Times that C(ssh -w) dropped packets because of its channel's window.
          type: int
          sample: 0
        session_window_full:
          description:
            - Times that the full windows of its ssh sessions limited a stream with a fixed number of lanes.
            - It counts once after each start of the link. C(overssh_lanes=auto) opens further lanes in this case.
          type: int
          sample: 0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import run_info
from ansible_collections.overssh.swarm.plugins.module_utils._linux.icmp import ping
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.info import info


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(argument_spec={"name": {"type": "str"}}, supports_check_mode=True)
    run_info(module, lambda: {"links": info(runner(module), ping, module.params["name"])})


if __name__ == "__main__":
    main()
