# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of ssh_tunnel: a link over ssh, kept up by a systemd unit, and proven by packets that cross it."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from .._core.command import Runner
from .._core.engine import Engine, performs
from .._core.errors import OversshError
from .._core.files import read_text, remove, remove_empty_folder, write_text
from .._core.plan import Plan, Step
from .._core.several import Several
from .._core.wait import WaitError, wait_until
from .._line.kept import Run, forget, keep, kept
from .._line.speed import LineSpeed, Ping, measure
from .._linux.devices import find
from .._linux.icmp import Answer, ping, volley
from .._linux.systemd import Systemd, UnitState
from .._linux.unit_steps import UnitSteps
from .causes import Context, may_drop, silent
from .config import (
    FOLDER,
    ConfFacts,
    conf_facts,
    conf_path,
    conf_text,
    known_hosts_path,
    refused_path,
    texts_of,
    unit_of,
)
from .device import has_carrier, holds, owner_of, require_fit, several_queues
from .diagnosis import Finding, explain
from .helper import Helper, digest_of
from .journal import FIELDS, attempts_of
from .lanes import lanes_at_start
from .model import Link, checked_name, fingerprint, link_of
from .plan import Observed, plan_link

PING_SECONDS = 0.3
SETTLING_SECONDS = 5.0
# Between two looks for an answer, and between two looks at the journal, which take longer.
PAUSE_SECONDS, JOURNAL_SECONDS = 0.05, 0.5
PLACE = re.compile(r"^/dev/stdin:? (line \d+: )?")


@dataclass(frozen=True)
class Desired:
    """The desired link; link: None where it only has to be stopped or removed; digest: of a stream's helper."""

    name: str
    state: str
    link: Link | None
    digest: str
    wait: bool
    timeout: float


class Local:
    """Facts of this host for all links, each read once.

    The same run may have made or changed a fact before; so in check mode a missing one is no fault of the host.
    """

    def __init__(self, run: Runner, check_mode: bool = False) -> None:
        self.run = run
        self.check_mode = check_mode
        self._digests: dict[Helper, str] = {}

    @functools.cached_property
    def ciphers(self) -> Sequence[str]:
        """The ciphers of this host's ssh."""
        return self.run(["ssh", "-Q", "cipher"]).stdout.split()

    @functools.cached_property
    def has_aes(self) -> bool:
        """Whether this host's processor has instructions for AES."""
        return has_aes(read_text("/proc/cpuinfo") or "")

    def digest(self, helper: Helper) -> str:
        """The helper's digest; OversshError where the account can't run it."""
        if helper not in self._digests:
            self._digests[helper] = digest_of(helper, self.run, self.check_mode)
        return self._digests[helper]


def desired_of(params: Mapping[str, Any], local: Local) -> Desired:
    """The desired link, from the module's options; ssh itself checks the configuration."""
    link, digest = None, ""
    if params["state"] in ("started", "restarted"):
        link = link_of(params, local.ciphers, local.has_aes)
        answer = local.run(["ssh", "-G", "-F", "/dev/stdin", link.name], data=conf_text(link), check=False)
        if answer.rc != 0:
            words = (answer.stderr.strip().splitlines() or [f"exit status {answer.rc}"])[0]
            raise OversshError(f"ssh does not take extra_options: {PLACE.sub('', words).rstrip('.')}")
        if link.program:
            digest = local.digest(Helper(link.program, link.python, link.run_as))
        if not local.check_mode:
            require_fit(link.device, link.transport, link.lanes)
    return Desired(checked_name(params["name"]), params["state"], link, digest, params["wait"], params["wait_timeout"])


def has_aes(cpuinfo: str) -> bool:
    """Whether the processor has instructions for AES."""
    return any("aes" in line.split() for line in cpuinfo.splitlines() if line.lower().startswith(("flags", "features")))


class SshTunnelEngine(UnitSteps, Engine[Observed]):
    """One link on this host."""

    def __init__(self, desired: Desired, run: Runner, systemd: Systemd, ping: Ping = ping) -> None:
        self._desired = desired
        self._texts = texts_of(desired.link, desired.digest) if desired.link else None
        self._run = run
        self._systemd = systemd
        self._ping = ping
        self._unit = unit_of(desired.name)
        self._begun = time.time()
        self._restarted = False
        self._answer: Answer | None = None
        self._speed = LineSpeed()
        self._read_journal = 0.0
        self._found: Observed | None = None

    def observe(self) -> Observed:
        """The link's files and its unit; observed again only after a step."""
        if self._found is None:
            self._found = observe_link(self._desired.name, self._systemd)
        return self._found

    def plan(self, observed: Observed) -> Plan:
        """The remaining steps; a restart is done once."""
        state = self._desired.state
        if self._restarted:
            state, observed = "started", replace(observed, refusals=0)
        return plan_link(self._desired.name, state, self._texts, observed)

    def begin(self, action: str) -> None:
        """See Engine."""
        self._found = None

    @performs("delete_unit")
    def _delete_unit(self, unit: str) -> None:
        super()._delete_unit(unit)
        forget(self._desired.name)

    def result(self, observed: Observed) -> dict[str, Any]:
        """The link as return values."""
        conf = self._texts.conf if self._texts else observed.conf
        return {
            "peer": self._desired.name,
            **described(self._desired.name, conf, observed.unit),
            "started": self._restarted,
            "rtt_ms": self._speed.small_ms or (self._answer.rtt_ms if self._answer else None),
            "mbit_s": self._speed.mbit_s,
        }

    def wait(self) -> None:
        """Wait until a packet came back through the device; OversshError with ssh's reason where none can."""
        link, timeout = self._desired.link, self._desired.timeout
        if link is None or not self._desired.wait:
            return
        try:
            self._answer = wait_until(
                lambda: self._crossing(link), timeout, "an answer through the link", PAUSE_SECONDS
            )
        except WaitError as error:
            raise OversshError(f"{self._reason(link)} (waited {timeout:g} s)") from error
        device = find(link.device)
        run = Run(self.observe().unit.active_since, device.mtu if device else 0)
        before = kept(link.name, run)
        self._speed = before or measure(self._ping, volley, link.remote_address, link.device, run.mtu)
        if before is None:
            keep(link.name, run, self._speed)

    def _crossing(self, link: Link) -> Answer | None:
        # Nothing can come back while no process has the device.
        carried = has_carrier(find(link.device))
        answer = self._ping(link.remote_address, link.device, PING_SECONDS, 0) if carried else None
        if answer is not None and not holds(self._systemd.observe(self._unit).main_pid, link.device):
            answer = None  # it came over another link
        if answer is None and time.monotonic() - self._read_journal >= JOURNAL_SECONDS:
            finding = self._finding(link)
            self._read_journal = time.monotonic()
            if finding is not None and finding.final:
                raise OversshError(finding.sentence)
        return answer

    def _reason(self, link: Link) -> str:
        finding = self._finding(link)
        if finding is not None:
            return finding.sentence
        context = self._context(link)
        if context.carrier or not context.device_up:
            return silent(context)
        return f"ssh to {context.peer} has neither connected nor failed; {may_drop(context)}"

    def _journal(self) -> str:
        """What was said for the unit since this run of the module began."""
        # Older systemd's --unit leaves out what a child says that could not become ssh.
        whose = [f"_SYSTEMD_UNIT={self._unit}", "+", f"UNIT={self._unit}"]
        fields = f"--output-fields={FIELDS}"
        since = f"--since=@{self._begun:.6f}"
        return self._run(["journalctl", *whose, since, "-o", "json", fields, "--no-pager"], check=False).stdout

    def _finding(self, link: Link) -> Finding | None:
        return explain(attempts_of(self._journal()), self._context(link))

    def _context(self, link: Link) -> Context:
        device = find(link.device)
        return Context(
            name=link.name,
            transport=link.transport,
            lanes=link.lanes,
            host=link.host,
            port=link.port,
            user=link.user,
            run_as=link.run_as,
            identity_file=link.identity_file,
            helper=link.helper,
            device=link.device,
            remote_device=link.remote_device,
            remote_address=link.remote_address,
            fingerprints=tuple(fingerprint(key) for key in link.host_keys),
            device_owner=owner_of(device),
            several_queues=several_queues(device),
            device_up=device is not None and device.up,
            carrier=has_carrier(device),
        )

    @performs("file")
    def _file(self, path: str, text: str | None) -> None:
        if text is None:
            remove(path)
            remove_empty_folder(FOLDER)
        else:
            write_text(path, text)

    @performs("start")
    def _start(self) -> None:
        try:
            self._systemd.start(self._unit)
        except OversshError as error:
            finding = self._finding(self._desired.link) if self._desired.link else None
            self._systemd.stop(self._unit)
            raise OversshError(finding.sentence if finding else str(error)) from error
        self._restarted = True


class SshTunnelEngines(Several[Observed]):
    """Several links on this host, by name. All start before the first wait, so they come up together."""

    def __init__(self, wanted: Mapping[str, Desired], run: Runner) -> None:
        self._systemd = Systemd(run)
        super().__init__(
            {name: SshTunnelEngine(desired, run, self._systemd) for name, desired in wanted.items()}, stage
        )

    def _look(self) -> tuple[Observed, ...]:
        return observe_links(list(self._parts), self._systemd)

    def result(self, observed: tuple[Observed, ...]) -> dict[str, Any]:
        """Each link as return values."""
        return {"links": super().result(observed)["of_each"]}


def stage(step: Step) -> int:
    """The order of a step: links start last, so that systemd reads their units once."""
    return int(step.action == "start")


def observe_link(name: str, systemd: Systemd) -> Observed:
    """A link's files and its unit."""
    return observe_links([name], systemd)[0]


def observe_links(names: Sequence[str], systemd: Systemd) -> tuple[Observed, ...]:
    """The files and units of several links."""
    units = systemd.observe_all([unit_of(name) for name in names])
    return tuple(_observed(name, unit) for name, unit in zip(names, units))


def _observed(name: str, unit: UnitState) -> Observed:
    conf = read_text(conf_path(name))
    return Observed(
        conf,
        read_text(known_hosts_path(name)),
        unit,
        _device_lost(conf_facts(conf), unit),
        # While the link is up the lines are of the time before.
        0 if unit.active == "active" else len((read_text(refused_path(name)) or "").splitlines()),
    )


def _device_lost(facts: ConfFacts, unit: UnitState) -> bool:
    """Whether the service is up, and has lost its tun device. A stream's lanes connect one after the other."""
    patience = facts.connect_timeout * lanes_at_start(facts.lanes or 1) + SETTLING_SECONDS
    if facts.device is None or unit.active != "active" or _age(unit) < patience:
        return False
    return not holds(unit.main_pid, facts.device)


def described(name: str, conf: str | None, unit: UnitState) -> dict[str, Any]:
    """A link as return values, from its configuration and its unit."""
    facts = conf_facts(conf)
    return {
        "host": facts.host,
        "port": facts.port,
        "transport": facts.transport,
        "lanes": facts.lanes,
        "unit": unit_of(name),
        "device": facts.device,
        "remote_device": facts.remote_device,
        "remote_address": facts.remote_address,
        "active": unit.active == "active",
        "restarts": unit.restarts,
        "since": since(unit),
    }


def since(unit: UnitState) -> str | None:
    """The time of the link's last start, in UTC, where it runs."""
    if unit.active != "active" or not unit.active_since:
        return None
    return datetime.fromtimestamp(round(time.time() - _age(unit)), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _age(unit: UnitState) -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC) - unit.active_since / 1e6
