"""The network: shapes, chunks, gradients, what depends on what."""

from dataclasses import replace

import pytest
import torch

from motion324 import attention
from motion324.config import MotionConfig, preset
from motion324.embedding import SurfacePoints
from motion324.network import MotionNetwork

SMALL = replace(
    preset("patches"), width=48, head_width=16, latents=6, surface_layers=1, video_layers=2, image_width=36,
    image_layers=1, image_heads=3, image_size=28,
)  # fmt: skip


def surface(count: int, batch: int = 1, seed: int = 0) -> SurfacePoints:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, count, 3, generator=generator) - 0.5
    normals = torch.nn.functional.normalize(torch.randn(batch, count, 3, generator=generator), dim=-1)
    return SurfacePoints(points, normals, torch.rand(batch, count, 3, generator=generator))


def network(config: MotionConfig = SMALL, seed: int = 0, **options: bool) -> MotionNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = MotionNetwork(config, **options)
        torch.nn.init.normal_(made.head[-1].weight, std=0.1)
    return made


def video(frames: int, batch: int = 1, size: int = 28) -> torch.Tensor:
    return torch.rand(batch, frames, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_tiny_has_about_five_million_parameters() -> None:
    made = MotionNetwork(preset("patches"))
    assert 4e6 < sum(value.numel() for value in made.parameters()) < 6.5e6
    with torch.no_grad():
        moved = made(surface(64), video(2, size=112), surface(10))
    assert moved.shape == (1, 2, 10, 3)


def test_displacements_start_at_zero() -> None:
    queries = surface(7, seed=3)
    moved = MotionNetwork(SMALL)(surface(20), video(3), queries)
    assert torch.allclose(moved, queries.points[:, None].expand_as(moved), atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 30])
@pytest.mark.parametrize("output", ["positions", "displacements"])
def test_chunks_and_batches_do_not_change_the_result(output: str, chunk: int) -> None:
    made = network(replace(SMALL, output=output)).eval()
    shape, frames, queries = surface(20, 2), video(3, 2), surface(11, 2, seed=5)
    with torch.no_grad():
        together = made(shape, frames, queries)
        latents = made.encode(shape, frames)
        assert torch.allclose(made.decode(latents, queries, chunk=chunk), together, atol=1e-5)
        second = SurfacePoints(shape.points[1:], shape.normals[1:], shape.colors[1:])
        asked = SurfacePoints(queries.points[1:], queries.normals[1:], queries.colors[1:])
        assert torch.allclose(made(second, frames[1:], asked), together[1:], atol=1e-5)
    assert together.shape == (2, 3, 11, 3)


def test_no_query_points_give_an_empty_result() -> None:
    made = network()
    assert made(surface(20), video(2), surface(0)).shape == (1, 2, 0, 3)


def test_result_depends_on_every_input() -> None:
    made = network().eval()
    shape, frames, queries = surface(20), video(3), surface(5, seed=5)
    with torch.no_grad():
        start = made(shape, frames, queries)
        other_frames = frames.clone()
        other_frames[:, 2] = 0
        others = [
            made(surface(20, seed=9), frames, queries),
            made(shape, other_frames, queries),
            made(shape, frames, surface(5, seed=6)),
            made(shape, frames[:, [1, 0, 2]], queries),
        ]
    for other in others:
        assert (other - start).abs().max() > 1e-5


def test_order_of_points_does_not_matter() -> None:
    made = network().eval()
    shape, frames, queries = surface(20), video(2), surface(5, seed=5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    mixed = SurfacePoints(shape.points[:, order], shape.normals[:, order], shape.colors[:, order])
    with torch.no_grad():
        assert torch.allclose(made(mixed, frames, queries), made(shape, frames, queries), atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for used in (False, True):
        made = network(gradient_checkpointing=used).train()
        made(surface(20), video(3), surface(5, seed=5)).square().sum().backward()
        gradients.append({name: value.grad for name, value in made.named_parameters()})
    assert all(value is not None for value in gradients[0].values())
    for name, value in gradients[0].items():
        assert torch.allclose(value, gradients[1][name], atol=1e-5), name


def test_a_step_of_training_lowers_the_loss() -> None:
    made = network().train()
    optimiser = torch.optim.AdamW(made.parameters(), 3e-3)
    shape, frames, queries = surface(20), video(2), surface(8, seed=5)
    target = queries.points[:, None] + torch.tensor([0.0, 0.1]).reshape(1, 2, 1, 1)
    losses = []
    for _ in range(40):
        loss = (made(shape, frames, queries) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"frames: expected \(B, T, 3, H, W\), got \(1, 3, 28, 28\)"):
        network().encode_images(torch.zeros(1, 3, 28, 28))
    with pytest.raises(ValueError, match=r"normals: expected \(1, 4, 3\)"):
        SurfacePoints(torch.zeros(1, 4, 3), torch.zeros(1, 5, 3), torch.zeros(1, 4, 3))


def test_attention_by_products_is_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MIN_QUERIES", 3)
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(2, 3, count, 8, generator=generator).bfloat16() for count in (10, 7, 7))
    expected = torch.nn.functional.scaled_dot_product_attention(queries.float(), keys.float(), values.float())
    for at_once in (1, 40, 1 << 20):
        monkeypatch.setattr(attention, "LOGITS_AT_ONCE", at_once)
        with torch.no_grad():
            result = attention.attend(queries, keys, values)
        assert torch.allclose(result.float(), expected.transpose(1, 2).flatten(-2), atol=0.03)


def test_lower_precision_is_close() -> None:
    made = network(replace(SMALL, output="positions")).eval()
    shape, frames, queries = surface(20), video(3), surface(50, seed=5)
    with torch.no_grad():
        exact = made(shape, frames, queries)
        assert made.lower_precision() is made
        with torch.autocast("cpu", torch.bfloat16):
            rounded = made(shape, frames, queries)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded - exact).abs().max() < 0.03 * exact.std()
