"""Pictures of the frames fit into what the page has left for them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.v2m4.page.results import make_result
from v2m4.page.pictures import LEVELS, data_uri, frame_pictures, picture_uri
from v2m4.page.run import Run


def decoded(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("pictures") / "ball"
    make_result(folder, 5)
    (folder / "003_rmbg.png").unlink()
    return Run.read(folder)


def test_with_room_every_frame_is_stored_with_its_alpha(run: Run) -> None:
    pictures = frame_pictures(run, 10**7)
    assert (pictures.longer, pictures.step, len(pictures.uris)) == (LEVELS[0][0], 1, 5)
    assert pictures.uris[3] == ""
    picture = decoded(pictures.uris[0])
    assert picture.size == (128, 96)  # never enlarged
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert (alpha == 0).any()
    assert (alpha == 255).any()


def test_less_room_gives_smaller_pictures_then_fewer(run: Run) -> None:
    whole = sum(map(len, frame_pictures(run, 10**7).uris))
    less = frame_pictures(run, whole * 3 // 4)
    assert sum(map(len, less.uris)) <= whole * 3 // 4
    assert less.longer < LEVELS[0][0]
    few = frame_pictures(run, 1200)
    assert few.step > 1
    assert len(few.uris) == -(-5 // few.step)
    with pytest.raises(ValueError, match="do not fit"):
        frame_pictures(run, 10)


def test_pictures_are_reduced_to_a_longer_side() -> None:
    picture = decoded(picture_uri(np.zeros((30, 90, 3), np.uint8), 45))
    assert picture.size == (45, 15)
    assert data_uri(b"ab", "text/plain") == "data:text/plain;base64,YWI="
