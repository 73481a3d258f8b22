"""Equal input gives equal bytes, whatever the threads do; topology is worked out once per content."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from tests.v2m4.render.scenes import clip_of, sphere, torus
from v2m4 import threads
from v2m4.render import antialias, interpolate, rasterize, render_attributes, texture
from v2m4.render._topology import Topology, topology


def everything(views: int) -> list[bytes]:
    """Pictures and gradients of all operations, as bytes."""
    vertices, faces = torus()
    generator = torch.Generator().manual_seed(0)
    pos = torch.cat([clip_of(vertices, 0.7 * view) for view in range(views)]).requires_grad_()
    attr = torch.randn((1, len(vertices), 4), generator=generator).requires_grad_()
    tex = torch.rand((1, 20, 20, 3), generator=generator).requires_grad_()
    uvs = torch.rand((1, len(vertices), 2), generator=generator).requires_grad_()
    size = (50, 40)
    fused, _ = render_attributes(pos, faces, attr, size, textured=(tex, uvs, faces), unit=1)
    rast = rasterize(pos, faces, size)
    color = torch.cat([interpolate(attr, rast, faces), texture(tex, interpolate(uvs, rast, faces))], -1)
    smooth = antialias(color, rast, pos, faces)
    weights = [torch.randn(picture.shape, generator=generator) for picture in (fused, smooth)]
    loss = (fused * weights[0]).sum() + (smooth * weights[1]).sum()
    gradients = torch.autograd.grad(loss, [pos, attr, tex, uvs])
    return [tensor.detach().numpy().tobytes() for tensor in (fused, rast, smooth, *gradients)]


@pytest.mark.parametrize("views", [1, 3, 9])
def test_the_thread_count_changes_no_byte(views) -> None:
    before = torch.get_num_threads()
    try:
        threads.use(1)
        alone = everything(views)
        for count in (2, 3, 5):
            threads.use(count)
            assert everything(views) == alone
    finally:
        threads.use(0)
        torch.set_num_threads(before)


def test_python_threads_may_render_at_once() -> None:
    expected, results = everything(2), []
    callers = [threading.Thread(target=lambda: results.append(everything(2))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [expected] * 4


def test_kernels_compile_where_the_package_cannot_be_written(tmp_path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = (
        "import numpy as np; from v2m4.render import _raster; "
        "_raster.project(0, 1, np.zeros((1, 3, 4), np.float32), 1, 4, 4, np.empty((1, 3, 3)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.rglob("_raster*.nbi"))


def test_across_names_the_half_edge_on_the_other_side() -> None:
    _, faces = sphere(1)
    tri = faces.numpy()
    across = Topology(tri).across
    start, stop = tri.ravel(), np.roll(tri, -1, 1).ravel()
    assert (across >= 0).all()
    assert (start[across.ravel()] == stop).all()
    assert (stop[across.ravel()] == start).all()
    opened = Topology(tri[1:].copy()).across
    assert (opened < 0).sum() == 3
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]], np.int32)
    assert (Topology(fan).across < 0).all()


def test_topology_is_kept_by_content_and_notices_changes_in_place() -> None:
    _, faces = sphere(2)
    tri = faces.numpy().copy()
    first = topology(tri)
    assert topology(tri.copy()) is first
    tri[-3] = tri[-3][::-1]
    changed = topology(tri)
    assert changed is not first
    assert (changed.tri == tri).all()
    assert topology(faces.numpy()) is first
