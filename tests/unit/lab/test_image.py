# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import image
from tests.lab.docker_engine import is_debian_family
from tests.lab.settings import RELEASES


def _tag(release: str, *more: str) -> str:
    return image.recipe(release, more).tag(image.REPOSITORY)


def test_the_tag_is_stable_and_changes_with_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _tag("trixie")
    assert before == _tag("trixie")
    assert before.startswith("overssh-lab:trixie-")
    assert before != _tag("bookworm")
    monkeypatch.setattr(image, "_PACKAGES", [*image._PACKAGES, "socat"])
    assert _tag("trixie") != before


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_has_a_docker_client(release: str) -> None:
    assert ("docker-cli" in image.packages(release)) == (release != "bookworm")
    assert "docker.io" in image.packages(release)


def test_more_packages_make_another_image() -> None:
    more = image.recipe("trixie", ["socat", "docker.io"])
    assert more.packages.count("docker.io") == 1
    assert "socat" in more.packages
    assert _tag("trixie", "socat") != _tag("trixie")


def test_the_boot_script_arrives_as_it_is(tmp_path: Path) -> None:
    hook = image.recipe("trixie").hook
    (tmp_path / "usr/local/sbin").mkdir(parents=True)
    first = hook[: hook.index("# SPDX", hook.index('lab-boot"\n'))]
    subprocess.run(["sh", "-c", first, "exec", str(tmp_path)], check=True)
    assert (tmp_path / "usr/local/sbin/lab-boot").read_text() == (image.FILES / "lab-boot").read_text()


@pytest.mark.parametrize("script", ["lab-boot", "customize.sh", "kernel-build", "machine-boot", "machine-disk"])
def test_the_scripts_parse(script: str) -> None:
    subprocess.run(["sh", "-n", str(image.FILES / script)], check=True)


def test_who_is_debian() -> None:
    assert is_debian_family('NAME="Debian"\nID=debian\n')
    assert is_debian_family('ID=linuxmint\nID_LIKE="ubuntu debian"\n')
    assert not is_debian_family('ID="fedora"\nVARIANT_ID=debian\n')
