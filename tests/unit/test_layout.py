"""Names and ports of named playgrounds."""

from __future__ import annotations

import pytest

from sandbox.errors import ConfigError
from sandbox.layout import check_playground_name, playground_value, server_port


@pytest.mark.parametrize("name", ["shared", "Ann", "a-b", "1st", "a" * 17])
def test_a_name_that_would_collide_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot name|own"):
        check_playground_name(name)


def test_spaces_are_derived_from_the_name() -> None:
    assert playground_value("momentry_dev:", "ann") == "momentry_dev_ann:"
    assert playground_value("dev", "ann") == "dev_ann"
    assert playground_value("dev", "") == "dev"


def test_a_port_stays_and_no_two_playgrounds_have_the_same() -> None:
    port = server_port("ann", set())
    assert server_port("ann", {"3003"}) == port
    assert server_port("ann", {port}) not in ("0", port)
    assert server_port("ann", {str(n) for n in range(19_000, 20_000)}) == "0"
