"""Sequences whose items are made when they are asked for, so that memory does not grow with the length of a video."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")


class OnDemand(Sequence[Item], Generic[Item]):
    """Items that are made when they are asked for, as read from a file; those that were asked for last are kept.

    Several threads may use it: two that ask for one item at the same time may both make it.

    Args:
        count: of the items.
        make: an item by its index, equal at every call.
        nbytes: bytes of an item.
        limit: bytes of the items that are kept, at most.
    """

    def __init__(
        self, count: int, make: Callable[[int], Item], nbytes: Callable[[Item], int] = lambda item: 0, limit: int = 0
    ) -> None:
        self._count, self._make, self._nbytes, self._limit = count, make, nbytes, limit
        self._kept: OrderedDict[int, Item] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    @property
    def kept_bytes(self) -> int:
        """Bytes of the items that are kept now."""
        return self._kept_bytes

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> OnDemand[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | OnDemand[Item]:
        if isinstance(index, slice):
            chosen = range(*index.indices(self._count))
            return OnDemand(len(chosen), lambda position: self[chosen[position]])
        if not -self._count <= index < self._count:
            raise IndexError(f"item {index} of {self._count}")
        index %= self._count
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        item = self._make(index)
        self.keep(index, item)
        return item

    def keeps(self, index: int) -> bool:
        """Whether an item is kept now."""
        with self._lock:
            return index in self._kept

    def keep(self, index: int, item: Item) -> None:
        """Keep an item that was made elsewhere, as one that was asked for; not one that is larger than the limit."""
        size = self._nbytes(item)
        if size > self._limit or self._limit == 0:
            return
        with self._lock:
            if index in self._kept:
                return
            self._kept[index] = item
            self._kept_bytes += size
            while self._kept_bytes > self._limit:
                self._kept_bytes -= self._nbytes(self._kept.popitem(last=False)[1])
