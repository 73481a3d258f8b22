"""The report in a real browser: it loads nothing, draws the mesh, plays, scrubs, and overlays the video."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from tests.v2m4.io.rig_documents import write_rig
from tests.v2m4.page.browser import Page, find_browser
from tests.v2m4.page.results import make_result, move_away
from v2m4.export import CAMERAS, read_cameras
from v2m4.page import write_report
from v2m4.page.gallery import write_gallery
from v2m4.page.model import RIGGED
from v2m4.workspace import REPORT

BROWSER = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)"),
]
READY = "document.documentElement?.dataset.ready"
FRAMES = 6
VARIABLE = np.array([0.5, 0.6, 0.7, 1.1, 1.2, 1.3])  # seconds of the frames
LOST = {"2": "the outlines do not fit"}
# The drawing buffer is only kept until the browser shows it: it is read in the task that draws.
PIXELS = "(report.render(), document.getElementById('canvas').toDataURL('image/png'))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("results") / "ball é 球"
    make_result(result, FRAMES, seconds=VARIABLE, motion={"lost": LOST, "iou": [0.9] * FRAMES})
    write_report(result)
    return result


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[Page]:
    assert BROWSER is not None
    with Page(BROWSER, tmp_path) as opened:
        opened.open(folder / REPORT, READY)
        yield opened


def canvas(page: Page) -> np.ndarray:
    """The 3D view, (H, W, 4) uint8."""
    data = base64.b64decode(page.evaluate(PIXELS).split(",", 1)[1])
    return iio.imread(io.BytesIO(data), plugin="pillow", mode="RGBA")


def shown(page: Page) -> int:
    return int(page.evaluate("document.documentElement.dataset.frame"))


def test_nothing_is_loaded_and_nothing_goes_wrong(page: Page, folder: Path) -> None:
    page.evaluate("new Promise(done => setTimeout(done, 500))")
    outside = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [(folder / REPORT).resolve().as_uri()]
    assert page.errors == []
    assert page.evaluate("document.documentElement.dataset.error") is None
    assert (folder / REPORT).stat().st_size < 15e6


def test_requests_are_refused_by_the_page_itself(page: Page) -> None:
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', error => error.message)")
    assert refused != "sent"
    assert any("Content Security Policy" in message for message in page.errors)


def test_the_mesh_is_drawn_and_surfaces_differ(page: Page) -> None:
    texture = canvas(page)
    assert 0.02 < (texture[..., 3] == 255).mean() < 0.9
    red = (texture[..., 0] > 150) & (texture[..., 2] < 80) & (texture[..., 3] == 255)
    blue = (texture[..., 2] > 150) & (texture[..., 0] < 80) & (texture[..., 3] == 255)
    assert red.any()
    assert blue.any()
    page.evaluate("document.querySelector('input[value=grey]').click()")
    grey = canvas(page)
    opaque = grey[grey[..., 3] == 255][:, :3].astype(int)
    assert np.ptp(opaque, axis=1).max() <= 3
    assert np.ptp(opaque) > 30  # lit
    page.evaluate("document.querySelector('input[value=normals]').click()")
    normals = canvas(page)
    assert np.abs(normals.astype(int) - grey).mean() > 3
    page.evaluate("document.getElementById('wireframe').click()")
    assert np.abs(canvas(page).astype(int) - normals).mean() > 0.3


def test_play_moves_the_mesh_and_the_video(page: Page) -> None:
    page.evaluate("report.show(0)")
    before = canvas(page)
    picture = page.evaluate("document.getElementById('frame').src")
    page.evaluate("document.getElementById('play').click()")
    assert page.evaluate("document.getElementById('play').textContent") == "pause"
    page.evaluate(
        """new Promise(done => {
          const watch = setInterval(() => {
            if (document.documentElement.dataset.frame > 1) { clearInterval(watch); done(); }
          }, 5);
        })"""
    )
    page.evaluate("document.getElementById('play').click()")
    stopped = shown(page)
    assert np.abs(canvas(page).astype(int) - before).mean() > 1
    assert page.evaluate("document.getElementById('frame').src") != picture
    page.evaluate("new Promise(done => setTimeout(done, 500))")
    assert shown(page) == stopped


def test_frames_are_shown_at_their_times(page: Page) -> None:
    seconds = [0.0, 0.05, 0.1, 0.25, 0.59, 0.61, 0.75, 5.0]
    assert [page.evaluate(f"report.frameAt({value})") for value in seconds] == [0, 0, 1, 2, 2, 3, 4, FRAMES - 1]


def test_a_frame_looks_the_same_whatever_was_shown_before(page: Page) -> None:
    views = {}
    for index in (0, 1, FRAMES - 1, 1, 0, FRAMES - 1):
        page.evaluate(f"report.show({index})")
        view = canvas(page)
        assert np.array_equal(views.setdefault(index, view), view), index
    assert not np.array_equal(views[0], views[1])


def test_a_frame_without_a_picture_says_so(tmp_path: Path) -> None:
    assert BROWSER is not None
    make_result(tmp_path / "gap", 3)
    (tmp_path / "gap" / "001_rmbg.png").unlink()
    write_report(tmp_path / "gap")
    hidden = "['frame', 'missing'].map(name => document.getElementById(name).hidden)"
    with Page(BROWSER, tmp_path / "profile") as page:
        page.open(tmp_path / "gap" / REPORT, READY)
        assert page.evaluate(hidden) == [False, True]
        page.evaluate("report.show(1)")
        assert page.evaluate(hidden) == [True, False]
        assert (canvas(page)[..., 3] == 255).any()
        assert page.errors == []


def test_the_scrubber_shows_its_frame_through_the_videos_camera(page: Page, folder: Path) -> None:
    page.evaluate("document.querySelector('input[value=camera]').click()")
    silhouettes = []
    for index in range(FRAMES):
        page.evaluate(
            f"(() => {{ const input = document.getElementById('scrubber'); input.value = {index};"
            " input.dispatchEvent(new Event('input')); })()"
        )
        assert shown(page) == index
        label = page.evaluate("document.getElementById('label').textContent")
        assert label == f"frame {index + 1} of {FRAMES} · {index:03d} · {VARIABLE[index] - VARIABLE[0]:.2f} s"
        silhouettes.append(silhouette_in_video(canvas(page)))
    masks = [iio.imread(folder / f"{index:03d}_rmbg.png")[..., 3] for index in range(FRAMES)]
    for index, drawn in enumerate(silhouettes):
        overlaps = [iou(drawn, at_size(mask, drawn.shape)) for mask in masks]
        assert overlaps[index] > 0.95
        assert int(np.argmax(overlaps)) == index


def test_a_mesh_far_from_the_origin_is_seen_where_the_video_shows_it(tmp_path: Path) -> None:
    assert BROWSER is not None
    make_result(tmp_path / "far", 2)
    read = read_cameras(tmp_path / "far" / CAMERAS)
    move_away(tmp_path / "far", [3e6, -1e6, 2e6])
    moved = read_cameras(tmp_path / "far" / CAMERAS)
    assert not np.allclose(read.origin, moved.origin)
    assert write_report(tmp_path / "far")["mean_iou"] > 0.97
    with Page(BROWSER, tmp_path / "profile") as page:
        page.open(tmp_path / "far" / REPORT, READY)
        page.evaluate("document.querySelector('input[value=camera]').click()")
        page.evaluate("report.show(1)")
        drawn = silhouette_in_video(canvas(page))
        mask = iio.imread(tmp_path / "far" / "001_rmbg.png")[..., 3]
        assert iou(drawn, at_size(mask, drawn.shape)) > 0.95


def silhouette_in_video(view: np.ndarray) -> np.ndarray:
    """The part of the view that the video's 4 : 3 picture covers, as a mask."""
    height, width = view.shape[:2]
    shown_width = min(width, height * 4 / 3)
    shown_height = shown_width * 3 / 4
    left, top = round((width - shown_width) / 2), round((height - shown_height) / 2)
    return view[top : top + round(shown_height), left : left + round(shown_width), 3] > 127


def at_size(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = (np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0]
    columns = (np.arange(shape[1]) + 0.5) * mask.shape[1] / shape[1]
    return mask[rows.astype(int)][:, columns.astype(int)] > 127


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_a_marked_frame_and_a_chart_lead_to_their_frames(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('#marks i').length") == len(LOST)
    page.evaluate("document.querySelector('button[data-frame]').click()")
    assert shown(page) == 2
    page.evaluate(
        """(() => {
          const chart = document.querySelector("figure.by-frame svg");
          const box = chart.getBoundingClientRect();
          const grid = chart.querySelector("line.grid");
          const x = box.left + box.width * grid.getAttribute("x2") / chart.viewBox.baseVal.width;
          chart.dispatchEvent(new PointerEvent("pointerdown", { clientX: x, clientY: box.top + 20, buttons: 1 }));
        })()"""
    )
    assert shown(page) == FRAMES - 1


@pytest.mark.parametrize(("width", "mobile"), [(390, True), (1440, False)])
def test_nothing_is_wider_than_the_window(page: Page, width: int, mobile: bool) -> None:
    page.resize(width, 844, mobile)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_have_contrast(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    style = "getComputedStyle(document.body)"
    ink, paper = (
        [int(part) for part in page.evaluate(f"{style}.{name}.match(/[0-9]+/g).slice(0, 3)")]
        for name in ("color", "backgroundColor")
    )
    assert abs(sum(ink) - sum(paper)) / 3 > 150
    assert (sum(paper) > sum(ink)) == (scheme == "light")


def test_one_frame_alone(tmp_path: Path) -> None:
    assert BROWSER is not None
    make_result(tmp_path / "one", 1)
    write_report(tmp_path / "one")
    with Page(BROWSER, tmp_path / "profile") as page:
        page.open(tmp_path / "one" / REPORT, READY)
        page.evaluate("document.getElementById('play').click()")
        assert page.errors == []
        assert (canvas(page)[..., 3] == 255).any()
        assert shown(page) == 0


def test_the_skeleton_is_drawn_and_moves(tmp_path: Path) -> None:
    assert BROWSER is not None
    make_result(tmp_path / "rig", 3)
    write_rig(tmp_path / "rig" / RIGGED)
    write_report(tmp_path / "rig")
    with Page(BROWSER, tmp_path / "profile") as page:
        page.open(tmp_path / "rig" / REPORT, READY)
        without = canvas(page)
        page.evaluate("document.getElementById('skeleton').click()")
        bones = canvas(page).astype(int)
        assert np.abs(bones - without).mean() > 0.1
        orange = (bones[..., 0] > 150) & (bones[..., 1] > 70) & (bones[..., 2] < 60)
        assert orange.sum() > 50
        assert page.errors == []


def test_without_a_skeleton_it_is_not_offered(page: Page) -> None:
    assert page.evaluate("document.getElementById('skeleton').offsetParent") is None


def test_without_webgl_the_page_says_so_and_the_rest_works(folder: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    with Page(BROWSER, tmp_path) as page:
        page.call("Page.addScriptToEvaluateOnNewDocument", source="HTMLCanvasElement.prototype.getContext = () => null")
        page.open(folder / REPORT, READY)
        message = page.evaluate("document.getElementById('message').textContent")
        assert message.startswith("The 3D view cannot be shown")
        page.evaluate("report.show(3)")
        assert shown(page) == 3
        assert page.evaluate("document.getElementById('frame').naturalWidth") > 0


def test_the_gallery_leads_to_the_report(folder: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    index = write_gallery(folder.parent, [folder])
    with Page(BROWSER, tmp_path) as page:
        page.open(index)
        assert page.evaluate("document.querySelector('.gallery img').naturalWidth") > 32
        assert page.errors == []
        page.evaluate("document.querySelector('.gallery h2 a').click()")
        page.wait(READY)
        assert page.evaluate("document.querySelector('h1').textContent") == folder.name
