# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.apt_sources import carried_options, debian_lines, parse_deb822, parse_one_line, read_sources
from tests.lab.shell import LabError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEB822 = f"""\
Types: deb deb-src
# a comment inside
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main
"""


def test_deb822() -> None:
    found = parse_deb822(DEB822)
    assert [(source.uri, source.suite) for source in found] == [
        ("http://mirror.test/debian", "bookworm"),
        ("http://mirror.test/debian", "bookworm-updates"),
        ("http://mirror.test/debian-security", "bookworm-security"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[0].options["signed-by"] == KEYRING


def test_a_key_inside_the_entry_is_read_over_its_lines() -> None:
    text = "Types: deb\nURIs: http://m.test/debian\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n"
    assert parse_deb822(text)[0].options["signed-by"].endswith("-----BEGIN\n.\nabc")


def test_one_line() -> None:
    text = """
    # deb http://commented.test/debian bookworm main
    deb-src http://mirror.test/debian bookworm main
    deb http://mirror.test/debian bookworm main contrib # trailing
    deb [arch=amd64 signed-by=/etc/keys/own.gpg] https://mirror.test/debian/ bookworm-updates main
    """
    found = parse_one_line(text)
    assert [(source.uri, source.suite, source.components) for source in found] == [
        ("http://mirror.test/debian", "bookworm", ("main", "contrib")),
        ("https://mirror.test/debian", "bookworm-updates", ("main",)),
    ]
    assert found[1].options == {"arch": "amd64", "signed-by": "/etc/keys/own.gpg"}


def test_the_lines_are_for_the_release_asked_for() -> None:
    assert debian_lines(parse_deb822(DEB822), "trixie") == [
        "deb http://mirror.test/debian trixie main",
        "deb http://mirror.test/debian-security trixie-security main",
    ]


def test_another_vendor_with_debian_suite_names_is_not_debian() -> None:
    vendor = "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.test/apt bookworm main\n"
    debian = "deb http://mirror.test/debian bookworm main\n"
    assert debian_lines(parse_one_line(vendor + debian), "trixie") == ["deb http://mirror.test/debian trixie main"]


def test_an_own_keyring_and_trust_are_carried() -> None:
    text = "deb [signed-by=/etc/keys/own.gpg trusted=yes] http://m.test/debian bookworm main"
    assert debian_lines(parse_one_line(text), "bookworm") == [
        "deb [signed-by=/etc/keys/own.gpg trusted=yes] http://m.test/debian bookworm main"
    ]


def test_no_debian_mirror_is_one_sentence_that_names_the_way_out() -> None:
    ubuntu = parse_one_line("deb http://mirror.test/ubuntu noble main universe")
    with pytest.raises(LabError, match="LAB_MIRROR"):
        debian_lines(ubuntu, "trixie")
    assert debian_lines(ubuntu, "trixie", "http://m.test/debian") == ["deb http://m.test/debian trixie main"]


def test_a_whole_machine(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.test/debian bookworm main\n", encoding="utf-8")
    (tmp_path / "mirrors").write_text("# first\nhttp://two.test/debian\tpriority:1\n", encoding="utf-8")
    stanza = f"Types: deb\nURIs: mirror+file://{tmp_path}/mirrors\nSuites: bookworm-updates\nComponents: main\n"
    (tmp_path / "sources.list.d" / "debian.sources").write_text(stanza, encoding="utf-8")
    (tmp_path / "sources.list.d" / "old.list.save").write_text("deb http://x.test/debian sid main\n", encoding="utf-8")
    assert [source.uri for source in read_sources(tmp_path)] == ["http://one.test/debian", "http://two.test/debian"]


def test_only_what_reaches_the_mirror_is_carried() -> None:
    dump = "\n".join(
        [
            'APT::Architecture "amd64";',
            'Acquire "";',
            'Acquire::GzipIndexes "true";',
            'Acquire::Languages:: "none";',
            'Acquire::http::Proxy "http://proxy.test:3128";',
            'Acquire::https::CAInfo "/etc/own.pem";',
            'Acquire::https "";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::Retries "3";',
        ]
    )
    assert carried_options(dump) == [
        'Acquire::http::Proxy "http://proxy.test:3128";',
        'Acquire::https::CAInfo "/etc/own.pem";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Retries "3";',
    ]
