import pytest
import torch

from camera_search.similarity import PictureAgreement, Pictures, intersection_over_union


def _disc(x, y, radius=12.0, size=48, color=(0.8, 0.3, 0.1)):
    grid = torch.arange(size) + 0.5
    distance = ((grid[None] - x).square() + (grid[:, None] - y).square()).sqrt()
    mask = (radius - distance + 0.5).clamp(0, 1)[None, ..., None]
    stripes = 0.6 + 0.4 * torch.sin(grid / 2)[None, None, :, None]
    return Pictures(mask * stripes * torch.tensor(color), mask)


def _join(*pictures):
    return Pictures(torch.cat([p.color for p in pictures]), torch.cat([p.mask for p in pictures]))


def test_the_same_picture_scores_one():
    picture = _disc(24, 24)
    assert float(PictureAgreement().score(picture, picture)) == pytest.approx(1.0, abs=1e-4)


def test_further_away_scores_less():
    reference = _disc(24, 24)
    scores = PictureAgreement().score(_join(*(_disc(24 + d, 24) for d in (0, 1, 3, 6, 12))), reference)
    assert (scores.diff() < 0).all()


def test_another_colour_scores_less_and_another_lamp_hardly():
    reference = _disc(24, 24)
    blue = _disc(24, 24, color=(0.1, 0.3, 0.8))
    dim = Pictures(reference.color * 0.8, reference.mask)
    same, other = PictureAgreement().score(_join(dim, blue), reference)
    assert same > 0.9
    assert other < same - 0.1


def test_a_mask_elsewhere_scores_next_to_nothing():
    assert float(PictureAgreement().score(_disc(10, 10, 6), _disc(38, 38, 6))) < 0.1


def test_a_pixel_with_less_than_no_coverage_does_no_harm():
    """Antialiasing takes from a pixel for each of its sides, and may take more than there is."""
    reference = _disc(24, 24, 8)
    mask, color = reference.mask.clone(), reference.color.clone()
    mask[0, 20:22, 20], color[0, 20:22, 20] = -0.4, -0.4
    clean, speck = PictureAgreement().score(_join(reference, Pictures(color, mask)), reference)
    assert 0.5 < float(speck) < float(clean)


def test_empty_pictures_are_finite():
    empty = Pictures(torch.zeros(1, 48, 48, 3), torch.zeros(1, 48, 48, 1))
    score = PictureAgreement().score(_join(empty, _disc(24, 24)), empty)
    assert torch.isfinite(score).all()


def test_gradient_agrees_with_finite_differences():
    reference = _disc(24, 24)
    agreement = PictureAgreement(scales=2)

    def value(x):
        picture = _disc(x, 25.2)
        return agreement.score(picture, reference).sum()

    x = torch.tensor(26.3, requires_grad=True)
    value(x).backward()
    step = 0.02
    slope = (value(x.detach() + step) - value(x.detach() - step)) / (2 * step)
    assert float(x.grad) == pytest.approx(float(slope), rel=0.1)


def test_intersection_over_union_of_squares():
    first, second = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    first[..., :4, :4] = 1
    second[..., 2:6, 2:6] = 1
    assert float(intersection_over_union(first, second)) == pytest.approx(4 / 28)


def test_sizes_that_differ_are_an_error():
    with pytest.raises(ValueError, match="one reference of the renders' size"):
        PictureAgreement().score(_disc(5, 5, size=48), _disc(5, 5, size=32))
    with pytest.raises(ValueError, match=r"expected color \(B, h, w, 3\)"):
        Pictures(torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4))
