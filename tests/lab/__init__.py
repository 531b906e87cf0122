# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of real nodes: system containers with systemd, sshd, dockerd, nftables and tun.

``python3 -m tests.lab up|down|status|exec`` from the top of the checkout; CONTRIBUTING says how it is used.
"""
