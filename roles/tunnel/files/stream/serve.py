# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The serving end."""

from __future__ import annotations

import argparse
import os
import re
from typing import NoReturn

from carrier import carrier_here
from device import discard, mtu_of, open_device, release, take_over
from door import DOOR, Door, hand_over
from hello import check_hello, hear_hello, readable, say_hello
from link import Link
from wire import AUTO, HELLO_SECONDS
from words import EndedError, RefusedError


def serve(options: argparse.Namespace) -> NoReturn:
    """The serving end of one lane, on standard input and output."""
    who = "the dialling end"
    facts = hear_hello(0, who, HELLO_SECONDS)
    connection = os.environ.get("SSH_CONNECTION", "")
    try:
        check_hello(facts, options.lanes, who)
        lane, silence, link = facts.get("lane"), facts.get("silence"), facts.get("link", "")
        if (
            not isinstance(lane, int)
            or not isinstance(silence, (int, float))
            or not 0.1 <= silence <= 86400
            or not re.fullmatch("[0-9a-f]{32}" if options.lanes == AUTO else "", str(link))
        ):
            raise RefusedError(f"the hello of {who} makes no sense")
        if options.lanes == AUTO and lane > 0:
            hand_over(DOOR.format(options.device, link), connection)
        mtu = mtu_of(options.device)
        if lane == 0:
            take_over(options.device)
        device = open_device(options.device, options.lanes)
    except (RefusedError, EndedError) as reason:
        say_hello(1, **{"refused" if isinstance(reason, RefusedError) else "ended": str(reason)})
        raise
    try:
        growth = Door(DOOR.format(options.device, link)) if options.lanes == AUTO else None
        say_hello(1, lanes=options.lanes)
        # The first frame says that all lanes are there.
        if not readable(0, HELLO_SECONDS):
            raise EndedError(f"{who} has said nothing for {HELLO_SECONDS:g} s")
        discard(device)
        Link(device, 0, 1, who, silence, mtu, carrier_here(connection), growth).run(lambda: None)
    finally:
        release(device)
