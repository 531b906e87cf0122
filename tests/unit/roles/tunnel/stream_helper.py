# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream helper's rooms as one module, and what stands for a device and a session around it.

It lies among the files of a role, where nothing can be imported from.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HELPER = Path(__file__).resolve().parents[4] / "roles" / "tunnel" / "files" / "stream"
MAIN = HELPER / "__main__.py"
ROOMS = sorted(path for path in HELPER.glob("*.py") if path != MAIN)


class Rooms(ModuleType):
    """All that the rooms have; another value for a name is one for each room that has it."""

    def __init__(self, rooms: list[ModuleType]) -> None:
        super().__init__("overssh_stream")
        vars(self)["_places"] = [vars(self), *map(vars, rooms)]
        for room in rooms:
            vars(self).update(vars(room))

    def __setattr__(self, name: str, value: Any) -> None:
        for place in self._places:
            if name in place:
                place[name] = value


def load() -> Rooms:
    """The helper, read anew."""
    spec = importlib.util.spec_from_file_location("overssh_stream", MAIN)
    assert spec is not None
    assert spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(HELPER))
    try:
        spec.loader.exec_module(main)
        return Rooms([main, *(importlib.import_module(path.stem) for path in ROOMS)])
    finally:
        sys.path.remove(str(HELPER))
        for path in ROOMS:
            sys.modules.pop(path.stem, None)


def frame(packet: bytes) -> bytes:
    return (0x50000000 | len(packet)).to_bytes(4, "big") + packet


BEAT = bytes([0x42, 0, 0, 0])
QUESTION = bytes([0x41, 0, 0, 8]) + (123_456).to_bytes(8, "big")
UNASKED = bytes([0x52, 0, 0, 8]) + bytes(8)


class Device:
    """Two ends of a socket that keeps messages apart: `kernel` is where packets come from and go to."""

    def __init__(self) -> None:
        self.kernel, self._helper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.kernel, self._helper):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            end.setblocking(False)
        self.descriptor = self._helper.fileno()

    def given(self) -> list[bytes]:
        """The packets that the helper has delivered since the last time."""
        found = []
        while True:
            try:
                found.append(self.kernel.recv(1 << 17))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.kernel.close()
        self._helper.close()


class Pipe:
    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        os.set_blocking(self.into, False)

    def read(self) -> bytes:
        found = b""
        while True:
            try:
                got = os.read(self.out, 1 << 20)
            except BlockingIOError:
                return found
            if not got:
                return found
            found += got

    def close(self) -> None:
        for end in (self.out, self.into):
            with contextlib.suppress(OSError):
                os.close(end)


def reference(data: bytes) -> tuple[list[bytes], str]:
    """What a reader of frames has to make of these bytes: the packets, and whether it ends inside, well, or wrongly."""
    packets: list[bytes] = []
    while len(data) >= 4:
        kind, length = data[0], int.from_bytes(data[1:4], "big")
        if kind == 0x50 and 11 <= length <= 65545:
            if len(data) < 4 + length:
                return packets, "inside"
            packets.append(data[4 : 4 + length])
            data = data[4 + length :]
        elif data[:4] == BEAT:
            data = data[4:]
        elif data[:4] == QUESTION[:4]:
            if len(data) < 12:
                return packets, "inside"
            if data[4] >= 0x40:
                return packets, "wrong"  # a time that no clock has
            data = data[12:]
        elif data[:4] == UNASKED[:4]:
            return packets, "wrong" if len(data) >= 12 else "inside"
        else:
            return packets, "wrong"
    return packets, "inside" if data else "well"


def packets_in(data: bytes) -> list[bytes]:
    packets, end = reference(data)
    assert end == "well", "what was written are whole frames"
    return packets
