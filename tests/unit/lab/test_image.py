# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from tests.lab import image
from tests.lab.docker_engine import is_debian_family
from tests.lab.settings import RELEASES, read_settings
from tests.lab.shell import LabError

Usage = namedtuple("Usage", "total used free")


def test_the_tag_is_stable_and_changes_with_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.tag("trixie")
    assert before == image.tag("trixie")
    assert before.startswith("overssh-lab:trixie-")
    assert before != image.tag("bookworm")
    monkeypatch.setattr(image, "_PACKAGES", [*image._PACKAGES, "socat"])
    assert image.tag("trixie") != before


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_has_a_docker_client(release: str) -> None:
    assert ("docker-cli" in image.packages(release)) == (release != "bookworm")
    assert "docker.io" in image.packages(release)


def test_more_packages_make_another_image() -> None:
    settings = read_settings({"LAB_PACKAGES": "socat docker.io"}, Path("/project"))
    included = next(word for word in image._build_command(settings, [], []) if word.startswith("--include="))
    assert included.count("docker.io") == 1
    assert "socat" in included
    assert image.tag("trixie", settings.packages) != image.tag("trixie")


def test_too_little_space_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10, 10, 2 * 1024**3))
    with pytest.raises(LabError, match=f"{tmp_path} has 2.0 GiB free"):
        image.check_space(tmp_path)


def test_the_first_error_is_the_reason() -> None:
    log = "I: running apt-get update...\nE: Failed to fetch x\nE: apt-get update failed\nI: removing tempdir\n"
    assert image._reason(log) == "E: Failed to fetch x"


def test_the_boot_script_arrives_as_it_is(tmp_path: Path) -> None:
    settings = read_settings({}, Path("/project"))
    command = image._build_command(settings, ["deb http://m.test/debian trixie main"], ['Acquire::Retries "3";'])
    hook = next(word for word in command if word.startswith("--customize-hook=")).partition("=")[2]
    (tmp_path / "usr/local/sbin").mkdir(parents=True)
    first = hook[: hook.index("# SPDX", hook.index('lab-boot"\n'))]
    subprocess.run(["sh", "-c", first, "exec", str(tmp_path)], check=True)
    assert (tmp_path / "usr/local/sbin/lab-boot").read_text() == (image.FILES / "lab-boot").read_text()


@pytest.mark.parametrize("script", ["lab-boot", "customize.sh"])
def test_the_scripts_parse(script: str) -> None:
    subprocess.run(["sh", "-n", str(image.FILES / script)], check=True)


def test_who_is_debian() -> None:
    assert is_debian_family('NAME="Debian"\nID=debian\n')
    assert is_debian_family('ID=linuxmint\nID_LIKE="ubuntu debian"\n')
    assert not is_debian_family('ID="fedora"\nVARIANT_ID=debian\n')
