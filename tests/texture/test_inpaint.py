import numpy as np
import pytest

from texture.inpaint import inpaint, push_pull, vertex_colors
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


def test_no_observed_texel_is_an_error(all_round):
    with pytest.raises(ValueError, match="no texel is observed"):
        nothing = np.zeros((SIZE, SIZE), bool)
        inpaint(np.zeros((SIZE, SIZE, 3)), nothing, all_round.texels, all_round.faces, all_round.seams)
