"""Write the poses of an animation as one OBJ or PLY file each, for programs that read no animation.

The world keeps glTF's axes (y up). In OBJ, texture coordinates begin at the lower left corner of the picture: v is 1
minus glTF's. The same holds for PLY, where programs do not agree on names for them: Blender reads ``s`` and ``t``,
MeshLab ``texture_u`` and ``texture_v`` with ``comment TextureFile``; both are written.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v2m4.geometry import vertex_normals
from v2m4.io._gltf_write import split_at_seams
from v2m4.mesh import Mesh, MeshSequence

MATERIAL_FILE, TEXTURE_FILE = "material.mtl", "texture.png"
MATERIAL = "material"
PLY_COORDINATES = (("s", "t"), ("texture_u", "texture_v"))


def material_text(mesh: Mesh) -> str:
    """The contents of MATERIAL_FILE: a white matte material, with TEXTURE_FILE where the mesh has a texture."""
    texture = [f"map_Kd {TEXTURE_FILE}"] if is_textured(mesh) else []
    return "\n".join([f"newmtl {MATERIAL}", "Kd 1 1 1", "Ks 0 0 0", "illum 1", *texture]) + "\n"


def is_textured(mesh: Mesh) -> bool:
    """Whether the mesh has a texture and coordinates in it."""
    return mesh.texture is not None and mesh.uvs is not None


@dataclass(frozen=True)
class ObjWriter:
    """Writes the poses of one sequence as OBJ: what does not change from frame to frame is formatted once.

    Attributes:
        sequence: in world space.
        origin: (3,) float64 that is added to all vertices.
        header: lines before the vertices.
        footer: texture coordinates, if any, and faces.
    """

    sequence: MeshSequence
    origin: np.ndarray
    header: str
    footer: str

    @classmethod
    def of(cls, sequence: MeshSequence, origin: Sequence[float] = (0.0, 0.0, 0.0)) -> ObjWriter:
        """The writer of a sequence."""
        mesh = sequence.mesh
        faces = mesh.faces.cpu().numpy() + 1  # OBJ counts from 1
        buffer = io.StringIO()
        header = "# y up\n"
        if is_textured(mesh) and mesh.uvs is not None:
            header += f"mtllib {MATERIAL_FILE}\n"
            uvs = mesh.uvs.detach().cpu().numpy().astype(np.float64)
            np.savetxt(buffer, np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1), "vt %.7g %.7g")
            uv_faces = faces if mesh.uv_faces is None else mesh.uv_faces.cpu().numpy() + 1
            buffer.write(f"usemtl {MATERIAL}\n")
            rows = np.stack([faces, uv_faces, faces], 2).reshape(-1, 9)
            np.savetxt(buffer, rows, "f %d/%d/%d %d/%d/%d %d/%d/%d")
        else:
            np.savetxt(buffer, np.repeat(faces, 2, 1), "f %d//%d %d//%d %d//%d")
        return cls(sequence, np.asarray(origin, dtype=np.float64), header, buffer.getvalue())

    def write(self, index: int, path: Path) -> None:
        """Write a pose: vertices (with sRGB colours where there is no texture), normals and faces."""
        mesh = self.sequence[index]
        vertices = mesh.vertices.detach().cpu().numpy().astype(np.float64) + self.origin
        digits = "%.9g" if not self.origin.any() else "%.15g"
        buffer = io.StringIO()
        buffer.write(self.header)
        if mesh.colors is not None and not is_textured(mesh):
            rows = np.concatenate([vertices, mesh.colors.detach().cpu().numpy()], 1)
            np.savetxt(buffer, rows, f"v {digits} {digits} {digits} %.5g %.5g %.5g")
        else:
            np.savetxt(buffer, vertices, f"v {digits} {digits} {digits}")
        normals = vertex_normals(mesh.vertices, mesh.faces).detach().cpu().numpy()
        np.savetxt(buffer, normals, "vn %.5f %.5f %.5f")
        buffer.write(self.footer)
        path.write_text(buffer.getvalue(), "ascii")


@dataclass(frozen=True)
class PlyWriter:
    """Writes the poses of one sequence as binary PLY; vertices are duplicated at the texture's seams.

    Attributes:
        sequence: in world space.
        origin: (3,) float64 that is added to all vertices.
        source: (S,) the sequence's vertex of each vertex of the file.
        rows: (S,) structured, a vertex of the file; positions and normals are filled in for each pose.
        faces: the bytes of all faces.
        header: of the file.
    """

    sequence: MeshSequence
    origin: np.ndarray
    source: np.ndarray
    rows: np.ndarray
    faces: bytes
    header: bytes

    @classmethod
    def of(cls, sequence: MeshSequence, origin: Sequence[float] = (0.0, 0.0, 0.0)) -> PlyWriter:
        """The writer of a sequence."""
        mesh, place = sequence.mesh, np.asarray(origin, dtype=np.float64)
        split = split_at_seams(mesh)
        position = "<f8" if place.any() else "<f4"
        fields = [(name, position) for name in "xyz"] + [(name, "<f4") for name in ("nx", "ny", "nz")]
        textured, comments = is_textured(mesh), ["comment y up"]
        if textured:
            fields += [(name, "<f4") for pair in PLY_COORDINATES for name in pair]
            comments.append(f"comment TextureFile {TEXTURE_FILE}")
        elif mesh.colors is not None:
            fields += [(name, "u1") for name in ("red", "green", "blue")]
        rows = np.zeros(len(split.source), dtype=fields)
        if textured and split.uvs is not None:
            for horizontal, vertical in PLY_COORDINATES:
                rows[horizontal], rows[vertical] = split.uvs[:, 0], 1 - split.uvs[:, 1]
        elif mesh.colors is not None:
            colors = np.round(mesh.colors.detach().cpu().numpy().clip(0, 1) * 255)[split.source]
            for channel, name in enumerate(("red", "green", "blue")):
                rows[name] = colors[:, channel]
        faces = np.zeros(len(split.faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
        faces["count"], faces["indices"] = 3, split.faces
        types = {"<f8": "double", "<f4": "float", "u1": "uchar"}
        header = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(rows)}"]
        header += [f"property {types[kind]} {name}" for name, kind in fields]
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
        return cls(sequence, place, split.source, rows, faces.tobytes(), "\n".join(header).encode("ascii"))

    def write(self, index: int, path: Path) -> None:
        """Write a pose."""
        mesh = self.sequence[index]
        vertices = mesh.vertices.detach().cpu().numpy().astype(np.float64) + self.origin
        normals = vertex_normals(mesh.vertices, mesh.faces).detach().cpu().numpy()
        rows = self.rows.copy()
        for axis, name in enumerate("xyz"):
            rows[name], rows[f"n{name}"] = vertices[self.source, axis], normals[self.source, axis]
        path.write_bytes(self.header + rows.tobytes() + self.faces)
