"""Which process does which animation: ``--N`` processes, this one is ``--n``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from v2m4.io.names import natural_key


class Countable(Protocol):
    """What can be shared out: it has a name and a number of pictures."""

    @property
    def name(self) -> str:
        """Unique among what is shared out."""

    @property
    def count(self) -> int:
        """How much work it is, in pictures."""


Item = TypeVar("Item", bound=Countable)


def shard(sources: Sequence[Item], N: int, n: int) -> list[Item]:
    """The share of process ``n`` of ``N``: pictures are balanced over the processes (V2M4's way, by image count).

    Greedy: the animations go, the longest first, to the process that has the fewest pictures so far. Every process
    works out the same split, whatever the order of ``sources``, so that they need not talk to each other.

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
    loads = [0] * N
    mine = []
    for source in sorted(sources, key=lambda source: (-source.count, natural_key(source.name))):
        process = min(range(N), key=lambda index: (loads[index], index))
        loads[process] += source.count
        if process == n:
            mine.append(source)
    return sorted(mine, key=lambda source: natural_key(source.name))
