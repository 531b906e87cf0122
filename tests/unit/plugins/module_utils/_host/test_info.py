# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks, as sentences."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.command import Answer
from ansible_collections.overssh.swarm.plugins.module_utils._host import info as host_info
from ansible_collections.overssh.swarm.plugins.module_utils._linux.devices import Address, Device, Tun
from ansible_collections.overssh.swarm.plugins.module_utils._sshd import facts as sshd_facts

FINE: dict[str, Any] = {
    "euid": 0,
    "python": (3, 11),
    "systemd": True,
    "tun": 0o666,
    "finds": lambda program: True,
    "imports": lambda library: True,
    "shell": True,
}


def test_a_host_that_has_all_lacks_nothing() -> None:
    assert host_info.missing_basics(**FINE) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"euid": 1000}, "set ansible_become: true."),
        ({"python": (3, 8)}, "Python 3.8 is too old; set ansible_python_interpreter to 3.9 or later."),
        ({"systemd": False}, "systemd does not run here"),
        ({"tun": None}, "/dev/net/tun is missing; load the kernel module tun."),
        ({"tun": 0o660}, "/dev/net/tun has the mode 0660, so tunnels can't open it without being root;"),
        ({"shell": False}, "/bin/sh is missing, which the tunnels' account needs;"),
        ({"finds": lambda program: program != "nft"}, "the program nft is missing; install the package nftables."),
        ({"imports": lambda library: library != "docker"}, "install the package python3-docker."),
    ],
)
def test_what_is_missing_is_said_with_the_way_out(change: dict[str, Any], sentence: str) -> None:
    (said,) = host_info.missing_basics(**{**FINE, **change})
    assert sentence in said


def script(folder: Path, text: str) -> str:
    """A program that every account may run."""
    folder.chmod(0o755)
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_says_its_own_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = host_info.ask_python("/usr/bin/python3")
    assert (found["path"], found["error"]) == ("/usr/bin/python3", "")
    assert host_info.VERSION.match(found["version"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("echo first >&2; echo 'Unknown option: -E' >&2; exit 2", "Unknown option: -E"),
        ("echo hello", "hello"),
        ("exit 3", "exit status 3"),
    ],
)
def test_what_is_no_python_says_so(text: str, error: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        found = host_info.ask_python(script(Path(folder), text))
    assert (found["version"], found["error"]) == ("", error)


def test_an_interpreter_that_is_not_there_or_not_for_everybody() -> None:
    assert host_info.ask_python("/nowhere/python3")["error"] == "No such file or directory"
    assert host_info.ask_python("/etc/passwd")["error"] == "Permission denied"
    assert host_info.ask_python("/usr/bin/\0")["error"] == "embedded null byte"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as somebody else")
def test_an_interpreter_in_a_private_folder_is_not_for_everybody() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = script(Path(folder), "echo 3.11.2")
        assert host_info.ask_python(path)["version"] == "3.11.2"
        Path(folder).chmod(0o700)
        assert host_info.ask_python(path)["error"] == "Permission denied"


def test_tun_devices_are_read_with_their_peers() -> None:
    devices = [
        Device("lo", addresses=(Address("127.0.0.1", 8, scope="host"),)),
        Device(
            "tun1001",
            alias="overssh cloud1",
            tun=Tun(0x1001),
            addresses=(Address("172.30.0.2", 32, "172.30.0.1"), Address("fe80::1", 64, scope="link")),
        ),
        Device("tunnel", tun=Tun(0x1001)),
    ]
    assert host_info.tuns(devices) == [
        {
            "name": "tun1001",
            "alias": "overssh cloud1",
            "addresses": [{"address": "172.30.0.2", "peer": "172.30.0.1"}],
        },
        {"name": "tunnel", "alias": "", "addresses": []},
    ]
    assert host_info.tuns([]) == []


def test_the_families_that_a_host_can_dial_with_are_those_of_its_addresses_out_in_the_world() -> None:
    def devices(scope: str) -> list[Device]:
        return [
            Device("lo", addresses=(Address("127.0.0.1", 8, scope="host"),)),
            Device("eth0", addresses=(Address("192.0.2.2", 24), Address("fe80::1", 64, scope=scope))),
            Device("docker0", kind="bridge", addresses=(Address("fd00::1", 64),)),
            Device("tun1001", alias="overssh cloud1", addresses=(Address("fd30::2", 64),)),
        ]

    assert host_info.families(devices("link")) == [4]
    assert host_info.families(devices("global")) == [4, 6]
    assert host_info.families([]) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"default/force_forwarding": "0", "all/forwarding": "0"}, {"enabled": True, "forwarding": "device"}),
        ({"all/forwarding": "0"}, {"enabled": True, "forwarding": "off"}),
        ({"default/force_forwarding": "0", "all/forwarding": "1"}, {"enabled": True, "forwarding": "host"}),
        ({"default/disable_ipv6": "1", "all/forwarding": "0"}, {"enabled": False, "forwarding": "off"}),
    ],
)
def test_what_a_host_does_with_ipv6_is_read_from_the_kernels_settings(
    settings: dict[str, str], expected: dict[str, Any]
) -> None:
    usual = {"all/disable_ipv6": "0", "default/disable_ipv6": "0"}
    assert host_info.ipv6(lambda name: {**usual, **settings}.get(name, "")) == expected
    assert host_info.ipv6(lambda name: "") == {"enabled": False, "forwarding": "off"}


MAIN = "Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\nX11Forwarding yes\n"


def test_our_block_is_probed_in_the_place_that_its_name_gives_it() -> None:
    folder = "/etc/ssh/sshd_config.d"
    assert sshd_facts.includes_drop_ins(MAIN)
    others = [f"{folder}/{name}.conf" for name in ("10-hardened", "overssh", "zz")]
    assert sshd_facts.among_drop_ins(MAIN, "/tmp/ours", others).splitlines() == [
        "Port 22",
        f"Include {folder}/10-hardened.conf /tmp/ours {folder}/zz.conf",
        "X11Forwarding yes",
    ]


def test_our_block_is_probed_at_the_end_of_a_file_that_has_no_drop_ins() -> None:
    alone = "Port 22\nMatch User git\n    PermitTTY no\n"
    assert not sshd_facts.includes_drop_ins(alone)
    with_ours = f"{alone}# BEGIN overssh.swarm\nMatch User overssh\n# END overssh.swarm\n"
    ours = "# BEGIN overssh.swarm\nMatch User other\n# END overssh.swarm\n"
    assert sshd_facts.with_block(with_ours, "Match User other\n") == f"{alone}{ours}"
    assert sshd_facts.with_block(f"{with_ours}Port 22", "Match User other") == f"{alone}Port 22\n{ours}"
    assert sshd_facts.with_block("", "Match User other") == ours


def test_what_sshd_holds_is_read_from_every_release() -> None:
    """OpenSSH before 10.4 prints keywords in small letters, later ones as in the manual."""
    lines = {"permittty no", "maxsessions 1", "authorizedkeysfile /etc/overssh/authorized_keys"}
    for printed in (
        "permittty no\nmaxsessions 1\nauthorizedkeysfile /etc/overssh/authorized_keys\nport 22\n",
        "PermitTTY no\nMaxSessions 1\nAuthorizedKeysFile /etc/overssh/authorized_keys\nPort 22\n",
    ):
        said = Answer(0, printed, "")
        assert set(sshd_facts.effective(lambda *_words, said=said, **_more: said, "overssh")) == lines


def device(name: str, *addresses: str) -> Device:
    return Device(name, addresses=tuple(Address(address, 24) for address in addresses))


def test_a_machine_is_known_by_its_kernel_its_network_and_its_addresses() -> None:
    here = [device("eth0", "10.0.0.1", "fe80::1")]
    same = [device("eth0", "10.0.0.1"), device("veth1", "fe80::2")]
    known = host_info.machine("boot", "net:[1]", here)
    assert host_info.machine("boot", "net:[1]", same) == known
    clone = host_info.machine("another boot", "net:[1]", here)
    container = host_info.machine("boot", "net:[2]", here)
    woken = host_info.machine("boot", "net:[1]", [device("eth0", "10.0.0.2")])
    assert len({known, clone, container, woken}) == 4
