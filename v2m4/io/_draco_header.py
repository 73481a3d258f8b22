"""Read how many faces and vertices a Draco stream declares, before it is decoded.

Source: Google, Draco Bitstream Specification, sections 3 (header), 5.1 (sequential) and 5.2 (edgebreaker connectivity).
"""

from __future__ import annotations

MAGIC = b"DRACO"
HEADER = 11  # bytes: magic, version, kind, method, flags
MESH, SEQUENTIAL, EDGEBREAKER = 1, 0, 1
METADATA = 0x80  # in the second byte of the flags
MAX_ELEMENTS = 1 << 26  # faces, and vertices
MAX_FACES_PER_BYTE = 8192  # the connectivity of a regular mesh takes a small part of a bit for each face


def check_draco(data: bytes) -> None:
    """Check that a stream does not declare more than its size makes credible.

    What is no Draco stream is left to the decoder. Streams with metadata and those of versions before 2.2, which no
    exporter of glTF writes, are not looked into.

    Raises:
        ValueError: it declares too much, or ends before it says how much.
    """
    if len(data) < HEADER or not data.startswith(MAGIC):
        return
    version, kind, method = (data[5], data[6]), data[7], data[8]
    if version < (2, 2) or kind != MESH or data[10] & METADATA or method not in (SEQUENTIAL, EDGEBREAKER):
        return
    first, place = _number(data, HEADER + (method == EDGEBREAKER))  # behind the kind of traversal
    second, _ = _number(data, place)
    if max(first, second) > min(MAX_ELEMENTS, MAX_FACES_PER_BYTE * len(data)):
        raise ValueError(f"it declares {max(first, second)} faces or vertices in {len(data)} bytes")


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and the place behind it.

    Raises:
        ValueError: the stream ends before.
    """
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("it is cut off in its header")
        value |= (data[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if not data[place - 1] & 0x80:
            return value, place
