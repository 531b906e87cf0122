# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One end of a stream link: whole packets between a tun device and the standard input and output of an ssh session.

    python3 -I -B stream dial --device tun1001 --lanes auto --silence 2.5 --peer cloud1 -- ssh -F cloud1.conf cloud1
    python3 -I -B stream serve --device tun1002 --lanes auto

The dialling end runs ssh, once for each lane; the serving end is the command that ssh's key is bound to there. Each
says hello with a line, then frames go both ways: four bytes, of which the first is the kind and the rest the length,
and for a packet what the tun device gives and takes, a virtio-net header and the packet (linux/virtio_net.h). Thanks to
that header a packet may be a TCP segment of 64 KiB that nobody has cut or summed up yet (linux/if_tun.h).

A link of a fixed number of lanes has a process and a queue of the device for each, so that it uses several processors.
One of `--lanes auto` has one process at each end and begins with one lane. Where the window of an ssh session is all
that holds packets back, it opens more, and closes them again once they have been of no use for a while. Packets go by
whichever lane has room and have a number then, by which the far end puts each flow in order.

A peer that says nothing for a while is gone, as each end says at least that it is alive. Whatever goes wrong ends the
process with one line on standard error; whoever runs it starts it again.

Each file here is a room of its own, and knows only those that stand below it or behind it:

    ends                                  which end this is
    dial, serve                           the two of them
    opener, door, session                 where further lanes are from
    link, lane                            what moves packets
    inbound, outbound                     the two ways of a lane
    arrivals, numbering, waiting, flows   the order of packets
    pace, window, carrier                 how many of them are under way
    device, hello, buffers                what is below and between the ends
    wire, words                           what they speak, and what they say of it

Nothing but the standard library, and no room has the name of a part of it. Here and in `words` is nothing that Python
3.6 can't read, so that it can say there what it needs. With -B root leaves no bytecode beside it.
"""

import sys

from words import say

OLDEST_PYTHON = (3, 9)


def main() -> int:
    """Run one end; 0 after a stop, 1 when the session ended, 2 when there can't be one."""
    if sys.version_info < OLDEST_PYTHON:
        say(
            "refused: it takes Python {}.{} or later, and {} is {}.{}".format(
                *OLDEST_PYTHON, sys.executable, *sys.version_info
            )
        )
        return 2
    from ends import run  # noqa: PLC0415 - an older Python could not read it

    return run()


if __name__ == "__main__":
    sys.exit(main())
