# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that rolls back a change which nobody confirmed, and removes its own units.

It runs when the time is over or at the next boot, and may be all that gives the way to a host back.

Its variables:

folder: the checkpoint's own; its file commands has what brings the host back
units: the folder of units; service, timer: the names of the two that run this program
"""

PROGRAM = r"""# Rolls back a change that nobody confirmed. Written by overssh.swarm.
sh "$folder/commands"
rm -f "$units/$service" "$units/$timer" "$units"/*.wants/"$service"
systemctl daemon-reload
date +%s >"$folder/rolled_back"
"""
