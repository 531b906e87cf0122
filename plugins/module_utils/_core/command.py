# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs on the host and return their answers as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .errors import OversshError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PACKAGE_OF = {
    "ip": "iproute2",
    "ip6tables-legacy-save": "iptables",
    "iptables-legacy-save": "iptables",
    "loginctl": "systemd",
    "nft": "nftables",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "systemctl": "systemd",
    "tc": "iproute2",
    "unshare": "util-linux",
    "useradd": "passwd",
    "userdel": "passwd",
    "usermod": "passwd",
}


@dataclass(frozen=True)
class Answer:
    """The answer of a program: its exit status and the text of both streams."""

    rc: int
    stdout: str
    stderr: str


class CommandError(OversshError):
    """A program failed that had to succeed."""


class Runner(Protocol):
    """Runs argv with data on standard input; with check, an exit status other than 0 raises CommandError."""

    def __call__(self, argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        """Run it and wait for its end."""


def runner(module: AnsibleModule) -> Runner:
    """A Runner for the host that the module runs on; programs run in the C locale."""

    def run(argv: Sequence[str], data: str | None = None, check: bool = True) -> Answer:
        program = module.get_bin_path(argv[0])
        if program is None:
            package = PACKAGE_OF.get(argv[0], argv[0])
            raise OversshError(f"{argv[0]} is not installed on this host; install the package {package}")
        rc, stdout, stderr = module.run_command(
            [program, *argv[1:]], data=data, binary_data=True, environ_update={"LC_ALL": "C", "LANG": "C"}
        )
        return checked(Answer(rc, stdout, stderr), argv, check)

    return run


def checked(answer: Answer, argv: Sequence[str], check: bool) -> Answer:
    """Return the answer; raise CommandError with the program's last words where it failed and check is set."""
    if check and answer.rc != 0:
        words = (answer.stderr.strip() or answer.stdout.strip() or f"exit status {answer.rc}").splitlines()
        raise CommandError(f"{' '.join(argv[:3])}: {' / '.join(line.strip() for line in words[:6])}")
    return answer
