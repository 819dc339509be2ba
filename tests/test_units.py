"""Quantities: what is written is what is meant, to the last digit, and a wrong unit is answered with the right one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringsim.units import DURATION, POSITIVE_DURATION, RATE, SHARE, SIZE, SPEED, WORK, Dimension, format_duration

DIMENSIONS = [DURATION, SIZE, RATE, SPEED, WORK, SHARE]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda dimension: dimension.name)
@given(data=st.data())
def test_what_is_formatted_parses_back(dimension: Dimension, data: st.DataObject) -> None:
    amount = data.draw(st.integers(dimension.smallest, 10**18) | st.sampled_from([10**k for k in range(19)]))
    assert dimension.parse(dimension.format(amount)) == amount


@given(st.integers(0, 10**9 - 1))
def test_decimals_are_exact(nanoseconds: int) -> None:
    assert DURATION.parse(f"0.{nanoseconds:09d} s") == nanoseconds


@pytest.mark.parametrize(
    ("dimension", "text", "amount"),
    [
        (DURATION, "0.1 s", 100_000_000),
        (DURATION, "50us", 50_000),
        (DURATION, " 1_000  us ", 1_000_000),
        (DURATION, "0 s", 0),
        (DURATION, "1.5 h", 5_400_000_000_000),
        (SIZE, "4KB", 4_000),
        (SIZE, "4 KiB", 4_096),
        (SIZE, "0.5 KiB", 512),
        (RATE, "25 Mbit/s", 25_000_000),
        (RATE, "1.25 GB/s", 10_000_000_000),
        (SPEED, "2 GFLOP/s", 2_000_000_000),
        (WORK, "3 KFLOP", 3_000),
        (SHARE, "5 %", 50_000),
        (SHARE, "0.0001 %", 1),
    ],
)
def test_amounts(dimension: Dimension, text: str, amount: int) -> None:
    assert dimension.parse(text) == amount


UNITS_OF_TIME = "is not a unit for a duration (they are ns, us, ms, s, min, h)"
UNITS_OF_RATE = (
    "is not a unit for a rate (they are bit/s, B/s, kbit/s, KB/s, Mbit/s, MB/s, Gbit/s, GB/s, Tbit/s); did you mean"
)


@pytest.mark.parametrize(
    ("dimension", "value", "sentence"),
    [
        (DURATION, 5, 'has no unit; a duration is written like "50 us"; did you mean "5 s"?'),
        (DURATION, "5", 'has no unit; a duration is written like "50 us"; did you mean "5 s"?'),
        (DURATION, 0.5, 'has no unit; a duration is written like "50 us"; did you mean "0.5 s"?'),
        (WORK, 5, 'has no unit; an amount of work is written like "2 MFLOP"; did you mean "5 MFLOP"?'),
        (DURATION, True, 'is not a duration; write it like "50 us"'),
        (DURATION, None, 'is not a duration; write it like "50 us"'),
        (DURATION, "soon", '"soon" is not a duration; write it like "50 us"'),
        (DURATION, "", '"" is not a duration; write it like "50 us"'),
        (SIZE, "5 PB", f'"PB" is not a unit for a size (they are {", ".join(SIZE.factors)}); did you mean "5 TB"?'),
        (DURATION, "3 hours", f'"hours" {UNITS_OF_TIME}; did you mean "3 h"?'),
        (DURATION, "3 sec", f'"sec" {UNITS_OF_TIME}; did you mean "3 s"?'),
        (DURATION, "3 µs", f'"µs" {UNITS_OF_TIME}; did you mean "3 us"?'),
        (DURATION, "3 parsec/h", f'"parsec/h" {UNITS_OF_TIME}'),
        (RATE, "10 Gbps", f'"Gbps" {UNITS_OF_RATE} "10 Gbit/s"?'),
        (RATE, "25 Mb/s", f'"Mb/s" {UNITS_OF_RATE} "25 Mbit/s"?'),
        (RATE, "0 bit/s", '"0 bit/s" is too small; it must be more than 0'),
        (SIZE, "-1 B", '"-1 B" is too small; the least is 0 B'),
        (POSITIVE_DURATION, "0 s", '"0 s" is too small; it must be more than 0'),
        (POSITIVE_DURATION, "-1 s", '"-1 s" is too small; it must be more than 0'),
        (SHARE, 0.1, 'has no unit; a share is written like "5 %"; did you mean "10 %"?'),
        (SHARE, "0.005", 'has no unit; a share is written like "5 %"; did you mean "0.5 %"?'),
        (SHARE, 1.0e-05, 'has no unit; a share is written like "5 %"; did you mean "0.001 %"?'),
        (SHARE, float("nan"), 'has no unit; a share is written like "5 %"; did you mean "nan %"?'),
        (SHARE, 5, 'has no unit; a share is written like "5 %"; did you mean "5 %"?'),
        (SHARE, 0, 'has no unit; a share is written like "5 %"; did you mean "0 %"?'),
        (SIZE, "0.5 B", '"0.5 B" is not a whole number of B, which is the finest step there is'),
        (SIZE, "2000000 TB", '"2000000 TB" is too large; the most is 1000000 TB'),
        (
            SIZE,
            f"1.{'0' * 40}1 KB",
            f'"1.{"0" * 40}1 KB" is not a whole number of B, which is the finest step there is',
        ),
    ],
    ids=str,
)
def test_sentences(dimension: Dimension, value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole below
        dimension.parse(value)
    assert str(caught.value) == sentence


@given(st.text(max_size=30) | st.from_regex(r"[-+]?[0-9_]{1,40}(\.[0-9]{1,40})? ?(s|GB|%|FLOP)", fullmatch=True))
def test_any_text_is_an_amount_or_a_sentence(text: str) -> None:
    for dimension in DIMENSIONS:
        with suppress(ValueError):
            assert dimension.smallest <= dimension.parse(text) <= 10**18


def test_a_duration_reads_as_in_a_scenario() -> None:
    assert [format_duration(ns) for ns in (0, 1, 1_500, 90 * 10**9, 10**9)] == [
        "0 us",
        "1 ns",
        "1.5 us",
        "1.5 min",
        "1 s",
    ]
