"""Gradients of every operation against finite differences."""

import pytest
import torch

from tests.v2m4.render.scenes import bumpy, clip_of, smooth_weight, sphere, torus, turned
from v2m4.render import antialias, interpolate, rasterize, render_attributes, texture


def slope(function, at: torch.Tensor, along: torch.Tensor, step: float) -> float:
    with torch.no_grad():
        return float(function(at + step * along).double() - function(at - step * along).double()) / (2 * step)


def directional(function, at: torch.Tensor, along: torch.Tensor) -> float:
    at = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(at), at)
    return float((gradient.double() * along).sum())


@pytest.mark.parametrize("radius", [2.0, 0.45])  # outside, and across the camera plane
@pytest.mark.parametrize("seed", range(3))
def test_rasterize_passes_the_gradient_of_barycentrics(radius, seed) -> None:
    vertices, faces = sphere(1)
    generator = torch.Generator().manual_seed(seed)
    clip = clip_of(vertices, radius=radius)
    along, step = torch.randn(clip.shape, generator=generator), 1e-3
    along[..., 2] = 0
    ends = [rasterize(clip + sign * step * along, faces, (40, 40)) for sign in (-1, 1)]
    middle = rasterize(clip, faces, (40, 40))
    same = (ends[0][..., 3] == ends[1][..., 3]) & (ends[0][..., 3] == middle[..., 3]) & (middle[..., 3] > 0)
    weight = same[..., None] * torch.randn((1, 40, 40, 2), generator=generator)

    def loss(pos):
        return (weight * rasterize(pos, faces, (40, 40))[..., :2]).double().sum()

    assert same.sum() > 60
    assert directional(loss, clip, along) == pytest.approx(slope(loss, clip, along, step), rel=0.05, abs=0.2)


def test_interpolate_passes_gradients_to_attributes_and_barycentrics() -> None:
    vertices, faces = torus()
    clips = torch.cat([clip_of(vertices), clip_of(vertices, 2.0)])
    rast = rasterize(clips, faces, (24, 24))
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2):
        attr = torch.randn((batch, len(vertices), 3), generator=generator)
        weight = torch.randn((2, 24, 24, 3), generator=generator)
        along = torch.randn(attr.shape, generator=generator)

        def loss(attr, weight=weight, rast=rast):
            return (weight * interpolate(attr, rast, faces)).double().sum()

        assert directional(loss, attr, along) == pytest.approx(slope(loss, attr, along, 0.5), rel=1e-3)
        sway = torch.randn(rast.shape, generator=generator) * torch.tensor([1.0, 1.0, 0.0, 0.0])

        def loss_rast(rast, weight=weight, attr=attr):
            return (weight * interpolate(attr, rast, faces)).double().sum()

        assert directional(loss_rast, rast, sway) == pytest.approx(slope(loss_rast, rast, sway, 0.01), rel=1e-2)


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
@pytest.mark.parametrize("batch", [1, 2])
def test_texture_passes_gradients_to_texels_and_coordinates(mode, batch) -> None:
    generator = torch.Generator().manual_seed(3)
    tex = torch.randn((batch, 7, 5, 2), generator=generator)
    uv = 1.6 * torch.rand((2, 20, 20, 2), generator=generator) - 0.3
    weight = torch.randn((2, 20, 20, 2), generator=generator)
    along = torch.randn(tex.shape, generator=generator)

    def loss(tex, uv=uv):
        return (weight * texture(tex, uv, boundary_mode=mode)).double().sum()

    assert directional(loss, tex, along) == pytest.approx(slope(loss, tex, along, 0.5), rel=1e-3)
    drift = torch.randn(uv.shape, generator=generator)

    def loss_uv(uv):
        return loss(tex, uv)

    assert directional(loss_uv, uv, drift) == pytest.approx(slope(loss_uv, uv, drift, 1e-4), rel=0.05)


MOTIONS = ["right", "down", "towards", "grow", "turn"]


def moved(vertices: torch.Tensor, motion: str, amount: torch.Tensor) -> torch.Tensor:
    """Vertices after a motion of about `amount`."""
    zero = torch.zeros_like(amount)
    if motion == "turn":
        return turned(vertices, torch.stack([0.3 * amount, 0.2 * amount, amount]))
    if motion == "grow":
        return vertices * (1 + amount)
    place = {"right": [amount, zero, zero], "down": [zero, -amount, zero], "towards": [zero, zero, 3 * amount]}
    return vertices + torch.stack(place[motion])


def mean_gradient_and_change(loss, reach: float, count: int = 12) -> tuple[float, float]:
    """The gradient averaged over [-reach, reach], and the change of the loss over it: one number, if all is right."""
    gradients = []
    for place in (torch.arange(count) + 0.5) / count * 2 - 1:
        amount = (place * reach).clone().requires_grad_()
        gradients.append(float(torch.autograd.grad(loss(amount), amount)[0]))
    with torch.no_grad():
        change = float(loss(torch.tensor(reach)) - loss(torch.tensor(-reach))) / (2 * reach)
    return sum(gradients) / count, change


def ellipsoid(subdivisions: int) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = sphere(subdivisions, 1.0)
    return vertices * torch.tensor([0.45, 0.25, 0.3]), faces


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(("shape", "argument"), [(ellipsoid, 1), (ellipsoid, 3), (ellipsoid, 5), (torus, None)])
def test_the_outline_follows_every_motion(shape, argument, motion) -> None:
    vertices, faces = shape() if argument is None else shape(argument)
    weight = smooth_weight(64)

    def loss(amount):
        clip = clip_of(moved(vertices, motion, amount))
        return (render_attributes(clip, faces, None, (64, 64))[0] * weight).double().sum()

    gradient, change = mean_gradient_and_change(loss, 0.06)
    assert gradient == pytest.approx(change, rel=0.15, abs=30.0)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("fused", [True, False])
def test_shaded_pictures_follow_every_motion(fused, motion) -> None:
    vertices, faces = bumpy()
    colors = (vertices[None] * 2 + 0.6).contiguous()
    weight = smooth_weight(64, 4)

    def loss(amount):
        clip = clip_of(moved(vertices, motion, amount))
        if fused:
            picture, _ = render_attributes(clip, faces, colors, (64, 64))
        else:
            rast = rasterize(clip, faces, (64, 64))
            picture = torch.cat([(rast[..., 3:] > 0).float(), interpolate(colors, rast, faces)], -1)
            picture = antialias(picture, rast, clip, faces)
        return (picture * weight).double().sum()

    gradient, change = mean_gradient_and_change(loss, 0.05)
    assert gradient == pytest.approx(change, rel=0.15, abs=60.0)


def test_fused_gradients_are_those_of_the_operations() -> None:
    vertices, faces = torus()
    generator = torch.Generator().manual_seed(2)
    leaves = [
        torch.cat([clip_of(vertices), clip_of(vertices, 1.5)]),
        torch.randn((1, len(vertices), 4), generator=generator),
        torch.rand((1, 9, 8, 3), generator=generator),
        torch.rand((1, len(vertices), 2), generator=generator),
    ]
    weight = torch.randn((2, 40, 40, 8), generator=generator)

    def gradients(fused: bool):
        pos, attr, tex, uvs = inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        if fused:
            picture, _ = render_attributes(pos, faces, attr, (40, 40), textured=(tex, uvs, faces), unit=1)
        else:
            rast = rasterize(pos, faces, (40, 40))
            mask = (rast[..., 3:].detach() > 0).float()
            values = interpolate(attr, rast, faces)
            normal = torch.nn.functional.normalize(values[..., 1:], dim=-1)
            color = mask * texture(tex, interpolate(uvs, rast, faces))
            picture = antialias(torch.cat([mask, color, values[..., :1], normal], -1), rast, pos, faces)
        return torch.autograd.grad((picture * weight).sum(), inputs)

    for one, other in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
