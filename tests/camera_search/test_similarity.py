import pytest
import torch

from camera_search.similarity import ImageAgreement, MaskedImages, intersection_over_union


def _disc(x, y, radius=12.0, size=48, color=(0.8, 0.3, 0.1)):
    grid = torch.arange(size) + 0.5
    distance = ((grid[None] - x).square() + (grid[:, None] - y).square()).sqrt()
    mask = (radius - distance + 0.5).clamp(0, 1)[None, ..., None]
    stripes = 0.6 + 0.4 * torch.sin(grid / 2)[None, None, :, None]
    return MaskedImages(mask * stripes * torch.tensor(color), mask)


def _join(*pictures):
    return MaskedImages(torch.cat([p.color for p in pictures]), torch.cat([p.mask for p in pictures]))


def test_equal_images_score_one():
    picture = _disc(24, 24)
    assert float(ImageAgreement().score(picture, picture)) == pytest.approx(1.0, abs=1e-4)


def test_further_away_scores_less():
    reference = _disc(24, 24)
    scores = ImageAgreement().score(_join(*(_disc(24 + d, 24) for d in (0, 1, 3, 6, 12))), reference)
    assert (scores.diff() < 0).all()


def test_score_depends_on_hue_more_than_on_brightness():
    reference = _disc(24, 24)
    blue = _disc(24, 24, color=(0.1, 0.3, 0.8))
    dim = MaskedImages(reference.color * 0.8, reference.mask)
    same, other = ImageAgreement().score(_join(dim, blue), reference)
    assert same > 0.9
    assert other < same - 0.1


def test_disjoint_masks_score_near_zero():
    assert float(ImageAgreement().score(_disc(10, 10, 6), _disc(38, 38, 6))) < 0.1


def test_negative_coverage_lowers_the_score_only_slightly():
    """Antialiasing subtracts coverage for each side of a pixel, so the sum may be negative."""
    reference = _disc(24, 24, 8)
    mask, color = reference.mask.clone(), reference.color.clone()
    mask[0, 20:22, 20], color[0, 20:22, 20] = -0.4, -0.4
    clean, speck = ImageAgreement().score(_join(reference, MaskedImages(color, mask)), reference)
    assert 0.5 < float(speck) < float(clean)


def test_scores_of_empty_images_are_finite():
    empty = MaskedImages(torch.zeros(1, 48, 48, 3), torch.zeros(1, 48, 48, 1))
    score = ImageAgreement().score(_join(empty, _disc(24, 24)), empty)
    assert torch.isfinite(score).all()


def test_gradient_agrees_with_finite_differences():
    reference = _disc(24, 24)
    agreement = ImageAgreement(scales=2)

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


def test_different_sizes_are_an_error():
    with pytest.raises(ValueError, match="one reference of the renders' size"):
        ImageAgreement().score(_disc(5, 5, size=48), _disc(5, 5, size=32))
    with pytest.raises(ValueError, match=r"expected color \(B, h, w, 3\)"):
        MaskedImages(torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4))
