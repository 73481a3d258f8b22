"""Decode text files whose encoding nothing states: OBJ and MTL files, and the headers of PLY files."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

BYTE_ORDER_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Two bytes a letter: GB 18030 includes GBK; then Japanese, Korean, traditional Chinese.
EAST_ASIAN = ("gb18030", "cp932", "cp949", "big5hkscs", "euc_jp")
ONE_BYTE = ("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp437", "cp866", "latin-1")
SAMPLE = 4096  # bytes at a file's beginning that show UTF-16


@dataclass(frozen=True)
class DecodedText:
    """A decoded text file.

    Attributes:
        text: its content, without byte order mark and NULs.
        encoding: of which it was decoded.
        errors: Python's name of how undecodable bytes were treated.
    """

    text: str
    encoding: str
    errors: str = "strict"

    def raw(self, name: str) -> bytes:
        """The bytes that a name has in the file."""
        return name.encode(self.encoding, "surrogateescape" if self.errors == "surrogateescape" else "replace")


def decode_text(data: bytes, fits: Callable[[str], bool] | None = None) -> DecodedText:
    """Decode a text file of unknown encoding.

    A byte order mark decides; else NULs in every second byte mean UTF-16; else valid UTF-8 is UTF-8. For all others
    ``fits`` chooses between the encodings in use (files are named in the text, and exist under one decoding); where it
    accepts none, the first that decodes is taken, East Asian ones first where bytes above 127 come in pairs.

    Args:
        data: the file's bytes.
        fits: whether a decoding of the lines with bytes above 127 is sensible.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, "replace")
    sample = data[:SAMPLE]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = sample[first::2].count(0), sample[1 - first :: 2].count(0)
        if len(sample) >= 4 and zeros > 0.4 * len(sample[first::2]) and zeros > 4 * others:
            return _decoded(data, encoding, "replace")
    try:
        return _decoded(data, "utf-8", "strict")
    except UnicodeDecodeError:
        pass
    # All encodings in question have ASCII as it is, so only the other lines, few of a large file, tell them apart.
    odd = b"\n".join(line for line in data.splitlines() if not line.isascii())
    runs = re.findall(rb"[\x80-\xff]+", odd)
    paired = sum(len(run) > 1 for run in runs) > 0.5 * len(runs)
    families = (EAST_ASIAN, ONE_BYTE) if paired else (ONE_BYTE, EAST_ASIAN)
    candidates: list[DecodedText] = []
    for encoding in (encoding for family in families for encoding in family):
        try:
            candidates.append(_decoded(odd, encoding, "strict"))
        except UnicodeDecodeError:
            continue
    # Names on a disk may be no text either: such bytes are what Python makes of them in file names.
    candidates.append(_decoded(odd, "utf-8", "surrogateescape"))
    matches = (each for each in candidates if fits is not None and fits(each.text))
    chosen = next(matches, candidates[0])
    return _decoded(data, chosen.encoding, chosen.errors)


def _decoded(data: bytes, encoding: str, errors: str) -> DecodedText:
    return DecodedText(data.decode(encoding, errors).replace("\0", ""), encoding, errors)


def split_lines(text: str) -> list[str]:
    r"""Lines that end in \n, \r\n or \r alone; other separators of Unicode are part of a line."""
    return re.split(r"\r\n|\r|\n", text)


def printable(name: str) -> str:
    """A name without what cannot be stored as UTF-8 (parts of file names that are no text)."""
    return name.encode("utf-8", "replace").decode("utf-8")
