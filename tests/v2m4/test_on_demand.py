from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from v2m4.on_demand import OnDemand


class Squares:
    """Makes the square of an index, and counts how often."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, index: int) -> np.ndarray:
        self.made.append(index)
        return np.full(10, index**2, np.int64)


def items(limit: int, count: int = 20) -> tuple[OnDemand[np.ndarray], Squares]:
    squares = Squares()
    return OnDemand(count, squares, lambda array: array.nbytes, limit), squares


def test_it_is_a_sequence_of_what_is_made():
    sequence, _ = items(300)
    assert len(sequence) == 20
    assert [int(item[0]) for item in sequence] == [index**2 for index in range(20)]
    assert sequence[-1][0] == 361
    assert [int(item[0]) for item in sequence[3:8:2]] == [9, 25, 49]


@pytest.mark.parametrize("index", [20, -21])
def test_an_index_outside_is_refused(index):
    with pytest.raises(IndexError, match="of 20"):
        items(300)[0][index]


@pytest.mark.parametrize("limit", [0, 79, 80, 300, 10_000])
def test_no_more_than_the_limit_is_kept_in_any_order(limit):
    sequence, _ = items(limit)
    for index in np.random.default_rng(0).integers(-20, 20, 200).tolist():
        assert sequence[index][0] == (index % 20) ** 2
        assert sequence.kept_bytes <= limit


def test_items_asked_for_last_are_kept():
    sequence, squares = items(3 * 80)
    for index in (0, 1, 2, 0, 3):  # 1 was asked for longest ago
        sequence[index]
    assert squares.made == [0, 1, 2, 3]
    assert sequence[0] is sequence[0] and squares.made == [0, 1, 2, 3]
    sequence[1]
    assert squares.made == [0, 1, 2, 3, 1]


def test_all_are_made_once_where_they_fit():
    sequence, squares = items(20 * 80)
    for _ in range(3):
        list(sequence)
    assert squares.made == list(range(20))


def test_an_item_made_elsewhere_is_kept():
    sequence, squares = items(80)
    mine = np.full(10, 25)
    sequence.keep(5, mine)
    assert sequence[5] is mine and squares.made == []


def test_several_threads_get_equal_items_within_the_limit():
    sequence, _ = items(3 * 80)
    order = np.random.default_rng(1).integers(0, 20, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: int(sequence[index][0]), order))
    assert found == [index**2 for index in order]
    assert sequence.kept_bytes <= 240
