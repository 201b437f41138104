from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.cameras.watermark import Watermark


def test_nothing_acknowledged_is_minus_one():
    assert Watermark().last == -1


def test_a_gap_holds_the_mark_until_it_is_filled():
    mark = Watermark()
    for sequence in (0, 2, 3):
        mark.acknowledge(sequence)
    assert (mark.last, mark.count, mark.missing(6)) == (0, 3, [1, 4, 5])
    mark.acknowledge(1)
    assert (mark.last, mark.count, mark.missing(4)) == (3, 4, [])


def test_the_missing_are_named_up_to_a_limit():
    mark = Watermark()
    assert mark.missing(1000, most=3) == [0, 1, 2]


@given(st.lists(st.integers(min_value=0, max_value=60)))
def test_whatever_the_order_the_mark_is_the_end_of_the_unbroken_run(sequences):
    mark = Watermark()
    for sequence in sequences:
        mark.acknowledge(sequence)
    given_ones = set(sequences)
    expected = next(n for n in range(62) if n not in given_ones) - 1
    assert mark.last == expected
    assert mark.count == len(given_ones)
    assert mark.missing(61, most=100) == [n for n in range(61) if n not in given_ones]
