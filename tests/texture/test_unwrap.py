import numpy as np
import pytest
import trimesh

from texture.unwrap import face_charts, seam_edges, unwrap


def sphere(subdivisions=3):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int64)


def areas(points, faces):
    corners = points[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    if points.shape[1] == 3:
        return 0.5 * np.linalg.norm(np.cross(a, b), axis=1)
    return 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def test_ratio_of_areas_in_the_atlas_and_on_the_surface_is_bounded():
    vertices, faces = sphere()
    atlas = unwrap(vertices, faces, 256)
    ratio = np.abs(areas(atlas.uvs, atlas.uv_faces)) / areas(vertices, faces)
    assert atlas.uvs.min() >= 2 / 256 and atlas.uvs.max() <= 254 / 256  # half the padding stays free along the borders
    assert ratio.min() > 0.5 * np.median(ratio) and ratio.max() < 2 * np.median(ratio)


def test_all_faces_of_a_chart_have_one_orientation():
    vertices, faces = sphere()
    atlas = unwrap(vertices, faces, 256)
    charts, signs = face_charts(atlas.uv_faces), np.sign(areas(atlas.uvs, atlas.uv_faces))
    for chart in np.unique(charts):
        assert len(np.unique(signs[charts == chart])) == 1


def test_same_mesh_gives_same_atlas():
    vertices, faces = sphere()
    first, second = unwrap(vertices, faces, 256), unwrap(vertices, faces, 256)
    assert np.array_equal(first.uvs, second.uvs) and np.array_equal(first.uv_faces, second.uv_faces)


@pytest.mark.parametrize("size", [128, 512])
def test_charts_are_apart_by_the_padding(size):
    vertices, faces = sphere()
    atlas = unwrap(vertices, faces, size, padding=4.0)
    charts = face_charts(atlas.uv_faces)
    points = (atlas.uvs * size)[atlas.uv_faces]
    fractions = np.linspace(0, 1, 24)[:, None, None]
    border = np.concatenate([points[:, k] * (1 - fractions) + points[:, (k + 1) % 3] * fractions for k in range(3)])
    border, owner = border.reshape(-1, 2), np.tile(charts, 72)
    from scipy.spatial import cKDTree

    for chart in np.unique(charts):
        distance, _ = cKDTree(border[owner != chart]).query(border[owner == chart])
        assert distance.min() >= 3.5  # four, less the spacing of the samples


def test_seam_edges_are_those_with_two_pairs_of_texture_coordinates():
    vertices, faces = sphere(2)
    atlas = unwrap(vertices, faces, 256)
    one, other = seam_edges(faces, atlas.uv_faces)
    corner_of = np.zeros(len(atlas.uvs), dtype=np.int64)
    corner_of[atlas.uv_faces.ravel()] = faces.ravel()
    assert np.array_equal(corner_of[one], corner_of[other])  # the same edges of the surface
    from_seam_edges = {tuple(sorted(edge)) for edge in corner_of[one]}
    sides: dict[tuple, set] = {}
    for face, uv_face in zip(faces, atlas.uv_faces, strict=True):
        for k in range(3):
            pair = sorted([(face[k], uv_face[k]), (face[(k + 1) % 3], uv_face[(k + 1) % 3])])
            sides.setdefault((pair[0][0], pair[1][0]), set()).add((pair[0][1], pair[1][1]))
    assert from_seam_edges == {edge for edge, uv_pairs in sides.items() if len(uv_pairs) > 1}


def test_collapsed_faces_lie_on_a_neighbours_edge():
    vertices, faces = sphere(2)
    a, b, c = faces[0]
    middle = (vertices[a] + vertices[b]) / 2
    vertices = np.concatenate([vertices, middle[None]])
    split_vertex = len(vertices) - 1
    # The edge (a, b) of face 0 is split; its neighbour keeps the whole edge, and a flat face closes the gap.
    faces = np.concatenate([faces[1:], [[a, split_vertex, c], [split_vertex, b, c], [a, b, split_vertex]]])
    atlas = unwrap(vertices, faces, 256)
    first, second, third = atlas.uvs[atlas.uv_faces[-1]]
    assert np.allclose(third, (first + second) / 2, atol=1e-4)
    assert np.linalg.norm(second - first) > 0


def test_no_faces_and_too_many_charts_are_errors():
    vertices, faces = sphere(2)
    with pytest.raises(ValueError, match="no faces"):
        unwrap(vertices, faces[:0], 64)
    soup = vertices[faces].reshape(-1, 3)
    with pytest.raises(ValueError, match="more texels"):
        unwrap(soup, np.arange(len(soup)).reshape(-1, 3), 32)
