# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for sh that rolls back a change which nobody confirmed, and removes its own units.

The timer runs it, or the next boot. Nothing else may be left that lets anybody reach the host again.

Its variables:

folder: the checkpoint's own; its file commands restores the host
units: the folder of units; service, timer: the names of the two that run this program
"""

PROGRAM = r"""# Rolls back a change that nobody confirmed. Written by overssh.swarm.
sh "$folder/commands"
rm -f "$units/$service" "$units/$timer" "$units"/*.wants/"$service"
systemctl daemon-reload
date +%s >"$folder/rolled_back"
"""
