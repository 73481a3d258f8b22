"""Distribution of animations over ``--N`` processes; this one is ``--n``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from v2m4.io.names import natural_key


class Countable(Protocol):
    """A work item with a name and a number of pictures."""

    @property
    def name(self) -> str:
        """Unique among the items."""

    @property
    def count(self) -> int:
        """Amount of work, in pictures; 0 if unknown."""


Item = TypeVar("Item", bound=Countable)


def shard(sources: Sequence[Item], N: int, n: int) -> list[Item]:
    """The animations of process ``n`` of ``N``, balanced by number of pictures, as in V2M4.

    Longest processing time first (Graham 1969): each animation, longest first, is assigned to the process with the
    fewest pictures so far. The partition depends on names and numbers of pictures alone, neither on the order of
    ``sources`` nor on what is finished, so that the processes need not communicate.

    Args:
        sources: all animations, in any order, with unique names.
        N: number of processes.
        n: index of this process, from 0.

    Returns:
        This process's animations in natural order of their names; empty where there are more processes than animations.

    Raises:
        ValueError: N < 1, or n outside 0 .. N - 1, or two animations with one name.
    """
    if N < 1:
        raise ValueError(f"N: the number of processes must be at least 1, got {N}")
    if not 0 <= n < N:
        raise ValueError(f"n: the index of the process must lie between 0 and N - 1 = {N - 1}, got {n}")
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two animations are called {twice!r}; rename one")
    loads, counts = [0] * N, expected_counts(sources)
    mine = []
    for source in longest_first(sources):
        process = min(range(N), key=lambda index: (loads[index], index))
        loads[process] += counts[source.name]
        if process == n:
            mine.append(source)
    return sorted(mine, key=lambda source: natural_key(source.name))


def expected_counts(sources: Sequence[Countable]) -> dict[str, int]:
    """Number of pictures of each animation by name; where it is unknown (0), the mean of the known ones, or 1."""
    known = [source.count for source in sources if source.count > 0]
    typical = round(sum(known) / len(known)) if known else 1
    return {source.name: source.count or typical for source in sources}


def longest_first(sources: Sequence[Item]) -> list[Item]:
    """The animations by falling number of pictures, then in natural order of their names."""
    counts = expected_counts(sources)
    return sorted(sources, key=lambda source: (-counts[source.name], natural_key(source.name)))


def shortest_first(sources: Sequence[Item]) -> list[Item]:
    """The animations by rising number of pictures, then in natural order of their names."""
    counts = expected_counts(sources)
    return sorted(sources, key=lambda source: (counts[source.name], natural_key(source.name)))
