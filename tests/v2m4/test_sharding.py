"""Sharding: laws over all splits."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2m4.io.names import natural_key
from v2m4.sharding import expected_counts, longest_first, shard, shortest_first


@dataclass(frozen=True)
class Item:
    name: str
    count: int


items = st.lists(st.integers(0, 500), max_size=30).map(
    lambda counts: [Item(f"clip {i}", c) for i, c in enumerate(counts)]
)


@given(items, st.integers(1, 8))
def test_every_animation_is_in_exactly_one_shard(sources, processes):
    shards = [shard(sources, processes, index) for index in range(processes)]
    assert sorted((item for part in shards for item in part), key=id) == sorted(sources, key=id)


@given(items, st.integers(1, 8))
def test_loads_balance(sources, processes):
    """Greedy: no process has more than the least loaded one by more than one animation."""
    counts = expected_counts(sources)
    loads = [sum(counts[item.name] for item in shard(sources, processes, index)) for index in range(processes)]
    assert max(loads) - min(loads) <= max(counts.values(), default=0)


@given(items, st.integers(1, 8))
def test_the_largest_load_is_near_the_least_possible(sources, processes):
    """Graham's bound of list scheduling: the mean load and all but a 1/N of the largest animation, at most."""
    counts = expected_counts(sources)
    loads = [sum(counts[item.name] for item in shard(sources, processes, index)) for index in range(processes)]
    mean, largest = sum(loads) / processes, max(counts.values(), default=0)
    assert max(loads) <= mean + (1 - 1 / processes) * largest + 1e-9


@given(st.integers(1, 40), st.integers(1, 8))
def test_animations_of_unknown_length_are_spread(number, processes):
    sources = [Item(f"clip {index}", 0) for index in range(number)]
    sizes = [len(shard(sources, processes, index)) for index in range(processes)]
    assert max(sizes) - min(sizes) <= 1


def test_an_unknown_length_counts_as_the_mean_of_the_known():
    assert expected_counts([Item("a", 10), Item("b", 0), Item("c", 21)]) == {"a": 10, "b": 16, "c": 21}
    items = [Item("a", 10), Item("b", 0), Item("c", 21)]
    assert [item.name for item in longest_first(items)] == ["c", "b", "a"]
    assert [item.name for item in shortest_first(items)] == ["a", "b", "c"]


def test_animations_of_equal_length_keep_their_natural_order():
    items = [Item("b10", 4), Item("b9", 4), Item("a", 4)]
    assert [item.name for item in longest_first(items)] == ["a", "b9", "b10"]
    assert [item.name for item in shortest_first(items)] == ["a", "b9", "b10"]


@given(items, st.integers(1, 8), st.randoms())
def test_the_order_of_the_sources_does_not_matter(sources, processes, random):
    shuffled = list(sources)
    random.shuffle(shuffled)
    for index in range(processes):
        part = shard(sources, processes, index)
        assert part == shard(shuffled, processes, index)
        assert part == sorted(part, key=lambda item: natural_key(item.name))


def test_one_process_does_everything_in_natural_order():
    sources = [Item("b10", 1), Item("b9", 5), Item("a", 2)]
    assert [item.name for item in shard(sources, 1, 0)] == ["a", "b9", "b10"]


@pytest.mark.parametrize(("processes", "index"), [(0, 0), (-1, 0), (2, 2), (2, -1)])
def test_bad_numbers_are_refused(processes, index):
    with pytest.raises(ValueError, match="process"):
        shard([], processes, index)


def test_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'a'"):
        shard([Item("a", 1), Item("a", 2)], 1, 0)
