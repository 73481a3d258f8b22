"""Arrays of frames kept in files: the same arrays come back, and what is damaged or of another key does not."""

import numpy as np
import pytest

from v2m4.io._frame_store import KEY, FrameList, FrameStore, LazyFrames, SomeFrames

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    np.array([[np.nan, -0.0], [np.inf, 1e-30]], np.float32),
    np.zeros((0, 3, 3)),
    np.array(["saliency"]),
    np.array([[True, False]]),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_arrays_come_back_to_the_bit(tmp_path, on_disk, packed):
    store = FrameStore(tmp_path / "store" if on_disk else None, "a")
    for number, array in enumerate(ARRAYS):
        store.write("arrays", number, array, packed)
        found = store.read("arrays", number)
        assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()
    assert store.find("arrays", len(ARRAYS)) is None and store.find("others", 0) is None
    with pytest.raises(ValueError, match="lost or damaged"):
        store.read("others", 0)
    store.remove("arrays")
    assert store.find("arrays", 0) is None


def test_another_process_goes_on_with_the_same_key_only(tmp_path):
    FrameStore(tmp_path / "store", "a").write("arrays", 0, ARRAYS[0])
    assert FrameStore(tmp_path / "store", "a").find("arrays", 0) is not None
    assert FrameStore(tmp_path / "store", "b").find("arrays", 0) is None
    assert [path.name for path in (tmp_path / "store").iterdir()] == [KEY]
    FrameStore(tmp_path / "store", "b").remove()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", [b"", b"x", "cut", "flipped"])
def test_a_damaged_file_counts_as_missing_and_is_made_again(tmp_path, damage):
    store = FrameStore(tmp_path / "store", "a")
    store.write("arrays", 0, ARRAYS[0])
    (file,) = (tmp_path / "store" / "arrays").iterdir()
    data = file.read_bytes()
    if damage == "cut":
        damage = data[:-9]
    elif damage == "flipped":
        damage = data[:140] + bytes([data[140] ^ 1]) + data[141:]
    file.write_bytes(damage)
    assert store.find("arrays", 0) is None
    np.testing.assert_array_equal(store.made("arrays", 0, lambda: ARRAYS[0] + 1), ARRAYS[0] + 1)
    np.testing.assert_array_equal(store.read("arrays", 0), ARRAYS[0] + 1)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_series_is_made_once(tmp_path, on_disk):
    store, made = FrameStore(tmp_path / "store" if on_disk else None), []

    def make(number):
        made.append(number)
        return np.full(3, number)

    for _ in range(2):
        series = store.series("numbers", 5, make, kept=2)
        assert [int(array[0]) for array in series] == list(range(5))
    assert sorted(made) == list(range(5))


def test_lazy_frames_are_a_sequence_that_keeps_the_last_ones():
    looked = []
    frames = LazyFrames(6, lambda number: looked.append(number) or number * 10, kept=2)
    assert frames[-1] == 50 and list(frames[1:4]) == [10, 20, 30] and len(frames) == 6
    assert looked == [5, 1, 2, 3]
    assert frames[2] == 20 and looked == [5, 1, 2, 3]
    assert frames[5] == 50 and looked == [5, 1, 2, 3, 5]
    assert list(frames) == [0, 10, 20, 30, 40, 50]
    for index in (6, -7):
        with pytest.raises(IndexError):
            frames[index]


def test_frames_are_appended_and_some_are_named():
    frames = FrameList(FrameStore(), "decoded")
    assert not frames
    for array in ARRAYS[:2]:
        frames.append(array)
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[-1], ARRAYS[1])
    some = SomeFrames([3, 8], frames)
    assert list(some) == [3, 8] and 4 not in some and some.get(4) is None
    np.testing.assert_array_equal(some[8], ARRAYS[1])
