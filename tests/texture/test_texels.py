import numpy as np
import torch

from texture.texels import lookups, sample, texel_map
from texture.unwrap import Atlas
from v2m4.render import texture as render_texture


def test_lookups_equal_the_renderers():
    rng = np.random.default_rng(0)
    image = rng.random((32, 32, 3)).astype(np.float32)
    uvs = rng.random((500, 2)).astype(np.float32)
    uvs[:4] = [[0, 0], [1, 1], [0, 1], [0.001, 0.999]]
    expected = render_texture(torch.from_numpy(image)[None], torch.from_numpy(uvs)[None, None], boundary_mode="clamp")
    assert np.abs(sample(image, lookups(uvs, 32)) - expected[0, 0].numpy()).max() < 1e-5


def test_texels_of_one_triangle_hold_their_nearest_points():
    uvs = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]], dtype=np.float32)
    texels = texel_map(Atlas(uvs, np.array([[0, 1, 2]])), 16)
    centres = (np.arange(16) + 0.5) / 16
    texel_uvs = np.stack(np.broadcast_arrays(centres[None, :], centres[:, None]), -1)
    values = np.zeros((16, 16, 2))
    values[texels.valid] = texels.interpolate(uvs, np.array([[0, 1, 2]]))
    inside = (texel_uvs >= 0.25).all(-1) & (texel_uvs.sum(-1) <= 1.0)
    assert np.abs(values - texel_uvs)[inside].max() < 1e-6  # its own position inside
    distance = np.linalg.norm(values - texel_uvs, axis=-1)
    assert (distance[texels.valid] * 16 < 2).all()  # the nearest point of the border outside
    nearest = np.linalg.norm(texel_uvs - np.clip(texel_uvs, 0.25, 0.75), axis=-1) * 16
    assert (texels.valid | (nearest > 1.9) | (texel_uvs.sum(-1) > 1.0)).all()


def test_all_texels_of_a_lookup_belong_to_one_chart(all_round):
    atlas, texels = all_round.atlas, all_round.texels
    size = len(texels.face)
    rng = np.random.default_rng(1)
    weights = rng.dirichlet([0.3] * 3, size=(len(atlas.uv_faces), 40)).astype(np.float32)
    points = np.einsum("fnk,fkc->fnc", weights, atlas.uvs[atlas.uv_faces])
    rows = lookups(points.reshape(-1, 2), size)
    chart = texels.chart.ravel()
    own_chart = np.repeat(chart[rows.base], 1)
    for offset, share in ((1, rows.right), (size, rows.lower), (size + 1, rows.right * rows.lower)):
        touched = share > 1e-4
        assert (chart[rows.base + offset][touched] == own_chart[touched]).all()
    assert (own_chart >= 0).all()


def test_lookups_on_both_sides_of_a_seam_are_one_surface_point(all_round):
    positions = all_round.positions()
    gap = sample(positions, all_round.seams.one) - sample(positions, all_round.seams.other)
    assert len(gap) > 100
    assert np.linalg.norm(gap, axis=1).max() < 0.02  # of an object of size 1, with texels of 0.012
