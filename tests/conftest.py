# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all folders have."""

pytest_plugins = ["tests.suite.plugin"]
