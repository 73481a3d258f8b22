"""Parse the lines of a Wavefront OBJ file."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import GltfError
from v2m4.io._text_encoding import DecodedText, decode_text, split_lines
from v2m4.io._user_mesh_scene import SceneBuilder

logger = logging.getLogger(__name__)

WIDTHS = {"v": (3, 8), "vt": (1, 2), "vn": (3, 3)}  # least and largest number of values that are read
FREE_FORM = ("curv", "curv2", "surf")
LARGEST_INDEX, LONGEST_INDEX = 2**31, 18  # value, and digits that fit an int64
MICROSOFT_NAN = re.compile(r"[-+]?(?:\d\.#\w+|nan\(\w*\))", re.IGNORECASE)  # as its C library prints them
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DIGITS, _BREAKS = re.compile(r"[\d/\s]+"), re.compile("/+")


@dataclass
class FaceGroup:
    """The faces of one object and material.

    Attributes:
        name: of the object.
        material: its name, "" for none.
        lines: for each face line its number in the file, its text, and how many positions, texture coordinates and
            normals precede it.
    """

    name: str
    material: str
    lines: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)

    def corners(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Indices (C, 3) of position, texture coordinate and normal of every corner, -1 for none; corners (P,) a face.

        Raises:
            GltfError: a corner is malformed.
        """
        parsed = self._parse_uniform()
        return self._parse_any(path) if parsed is None else parsed

    def _parse_uniform(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Parse all lines at once where their corners are of one pattern and count from the first; None elsewhere."""
        words = [line.split() for _, line, _ in self.lines]
        sizes = np.array([len(each) for each in words])
        if sizes.min() == 0:
            return None
        text = " ".join(line for _, line, _ in self.lines)
        pattern = re.sub(r"\d+", "1", words[0][0])
        columns = {"1": [0], "1/1": [0, 1], "1//1": [0, 2], "1/1/1": [0, 1, 2]}.get(pattern)
        if columns is None or not _DIGITS.fullmatch(text):
            return None
        if any(re.sub(r"\d+", "1", word) != pattern for word in set(chain.from_iterable(words))):
            return None
        words_of_numbers = _BREAKS.sub(" ", text).split()
        if max(map(len, words_of_numbers)) > LONGEST_INDEX:
            return None
        numbers = np.array(words_of_numbers, np.int64).reshape(-1, len(columns)) - 1
        if numbers.min() < 0:
            return None
        rows = np.full((len(numbers), 3), -1)
        rows[:, columns] = numbers
        return rows, sizes

    def _parse_any(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Parse the lines one by one, whatever they hold.

        Raises:
            GltfError: a corner is malformed.
        """
        rows: list[tuple[int, int, int]] = []
        sizes: list[int] = []
        for number, line, counts in self.lines:
            try:
                corners = [_corner(word, counts) for word in line.split()]
            except ValueError as error:
                raise GltfError(f"{path}: broken OBJ, line {number}: 'f {line[:60]}' ({error})") from error
            rows += corners
            sizes.append(len(corners))
        return np.array(rows, np.int64).reshape(-1, 3), np.array(sizes, np.int64)


@dataclass
class ObjFile:
    """The parsed lines of an OBJ.

    Attributes:
        text: the file, decoded.
        numbers: rows of numbers by keyword.
        parts: faces by object and material.
        libraries: arguments of ``mtllib`` lines.
        polypaint: ZBrush's colours of vertices, hexadecimal, 8 digits each.
        others: how often each other keyword occurs.
    """

    text: DecodedText
    numbers: dict[str, list[list[float]]] = field(default_factory=lambda: {keyword: [] for keyword in WIDTHS})
    parts: dict[tuple[str, str], FaceGroup] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)
    polypaint: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def parse_obj(path: Path, scene: SceneBuilder) -> ObjFile:
    """Parse the lines that define the surface.

    Raises:
        GltfError: one is malformed.
    """
    decoded = decode_text(path.read_bytes(), lambda text: _finds_library(text, scene))
    obj = ObjFile(decoded)
    name, material = path.stem, ""
    lines = iter(enumerate(split_lines(decoded.text), 1))
    for number, line in lines:
        keyword, arguments = _keyword(line)
        while arguments.endswith("\\") and not keyword.startswith("#"):  # goes on in the next line
            arguments = f"{arguments[:-1]} {next(lines, (number, ''))[1].strip()}"
        try:
            if keyword in WIDTHS:
                obj.numbers[keyword].append(_numbers(arguments))
            elif keyword in ("f", "fo"):
                key = (name, material)
                if key not in obj.parts:
                    obj.parts[key] = FaceGroup(name, material)
                counts = tuple(len(rows) for rows in obj.numbers.values())
                obj.parts[key].lines.append((number, arguments.partition("#")[0].strip(), counts))
            elif keyword == "o":
                name = arguments or path.stem
            elif keyword == "usemtl":
                material = arguments
            elif keyword == "mtllib":
                obj.libraries.append(arguments)
            elif keyword == "#MRGB":
                obj.polypaint.append(arguments)
            else:
                obj.others[keyword] += 1
        except (ValueError, IndexError) as error:
            raise GltfError(f"{path}: broken OBJ, line {number}: {line.strip()[:60]!r} ({error})") from error
    if obj.parts and any(obj.others[keyword] for keyword in FREE_FORM):
        logger.warning("%s: its free-form curves and surfaces are left out; export them as polygons", path)
    return obj


def _finds_library(text: str, scene: SceneBuilder) -> bool:
    """Whether a material library with letters beyond ASCII in its name is found under this decoding."""
    names = re.findall(r"(?m)^\s*mtllib\s+(.+?)\s*$", text)
    return any(scene.find(name) is not None for name in names if not name.isascii())


def _numbers(text: str) -> list[float]:
    """The numbers of a line up to a comment.

    Raises:
        ValueError: a word does not begin with one.
    """
    words = text.split()
    try:
        return [float(word) for word in words]
    except ValueError:
        ends = [number for number, word in enumerate(words) if word.startswith("#")]
        return [_number(word) for word in words[: ends[0] if ends else None]]


def _number(word: str) -> float:
    """A number by its longest valid beginning, as C's library reads it; NaN as Microsoft's prints it.

    Raises:
        ValueError: it begins with none, or has a comma for the point.
    """
    if MICROSOFT_NAN.fullmatch(word):
        return float("nan")
    match = NUMBER.match(word)
    if match is None or word[match.end() :].startswith(","):
        return float(word)
    return float(match[0])


def _keyword(line: str) -> tuple[str, str]:
    """The first word of a line, and the remaining text."""
    words = line.split(None, 1)
    return (words[0] if words else ""), (words[1].strip() if len(words) > 1 else "")


def _corner(word: str, counts: tuple[int, ...]) -> tuple[int, int, int]:
    """The three 0-based indices of ``4/2/1``, -1 for none; negative ones in the file count from the latest row.

    Raises:
        ValueError: an index is 0, not a number or out of range, there are more than three, or there is no vertex.
    """
    indices = [-1, -1, -1]
    for column, digits in enumerate(word.split("/")):
        if column > 2:
            raise ValueError(f"{column + 1} indices")
        if digits:
            value = int(digits)
            indices[column] = value - 1 if value > 0 else counts[column] + value
            if indices[column] < 0 or value == 0 or value > LARGEST_INDEX:
                raise ValueError(f"index {value}")
    if indices[0] < 0:
        raise ValueError("a corner without a vertex")
    return indices[0], indices[1], indices[2]
