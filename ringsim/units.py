"""Quantities as people write them (`50 us`, `10 Gbit/s`, `64 MiB`, `2 GFLOP/s`, `5 %`) to exact integers, and back.

Every quantity inside ringsim is an integer of one unit: nanoseconds, bytes, bit/s, FLOP, FLOP/s, parts per million.
Decimal arithmetic throughout, so `0.1 s` is 100,000,000 ns and never 100,000,001. What is not here: bare numbers such
as a learning rate, which have no unit.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from decimal import Context, Decimal

_QUANTITY = re.compile(r"\s*([+-]?\d[\d_]*(?:\.\d+)?)\s*(\S*)\s*")
_SPELLED_OUT = {"sec": "s", "second": "s", "minute": "min", "hour": "h", "percent": "%", "byte": "b"}
_LARGEST = 10**18  # Beyond this no cluster makes sense, and 63-bit arithmetic ends.


@dataclass(frozen=True)
class Dimension:
    """One kind of quantity: its name in sentences, an example, and how much each unit is of the base unit.

    Units are listed from small to large; the first whose factor is 1 is the base unit.
    """

    name: str
    example: str
    factors: dict[str, int]
    smallest: int = 0
    instead: str = ""  # what to write for less than that
    usual: tuple[str, ...] = ()  # the units that ringsim itself writes; () means all
    decimals: int = 3

    @property
    def a_name(self) -> str:
        """The name with its article.

        >>> SIZE.a_name, WORK.a_name
        ('a size', 'an amount of work')
        """
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    def parse(self, text: object) -> int:
        """Return `text` in base units, exactly.

        Raises ValueError with a sentence that says what would be right.

        >>> DURATION.parse("1.5 ms")
        1500000
        >>> RATE.parse("1.25 GB/s")
        10000000000
        >>> DURATION.parse("5")
        Traceback (most recent call last):
        ...
        ValueError: has no unit; a duration is written like "50 us"; did you mean "5 s"?
        """
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            raise ValueError(self._without_unit(str(text)))
        if not isinstance(text, str):
            raise ValueError(f"is not {self.a_name}; write it like {self._quoted(self.example)}")
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise ValueError(f"{self._quoted(text)} is not {self.a_name}; write it like {self._quoted(self.example)}")
        number, unit = match.groups()
        if not unit:
            raise ValueError(self._without_unit(number))
        if unit not in self.factors:
            raise ValueError(self._unknown_unit(number, unit))
        # Digits enough for the exact product: the usual 28 would round a long number silently.
        exact = Context(prec=len(number) + 20)
        return self._whole(exact.multiply(Decimal(number.replace("_", "")), self.factors[unit]), text)

    def format(self, amount: int) -> str:
        """Return `amount` exactly, in the largest of the usual units that needs no more than `decimals`.

        >>> DURATION.format(1_500_000), DURATION.format(1_234_567), SIZE.format(65536), RATE.format(10**7)
        ('1.5 ms', '1234.567 us', '64 KiB', '10 Mbit/s')
        >>> SIZE.format(1_448), SHARE.format(0)
        ('1448 B', '0 %')
        """
        usual = self.usual or tuple(self.factors)
        for unit in sorted(usual, key=lambda unit: -self.factors[unit]):
            scaled = Decimal(amount) / self.factors[unit]
            if (abs(scaled) >= 1 or len(usual) == 1) and scaled == round(scaled, self.decimals):
                return f"{scaled.normalize():f} {unit}"
        return f"{amount} {self.example.split()[-1] if amount == 0 else self._base}"

    @property
    def _base(self) -> str:
        return next(unit for unit, factor in self.factors.items() if factor == 1)

    def _whole(self, amount: Decimal, text: str) -> int:
        base = self._base
        if amount != int(amount):
            raise ValueError(f"{self._quoted(text)} is not a whole number of {base}, which is the finest step there is")
        if amount < self.smallest:
            least = "it must be more than 0" if self.smallest == 1 else f"the least is {self.smallest} {base}"
            raise ValueError("; ".join(filter(None, (f"{self._quoted(text)} is too small", least, self.instead))))
        if amount > _LARGEST:
            raise ValueError(f"{self._quoted(text)} is too large; the most is {self.format(_LARGEST)}")
        return int(amount)

    def _without_unit(self, number: str) -> str:
        unit = "s" if self.name == "duration" else self.example.split()[-1]
        if self.name == "share" and 0 < float(number.replace("_", "")) < 1:
            number = f"{(100 * Decimal(number)).normalize():f}"  # Who writes 0.1 means a tenth.
        return (
            f"has no unit; {self.a_name} is written like {self._quoted(self.example)}; "
            f"did you mean {self._quoted(f'{number} {unit}')}?"
        )

    def _unknown_unit(self, number: str, unit: str) -> str:
        known = ", ".join(self.factors)
        for other in (DURATION, SIZE, RATE, SPEED, WORK, SHARE):
            if unit in other.factors:
                return f"{self._quoted(unit)} is a unit for {other.a_name}, not for {self.a_name} (they are {known})"
        folded = {name.lower(): name for name in reversed(self.factors)}
        plain = re.sub("b(ps|/s)$", "bit/s", unit.replace("µ", "u").replace("μ", "u")).lower()
        meant = _SPELLED_OUT.get(plain.rstrip("s"), plain)
        # One letter is close to anything short: nobody who writes PB means B.
        likely = [name for name in folded if len(name) > 1 or name == meant]
        guess = difflib.get_close_matches(meant, likely, n=1, cutoff=0.4)
        hint = f"; did you mean {self._quoted(f'{number} {folded[guess[0]]}')}?" if guess else ""
        return f"{self._quoted(unit)} is not a unit for {self.a_name} (they are {known}){hint}"

    @staticmethod
    def _quoted(text: str) -> str:
        return f'"{text}"'


DURATION = Dimension(
    "duration",
    "50 us",
    {"ns": 1, "us": 1_000, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3_600 * 10**9},
)
POSITIVE_DURATION = replace(DURATION, smallest=1)
SIZE = Dimension(
    "size",
    "64 KiB",
    {
        "B": 1,
        "KB": 10**3,
        "KiB": 2**10,
        "MB": 10**6,
        "MiB": 2**20,
        "GB": 10**9,
        "GiB": 2**30,
        "TB": 10**12,
        "TiB": 2**40,
    },
    decimals=0,
)
RATE = Dimension(
    "rate",
    "10 Gbit/s",
    {
        "bit/s": 1,
        "B/s": 8,
        "kbit/s": 10**3,
        "KB/s": 8 * 10**3,
        "Mbit/s": 10**6,
        "MB/s": 8 * 10**6,
        "Gbit/s": 10**9,
        "GB/s": 8 * 10**9,
        "Tbit/s": 10**12,
    },
    smallest=1,
    usual=("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"),
)
SPEED = Dimension(
    "speed",
    "2 GFLOP/s",
    {"FLOP/s": 1, "KFLOP/s": 10**3, "MFLOP/s": 10**6, "GFLOP/s": 10**9, "TFLOP/s": 10**12, "PFLOP/s": 10**15},
    smallest=1,
)
WORK = Dimension(
    "amount of work",
    "2 MFLOP",
    {"FLOP": 1, "KFLOP": 10**3, "MFLOP": 10**6, "GFLOP": 10**9, "TFLOP": 10**12},
)
SHARE = Dimension("share", "5 %", {"ppm": 1, "%": 10_000}, usual=("%",), decimals=4)


def format_duration(amount_ns: int) -> str:
    """Return a duration exactly, as it is written in a scenario.

    >>> format_duration(2_000_000_000)
    '2 s'
    """
    return DURATION.format(amount_ns)


def about_duration(amount_ns: int) -> str:
    """Return a duration for people: four significant digits, in the unit that leaves the fewest zeros.

    >>> about_duration(454_341_120), about_duration(50_000), about_duration(0)
    ('454.3 ms', '50 us', '0 s')
    """
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if amount_ns >= factor:
            return (
                f"{amount_ns / factor:.4g} {unit}"
                if amount_ns < 10_000 * factor
                else f"{amount_ns / factor:,.0f} {unit}"
            )
    return f"{amount_ns} ns" if amount_ns else "0 s"
