# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Teardown leaves no trace."""

from __future__ import annotations

import pytest

from tests.support import snapshot


@pytest.mark.parametrize("aspect", snapshot.SCRIPTS)
def test_the_host_is_as_it_was_before_site(node, aspect):
    assert snapshot.take(node, aspect) == snapshot.fresh(node, aspect)
