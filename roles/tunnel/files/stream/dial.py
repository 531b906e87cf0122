# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dialling end."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
from typing import NoReturn

from carrier import Carrier, carrier_of, identities
from device import discard, mtu_of, open_device, release
from hello import check_hello, hear_hello, say_hello
from link import Link
from opener import Opener
from session import Session
from wire import AUTO, HELLO_SECONDS
from words import ClosedError, EndedError, StoppedError, say, say_without

# What the far end's login prints, as a global sshrc does, is passed over; its helper has so long to speak after that.
PASSING_SECONDS = 10.0


class Dialler:
    """The dialling end: an ssh for each lane, and for those of a fixed number a process, too, once all are there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._device, self._peer, self._lanes = str(options.device), str(options.peer), options.lanes
        self._silence, self._command = float(options.silence), list(options.command)
        # By it the far end knows which sessions belong together.
        self._link = secrets.token_hex(16) if self._lanes == AUTO else ""
        self._sessions: list[Session] = []
        self._carriers: list[Carrier | None] = []
        self._queues: list[int] = []
        self._workers: list[int] = []

    def run(self) -> NoReturn:
        """Connect, then move packets."""
        mtu = mtu_of(self._device)
        self._connect(0)
        for number in range(1, 1 if self._lanes == AUTO else self._lanes):
            try:
                self._connect(number)
            except EndedError as reason:
                self._end(self._sessions[-1])
                say_without(self._peer, reason, number)
                break
        # Not before: an open device has a carrier, and routes through it are taken.
        self._queues = [open_device(self._device, self._lanes) for _session in self._sessions]
        growth = Opener(self._begin, self._end, self._peer) if self._lanes == AUTO else None
        links = [
            Link(queue, session.source, session.sink, self._peer, self._silence, mtu, carrier, growth)
            for queue, session, carrier in zip(self._queues, self._sessions, self._carriers)
        ]
        for queue, link in zip(self._queues, links):
            discard(queue)
            link.outbound.beat()
            link.outbound.flush()
        say(f"connected to {self._peer}, {len(links)} lane{'s' * (len(links) > 1)}")
        for link in links[1:]:
            self._begin_worker(link)
        links[0].run(self._check_workers)

    def close(self) -> None:
        """End every process that was started, and let the device go."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGTERM)
        for session in self._sessions:
            session.process.terminate()
        for queue in self._queues:
            release(queue)

    def ssh_status(self) -> int | None:
        """What an ssh that ended by itself ended with."""
        for session in self._sessions:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return session.process.wait(1.0)
        return None

    def _begin(self, number: int) -> Session:
        session = Session(self._command)
        self._sessions.append(session)
        facts = {"link": self._link} if self._link else {}
        with contextlib.suppress(ConnectionError):  # its own words say why
            say_hello(session.sink, lanes=self._lanes, lane=number, silence=self._silence, **facts)
        return session

    def _end(self, session: Session) -> None:
        self._sessions.remove(session)
        session.process.kill()
        session.process.wait()

    def _connect(self, number: int) -> None:
        before = identities()
        session = self._begin(number)
        facts = hear_hello(session.source, self._peer, HELLO_SECONDS, PASSING_SECONDS)
        check_hello(facts, self._lanes, self._peer)
        self._carriers.append(carrier_of(self._command, before))

    def _begin_worker(self, link: Link) -> None:
        parent = os.getpid()
        worker = os.fork()
        if worker:
            self._workers.append(worker)
            return
        try:
            link.run(lambda: _require_parent(parent))
        except EndedError as reason:
            say(f"ended: {reason}")
        except StoppedError:
            pass
        finally:
            os._exit(1)  # what the parent opened is the parent's to close

    def _check_workers(self) -> None:
        for worker in self._workers:
            if os.waitpid(worker, os.WNOHANG)[0]:
                raise EndedError("one of the lanes has ended, and all of them begin anew")


def _require_parent(parent: int) -> None:
    if os.getppid() != parent:
        raise EndedError("the process of the first lane has gone")


def dial(options: argparse.Namespace) -> NoReturn:
    """The dialling end."""
    dialler = Dialler(options)
    try:
        dialler.run()
    except ClosedError as reason:
        status = dialler.ssh_status()
        raise EndedError(f"{reason} (ssh's exit status {status})") from reason
    finally:
        dialler.close()
