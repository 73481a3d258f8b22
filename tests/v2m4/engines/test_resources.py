"""What one animation asks for, and which nodes have it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2m4.config import FAST, ClusterConfig
from v2m4.engines.resources import Resources, requested, shortage

SMALL = Resources(2, 0, 4, "small")
LARGE = Resources(64, 8, 500, "large")


@pytest.mark.parametrize(
    ("cpus", "threads", "nodes", "expected"),
    [(0, 0, (), 4), (0, 0, (SMALL,), 2), (0, 0, (SMALL, LARGE), 4), (0, 3, (SMALL,), 3), (8, 3, (SMALL,), 8)],
)
def test_cores_are_those_of_the_options_else_derived(cpus: int, threads: int, nodes: tuple, expected: int) -> None:
    config = replace(FAST, threads=threads, cluster=ClusterConfig(cpus=cpus, gpus=1.0))
    assert requested(config, nodes) == Resources(expected, 1, 4)


amounts = st.floats(0, 100)


@given(st.builds(Resources, amounts, amounts, amounts), st.builds(Resources, amounts, amounts, amounts))
def test_a_node_holds_what_is_nowhere_more(node: Resources, request: Resources) -> None:
    more = [request.cpus > node.cpus, request.gpus > node.gpus, request.memory > node.memory]
    assert node.hold(request) != any(more)
    assert node.hold(replace(node))


def test_a_shortage_names_both_sides_and_the_options() -> None:
    line = shortage(Resources(4, 1, 8), [SMALL, LARGE, *[replace(SMALL, cpus=1)] * 3])
    assert "asked for 4 CPUs, 1 GPUs, 8 GiB" in line
    assert "64 CPUs, 8 GPUs, 500 GiB (large); 2 CPUs, 0 GPUs, 4 GiB (small)" in line
    assert "and 2 smaller ones" in line and "--cluster.memory" in line
    assert "no nodes" in shortage(Resources(4, 1, 8), [])
