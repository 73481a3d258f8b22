"""Split a glTF file into its JSON document and its binary chunk, as tolerant as viewers are.

Binary or text is told by the content, not by the file's suffix. Read besides what the specification allows: JSON with a
byte order mark or in UTF-16, padded with NULs or followed by other bytes; a GLB whose header has a wrong length, whose
chunks are not aligned or in another order, or that has bytes behind its last chunk.

Source: Khronos, glTF 2.0 specification, section 4 (GLB).
"""

from __future__ import annotations

import codecs
import json
import logging
import struct
from pathlib import Path
from typing import Any

from v2m4.io._gltf_error import GltfError

logger = logging.getLogger(__name__)

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def split_file(data: bytes, path: Path) -> tuple[dict[str, Any], bytes | None]:
    """The JSON document and the binary chunk (None: there is none) of a .glb or .gltf file.

    Args:
        data: the file's bytes.
        path: named in errors.

    Raises:
        GltfError: it is no glTF 2.0 file, or is cut off.
    """
    binary: bytes | None = None
    text = data
    if data[:4] == b"glTF":
        text, binary = _glb_chunks(data, path)
    document = _parse_json(text, path)
    asset = document.get("asset")
    version = str(asset.get("version", "")) if isinstance(asset, dict) else ""
    if version.startswith("1") or (not version and isinstance(document.get("meshes"), dict)):
        raise GltfError(f"{path}: glTF {version or '1.0'}, not a glTF 2.0 file; convert it, for example with Blender")
    if not version.startswith("2"):
        raise GltfError(f"{path}: not a glTF 2.0 file (asset.version is {version or 'missing'})")
    return _without_nan(document, path), binary


def _parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """Decode the JSON text of a document."""
    mark, encoding = next(((mark, name) for mark, name in BYTE_ORDER_MARKS if text.startswith(mark)), (b"", ""))
    if not encoding and text[:4].count(0) >= 2 and b"{" in text[:4]:  # UTF-16 without a mark
        encoding = "utf-16-le" if text[0] else "utf-16-be"
    try:
        decoded = text[len(mark) :].decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if encoding:
            raise GltfError(f"{path}: not a glTF file (neither UTF-8 nor UTF-16)") from None
        decoded = text.decode("latin-1")  # names in a local encoding; all that matters is ASCII
    start = len(decoded) - len(decoded.lstrip(" \t\r\n\0"))
    try:
        document, end = json.JSONDecoder().raw_decode(decoded, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise GltfError(f"{path}: not a glTF file ({error})") from error
    if not isinstance(document, dict):
        raise GltfError(f"{path}: not a glTF 2.0 file")
    if decoded[end:].strip(" \t\r\n\0"):
        logger.warning("%s: text behind the end of the JSON document is ignored", path)
    return document


def _glb_chunks(data: bytes, path: Path) -> tuple[bytes, bytes | None]:
    """The JSON chunk and, if there is one, the binary chunk of a GLB."""
    if len(data) < 20:
        raise GltfError(f"{path}: the GLB is cut off after {len(data)} bytes")
    version, _ = struct.unpack_from("<II", data, 4)  # the length in the header is often wrong, and nothing needs it
    if version == 1:
        raise GltfError(f"{path}: a GLB of version 1, not a glTF 2.0 file; convert it, for example with Blender")
    if version != 2:
        raise GltfError(f"{path}: GLB version {version}; expected a GLB 2 file")
    chunks: dict[int, bytes] = {}
    offset = 12
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from("<II", data, offset)
        missing = offset + 8 + size - len(data)
        if missing > 3:  # up to three bytes of padding may be left out
            if kind not in (JSON_CHUNK, BINARY_CHUNK):
                break  # other bytes behind the last chunk
            raise GltfError(f"{path}: cut off, a GLB chunk of {size} bytes reaches past the end of the file")
        if kind in chunks:
            break
        chunks[kind] = data[offset + 8 : offset + 8 + size]
        offset = _next_chunk(data, offset + 8 + size)
    if JSON_CHUNK not in chunks:
        raise GltfError(f"{path}: the GLB has no JSON chunk")
    return chunks[JSON_CHUNK], chunks.get(BINARY_CHUNK)


def _next_chunk(data: bytes, end: int) -> int:
    """Offset of the chunk behind one that ends at ``end``, which some writers do not align."""
    for offset in (end, end + -end % 4):
        if data[offset + 4 : offset + 8] in (b"JSON", b"BIN\0"):
            return offset
    return end + -end % 4


def _without_nan(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document without entries that are no finite numbers, which JSON does not have; their defaults hold."""
    dropped: list[str] = []

    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            kept = {}
            for key, value in item.items():
                if _has_nan(value):
                    dropped.append(key)
                else:
                    kept[key] = clean(value)
            return kept
        return [clean(each) for each in item] if isinstance(item, list) else item

    cleaned = clean(document)
    if dropped:
        logger.warning("%s: %d entries that are no finite numbers are ignored (%s)", path, len(dropped), dropped[0])
    return cleaned


def _has_nan(value: Any) -> bool:
    """Whether a value is a number that is not finite, or a list of numbers with one."""
    if isinstance(value, float):
        return not abs(value) < float("inf")
    return isinstance(value, list) and any(isinstance(each, float) and _has_nan(each) for each in value)
