# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic from a container, as a program in it: `serve` answers, `send ADDRESS` asks many times a second.

send does so on one TCP connection and by UDP until its standard input ends, and prints as JSON what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import sys
import time
from typing import Any

ANYWHERE = "0.0.0.0"  # noqa: S104 (its one network is the overlay)
PORT = 5000
EVERY = 0.02
QUESTION = b"question"
# Seconds: it goes on after the end for so long, what is on its way then still comes, and nobody waits for ever.
GRACE, SETTLE, LONGEST = 3.0, 5.0, 600.0


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._transport.sendto(data, address)  # type: ignore[attr-defined]


async def _serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=(ANYWHERE, PORT))
    server = await asyncio.start_server(answer, ANYWHERE, PORT)
    await server.serve_forever()


class _Account:
    """Which of the numbered questions were answered, and the longest time without an answer, in seconds."""

    def __init__(self) -> None:
        self.asked, self.answered, self.longest = 0, 0, 0.0
        self._last = time.monotonic()

    def answers(self, count: int) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now
        self.answered += count

    def told(self, until: float) -> dict[str, Any]:
        longest = max(self.longest, until - self._last)
        return {"asked": self.asked, "answered": self.answered, "longest_s": round(longest, 3)}


def _connected(address: str) -> socket.socket:
    """Docker's gossip may need a while to spread the news of the other container."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=2)
        except OSError:
            if time.monotonic() > deadline:
                raise


def _send(address: str) -> dict[str, Any]:
    with _connected(address) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect((address, PORT))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in (tcp, udp):
            each.setblocking(False)
        sys.stderr.write("begun\n")
        accounts = {"tcp": _Account(), "udp": _Account()}
        ends, following, received, broken = time.monotonic() + LONGEST, time.monotonic(), 0, ""
        while (now := time.monotonic()) < ends or (
            now < ends + SETTLE and any(each.answered < each.asked for each in accounts.values())
        ):
            if ends > now + GRACE and select.select([sys.stdin], [], [], 0)[0]:
                ends = now + GRACE
            if following <= now < ends:
                following += EVERY
                for name, each in (("tcp", tcp), ("udp", udp)):
                    with contextlib.suppress(OSError):  # no way there at the moment is what is measured
                        each.send(QUESTION)
                        accounts[name].asked += 1
            try:
                if data := tcp.recv(1 << 16):
                    received += len(data)
                    accounts["tcp"].answers(received // len(QUESTION) - accounts["tcp"].answered)
                else:
                    broken = broken or "the connection was closed"
            except BlockingIOError:
                pass
            except OSError as error:
                broken = broken or str(error)
            with contextlib.suppress(OSError):
                udp.recv(16)
                accounts["udp"].answers(1)
            time.sleep(EVERY / 10)
    return {**{name: account.told(ends) for name, account in accounts.items()}, "broken": broken}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(_serve())
    elif sys.argv[1] == "send":
        json.dump(_send(sys.argv[2]), sys.stdout)
    else:
        time.sleep(3600)
