"""Values of the operations: against a slow reference, against embree, and at the edges of what may be asked."""

import numpy as np
import pytest
import torch

from tests.v2m4.render.scenes import bumpy, chili, clip_of, rasterize_slowly, sphere, torus, turned
from v2m4.render import antialias, interpolate, rasterize, render_attributes, texture


def quad(z: float = 0.0, w: float = 1.0, half: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """A square (1, 4, 4) about the middle of the picture, and its two triangles."""
    corners = torch.tensor([[-half, -half], [half, -half], [half, half], [-half, half]])
    rest = torch.tensor([[z, 1.0]]).expand(4, 2)
    return (torch.cat([corners, rest], 1) * w)[None], torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


@pytest.mark.parametrize("shape", [sphere, torus, bumpy])
@pytest.mark.parametrize("size", [(37, 53), (64, 48)])
def test_agrees_with_the_slow_rasteriser(shape, size) -> None:
    vertices, faces = shape()
    clip = clip_of(vertices, radius=1.4)
    rast = rasterize(clip, faces, size)[0].numpy()
    slow = rasterize_slowly(clip[0].numpy(), faces.numpy(), size)
    same = rast[..., 3] == slow[..., 3]
    assert same.mean() > 0.999  # ties on edges may go either way
    assert (slow[..., 3] > 0).mean() > 0.1
    assert np.abs(rast - slow)[same].max() < 1e-4
    attr = torch.randn(1, len(vertices), 5, generator=torch.Generator().manual_seed(0))
    values = interpolate(attr, torch.from_numpy(rast)[None], faces)[0].numpy()
    u, v, face = slow[..., :1], slow[..., 1:2], slow[..., 3].astype(int) - 1
    a, b, c = (attr[0].numpy()[faces.numpy()[face, corner]] for corner in range(3))
    wanted = np.where(face[..., None] >= 0, u * a + v * b + (1 - u - v) * c, 0)
    assert np.abs(values - wanted)[same].max() < 1e-3


@pytest.mark.parametrize("shape", [sphere, torus, bumpy, chili])
def test_triangles_are_those_that_embree_meets(shape) -> None:
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex", reason="embreex is the oracle here")
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    from v2m4.camera import Orbit

    vertices, faces = shape()
    size, agree, covered = 96, 0, 0
    for turn in ([0.0, 0.0, 0.0], [0.7, 0.2, -0.4], [-1.1, 2.3, 0.5]):
        moved = turned(vertices, torch.tensor(turn))
        camera = Orbit.of(0.3, 0.2, 1.8, (0.05, 0.0, 0.0)).camera()
        ids = rasterize(camera.clip(moved), faces, (size, size))[0, ..., 3].numpy().astype(int).ravel() - 1
        grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1).reshape(1, -1, 2)
        pixels = torch.tensor(grid, dtype=torch.float32)
        far = camera.unproject(pixels, torch.ones(1, size * size), (size, size))[0].double()
        origin = camera.positions().double()
        mesh = trimesh.Trimesh(moved.numpy(), faces.numpy(), process=False)
        rays = RayMeshIntersector(mesh).intersects_first(origin.expand(len(far), 3).numpy(), (far - origin).numpy())
        agree += ((ids == rays) & (rays >= 0)).sum()
        covered += ((ids >= 0) | (rays >= 0)).sum()
    assert covered > 3 * 500
    assert agree / covered > 0.997


def test_row_zero_is_clip_y_minus_one_and_depth_is_z_over_w() -> None:
    pos, tri = quad(z=0.25, w=2.0)
    pos[..., 1] -= 1.0  # half a picture up, w is 2
    rast = rasterize(pos, tri, (8, 8))[0]
    rows = (rast[..., 3] > 0).any(1)
    assert rows.tolist() == [True] * 4 + [False] * 4
    assert torch.allclose(rast[..., 2][rast[..., 3] > 0], torch.tensor(0.25))


def test_shared_edges_leave_no_gap_and_nearer_wins() -> None:
    pos, tri = quad(half=1.0)
    assert bool((rasterize(pos, tri, (33, 33))[..., 3] > 0).all())
    both = torch.cat([quad(z=0.3)[0], quad(z=-0.3)[0]], 1)
    rast = rasterize(both, torch.cat([tri, tri + 4]), (16, 16))
    assert set(rast[..., 3].unique().tolist()) == {0.0, 3.0, 4.0}


def test_culling_leaves_out_faces_seen_from_inside() -> None:
    vertices, faces = sphere(1)
    clip = clip_of(vertices)
    whole = rasterize(clip, faces, (32, 32))
    assert torch.equal(whole, rasterize(clip, faces, (32, 32), cull_backfaces=True))
    inside_out = rasterize(clip, faces.flip(1), (32, 32), cull_backfaces=True)
    assert bool((inside_out[..., 2][whole[..., 3] > 0] > whole[..., 2][whole[..., 3] > 0]).all())


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.42, 0.47])
def test_a_mesh_around_the_camera_agrees_with_the_slow_rasteriser(radius) -> None:
    vertices, faces = bumpy()
    clip = clip_of(vertices, radius=radius)
    rast, slow = rasterize(clip, faces, (40, 40))[0].numpy(), None
    slow = rasterize_slowly(clip[0].numpy(), faces.numpy(), (40, 40))
    assert (rast[..., 3] == slow[..., 3]).mean() > 0.995
    assert (rast[..., 3] > 0).mean() > 0.3


@pytest.mark.parametrize("where", ["behind", "aside", "too far", "no faces", "no vertices", "not a number", "flat"])
def test_what_cannot_be_seen_gives_an_empty_picture_and_zero_gradients(where) -> None:
    vertices, faces = sphere(1)
    clip = clip_of(vertices)
    if where == "behind":
        clip = -clip
    elif where == "aside":
        clip[..., 0] += 3 * clip[..., 3]
    elif where == "too far":
        clip[..., 2] = 2 * clip[..., 3]
    elif where == "no faces":
        faces = faces[:0]
    elif where == "no vertices":
        clip, faces = clip[:, :0], faces[:0]
    elif where == "not a number":
        clip = torch.full_like(clip, float("nan"))
    elif where == "flat":
        faces = faces[:, [0, 0, 1]].contiguous()
    clip.requires_grad_()
    picture, rast = render_attributes(clip, faces, clip.detach()[..., :3], (16, 16), unit=0)
    assert not rast.any()
    assert not picture.any()
    picture.sum().backward()
    assert not clip.grad.any()


def test_a_mesh_that_leaves_the_picture_keeps_finite_gradients() -> None:
    vertices, faces = torus()
    clip = clip_of(vertices, radius=0.5).requires_grad_()
    picture, _ = render_attributes(clip, faces, vertices[None], (48, 48), unit=0)
    picture.square().sum().backward()
    assert bool(torch.isfinite(clip.grad).all())
    assert bool(clip.grad.any())


def test_non_contiguous_input_and_batches_change_nothing() -> None:
    vertices, faces = torus()
    clips = torch.cat([clip_of(vertices, yaw) for yaw in (0.0, 1.0, 2.0)])
    strided = clips.transpose(0, 1).contiguous().transpose(0, 1)
    columns = faces.T.contiguous().T
    together = rasterize(strided, columns, (32, 40))
    for view in range(3):
        assert torch.equal(together[view : view + 1], rasterize(clips[view : view + 1], faces, (32, 40)))
    attr = torch.rand(1, len(vertices), 4)
    color = interpolate(attr, together, columns)
    assert torch.equal(color, interpolate(attr.expand(3, -1, -1), together, faces))
    smooth = antialias(color.transpose(1, 2).contiguous().transpose(1, 2), together, strided, columns)
    assert torch.equal(smooth, antialias(color, together, clips, faces))


def test_the_fused_path_gives_what_the_operations_give() -> None:
    vertices, faces = torus()
    clip = clip_of(vertices)
    generator = torch.Generator().manual_seed(1)
    attr = torch.randn(1, len(vertices), 5, generator=generator)
    tex = torch.rand(1, 16, 16, 3, generator=generator)
    uvs = torch.rand(1, len(vertices), 2, generator=generator)
    size = (48, 48)
    fused, rast = render_attributes(clip, faces, attr, size, textured=(tex, uvs, faces), unit=1, antialias=4)
    assert torch.equal(rast, rasterize(clip, faces, size))
    mask = (rast[..., 3:] > 0).float()
    values = interpolate(attr, rast, faces)
    normal = torch.nn.functional.normalize(values[..., 1:4], dim=-1)
    color = mask * texture(tex, interpolate(uvs, rast, faces))
    smooth = antialias(torch.cat([mask, color, values[..., :1], normal], -1), rast, clip, faces)
    assert torch.allclose(fused, torch.cat([smooth, values[..., 4:]], -1), atol=1e-5)


def test_antialiasing_turns_an_edge_into_its_coverage() -> None:
    for shift in (0.1, 0.3, 0.6, 0.8):
        pos, tri = quad(half=0.5)
        pos[..., 0] += shift / 4  # 8 pixels for 2 units: the edges stand at 2 + shift and 6 + shift
        mask, _ = render_attributes(pos, tri, None, (8, 8))
        assert torch.allclose(mask[0, 4, :, 0].sum(), torch.tensor(4.0), atol=1e-5)
        assert mask[0, 4, 2, 0].item() == pytest.approx(1 - shift, abs=1e-5)
        assert mask[0, 4, 6, 0].item() == pytest.approx(shift, abs=1e-5)
        assert torch.equal(mask[0, 3:5, :, 0], mask[0, 4:5, :, 0].expand(2, -1))


def test_triangles_smaller_than_pixels_still_have_an_outline() -> None:
    coarse, fine = sphere(3), sphere(6)
    areas = [render_attributes(clip_of(v), f, None, (24, 24))[0].sum().item() for v, f in (coarse, fine)]
    assert areas[1] == pytest.approx(areas[0], rel=0.01)


def test_texture_rows_borders_and_wrapping() -> None:
    tex = torch.arange(6.0).reshape(1, 2, 3, 1)
    centres = torch.tensor([[(c + 0.5) / 3, (r + 0.5) / 2] for r in range(2) for c in range(3)]).reshape(1, 2, 3, 2)
    for mode in ("wrap", "clamp"):
        assert torch.allclose(texture(tex, centres, boundary_mode=mode)[0], tex[0], atol=1e-6)
        assert torch.allclose(texture(tex, centres[:, :, :2] + torch.tensor([1 / 6, 0.0]), boundary_mode=mode)[0, 0, 0],
                              torch.tensor(0.5), atol=1e-6)  # fmt: skip
    corner = torch.zeros(1, 1, 1, 2)
    assert texture(tex, corner, boundary_mode="clamp").item() == 0.0
    assert texture(tex, corner, boundary_mode="wrap").item() == pytest.approx((0 + 2 + 3 + 5) / 4)
    assert torch.allclose(texture(tex, centres + 3.0), tex, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": torch.zeros(1, 3, 4, dtype=torch.float64)}, r"float64 \(1, 3, 4\)"),
        ({"pos": torch.zeros(3, 4)}, r"pos must be float32 \(B, V, 4\), got torch.float32 \(3, 4\)"),
        ({"tri": torch.zeros(1, 3, dtype=torch.int64)}, r"int64 \(1, 3\)"),
        ({"tri": torch.full((1, 3), 3, dtype=torch.int32)}, r"vertices 3 to 3, but there are 3"),
        ({"tri": torch.full((1, 3), -1, dtype=torch.int32)}, r"vertices -1 to -1"),
        ({"resolution": (0, 4)}, r"\(0, 4\)"),
        ({"attr": torch.zeros(2, 3, 1)}, r"batch size 1 or 1, got \(2, 3, 1\)"),
        ({"attr": torch.zeros(1, 4, 1)}, r"\(1, 4, 1\)"),
        ({"unit": 0}, "unit"),
    ],
)
def test_errors_quote_what_they_got(change, message) -> None:
    arguments = {
        "pos": torch.zeros(1, 3, 4), "tri": torch.zeros(1, 3, dtype=torch.int32), "attr": None, "resolution": (4, 4)
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        render_attributes(**{**arguments, **change})
