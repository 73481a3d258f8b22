"""Parse PLY files (ASCII, binary of either byte order) into columns by element and property.

Source: G. Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from v2m4.io._gltf_container import GltfError
from v2m4.io._text_encoding import decode_text, split_lines

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8"},
}
Order = Literal["<", ">"]
ORDERS: dict[str, Order | None] = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class ListColumn:
    """A list property: the values (N,) of all rows, one row after the other, and how many (R,) each row has."""

    values: np.ndarray
    counts: np.ndarray


@dataclass
class PlyElement:
    """An element of a PLY: its columns by property name, in the file's own types.

    Attributes:
        count: rows.
        columns: (R,) arrays of scalar properties.
        lists: list properties.
    """

    count: int
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, ListColumn] = field(default_factory=dict)


@dataclass(frozen=True)
class _Property:
    name: str
    kind: np.dtype
    count_kind: np.dtype | None  # of a list's length; None for a scalar


class _Body(Protocol):
    """What follows the header: numbers at places, which are bytes in binary files and words in ASCII ones."""

    length: int

    def size(self, kind: np.dtype) -> int:
        """Places that a number takes."""
        ...

    def regular(self, kind: np.dtype, start: int, shape: tuple[int, ...], row_size: int) -> np.ndarray:
        """Numbers of rows of one size: (R,) or (R, N) from the place ``start`` of the first row."""
        ...

    def at(self, kind: np.dtype, places: np.ndarray) -> np.ndarray:
        """The numbers at places (N,)."""
        ...

    def rows(self, first: int, count: int) -> np.ndarray | None:
        """The places (R,) where rows begin, if the file tells them by its lines."""
        ...


class _BinaryBody:
    def __init__(self, data: bytes) -> None:
        self._bytes = np.frombuffer(data, np.uint8)
        self.length = len(data)

    def size(self, kind: np.dtype) -> int:
        return kind.itemsize

    def regular(self, kind: np.dtype, start: int, shape: tuple[int, ...], row_size: int) -> np.ndarray:
        return np.ndarray(shape, kind, self._bytes.data, start, (row_size, kind.itemsize)[: len(shape)])

    def at(self, kind: np.dtype, places: np.ndarray) -> np.ndarray:
        return self._bytes[places[:, None] + np.arange(kind.itemsize)].view(kind)[:, 0]

    def rows(self, first: int, count: int) -> None:
        return None


class _AsciiBody:
    def __init__(self, data: bytes, row_count: int) -> None:
        self._values = np.array(data.split(), np.float64)
        self.length = len(self._values)
        words = np.array([len(line.split()) for line in data.splitlines() if line.strip()], np.int64)
        # A line may have more numbers than the header says, so lines tell more than the sequence of all numbers.
        self._starts = np.cumsum(words) - words if len(words) == row_count else None

    def size(self, kind: np.dtype) -> int:
        return 1

    def regular(self, kind: np.dtype, start: int, shape: tuple[int, ...], row_size: int) -> np.ndarray:
        step = self._values.itemsize
        strides = (row_size * step, step)[: len(shape)]
        return _cast(np.ndarray(shape, np.float64, self._values.data, start * step, strides), kind)

    def at(self, kind: np.dtype, places: np.ndarray) -> np.ndarray:
        return _cast(self._values[places], kind)

    def rows(self, first: int, count: int) -> np.ndarray | None:
        return None if self._starts is None else self._starts[first : first + count]


def _cast(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Numbers of a text in a type; integers are limited to its range."""
    if kind.kind == "f":
        return values.astype(kind)
    limits = np.iinfo(kind)
    return np.nan_to_num(values).clip(float(limits.min), float(limits.max)).astype(kind)


def parse_ply(
    data: bytes, path: Path, fits: Callable[[str], bool] | None = None
) -> tuple[list[str], dict[str, PlyElement]]:
    """Parse a PLY.

    Args:
        data: the file's bytes.
        path: named in errors.
        fits: whether a decoding of the header is sensible (``decode_text``).

    Returns:
        The header's comments, and the elements by name.

    Raises:
        GltfError: it is no PLY, or cut off.
        ValueError: a number or a count is malformed.
    """
    end = re.search(rb"(?m)^[ \t]*end_header[ \t]*", data[: 1 << 22].replace(b"\r", b"\n"))
    if not data.lstrip(b"\xef\xbb\xbf").startswith(b"ply") or end is None:
        raise GltfError(f"{path}: no PLY header; the file is broken or of another format")
    lines = [line.strip() for line in split_lines(decode_text(data[: end.start()], fits).text)]
    # One end of line; after \r alone \n belongs to it, unless all lines of the header end so.
    alone = b"\n" not in data[: end.start()]
    start = end.end() + (2 if data[end.end() : end.end() + 2] == b"\r\n" and not alone else 1)
    order, layout = _parse_header(lines, path)
    row_count = sum(count for count, _ in layout.values())
    body: _Body = _AsciiBody(data[start:], row_count) if order is None else _BinaryBody(data[start:])
    elements, place, first = {}, 0, 0
    for name, (count, properties) in layout.items():
        kinds = [_in_order(each, order) for each in properties]
        cut_off = f"{path}: the PLY is cut off in its rows of {name}"
        elements[name], place = _read_element(body, place, body.rows(first, count), count, kinds, cut_off)
        first += count
    return [line.partition(" ")[2].strip() for line in lines if line.startswith(("comment", "obj_info"))], elements


def _parse_header(lines: list[str], path: Path) -> tuple[Order | None, dict[str, tuple[int, list[_Property]]]]:
    """The byte order (None for ASCII), and count and properties of each element."""
    order: Order | None = None
    layout: dict[str, tuple[int, list[_Property]]] = {}
    current: list[_Property] = []
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "format":
            if words[1] not in ORDERS:
                raise GltfError(f"{path}: PLY format {words[1]!r}; known are {', '.join(ORDERS)}")
            order = ORDERS[words[1]]
        elif words[0] == "element":
            current = []
            if int(words[2]) < 0:
                raise ValueError(f"{words[2]} rows of {words[1]}")
            layout[words[1]] = (int(words[2]), current)
        elif words[0] == "property" and words[1] == "list":
            current.append(_Property(words[4], np.dtype(TYPES[words[3]]), np.dtype(TYPES[words[2]])))
        elif words[0] == "property":
            current.append(_Property(words[2], np.dtype(TYPES[words[1]]), None))
    return order, layout


def _in_order(each: _Property, order: Order | None) -> _Property:
    """The property with its types in a byte order."""
    if order is None:
        return each
    count_kind = None if each.count_kind is None else each.count_kind.newbyteorder(order)
    return _Property(each.name, each.kind.newbyteorder(order), count_kind)


def _read_element(
    body: _Body, start: int, rows: np.ndarray | None, count: int, properties: list[_Property], cut_off: str
) -> tuple[PlyElement, int]:
    """Read an element's rows from a place, or from the places of its rows; returns it and the place behind it."""
    element = PlyElement(count)
    if count == 0:
        return element, start
    start = start if rows is None else int(rows[0])
    offsets, lengths, size = _row_layout(body, start, properties, cut_off)
    stride = size if rows is None or count < 2 else int(rows[1] - rows[0])
    irregular = rows is not None and (stride < size or bool((np.diff(rows) != stride).any()))
    if irregular or not _is_regular(body, start, count, properties, offsets, lengths, stride):
        return _read_irregular(body, start, rows, element, properties, cut_off)
    if start + (count - 1) * stride + size > body.length:
        raise GltfError(f"{cut_off}; export or download it anew")
    for each, offset, length in zip(properties, offsets, lengths, strict=True):
        if each.count_kind is None:
            element.columns[each.name] = body.regular(each.kind, start + offset, (count,), stride)
            continue
        at = start + offset + body.size(each.count_kind)
        values = body.regular(each.kind, at, (count, length), stride) if length else np.zeros(0, each.kind)
        element.lists[each.name] = ListColumn(values.reshape(-1), np.full(count, length))
    return element, start + count * stride


def _row_layout(body: _Body, start: int, properties: list[_Property], cut_off: str) -> tuple[list[int], list[int], int]:
    """The offset of each property in the row at a place, the lengths of lists (1 for scalars), and the row's size."""
    offsets, lengths, place = [], [], start
    for each in properties:
        offsets.append(place - start)
        lengths.append(1)
        if each.count_kind is not None:
            if place + body.size(each.count_kind) > body.length:
                raise GltfError(f"{cut_off}; export or download it anew")
            lengths[-1] = int(body.at(each.count_kind, np.array([place]))[0])
            place += body.size(each.count_kind)
            if lengths[-1] < 0:
                raise ValueError(f"a list of {lengths[-1]} numbers")
        place += lengths[-1] * body.size(each.kind)
    return offsets, lengths, place - start


def _is_regular(
    body: _Body, start: int, count: int, properties: list[_Property], offsets: list[int], lengths: list[int], size: int
) -> bool:
    """Whether all rows have the layout of the first."""
    lists = [number for number, each in enumerate(properties) if each.count_kind is not None]
    if lists and start + (count - 1) * size + offsets[lists[-1]] >= body.length:
        return False
    for number in lists:
        kind = properties[number].count_kind
        assert kind is not None
        if (body.regular(kind, start + offsets[number], (count,), size) != lengths[number]).any():
            return False
    return True


def _read_irregular(
    body: _Body, start: int, rows: np.ndarray | None, element: PlyElement, properties: list[_Property], cut_off: str
) -> tuple[PlyElement, int]:
    """Read rows whose lists differ in length."""
    least = sum(body.size(each.kind if each.count_kind is None else each.count_kind) for each in properties)
    if start + element.count * least > body.length:
        raise GltfError(f"{cut_off}; export or download it anew")
    places = np.zeros((element.count, len(properties)), np.int64)
    lengths = np.ones((element.count, len(properties)), np.int64)
    for row in range(element.count):
        if rows is not None:
            if start > rows[row]:
                raise ValueError(f"a line with fewer numbers than the header says, before row {row}")
            start = int(rows[row])
        offsets, row_lengths, size = _row_layout(body, start, properties, cut_off)
        places[row], lengths[row] = [start + offset for offset in offsets], row_lengths
        start += size
    if start > body.length:
        raise GltfError(f"{cut_off}; export or download it anew")
    for column, each in enumerate(properties):
        size = body.size(each.kind)
        if each.count_kind is None:
            element.columns[each.name] = body.at(each.kind, places[:, column])
            continue
        counts = lengths[:, column]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.repeat(places[:, column] + body.size(each.count_kind), counts)
        element.lists[each.name] = ListColumn(body.at(each.kind, first + within * size), counts)
    return element, start
