# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transports carry, beside what others use: `make bench`, and docs/transports.md for what it found."""
