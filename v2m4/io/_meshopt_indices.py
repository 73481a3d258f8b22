"""Decode the index streams of meshopt: triangles, and sequences of any other indices.

Source: Khronos, KHR_meshopt_compression, appendix A (modes 1 and 2).
"""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel

# Kernels return the position behind the last byte that they read, or this where the stream is broken.
BROKEN = -1
# The state of the decoder of triangles: where it reads, the next new index, the last explicit index, and how many
# entries its two queues of 16 have had.
POSITION, NEXT, LAST, EDGES, VERTICES = range(5)


@kernel
def read_varint(stream: np.ndarray, position: int, end: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most five bytes, and the position behind it, or BROKEN."""
    value = 0
    for number in range(5):
        if position < 0 or position >= end:
            return 0, BROKEN
        byte = np.int64(stream[position])
        position += 1
        value |= (byte & 127) << (7 * number)
        if byte < 128:
            return value & 0xFFFFFFFF, position
    return 0, BROKEN


@kernel("u1[::1], u4[::1]", ahead=False)
def decode_indices(stream: np.ndarray, result: np.ndarray) -> int:
    """Decode an index stream into ``result`` (count,)."""
    position, end = 1, len(stream) - 4
    last = np.zeros(2, np.int64)
    for index in range(len(result)):
        value, position = read_varint(stream, position, end)
        if position == BROKEN:
            return BROKEN
        baseline = value & 1
        delta = ~(value >> 2) if value & 2 else value >> 2
        last[baseline] = (last[baseline] + delta) & 0xFFFFFFFF
        result[index] = last[baseline]
    return position


@kernel("u1[::1], u4[::1]", ahead=False)
def decode_triangles(stream: np.ndarray, result: np.ndarray) -> int:
    """Decode a triangle stream into ``result`` (3 F,)."""
    count = len(result) // 3
    state = np.zeros(5, np.int64)
    state[POSITION] = 1 + count
    edges, vertices, corners = np.zeros((16, 2), np.int64), np.zeros(16, np.int64), np.zeros(3, np.int64)
    for triangle in range(count):
        code = np.int64(stream[1 + triangle])
        if code >> 4 < 15:
            beside_edge(stream, code, state, edges, vertices, corners)
        else:
            apart(stream, code & 15, state, edges, vertices, corners)
        if state[POSITION] == BROKEN:
            return BROKEN
        push_edge(edges, state, corners[2], corners[1])
        push_edge(edges, state, corners[0], corners[2])
        result[3 * triangle : 3 * triangle + 3] = corners
    return state[POSITION]


@kernel
def beside_edge(
    stream: np.ndarray, code: int, state: np.ndarray, edges: np.ndarray, vertices: np.ndarray, corners: np.ndarray
) -> None:
    """Decode a triangle (3,) at a recent edge."""
    low = code & 15
    corners[:2] = edges[(state[EDGES] - 1 - (code >> 4)) & 15]
    if low == 0:
        corners[2] = new_index(state)
    elif low < 13:
        corners[2] = vertices[(state[VERTICES] - 1 - low) & 15]
    elif low < 15:
        state[LAST] = (state[LAST] + (1 if low == 14 else -1)) & 0xFFFFFFFF
        corners[2] = state[LAST]
    else:
        corners[2] = explicit_index(stream, state)
    if low == 0 or low >= 13:
        push_vertex(vertices, state, corners[2])


@kernel
def apart(
    stream: np.ndarray, low: int, state: np.ndarray, edges: np.ndarray, vertices: np.ndarray, corners: np.ndarray
) -> None:
    """Decode a triangle (3,) at no recent edge; each corner is new (0), recent (1 to 14) or explicit (15)."""
    end = len(stream) - 16  # where the table of codes begins
    pair = np.int64(stream[end + low])
    if low >= 14:
        if state[POSITION] >= end:
            state[POSITION] = BROKEN
            return
        pair = np.int64(stream[state[POSITION]])
        state[POSITION] += 1
        if pair == 0:
            state[NEXT] = 0
    places = (15 if low == 15 else 0, pair >> 4, pair & 15)
    for corner in range(3):
        if places[corner] == 0:
            corners[corner] = new_index(state)
        elif places[corner] < 15:
            corners[corner] = vertices[(state[VERTICES] - places[corner]) & 15]
        else:
            corners[corner] = explicit_index(stream, state)
    for corner in range(3):
        if places[corner] in (0, 15):
            push_vertex(vertices, state, corners[corner])
    push_edge(edges, state, corners[1], corners[0])


@kernel
def new_index(state: np.ndarray) -> int:
    """The next index that has not been used."""
    state[NEXT] += 1
    return state[NEXT] - 1


@kernel
def explicit_index(stream: np.ndarray, state: np.ndarray) -> int:
    """An index stored as its difference from the last one."""
    value, state[POSITION] = read_varint(stream, state[POSITION], len(stream) - 16)
    delta = ~(value >> 1) if value & 1 else value >> 1
    state[LAST] = (state[LAST] + delta) & 0xFFFFFFFF
    return state[LAST]


@kernel
def push_vertex(vertices: np.ndarray, state: np.ndarray, index: int) -> None:
    """Add an index to the queue of recent ones."""
    vertices[state[VERTICES] & 15] = index
    state[VERTICES] += 1


@kernel
def push_edge(edges: np.ndarray, state: np.ndarray, first: int, second: int) -> None:
    """Add an edge to the queue of recent ones."""
    edges[state[EDGES] & 15, 0], edges[state[EDGES] & 15, 1] = first, second
    state[EDGES] += 1
