"""Numbers with a range, for the annotations of constructors.

Floor 0: the standard library only. A constructor whose arguments come from a config
annotates them with these; `cli.schema` reads the annotations, so that the range stands in
one place and a wrong value is refused before anything is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Interval:
    """A range of real numbers; an end that is None is open to infinity.

    Args:
        above: Numbers are greater than this.
        at_least: Numbers are this or greater.
        below: Numbers are less than this.
        at_most: Numbers are this or less.

    >>> print(Interval(at_least=0, below=1), 1.0 in Interval(at_least=0, below=1))
    >= 0 and < 1 False
    """

    above: int | float | None = None
    at_least: int | float | None = None
    below: int | float | None = None
    at_most: int | float | None = None

    def __contains__(self, number: int | float) -> bool:
        return (
            (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
            and number == number  # NaN is in no range
        )

    def __str__(self) -> str:
        ends = {">": self.above, ">=": self.at_least, "<": self.below, "<=": self.at_most}
        return " and ".join(
            f"{sign} {end:g}" for sign, end in ends.items() if end is not None
        )


PositiveInt = Annotated[int, Interval(at_least=1)]
NonNegativeInt = Annotated[int, Interval(at_least=0)]
PositiveFloat = Annotated[float, Interval(above=0)]
NonNegativeFloat = Annotated[float, Interval(at_least=0)]
Fraction = Annotated[float, Interval(at_least=0, below=1)]
