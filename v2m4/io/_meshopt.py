"""Decode buffer views compressed by meshopt: the attribute codec of versions 0 and 1, and the filters.

Source: Khronos, KHR_meshopt_compression, appendices A (bitstream) and B (filters); version 0 is that of
EXT_meshopt_compression.
"""

from __future__ import annotations

import numpy as np

from v2m4.io._meshopt_indices import BROKEN, decode_indices, decode_triangles
from v2m4.kernels import kernel

ATTRIBUTES, TRIANGLES, INDICES = "ATTRIBUTES", "TRIANGLES", "INDICES"
GROUP = 16  # elements


class MeshoptError(ValueError):
    """A stream that cannot be decoded."""


def decode(data: bytes, count: int, stride: int, mode: str, filter_name: str = "NONE") -> bytes:
    """Decode a compressed buffer view.

    Args:
        data: the compressed bytes.
        count: number of elements.
        stride: bytes of each element.
        mode: ATTRIBUTES, TRIANGLES or INDICES.
        filter_name: NONE, OCTAHEDRAL, QUATERNION, EXPONENTIAL or COLOR.

    Returns:
        ``count * stride`` bytes.

    Raises:
        MeshoptError: the stream is broken, or its mode or filter is not known.
    """
    stream = np.frombuffer(data, np.uint8).copy()
    if mode == ATTRIBUTES:
        elements = _attributes(stream, count, stride)
        if filter_name != "NONE":
            if filter_name not in FILTERS:
                raise MeshoptError(f"the unknown filter {filter_name!r}")
            elements = FILTERS[filter_name](elements)
        return elements.tobytes()
    if mode not in (TRIANGLES, INDICES) or stride not in (2, 4):
        raise MeshoptError(f"the unknown mode {mode!r} of {stride} bytes an element")
    header = 0xE1 if mode == TRIANGLES else 0xD1
    if len(stream) < 17 + count // 3 * (mode == TRIANGLES) - 12 * (mode == INDICES) or stream[0] != header:
        raise MeshoptError(f"a {mode.lower()} stream that is cut off or has another header")
    result = np.zeros(count, np.uint32)
    end = decode_triangles(stream, result) if mode == TRIANGLES else decode_indices(stream, result)
    if end == BROKEN:
        raise MeshoptError(f"a broken {mode.lower()} stream")
    return result.astype(np.uint32 if stride == 4 else np.uint16).tobytes()


def _attributes(stream: np.ndarray, count: int, stride: int) -> np.ndarray:
    """The elements (count, stride) uint8 of an attribute stream."""
    version = int(stream[0]) & 15 if len(stream) else 0
    tail = stride if version == 0 else stride + stride // 4
    if (
        stride % 4
        or not 4 <= stride <= 256
        or len(stream) < 1 + max(tail, 32 if version == 0 else 24)
        or stream[0] >> 4 != 10
        or version > 1
    ):
        raise MeshoptError(f"an attribute stream of {stride} bytes an element that is cut off or has another header")
    modes = stream[len(stream) - stride // 4 :].copy() if version else np.zeros(stride // 4, np.uint8)
    result = np.zeros((count, stride), np.uint8)
    if decode_attributes(stream, version, stream[len(stream) - tail :][:stride].copy(), modes, result) == BROKEN:
        raise MeshoptError("a broken attribute stream")
    return result


@kernel("u1[::1], i8, u1[::1], u1[::1], u1[:,::1]", ahead=False)
def decode_attributes(stream: np.ndarray, version: int, last: np.ndarray, modes: np.ndarray, result: np.ndarray) -> int:
    """Decode the blocks of an attribute stream into ``result`` (count, stride), from the baseline element ``last``."""
    count, stride = result.shape
    block = min((8192 // stride) & ~15, 256)
    deltas = np.zeros((stride, 256), np.uint8)
    position = 1
    for start in range(0, count, block):
        elements = min(block, count - start)
        controls = position
        if version == 1:
            position += stride // 4
            if position > len(stream):
                return BROKEN
        for byte in range(stride):
            control = -1
            if version == 1:
                control = (stream[controls + byte // 4] >> (2 * (byte % 4))) & 3
            position = read_deltas(stream, position, control, elements, deltas[byte])
            if position == BROKEN:
                return BROKEN
        for channel in range(stride // 4):
            four = deltas[4 * channel : 4 * channel + 4]
            if not add_deltas(four, modes[channel], last, result, start, elements, channel):
                return BROKEN
    return position


@kernel
def read_deltas(stream: np.ndarray, position: int, control: int, elements: int, deltas: np.ndarray) -> int:
    """Read the data block of one byte of the elements; returns the position behind it."""
    if control == 2:
        deltas[:] = 0
        return position
    groups = (elements + GROUP - 1) // GROUP
    header = position
    position += elements if control == 3 else (groups + 3) // 4
    if position > len(stream):
        return BROKEN
    if control == 3:
        deltas[:elements] = stream[header:position]
        return position
    for group in range(groups):
        mode = (stream[header + group // 4] >> (2 * (group % 4))) & 3
        bits = (0, 1, 2, 4)[mode] if control == 0 else (1, 2, 4, 8)[mode] if control == 1 else (0, 2, 4, 8)[mode]
        position = read_group(stream, position, bits, deltas[GROUP * group : GROUP * group + GROUP])
        if position == BROKEN:
            return BROKEN
    return position


@kernel
def read_group(stream: np.ndarray, position: int, bits: int, deltas: np.ndarray) -> int:
    """Read the deltas (16,) of a group, of 0, 1, 2, 4 or 8 bits each; returns the position behind them."""
    packed = position
    position += 2 * bits
    if position > len(stream):
        return BROKEN
    if bits == 0:
        deltas[:] = 0
    elif bits == 8:
        deltas[:] = stream[packed:position]
    else:
        sentinel, per_byte = (1 << bits) - 1, 8 // bits
        for index in range(GROUP):
            place = index % per_byte
            shift = place if bits == 1 else 8 - bits * (place + 1)
            deltas[index] = (np.int64(stream[packed + index // per_byte]) >> shift) & sentinel
            if deltas[index] == sentinel:  # the delta follows in a byte of its own
                if position >= len(stream):
                    return BROKEN
                deltas[index] = stream[position]
                position += 1
    return position


@kernel
def add_deltas(
    deltas: np.ndarray, mode: int, last: np.ndarray, result: np.ndarray, start: int, elements: int, channel: int
) -> bool:
    """Add the deltas (4, 256) of a channel of four bytes to the elements before; returns whether its mode is known."""
    first = 4 * channel
    if mode & 15 > 2 or (mode & 15 < 2 and mode > 1):
        return False
    for index in range(elements):
        if mode == 0:
            for byte in range(4):
                delta = int(deltas[byte, index])
                delta = ~(delta >> 1) if delta & 1 else delta >> 1
                last[first + byte] = (int(last[first + byte]) + delta) & 255
        elif mode == 1:
            for byte in (0, 2):
                delta = int(deltas[byte, index]) | int(deltas[byte + 1, index]) << 8
                delta = ~(delta >> 1) if delta & 1 else delta >> 1
                value = (int(last[first + byte]) | int(last[first + byte + 1]) << 8) + delta
                last[first + byte] = value & 255
                last[first + byte + 1] = (value >> 8) & 255
        else:
            rotation = mode >> 4
            delta = 0
            for byte in range(4):
                delta |= int(deltas[byte, index]) << (8 * byte)
            # The stored difference is rotated to the left; its inverse is a rotation to the right.
            delta = ((delta >> rotation) | (delta << (32 - rotation))) & 0xFFFFFFFF
            for byte in range(4):
                last[first + byte] = int(last[first + byte]) ^ ((delta >> (8 * byte)) & 255)
        for byte in range(4):
            result[start + index, first + byte] = last[first + byte]
    return True


def _rounded(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest integer, halves away from zero."""
    return np.trunc(values + np.copysign(0.5, values))


def _octahedral(elements: np.ndarray) -> np.ndarray:
    """Unit vectors from octahedral coordinates; elements (N, 4 or 8) uint8."""
    kind = np.dtype(f"<i{elements.shape[1] // 4}")
    stored = elements.view(kind)
    one = np.maximum(stored[:, 2:3].astype(np.float64), 1)
    plane = stored[:, :2] / one
    height = 1 - np.abs(plane).sum(1, keepdims=True)
    plane = plane - np.copysign(np.minimum(height, 0), plane)
    vectors = np.concatenate([plane, height], 1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    largest = np.iinfo(kind).max
    return np.concatenate([_rounded(vectors * largest).astype(kind), stored[:, 3:]], 1).view(np.uint8)


def _quaternion(elements: np.ndarray) -> np.ndarray:
    """Unit quaternions from their three smaller components; elements (N, 8) uint8."""
    stored = elements.view("<i2").astype(np.int64)
    one = (stored[:, 3:] | 3).astype(np.float64)
    smaller = stored[:, :3] / one / np.sqrt(2.0)
    largest = np.sqrt(np.maximum(1 - (smaller**2).sum(1, keepdims=True), 0))
    place = (stored[:, 3:] + np.arange(1, 5)) & 3
    result = np.zeros((len(elements), 4), np.int64)
    np.put_along_axis(result, place, _rounded(np.concatenate([smaller, largest], 1) * 32767).astype(np.int64), 1)
    return result.astype("<i2").view(np.uint8)


def _exponential(elements: np.ndarray) -> np.ndarray:
    """Floats from a common exponent of 8 bits and a mantissa of 24; elements (N, stride) uint8."""
    stored = elements.view("<i4")
    with np.errstate(over="ignore"):
        values = np.ldexp(((stored << 8) >> 8).astype(np.float32), stored >> 24)
    return values.astype("<f4").view(np.uint8)


def _color(elements: np.ndarray) -> np.ndarray:
    """RGBA from YCoCg; elements (N, 4 or 8) uint8."""
    size = elements.shape[1] // 4
    signed, unsigned = elements.view(f"<i{size}").astype(np.int64), elements.view(f"<u{size}").astype(np.int64)
    luma, orange, green = unsigned[:, 0], signed[:, 1], signed[:, 2]
    largest = (1 << (np.floor(np.log2(np.maximum(unsigned[:, 3], 1))).astype(np.int64) + 1)) - 1
    alpha = unsigned[:, 3] & (largest >> 1)
    alpha = (alpha << 1) | (alpha & 1)
    channels = np.stack([luma + orange - green, luma + green, luma - orange - green, alpha], 1)
    maximum = np.iinfo(f"u{size}").max
    return _rounded(channels * (maximum / largest[:, None])).clip(0, maximum).astype(f"<u{size}").view(np.uint8)


FILTERS = {"OCTAHEDRAL": _octahedral, "QUATERNION": _quaternion, "EXPONENTIAL": _exponential, "COLOR": _color}
