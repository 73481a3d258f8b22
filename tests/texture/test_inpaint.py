import numpy as np
import pytest

from texture.inpaint import clusters, inpaint, push_pull, vertex_colors
from texture.texels import sample

SIZE = 128


def test_push_pull_keeps_known_pixels_and_the_range_of_colours():
    rng = np.random.default_rng(0)
    picture = (0.3 + 0.4 * rng.random((50, 70, 3))).astype(np.float32)
    weight = (rng.random((50, 70)) > 0.9).astype(np.float32)
    filled = push_pull(np.where(weight[..., None] > 0, picture, 7.0), weight)
    assert np.abs(filled - picture)[weight > 0].max() < 1e-6
    assert filled.min() >= 0.3 - 1e-5 and filled.max() <= 0.7 + 1e-5
    flat = push_pull(np.full((33, 17, 3), 0.25, np.float32) * (weight[:33, :17, None] > 0), weight[:33, :17])
    assert np.abs(flat - 0.25).max() < 1e-5


def test_push_pull_without_any_weight_changes_nothing():
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    assert np.array_equal(push_pull(picture, np.zeros((8, 8), np.float32)), picture)


def half_observed(scene):
    """A gradient over the body of which the back (z < 0) and everything outside the charts is unobserved and wrong."""
    positions = scene.positions()
    truth = np.clip(0.5 + 0.5 * positions[..., [0, 1, 1]], 0, 1).astype(np.float32)
    observed = scene.texels.valid & (positions[..., 2] > -0.05)
    return np.where(observed[..., None], truth, 9.0).astype(np.float32), truth, observed


def test_unobserved_texels_take_colours_of_their_neighbours(all_round):
    texture, truth, observed = half_observed(all_round)
    filled = inpaint(texture, observed, all_round.texels, all_round.faces, all_round.seams)
    assert np.abs(filled - texture)[observed].max() == 0
    assert np.isfinite(filled).all()
    for channel in range(3):
        assert filled[..., channel].min() >= texture[observed][:, channel].min() - 1e-3
        assert filled[..., channel].max() <= texture[observed][:, channel].max() + 1e-3
    back = all_round.texels.valid & ~observed
    assert back.sum() > 500
    assert np.abs(filled - truth)[back].mean() < 0.4 * np.abs(truth[observed].mean(0) - truth)[back].mean()


def test_filled_colours_are_continuous_across_seams(all_round):
    texture, _, observed = half_observed(all_round)
    filled = inpaint(texture, observed, all_round.texels, all_round.faces, all_round.seams)
    across = np.abs(sample(filled, all_round.seams.one) - sample(filled, all_round.seams.other))
    assert across.max() < 0.03


def test_vertices_at_observed_texels_take_their_colours(all_round):
    texture, _, observed = half_observed(all_round)
    colors = vertex_colors(texture, observed, all_round.texels, all_round.faces)
    vertices = all_round.mesh.vertices.numpy()
    front = vertices[:, 2] > 0.1
    assert np.abs(colors - (0.5 + 0.5 * vertices[:, [0, 1, 1]]))[front].max() < 0.03


def test_a_part_keeps_its_own_colour_and_small_marks_do_not_spread(all_round):
    positions = all_round.positions()
    paint = np.where(positions[..., 1:2] > 0.1, [0.9, 0.9, 0.9], [0.1, 0.3, 0.8])  # a white cap on a blue body
    ears = (np.abs(positions[..., 0]) > 0.3) & (positions[..., 1] > 0.12) & (positions[..., 1] < 0.22)
    paint = np.where(ears[..., None], [0.9, 0.6, 0.1], paint).astype(np.float32)
    observed = all_round.texels.valid & (positions[..., 2] > -0.02)
    colors = vertex_colors(paint, observed, all_round.texels, all_round.faces)
    vertices = all_round.mesh.vertices.numpy()
    back = vertices[:, 2] < -0.1
    assert np.abs(colors - [0.9, 0.9, 0.9])[back & (vertices[:, 1] > 0.3)].mean() < 0.06
    assert np.abs(colors - [0.1, 0.3, 0.8])[back & (vertices[:, 1] < -0.1)].mean() < 0.04


def test_vertices_without_a_way_to_known_ones_take_the_mean(all_round):
    texels, faces = all_round.texels, all_round.faces
    texture = np.full((SIZE, SIZE, 3), 0.25, np.float32)
    known = texels.valid & (texels.face == 0)
    lonely = np.concatenate([faces[:1], faces[~np.isin(faces, faces[0]).any(1)]])
    colors = vertex_colors(texture, known, texels, lonely)
    assert np.abs(colors[np.unique(lonely)] - 0.25).max() < 1e-6


def test_clusters_separate_well_separated_points():
    rng = np.random.default_rng(0)
    centers = np.array([[0.1, 0.1, 0.1], [0.9, 0.2, 0.1], [0.2, 0.8, 0.9]])
    points = np.repeat(centers, 30, 0) + 0.01 * rng.standard_normal((90, 3))
    found, labels = clusters(points, 3)
    assert all(len(set(labels[part * 30 : part * 30 + 30].tolist())) == 1 for part in range(3))
    assert np.abs(np.sort(found, 0) - np.sort(centers, 0)).max() < 0.01
    assert len(clusters(np.ones((5, 3)), 4)[0]) == 1


def test_no_observed_texel_is_an_error(all_round):
    with pytest.raises(ValueError, match="no texel is observed"):
        nothing = np.zeros((SIZE, SIZE), bool)
        inpaint(np.zeros((SIZE, SIZE, 3)), nothing, all_round.texels, all_round.faces, all_round.seams)
