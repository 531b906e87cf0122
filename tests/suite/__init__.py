# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tests run side by side, and what they take: one job is one lab's scenarios, the unit tests, the linters, …"""
