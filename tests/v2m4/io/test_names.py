"""File names: natural order, and names that every system accepts."""

from hypothesis import given
from hypothesis import strategies as st

from v2m4.io.names import natural_key, safe_name


def test_natural_order():
    given_names = ["10.png", "9.png", "b2a10", "b2a9", "B1", "été2", "été10", "٣", "img-2", "img-10", "007", "7"]
    ordered = sorted(given_names, key=natural_key)
    for low, high in [("9.png", "10.png"), ("b2a9", "b2a10"), ("B1", "b2a9"), ("été2", "été10"), ("img-2", "img-10")]:
        assert ordered.index(low) < ordered.index(high)
    assert ordered.index("٣") < ordered.index("7")


@given(st.lists(st.text(), max_size=6))
def test_natural_order_takes_any_names_and_never_ties(texts):
    ordered = sorted(texts, key=natural_key)
    assert sorted(reversed(texts), key=natural_key) == ordered


@given(st.text(st.characters()))
def test_safe_names_are_safe_and_stay(text):
    safe = safe_name(text)
    safe.encode("utf-8")
    assert safe
    assert not set(safe) & set('<>:"/\\|?*\x00\n')
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert safe_name(safe) == safe
