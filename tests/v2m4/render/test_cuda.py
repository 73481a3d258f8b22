"""`cuda.py` against `cpu.py` without a GPU: nvdiffrast is stood in for, with its own demands on what it is given.

The stand-in draws with `cpu.py`: what is tested is what `cuda.py` adds, the checks, the empty cases, culling, caches.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tests.v2m4.render.scenes import bumpy, clip_of, sphere, torus
from v2m4 import render as ops
from v2m4.camera import Orbit
from v2m4.render import cpu

SIZE = (24, 32)
FAR = torch.tensor([[0.0, 0.0, 0.0, 1.0]])


class Nvdiffrast(ModuleType):
    """nvdiffrast 0.4.0's functions, its assertions, and a note of what was called."""

    def __init__(self):
        super().__init__("nvdiffrast.torch")
        self.calls = []
        self.RasterizeCudaContext = lambda device: SimpleNamespace(device=device)

    def _demand(self, *tensors, triangles):
        assert all(value.is_contiguous() and value.numel() and value.dtype == torch.float32 for value in tensors)
        assert triangles.is_contiguous() and triangles.dtype == torch.int32 and len(triangles)

    def rasterize(self, glctx, pos, tri, resolution, ranges=None, grad_db=True):
        self._demand(pos, triangles=tri)
        self.calls.append("rasterize")
        if ranges is None:
            rast = cpu.rasterize(pos, tri, resolution)
        else:
            assert pos.ndim == 2 and ranges.dtype == torch.int32 and ranges.device.type == "cpu"
            views = []
            for start, count in ranges.tolist():
                view = cpu.rasterize(pos[None], tri[start : start + count], resolution)
                views.append(torch.cat([view[..., :3], view[..., 3:] + start * (view[..., 3:] > 0)], -1))
            rast = torch.cat(views)
        return rast, torch.zeros(0)

    def interpolate(self, attr, rast, tri):
        self._demand(attr, rast, triangles=tri)
        return cpu.interpolate(attr, rast, tri), torch.zeros(0)

    def texture(self, tex, uv, filter_mode="auto", boundary_mode="wrap"):
        self._demand(tex, uv, triangles=torch.zeros(1, 3, dtype=torch.int32))
        assert filter_mode == "linear"
        return cpu.texture(tex, uv, boundary_mode=boundary_mode)

    def antialias_construct_topology_hash(self, tri):
        self.calls.append("neighbours")
        return tri.clone()

    def antialias(self, color, rast, pos, tri, topology_hash=None):
        self._demand(color, rast, pos, triangles=tri)
        assert torch.equal(topology_hash, tri)
        return cpu.antialias(color, rast, pos, tri)


@pytest.fixture
def cuda(monkeypatch):
    """`cuda.py` on the stand-in."""
    package = ModuleType("nvdiffrast")
    package.torch = Nvdiffrast()
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", package.torch)
    monkeypatch.delitem(sys.modules, "v2m4.render.cuda", raising=False)
    yield importlib.import_module("v2m4.render.cuda")
    sys.modules.pop("v2m4.render.cuda", None)


def scene(shape, views=2):
    vertices, faces = shape()
    generator = torch.Generator().manual_seed(1)
    pos = torch.cat([clip_of(vertices, yaw, radius=1.5) for yaw in (0.2, 2.0)][:views])
    attr = torch.randn(1, len(vertices), 5, generator=generator)
    textured = (torch.rand(1, 8, 8, 2, generator=generator), torch.rand(1, len(vertices), 2, generator=generator))
    return pos, faces, attr, textured


def same_with_gradients(function, others, inputs):
    """Both backends' results and gradients in all inputs, or both errors, are the same."""
    found = []
    for backend in others:
        given = [value.clone().requires_grad_() if value.is_floating_point() else value for value in inputs]
        result = function(backend, *given)
        results = result if isinstance(result, tuple) else (result,)
        weights = torch.linspace(-1, 2, results[0].numel()).reshape(results[0].shape)
        (results[0] * weights).sum().backward()
        found.append([*results, *(value.grad for value in given if value.is_floating_point())])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = (
                float(theirs.detach().abs().max()) if theirs.numel() else 0.0
            )  # of which rounding errors are a share
            torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, scale), rtol=1e-5)
    return found[0]


@pytest.mark.parametrize("shape", [sphere, torus, bumpy])
@pytest.mark.parametrize("cull", [False, True])
def test_pictures_and_gradients_are_the_same(cuda, shape, cull):
    pos, faces, attr, (tex, uvs) = scene(shape)
    faces = faces.clone()
    faces[::3] = faces[::3].flip(1)  # some face away wherever they are
    options = {"unit": 1, "antialias": 4, "cull_backfaces": cull}

    def draw(backend, pos, attr, tex, uvs):
        return backend.render_attributes(pos, faces, attr, SIZE, textured=(tex, uvs, faces), **options)

    picture, rast, *_ = same_with_gradients(draw, (cuda, cpu), [pos, attr, tex, uvs])
    assert (picture[..., 0] > 0.5).float().mean() > 0.05
    culled = cuda.rasterize(pos, faces, SIZE, cull_backfaces=True)
    assert torch.equal(rast, culled if cull else cuda.rasterize(pos, faces, SIZE))
    assert cull == torch.equal(culled, rast)


def test_a_view_with_nothing_to_see_is_empty_beside_one_with_something(cuda):
    pos, faces, _, _ = scene(sphere)
    pos = torch.stack([pos[0], pos[0] * torch.tensor([-1.0, 1, 1, 1])])  # mirrored: everything faces away
    mirrored = torch.tensor([[[0.3, 0.3, 0, 1], [-0.3, 0.3, 0, 1], [0.0, -0.3, 0, 1]]])
    one = torch.cat([mirrored, mirrored * torch.tensor([-1.0, 1, 1, 1])])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    for corners, list_ in ((one, tri), (pos, faces)):
        same_with_gradients(
            lambda backend, p, t=list_: backend.rasterize(p, t, SIZE, cull_backfaces=True), (cuda, cpu), [corners]
        )
    seen = cuda.rasterize(one, tri, SIZE, cull_backfaces=True)[..., 3].flatten(1).any(1)
    assert seen.tolist().count(True) == 1
    nobody = cuda.rasterize(one[~seen], tri, SIZE, cull_backfaces=True)
    assert not nobody.any()


@pytest.mark.parametrize("where", ["no faces", "no vertices", "no views", "no channels"])
def test_nothing_has_gradients_of_zero_and_the_library_never_sees_it(cuda, where):
    pos, faces, attr, _ = scene(sphere)
    if where == "no faces":
        faces = faces[:0]
    elif where == "no vertices":
        pos, attr, faces = pos[:, :0], attr[:, :0], faces[:0]
    elif where == "no views":
        pos = pos[:0]
    else:
        attr = attr[..., :0]

    def draw(backend, pos, attr):
        return backend.render_attributes(pos, faces, attr, SIZE)

    if where != "no views":
        same_with_gradients(draw, (cuda, cpu), [pos, attr])
    picture, rast = draw(cuda, pos.requires_grad_(), attr)
    assert picture.requires_grad and not rast.requires_grad
    assert picture.shape == (len(pos), *SIZE, 1 + attr.shape[2])


def test_strided_input_is_made_whole(cuda):
    pos, faces, attr, _ = scene(torus)
    strided = pos.transpose(0, 1).contiguous().transpose(0, 1)
    columns = faces.T.contiguous().T
    whole, rast = cuda.render_attributes(pos, faces, attr, SIZE)
    assert torch.equal(cuda.render_attributes(strided, columns, attr, SIZE)[0], whole)
    assert torch.equal(rast, cpu.rasterize(pos, faces, SIZE))


def bad(**changes):
    """Arguments of a small scene, with some that do not fit."""
    zeros = {
        "pos": torch.zeros(1, 3, 4), "tri": torch.zeros(1, 3, dtype=torch.int32), "attr": torch.zeros(1, 3, 3),
        "rast": torch.zeros(1, 4, 4, 4), "color": torch.zeros(1, 4, 4, 2), "tex": torch.zeros(1, 2, 2, 1),
        "uv": torch.zeros(1, 4, 4, 2), "uvs": torch.zeros(1, 3, 2), "resolution": (4, 4), "mode": "wrap", "unit": None,
    }  # fmt: skip
    return SimpleNamespace(**{**zeros, **changes})


DOUBLE, LONG = torch.zeros(1, 3, 4, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.int64)
OUTSIDE = torch.full((1, 3), 3, dtype=torch.int32)


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        *[("rasterize", {"pos": value}) for value in (DOUBLE, torch.zeros(3, 4), torch.zeros(1, 3, 3))],
        *[("rasterize", {"tri": value}) for value in (LONG, OUTSIDE, -OUTSIDE, torch.zeros(3, dtype=torch.int32))],
        ("rasterize", {"resolution": (0, 4)}),
        *[("interpolate", {"attr": value}) for value in (torch.zeros(3, 3), torch.zeros(2, 3, 3))],
        *[("interpolate", {"tri": value}) for value in (LONG, OUTSIDE)],
        ("interpolate", {"rast": torch.zeros(1, 4, 4, 3)}),
        *[
            ("texture", {"tex": value})
            for value in (torch.zeros(2, 2, 1), torch.zeros(2, 2, 2, 1), torch.zeros(1, 0, 2, 1))
        ],
        ("texture", {"uv": torch.zeros(1, 4, 4, 3)}),
        ("texture", {"mode": "zero"}),
        *[("antialias", {"color": value}) for value in (torch.zeros(1, 4, 5, 2), torch.zeros(2, 4, 4, 2))],
        ("antialias", {"pos": torch.zeros(2, 3, 4)}),
        ("antialias", {"tri": OUTSIDE}),
        *[("render_attributes", {"attr": value}) for value in (torch.zeros(1, 4, 3), torch.zeros(2, 3, 3))],
        *[("render_attributes", {"unit": value}) for value in (1, -1)],
        ("render_attributes", {"uvs": torch.zeros(1, 3, 3)}),
        ("render_attributes", {"tex": torch.zeros(3, 2, 2, 1)}),
        ("render_attributes", {"uvs": torch.zeros(1, 0, 2)}),
    ],
)
def test_errors_are_the_same(cuda, operation, changes):
    given = bad(**changes)
    told = []
    for backend in (cuda, cpu):
        with pytest.raises(ValueError) as error:
            if operation == "rasterize":
                backend.rasterize(given.pos, given.tri, given.resolution)
            elif operation == "interpolate":
                backend.interpolate(given.attr, given.rast, given.tri)
            elif operation == "texture":
                backend.texture(given.tex, given.uv, boundary_mode=given.mode)
            elif operation == "antialias":
                backend.antialias(given.color, given.rast, given.pos, given.tri)
            else:
                textured = (given.tex, given.uvs, given.tri)
                backend.render_attributes(
                    given.pos, given.tri, given.attr, given.resolution, textured=textured, unit=given.unit
                )
        told.append(str(error.value))
    assert told[0] == told[1]
    assert sys.modules["nvdiffrast.torch"].calls == []


def test_a_triangle_list_is_looked_at_once_until_it_is_changed(cuda, monkeypatch):
    pos, faces, attr, _ = scene(sphere)
    faces, calls = faces.clone(), sys.modules["nvdiffrast.torch"].calls
    for _ in range(3):
        cuda.render_attributes(pos, faces, attr, SIZE)
    assert calls.count("neighbours") == 1 and calls.count("rasterize") == 3
    faces[0] = faces[1]  # in place
    picture, _ = cuda.render_attributes(pos, faces, attr, SIZE)
    assert calls.count("neighbours") == 2
    torch.testing.assert_close(picture, cpu.render_attributes(pos, faces, attr, SIZE)[0])
    faces[0, 0] = len(attr[0])
    with pytest.raises(ValueError, match="tri names vertices"):
        cuda.render_attributes(pos, faces, attr, SIZE)
    kept = len(cuda._seen)
    del faces
    assert len(cuda._seen) == kept - 1


def test_a_mesh_drawn_again_and_again_is_looked_at_once(cuda, monkeypatch):
    monkeypatch.setattr(ops, "_backend", lambda tensor: cuda)
    calls = sys.modules["nvdiffrast.torch"].calls
    vertices, faces = sphere()
    faces, camera = faces.long(), Orbit.of(radius=2.0).camera()
    first = ops.render(vertices, faces, camera, 24)
    for _ in range(2):
        again = ops.render(vertices, faces, camera, 24)
    assert torch.equal(first.mask, again.mask) and calls.count("neighbours") == 1
    faces[:] = faces.flip(0)
    ops.render(vertices, faces, camera, 24)
    assert calls.count("neighbours") == 2
    with torch.inference_mode():
        assert torch.equal(ops.render(vertices, faces.clone(), camera, 24).mask, first.mask)


def test_without_nvdiffrast_the_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    monkeypatch.delitem(sys.modules, "v2m4.render.cuda", raising=False)
    with pytest.raises(ImportError, match=r"pip install .*NVlabs/nvdiffrast"):
        importlib.import_module("v2m4.render.cuda")
