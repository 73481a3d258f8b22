import numpy as np
import pytest

from texture.inpaint import inpaint, push_pull, vertex_colors
from texture.texels import sample

SIZE = 128


def test_push_pull_keeps_what_is_there_and_invents_no_colour():
    rng = np.random.default_rng(0)
    picture = (0.3 + 0.4 * rng.random((50, 70, 3))).astype(np.float32)
    weight = (rng.random((50, 70)) > 0.9).astype(np.float32)
    filled = push_pull(np.where(weight[..., None] > 0, picture, 7.0), weight)
    assert np.abs(filled - picture)[weight > 0].max() < 1e-6
    assert filled.min() >= 0.3 - 1e-5 and filled.max() <= 0.7 + 1e-5
    flat = push_pull(np.full((33, 17, 3), 0.25, np.float32) * (weight[:33, :17, None] > 0), weight[:33, :17])
    assert np.abs(flat - 0.25).max() < 1e-5


def test_push_pull_of_nothing_changes_nothing():
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    assert np.array_equal(push_pull(picture, np.zeros((8, 8), np.float32)), picture)


def half_seen(scene):
    """A gradient over the body of which the back (z < 0) and everything outside the charts is unseen and wrong."""
    positions = scene.positions()
    truth = np.clip(0.5 + 0.5 * positions[..., [0, 1, 1]], 0, 1).astype(np.float32)
    seen = scene.texels.valid & (positions[..., 2] > -0.05)
    return np.where(seen[..., None], truth, 9.0).astype(np.float32), truth, seen


def test_unseen_texels_take_colours_of_their_neighbours(all_round):
    texture, truth, seen = half_seen(all_round)
    filled = inpaint(texture, seen, all_round.texels, all_round.faces, all_round.seams)
    assert np.abs(filled - texture)[seen].max() == 0
    assert np.isfinite(filled).all()
    for channel in range(3):
        assert filled[..., channel].min() >= texture[seen][:, channel].min() - 1e-3
        assert filled[..., channel].max() <= texture[seen][:, channel].max() + 1e-3
    back = all_round.texels.valid & ~seen
    assert back.sum() > 500
    assert np.abs(filled - truth)[back].mean() < 0.4 * np.abs(truth[seen].mean(0) - truth)[back].mean()


def test_filled_colours_do_not_break_at_the_charts(all_round):
    texture, _, seen = half_seen(all_round)
    filled = inpaint(texture, seen, all_round.texels, all_round.faces, all_round.seams)
    across = np.abs(sample(filled, all_round.seams.one) - sample(filled, all_round.seams.other))
    assert across.max() < 0.03


def test_vertex_colours_next_to_seen_texels_are_theirs(all_round):
    texture, _, seen = half_seen(all_round)
    colors = vertex_colors(texture, seen, all_round.texels, all_round.faces)
    vertices = all_round.mesh.vertices.numpy()
    front = vertices[:, 2] > 0.1
    assert np.abs(colors - (0.5 + 0.5 * vertices[:, [0, 1, 1]]))[front].max() < 0.03


def test_nothing_seen_is_an_error(all_round):
    with pytest.raises(ValueError, match="no texel was seen"):
        nothing = np.zeros((SIZE, SIZE), bool)
        inpaint(np.zeros((SIZE, SIZE, 3)), nothing, all_round.texels, all_round.faces, all_round.seams)
