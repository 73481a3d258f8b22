"""Folders of glTF characters as training data: their files by kind of body, and the split into families."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Families that are not trained on: whole packs, or all characters that share a body.
HELD_OUT = (
    "quaternius_showcase/mech__*",
    "quaternius_showcase/easy_enemies__*",
    "quaternius_showcase/fish__*",
    "quaternius_showcase/single_knight__*",
    "quaternius_free2019/Animated_Human",
    "quaternius_free2019/Animated_Woman",
    "quaternius_free2019/Zombie",
    "quaternius_free2019/Cat",
    "quaternius_free2019/Dog",
    "quaternius_free2019/Wolf",
    "quaternius_free2019/Red_Fox",
)
# Never trained on, whatever the folder: the subjects of the published measurements.
EXCLUDED = ("Fox", "RobotExpressive", "chili")
# Share of the renders by kind: fish are many in the data, people and quadrupeds many in videos.
KIND_WEIGHTS = {"fish": 0.3, "humanoid": 2.0, "humanoid_fruit": 1.0, "quadruped": 1.6, "static": 0.08, "vehicle": 0.5}
STATIC_MONSTER_WEIGHT = 0.6


@dataclass(frozen=True)
class Source:
    """A file of the data.

    Attributes:
        path: of the file.
        name: relative to the data's folder, without suffix and without its first folder (animated, static).
        kind: kind of body, from the table beside the files; ``static`` for still ones.
        weight: relative frequency among the renders.
    """

    path: Path
    name: str
    kind: str
    weight: float


def held_out(name: str) -> bool:
    """Whether a subject belongs to a family that is not trained on."""
    return any(name == entry or (entry.endswith("*") and name.startswith(entry[:-1])) for entry in HELD_OUT)


def find_sources(folder: Path) -> list[Source]:
    """The .glb and .gltf files below a folder, in order of their names.

    A table ``<subfolder>.tsv`` with the columns file and kind names the kinds of body.

    Raises:
        FileNotFoundError: there are none.
    """
    kinds: dict[str, str] = {}
    for table in sorted(folder.glob("*.tsv")):
        lines = [line.split("\t") for line in table.read_text("utf-8").splitlines()]
        if lines and "kind" in lines[0]:
            column = lines[0].index("kind")
            kinds |= {line[0].rsplit(".", 1)[0]: line[column] for line in lines[1:] if len(line) > column}
    sources = []
    for path in sorted([*folder.rglob("*.glb"), *folder.rglob("*.gltf")]):
        name = path.relative_to(folder).with_suffix("").as_posix()
        name = re.sub(r"^(animated|static)/", "", name)
        if path.stem in EXCLUDED:
            continue
        kind = kinds.get(name, "static")
        weight = KIND_WEIGHTS.get(kind, 1.0)
        if kind == "static" and "monster" in name:
            weight = STATIC_MONSTER_WEIGHT
        sources.append(Source(path, name, kind, weight))
    if not sources:
        raise FileNotFoundError(f"{folder}: no .glb or .gltf files")
    return sources
