"""Named streams: one word at a time is the same word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringsim.seeds import below, first_word, words

names = st.lists(st.one_of(st.text(max_size=12), st.integers(-5, 2**70)), min_size=1, max_size=4)


@given(st.integers(0, 2**63 - 1), names)
def test_the_first_word_alone_is_the_first_that_numpy_gives(seed, name):
    assert first_word(seed, *name) == int(words(seed, *name, count=3)[0])


@given(st.integers(0, 2**63 - 1), names, st.integers(1, 2**40))
def test_a_draw_is_below_its_bound(seed, name, bound):
    assert 0 <= below(seed, *name, bound=bound) < bound
