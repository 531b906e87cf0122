# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.lab import image, kernel

CONFIG = (image.FILES / "kernel.config").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "option",
    ["IP_VS_RR", "NETFILTER_XT_MATCH_IPVS", "INET_ESP", "XFRM_USER", "NET_SCH_NETEM", "WIREGUARD", "NF_TABLES_INET"],
)
def test_the_kernel_has_what_other_kernels_lack(option: str) -> None:
    assert f"CONFIG_{option}=y\n" in CONFIG


def test_every_option_stands_once_and_is_on_or_off() -> None:
    options = [line.partition("=") for line in CONFIG.splitlines() if not line.startswith("#")]
    assert [option for option, _, value in options if value not in ("y", "n")] == []
    names = [option for option, _, _ in options]
    assert names == sorted(set(names))


def test_the_files_arrive_as_they_are(tmp_path: Path) -> None:
    hook = kernel.recipe().hook
    (tmp_path / "usr/local/sbin").mkdir(parents=True)
    subprocess.run(["sh", "-euc", hook[: hook.index("chroot ")], "exec", str(tmp_path)], check=True)
    assert (tmp_path / "kernel.config").read_text() == CONFIG
    start = tmp_path / kernel.START.lstrip("/")
    assert start.read_text() == (image.FILES / "machine-start").read_text()
    assert start.stat().st_mode & 0o777 == 0o755


def test_what_is_needed_for_the_build_alone_goes_again() -> None:
    words = re.findall(r"^chroot .*$", kernel.recipe().hook, re.M)[0].split()
    assert {"gcc", "make", "linux-source-7.2"} <= set(words)
    assert not {"iproute2", "e2fsprogs"} & set(words)
    assert {"iproute2", "e2fsprogs"} <= set(kernel.recipe().packages)
