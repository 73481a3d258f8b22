"""Seeded mutations of valid files: of bytes, of numbers and words in texts, and of values in JSON documents."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from typing import Any

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
TEXT_VALUES = (
    b"-1",
    b"0",
    b"1",
    b"4294967295",
    b"9999999999999",
    b"1e999",
    b"nan",
    b"-0.0",
    b"x",
    b"",
    b"1/0",
    b"../..",
)
WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x01000000, 1000)
JSON_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**40, 1e308, 0.5, "", "x", "../../etc/hosts", [], {}, [0], [[]], {"x": 1}),
)
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942


def mutated_bytes(data: bytes, generator: random.Random) -> bytes:
    """The bytes with a few changes at random places."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 8))):
        if not changed:
            break
        start = generator.randrange(min(len(changed), generator.choice((64, len(changed)))))
        end = start + generator.choice((1, 4, 16, 256))
        kind = generator.randrange(7)
        if kind == 0:
            changed[start] ^= 1 << generator.randrange(8)
        elif kind == 1:
            changed[start] = generator.choice(WORDS) & 255
        elif kind == 2:
            changed[start : start + 4] = struct.pack(generator.choice("<>") + "I", generator.choice(WORDS))
        elif kind == 3:
            del changed[start:end]
        elif kind == 4:
            changed[start:start] = changed[start:end] * generator.choice((1, 3))
        elif kind == 5:
            changed[start:end] = generator.randbytes(end - start)
        else:
            del changed[start:]
    return bytes(changed)


def mutated_text(data: bytes, generator: random.Random) -> bytes:
    """A text with numbers replaced, lines removed, doubled or moved, or with changed bytes."""
    kind = generator.randrange(4)
    if kind == 0:
        return mutated_bytes(data, generator)
    if kind == 1:
        lines = data.split(b"\n")
        place = generator.randrange(len(lines))
        line = lines.pop(place)
        for _ in range(generator.choice((0, 1, 2))):
            lines.insert(generator.randrange(len(lines) + 1), line)
        return b"\n".join(lines)
    found = list(NUMBER.finditer(data))
    for match in sorted(
        generator.sample(found, min(len(found), generator.choice((1, 2, 5)))), key=lambda m: -m.start()
    ):
        data = data[: match.start()] + generator.choice(TEXT_VALUES) + data[match.end() :]
    return data


def mutated_json(document: Any, generator: random.Random) -> Any:
    """A copy of a JSON document with a few values replaced, removed or exchanged."""
    copied = json.loads(json.dumps(document))
    for _ in range(generator.choice((1, 1, 2, 3))):
        places = list(_places(copied))
        if not places:
            break
        holder, key = generator.choice(places)
        kind = generator.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, place = generator.choice(places)
            holder[key] = json.loads(json.dumps(other[place]))
        elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] += generator.choice((-1, 1, 3, 2**32))
        else:
            holder[key] = copy.deepcopy(generator.choice(JSON_VALUES))
    return copied


def _places(item: Any) -> Any:
    """Each container and key of the values in a document."""
    keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
    for key in keys:
        yield item, key
        yield from _places(item[key])


def mutated_glb(data: bytes, generator: random.Random) -> bytes:
    """A GLB with another document, other binary data, or changed bytes anywhere."""
    if generator.randrange(4) == 0:
        return mutated_bytes(data, generator)
    (length,) = struct.unpack_from("<I", data, 12)
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    if generator.randrange(3):
        document = mutated_json(document, generator)
    else:
        binary = mutated_bytes(binary, generator)
    text = json.dumps(document).encode()
    chunks = b"".join(
        struct.pack("<II", len(part), kind) + part for kind, part in ((JSON_CHUNK, text), (BINARY_CHUNK, binary))
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def mutated_json_text(data: bytes, generator: random.Random) -> bytes:
    """A JSON text with another document or changed bytes."""
    if generator.randrange(3) == 0:
        return mutated_text(data, generator)
    return json.dumps(mutated_json(json.loads(data), generator)).encode()
