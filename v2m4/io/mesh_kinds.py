"""Name what a file is that holds no mesh that can be read, and what to do with it, before any work."""

from __future__ import annotations

from pathlib import Path

HEAD = 1 << 16  # bytes at a file's beginning that are looked at
POISSON = "MeshLab: Filters, Remeshing, Screened Poisson"
POINTS = f"points without a surface; make one of them ({POISSON}) and export it as PLY or GLB"
SPLATS = (
    "Gaussian splats, not a mesh; extract a mesh (by SuGaR or 2DGS, or from their points by "
    f"{POISSON}) and export it as PLY or GLB"
)
BLENDER = "open it in Blender and export it as GLB"
CAD = "a CAD model of curved surfaces, not a mesh; mesh it in FreeCAD (Mesh workbench) and export it as OBJ"
ARCHIVE = "unpack it, and give the mesh in it"
# By suffix: what files of other 3D formats are, and how they become a mesh that is read.
OTHER_KINDS = {
    **dict.fromkeys((".splat", ".ksplat", ".spz", ".sog"), SPLATS),
    **dict.fromkeys((".pcd", ".xyz", ".xyzn", ".xyzrgb", ".pts", ".ptx", ".asc", ".las", ".laz", ".e57"), POINTS),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs", ".brep", ".sat", ".x_t", ".sldprt", ".3dm"), CAD),
    ".dae": f"COLLADA; {BLENDER} (4.5 or older)",
    ".3ds": f"3D Studio's format; {BLENDER}",
    ".blend": f"a Blender project; {BLENDER}",
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), f"USD; {BLENDER}"),
    ".abc": f"Alembic; {BLENDER}",
    **dict.fromkeys((".x3d", ".wrl", ".x3dv"), f"VRML or X3D; {BLENDER}"),
    ".3mf": "3MF; open it in Blender, MeshLab or a slicer and export it as STL or GLB",
    ".amf": "AMF; open it in a slicer and export it as STL",
    ".max": "a 3ds Max project; open it there and export it as FBX or GLB",
    **dict.fromkeys((".ma", ".mb"), "a Maya project; open it there and export it as FBX or GLB"),
    ".c4d": "a Cinema 4D project; open it there and export it as FBX or GLB",
    ".skp": "a SketchUp project; open it there and export it as GLB or OBJ",
    **dict.fromkeys((".ztl", ".zpr"), "a ZBrush project; open it there and export it as OBJ or FBX"),
    **dict.fromkeys((".lwo", ".lws"), f"LightWave's format; {BLENDER}"),
    **dict.fromkeys((".pmx", ".pmd"), "a MikuMikuDance model; open it in Blender (mmd_tools) and export it as GLB"),
    **dict.fromkeys((".dxf", ".dwg"), "an AutoCAD drawing; export it from there as FBX or STL"),
    ".ifc": "a building model (IFC); open it in Blender (Bonsai) and export it as GLB",
    **dict.fromkeys((".vtk", ".vtp", ".vtu"), "VTK's format; open it in ParaView and export it as PLY or GLTF"),
    ".bvh": "motion without a mesh; give the character's mesh",
    ".vox": "voxels; open it in MagicaVoxel and export it as OBJ or PLY",
    ".mtl": "materials; give the OBJ that belongs to it",
    ".bin": "a glTF's buffer; give the .gltf that belongs to it",
    **dict.fromkeys((".rar", ".7z", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".zst"), f"an archive; {ARCHIVE}"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".mp4", ".mov"), "a picture or video; give it as --video"),
}
# By content: the first bytes, what the file is, and the suffixes that it may have.
SIGNATURES = (
    (b"glTF", "a GLB; rename it to .glb", (".glb", ".gltf", ".vrm")),
    (b"ply\n", "a PLY; rename it to .ply", (".ply",)),
    (b"ply\r", "a PLY; rename it to .ply", (".ply",)),
    (b"Kaydara FBX", "an FBX; rename it to .fbx", (".fbx",)),
    (b"PK\x03\x04", f"a ZIP archive; {ARCHIVE}", (".zip",)),
    (b"\x1f\x8b", f"packed by gzip; {ARCHIVE}", ()),
    (b"Rar!", f"a RAR archive; {ARCHIVE}", ()),
    (b"7z\xbc\xaf", f"a 7-Zip archive; {ARCHIVE}", ()),
    (b"BLENDER", OTHER_KINDS[".blend"], ()),
    (b"ISO-10303-21", CAD, ()),
    (b"# .PCD", POINTS, ()),
    (b"LASF", POINTS, ()),
    (b"PXR-USDC", OTHER_KINDS[".usd"], ()),
    (b"#usda", OTHER_KINDS[".usd"], ()),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run: git lfs pull", ()),
    (b"<!doctype html", "a web page, not a mesh; download the file anew", ()),
    (b"<html", "a web page, not a mesh; download the file anew", ()),
    (b"<?xml", "XML (COLLADA, X3D or the like); open it in Blender and export it as GLB", ()),
)


def refusal(path: Path, formats: tuple[str, ...], suffix: str | None = None) -> str:
    """One line for a file of another format than those read: what it is, and what to do.

    Args:
        path: the file.
        formats: the suffixes that are read.
        suffix: that of the format by the file's content; by default its own suffix.
    """
    kind = OTHER_KINDS.get((path.suffix if suffix is None else suffix).lower())
    return f"{path}: {kind}" if kind else f"{path}: unknown mesh format {path.suffix!r}; known are {' '.join(formats)}"


def check_content(path: Path, suffix: str | None = None) -> None:
    """Check by a file's first bytes that it may be a mesh of the format that its suffix says.

    Args:
        path: an existing file.
        suffix: the format that it is taken for; by default its own suffix.

    Raises:
        ValueError: it is empty, something else, or a PLY of points or Gaussian splats; one line with what to do.
        OSError: it cannot be read.
    """
    suffix = (path.suffix if suffix is None else suffix).lower()
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head.strip(b"\0\r\n\t "):
        raise ValueError(f"{path}: the file is empty; export it anew")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\t ")
    for signature, kind, suffixes in SIGNATURES:
        if start[: len(signature)].lower() == signature.lower() and suffix not in suffixes:
            raise ValueError(f"{path}: this is {kind}")
    points = points_of_ply(head) if suffix == ".ply" else None
    if points is not None:
        raise ValueError(f"{path}: {points}")


def points_of_ply(head: bytes) -> str | None:
    """What a PLY holds by its header where that has no faces: Gaussian splats or points; None where it has faces."""
    header = head.partition(b"end_header")[0].decode("latin-1").split("\n")
    words = [line.split() for line in header]
    counts = {each[1]: each[2] for each in words if len(each) == 3 and each[0] == "element"}
    if any(counts.get(name, "0") != "0" for name in ("face", "tristrips")) or counts.get("vertex", "0") == "0":
        return None
    names = {each[-1] for each in words if each and each[0] == "property"}
    if "packed_position" in names or ("f_dc_0" in names and names & {"scale_0", "rot_0", "opacity"}):
        return SPLATS
    return POINTS
