# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the two ends speak: a line of each for a hello, then frames."""

from __future__ import annotations

import struct

# Both have to have the same.
VERSION = "1"
HELLO = b"OVERSSH-STREAM "
LONGEST_HELLO = 4096
# ssh has its own time-out for the connection; this one is for everything until the far end's helper answers.
HELLO_SECONDS = 60.0
# What a hello has for the lanes of a link that opens them by itself.
AUTO = "auto"

HEAD = struct.Struct("!I")
# A question has the time at which it left, an answer how long the question was on its way, both in microseconds of
# clocks that have nothing to do with each other: only how that changes says something.
QUESTION, REPLY = struct.Struct("!IQ"), struct.Struct("!Iq")
PACKET, BEAT, ASK, ANSWER = 0x50, 0x42, 0x41, 0x52
# A packet with a number: its own, and how far before it the one is that it follows, 0 where it need not wait for any.
NUMBERED, NUMBER = 0x4E, struct.Struct("!QI")
# This end has more to send than its lanes take, sends nothing more over this lane, has given up all but the first.
WANT, LEAVE, CUT = 0x57, 0x4C, 0x43
LENGTHS = {BEAT: 0, ASK: QUESTION.size - HEAD.size, ANSWER: REPLY.size - HEAD.size, WANT: 0, LEAVE: 0, CUT: 0}
NO_TIME = 1 << 62
LENGTH = 0xFFFFFF
VNET_HEADER = 10
LARGEST = VNET_HEADER + 65535
SMALLEST = VNET_HEADER + 1

# What an ssh session may have under way is OpenSSH's own (channels.h, CHAN_SES_WINDOW_DEFAULT).
SESSION_WINDOW = 2 * 1024 * 1024
