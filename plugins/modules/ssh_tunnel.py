#!/usr/bin/python
# SPDX-FileCopyrightText: overssh.swarm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh_tunnel: documentation and main."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_tunnel
short_description: Links to other hosts over ssh, kept up by systemd
version_added: 0.1.0
author:
  - overssh.swarm contributors (@overssh)
description:
  - Connects a tun device of this host with one of a peer over ssh, and keeps up the connection.
  - Either a helper at each end of an ordinary ssh session carries the packets, or C(ssh -w); see O(transport). Unit,
    states and return values are the same for both.
  - The link is the unit C(overssh-link-NAME.service). It runs as an account without privileges, in a sandbox. After
    each end, systemd starts it again within a second.
  - ssh's configuration is C(/etc/overssh/links/NAME.conf), and the peer's host keys are in
    C(/etc/overssh/links/NAME.known_hosts). No other configuration and no other host keys are read.
  - Both devices have to exist. The accounts that run ssh and the peer's session have to own them; see
    M(overssh.swarm.tun_interface).
requirements:
  - OpenSSH 8.3 or later on this host; from 8.5 on a failure is explained in more detail
  - systemd 240 or later
  - Python 3.9 or later and util-linux (C(setpriv)) for O(transport=stream) and O(watchdog)
extends_documentation_fragment:
  - overssh.swarm.attributes
  - overssh.swarm.wait
options:
  name:
    description:
      - The peer's name. The unit, the files and the host keys have it too.
      - Letters, digits, C(.), C(_) and C(-), with a letter or a digit first.
      - Use O(links) for several links in one task.
    type: str
  state:
    description:
      - V(started) starts the link, now and at boot. A link whose files change is restarted.
      - V(restarted) always restarts it.
      - V(stopped) stops it, now and at boot, and keeps its files.
      - V(absent) removes it.
      - V(stopped) and V(absent) need only names, and accept unknown links.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  all:
    description:
      - Removes every link of ours from the host, whatever its name.
      - Only with O(state=absent), and without O(name) and O(links).
    type: bool
    default: false
  host:
    description:
      - The peer's name or address. Required to start.
    type: str
  port:
    description:
      - The peer's ssh port.
    type: int
    default: 22
  user:
    description:
      - The account on the peer.
    type: str
    default: overssh
  run_as:
    description:
      - The account on this host that ssh runs as.
    type: str
    default: overssh
  identity_file:
    description:
      - The private key on this host, without a passphrase, readable by O(run_as) only. Required to start.
    type: path
  host_keys:
    description:
      - The peer's public host keys, each as a line such as C(ssh-ed25519 AAAA...). Required to start.
      - A peer with another key is refused.
    type: list
    elements: str
  jumps:
    description:
      - Jump hosts of the connection (ssh's C(ProxyJump)), in this order, for a peer that can't be dialled directly.
      - O(user) and O(identity_file) hold for them too, so they have to accept that account and key. Their sshd has to
        forward connections to the next host, and needs nothing else.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - A name for the host, different from the other hosts' and the peer's.
        type: str
        required: true
      host:
        description:
          - The host's name or address, as seen from the previous host.
        type: str
        required: true
      port:
        description:
          - The host's ssh port.
        type: int
        default: 22
      host_keys:
        description:
          - Its public host keys, like O(host_keys).
        type: list
        elements: str
        required: true
  device:
    description:
      - The tun device of this host. ssh opens devices named C(tunN) only. Required to start.
      - It has to be of several queues where O(lanes) is a number above 1, and of one otherwise.
    type: str
  remote_device:
    description:
      - The tun device of the peer. Required to start.
    type: str
  remote_address:
    description:
      - The peer's address in the underlay, for pings through O(device). Required to start.
    type: str
  transport:
    description:
      - V(stream) runs O(helper) at both ends of an ordinary ssh session, which carries whole packets between the device
        and that session, many at once. It is several times as fast as V(tun), and takes packets of any size.
      - The peer needs sshd and Python, and no C(PermitTunnel). Its account needs a shell such as C(/bin/sh), and the
        authorized key the command C(python3 -I -B /usr/local/lib/overssh/stream serve --device tunN --lanes auto),
        with the O(lanes) of this host.
      - V(tun) is C(ssh -w), which needs no more than sshd at the peer, with C(PermitTunnel point-to-point). A device
        with an MTU above 16380 is refused, as every packet from the first one of more bytes on would be lost in
        OpenSSH's buffer.
    type: str
    choices: [stream, tun]
    default: stream
  lanes:
    description:
      - The number of the link's ssh sessions, from 1 to 16, or V(auto).
      - An ssh session carries no more than 2 MiB a round trip, which is 168 Mbit/s at 100 ms. With V(auto) the link
        begins with one session, opens up to 7 more where that limit is reached, and closes them again after a minute
        without use. One connection over the link may use all of them.
      - A number above 1 is the constant number of sessions. Each has processes and a queue of O(device) of its own, so
        several connections over the link can use several processors. One connection stays on one session.
      - Where a further session can't be opened, the link goes on with those it has.
      - The peer has to serve the same number. V(tun) always has one session, also with V(auto).
    type: str
    default: auto
  python:
    description:
      - The Python on this host that runs O(helper).
    type: path
    default: /usr/bin/python3
  helper:
    description:
      - The program on this host that carries a stream. The role C(tunnel) installs it. A link whose helper changes is
        restarted.
      - In check mode it may be missing, because the same run may install it.
    type: path
    default: /usr/local/lib/overssh/stream
  watchdog:
    description:
      - Whether a tunnel of O(transport=tun) is restarted after O(keepalive_interval) times O(keepalive_count) seconds
        without packets, if packets crossed it before. ssh itself does not notice that, because its connection goes on.
      - The watchdog is the program C(watch.py) beside O(helper), run with O(python). It pings O(remote_address) where
        the host allows accounts to ping (C(net.ipv4.ping_group_range), as systemd sets it). Then it also notices a
        tunnel that is dead in one direction only.
      - A stream's helper needs no watchdog.
    type: bool
    default: true
  keepalive_interval:
    description:
      - After how many seconds of silence ssh asks the peer for a sign of life.
    type: int
    default: 1
  keepalive_count:
    description:
      - The number of unanswered requests after which ssh gives up and connects anew. A stream's helper gives up an
        interval earlier.
    type: int
    default: 3
  connect_timeout:
    description:
      - For how many seconds ssh waits for a connection.
    type: int
    default: 10
  ciphers:
    description:
      - Ciphers in order of preference. ssh uses the first one that the peer has too.
      - The default begins with AES-GCM where this host's processor has instructions for AES, and with ChaCha20
        elsewhere.
    type: list
    elements: str
  extra_options:
    description:
      - More options of C(ssh_config(5)), by name, for instance C(ProxyCommand). A list gives the option several times.
      - They replace settings of the module that have no option of their own. Settings with an own option are refused
        here.
    type: dict
    default: {}
  links:
    description:
      - Several links in one task, each with the same options. O(state), O(wait) and O(wait_timeout) hold for all.
      - All start together. Where one fails, all are restored to their previous state.
      - Mutually exclusive with O(name). All other options belong in the list's entries.
      - Each entry is a dictionary with a O(name) and a link's options, from O(host) to O(extra_options).
    type: list
    elements: dict
notes:
  - With O(wait=true) success means that a packet came back through the device. An ICMP error from the peer's firewall
    counts, as it has crossed the link too.
  - A wrong host key, a refused key, a refused tunnel, and a refusal by a helper are reported when they occurred twice,
    without any further waiting.
  - A helper that is missing on this host or that O(run_as) can't run, and an unsuitable device, are reported before any
    change. The device is not checked in check mode.
  - From 9.8 on, sshd shuts an address out for some time after failed logins (C(PerSourcePenalties)). All hosts behind
    one NAT share that address. So the pause before the next attempt grows after each refusal of this host (of its key,
    or of every login for a while) and after a wrong host key, from 5 seconds to 10, 20 and so on up to 5 minutes. A
    peer that can't be reached is dialled every second. A run of this module, or C(systemctl restart) of the unit, dials
    at once.
seealso:
  - module: overssh.swarm.ssh_tunnel_info
  - module: overssh.swarm.tun_interface
"""

EXAMPLES = r"""
- name: Dial the hub
  overssh.swarm.ssh_tunnel:
    name: cloud1
    host: hub.example.org
    port: 2222
    identity_file: /etc/overssh/keys/id_ed25519
    host_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINx1xCXDXEWPFn11Cn4wa4G1pykEpmXCUPVRAiSIfU4H
    device: tun1001
    remote_device: tun1002
    remote_address: 172.30.0.1

- name: Dial it with two ssh sessions that share one device of several queues
  overssh.swarm.ssh_tunnel:
    name: cloud1
    host: hub.example.org
    identity_file: /etc/overssh/keys/id_ed25519
    host_keys: "{{ hub_host_keys }}"
    device: tun1001
    remote_device: tun1002
    remote_address: 172.30.0.1
    lanes: 2

- name: Dial a hub without Python by ssh -w
  overssh.swarm.ssh_tunnel:
    name: cloud1
    host: hub.example.org
    identity_file: /etc/overssh/keys/id_ed25519
    host_keys: "{{ hub_host_keys }}"
    device: tun1001
    remote_device: tun1002
    remote_address: 172.30.0.1
    transport: tun

- name: Dial it through a jump host
  overssh.swarm.ssh_tunnel:
    name: cloud1
    host: 10.0.0.5
    identity_file: /etc/overssh/keys/id_ed25519
    host_keys: "{{ hub_host_keys }}"
    device: tun1001
    remote_device: tun1002
    remote_address: 172.30.0.1
    jumps:
      - name: bastion
        host: bastion.example.org
        host_keys: "{{ bastion_host_keys }}"

- name: Dial two hubs
  overssh.swarm.ssh_tunnel:
    links:
      - name: cloud1
        host: hub.example.org
        identity_file: /etc/overssh/keys/id_ed25519
        host_keys: "{{ hub_host_keys }}"
        device: tun1001
        remote_device: tun1003
        remote_address: 172.30.0.1
      - name: cloud2
        host: hub2.example.org
        identity_file: /etc/overssh/keys/id_ed25519
        host_keys: "{{ hub2_host_keys }}"
        device: tun1002
        remote_device: tun1003
        remote_address: 172.30.0.2

- name: Remove the link
  overssh.swarm.ssh_tunnel:
    name: cloud1
    state: absent

- name: Remove all links of this host
  overssh.swarm.ssh_tunnel:
    all: true
    state: absent
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be done.
  returned: always
  type: list
  elements: str
  sample: ["write overssh-link-cloud1.service", "start the link to cloud1"]
peer:
  description: O(name).
  returned: always, with O(name)
  type: str
  sample: cloud1
host:
  description: The peer's name or address.
  returned: always, with O(name)
  type: str
  sample: hub.example.org
port:
  description: The peer's ssh port.
  returned: always, with O(name)
  type: int
  sample: 2222
transport:
  description: The transport, V(stream) or V(tun).
  returned: always, with O(name)
  type: str
  sample: stream
lanes:
  description: V(auto), or the number of the link's sessions.
  returned: always, with O(name)
  type: raw
  sample: auto
unit:
  description: The unit that keeps up the link.
  returned: always, with O(name)
  type: str
  sample: overssh-link-cloud1.service
device:
  description: The device of this host.
  returned: always, with O(name)
  type: str
  sample: tun1001
remote_device:
  description: The device of the peer.
  returned: always, with O(name)
  type: str
  sample: tun1002
remote_address:
  description: The peer's address in the underlay.
  returned: always, with O(name)
  type: str
  sample: 172.30.0.1
active:
  description: Whether ssh, or the helper that runs it, is running.
  returned: always, with O(name)
  type: bool
  sample: true
restarts:
  description: How often systemd has started it again since the link was started.
  returned: always, with O(name)
  type: int
  sample: 0
since:
  description: The time of the last start, where it runs.
  returned: always, with O(name)
  type: str
  sample: "2026-01-31T12:00:00Z"
started:
  description: Whether this task has started or restarted it.
  returned: always, with O(name)
  type: bool
  sample: true
rtt_ms:
  description:
    - The shortest round trip of a few small packets, in milliseconds; none where O(wait=false).
  returned: always, with O(name)
  type: float
  sample: 0.412
mbit_s:
  description:
    - The link's speed in megabits a second. Packets as large as the device's MTU measure it for up to two seconds, when
      the link is up for the first time. A large packet occupies a slow line for long.
    - The measurement ends at the speed at which a packet occupies the line for less than 13 ms, which is 40 Mbit/s for
      packets of 65000 bytes. So the value is a lower bound for a fast line.
    - The value is kept until the link restarts. None where no such packet came back, and where O(wait=false).
  returned: always, with O(name)
  type: float
  sample: 41.3
links:
  description: The links of O(links), in this order, or those that were removed, each with all of the above.
  returned: always, with O(links) and with O(all=true)
  type: list
  elements: dict
  sample:
    - peer: cloud1
      host: hub.example.org
      port: 22
      transport: stream
      lanes: auto
      unit: overssh-link-cloud1.service
      device: tun1001
      remote_device: tun1003
      remote_address: 172.30.0.1
      active: true
      restarts: 0
      since: "2026-01-31T12:00:00Z"
      started: true
      rtt_ms: 0.412
      mbit_s: 41.3
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_required_if
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import runner
from ansible_collections.overssh.swarm.plugins.module_utils._core.engine import Engine, run_module
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._core.several import checked, named_once
from ansible_collections.overssh.swarm.plugins.module_utils._core.wait import WAIT_OPTIONS
from ansible_collections.overssh.swarm.plugins.module_utils._linux.systemd import Systemd
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.engine import (
    Desired,
    Local,
    SshTunnelEngine,
    SshTunnelEngines,
    desired_of,
)
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.info import found_names
from ansible_collections.overssh.swarm.plugins.module_utils._tunnel.lanes import AUTO

NEEDED = ["host", "identity_file", "host_keys", "device", "remote_device", "remote_address"]
REQUIRED_IF = [("state", "started", NEEDED), ("state", "restarted", NEEDED)]

JUMP = {
    "name": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 22},
    "host_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
}
LINK: dict[str, dict[str, Any]] = {
    "host": {"type": "str"},
    "port": {"type": "int", "default": 22},
    "user": {"type": "str", "default": "overssh"},
    "run_as": {"type": "str", "default": "overssh"},
    "identity_file": {"type": "path"},
    "host_keys": {"type": "list", "elements": "str", "no_log": False},
    "jumps": {"type": "list", "elements": "dict", "default": [], "options": JUMP},
    "device": {"type": "str"},
    "remote_device": {"type": "str"},
    "remote_address": {"type": "str"},
    "transport": {"type": "str", "choices": ["stream", "tun"], "default": "stream"},
    "lanes": {"type": "str", "default": AUTO},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "helper": {"type": "path", "default": "/usr/local/lib/overssh/stream"},
    "watchdog": {"type": "bool", "default": True},
    "keepalive_interval": {"type": "int", "default": 1, "no_log": False},
    "keepalive_count": {"type": "int", "default": 3, "no_log": False},
    "connect_timeout": {"type": "int", "default": 10},
    "ciphers": {"type": "list", "elements": "str"},
    "extra_options": {"type": "dict", "default": {}},
}


def wanted_of(params: Mapping[str, Any], local: Local) -> Iterator[Desired]:
    """The link that the options describe, or each of the list, or each that is there."""
    shared = {name: params[name] for name in ("state", *WAIT_OPTIONS)}
    if params["all"]:
        if params["state"] != "absent":
            raise OversshError("all removes every link of ours; it goes with state: absent")
        yield from (desired_of({**params, "name": name}, local) for name in found_names())
        return
    for link in [params] if params["links"] is None else checked(params["links"], LINK, "links"):
        options = {**link, **shared}
        try:
            # It goes by what is there, and a module's options are all there, None where the user left one out.
            check_required_if(REQUIRED_IF, {name: value for name, value in options.items() if value is not None})
        except TypeError as error:
            raise OversshError(str(error) if params["links"] is None else f"links: {link['name']}: {error}") from error
        yield desired_of(options, local)


def main() -> None:
    """Wire the options to the engine."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "all": {"type": "bool", "default": False},
            **LINK,
            "links": {"type": "list", "elements": "dict"},
            **WAIT_OPTIONS,
        },
        mutually_exclusive=[("name", "links")],
        required_one_of=[("name", "links", "all")],
        supports_check_mode=True,
    )
    run_module(module, lambda: _engine(module, module.params))


def _engine(module: AnsibleModule, params: Mapping[str, Any]) -> Engine[Any]:
    host, name = runner(module), params["name"]
    links = named_once(wanted_of(params, Local(host, module.check_mode)), "links")
    return SshTunnelEngines(links, host) if name is None else SshTunnelEngine(links[name], host, Systemd(host))


if __name__ == "__main__":
    main()
