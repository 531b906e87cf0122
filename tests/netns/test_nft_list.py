# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ruleset out of nft's two lists, asked for at once."""

from __future__ import annotations

import pytest
from ansible_collections.overssh.swarm.plugins.module_utils._core.errors import OversshError
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.listing import JSON, WORDS, ruleset
from ansible_collections.overssh.swarm.plugins.module_utils._nftables.ruleset import parse

from tests.netns.firewall import RULESETS, load, task


@pytest.mark.parametrize("name", [path.name for path in sorted(RULESETS.iterdir())])
def test_both_lists_are_those_that_nft_makes_one_after_the_other(net, name):
    load(net, name)
    found = ruleset(net.run)
    assert found == parse(net.run(JSON).stdout, net.run(WORDS).stdout)
    assert all(rule.text for chain in found.chains.values() for rule in chain.rules)


def test_where_nft_may_not_look_its_own_words_say_so(net):
    def as_nobody(argv, data=None, check=True):
        return net.run(["setpriv", "--reuid=65534", "--clear-groups", *argv], data, check)

    with pytest.raises(OversshError, match="not permitted"):
        ruleset(as_nobody)


def test_shells_find_nft_for_one_who_became_root_with_a_users_path(net):
    def with_a_users_path(argv, data=None, check=True):
        assert argv[0] in ("sh", "unshare", "nft", "ip", "grep")
        return net.run(["env", "PATH=/usr/bin:/bin", *argv] if argv[0] in ("sh", "unshare") else argv, data, check)

    load(net, "cloud_reject_last.nft")
    answer = task(net, runner=with_a_users_path, name="x", chain="inet filter input", protocol="tcp", verdict="drop")
    assert answer["changed"]
