"""Splits over time: each split has its period, and nothing is known of a patient after the period of its split.

A model for the years after a boundary is made of what was known on the day before it: `Periods.at_boundary` hides from
visits, observation and deaths what comes later. Letters: P patients of a batch, S their visits, N any.
"""

import dataclasses
import datetime

import numpy as np

from medtop.cohort.visits import UNKNOWN_DAY

NO_BOUNDARY = 1 << 40
"""A day that never comes: the end of the test period."""


def day_number(text):
    """Days since 1970-01-01 of an ISO date.

    >>> day_number("1970-01-11")
    10
    """
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


@dataclasses.dataclass(frozen=True)
class Known:
    """What was known of a batch's patients on the day before their boundaries.

    Attributes:
        visits: `Visits`; those that end later carry no endpoint.
        boundaries: int64 [P], first day of which nothing is known; `NO_BOUNDARY` in the test split.
        observation_ends, deaths: int32 [P], days, `UNKNOWN_DAY` where unknown.
    """

    visits: object
    boundaries: np.ndarray
    observation_ends: np.ndarray
    deaths: np.ndarray


@dataclasses.dataclass(frozen=True)
class Periods:
    """Training before `valid_from`, validation from then on, test from `test_from` on.

    Attributes:
        valid_from, test_from: days since 1970-01-01, ascending (`split_options.check_split_options`).
    """

    valid_from: int
    test_from: int

    def of(self, days):
        """Place in `medtop.cohort.splits.SPLITS` of each day: int8 [N].

        >>> Periods(10, 20).of([9, 10, 19, 20]).tolist()
        [0, 1, 1, 2]
        """
        return np.searchsorted([self.valid_from, self.test_from], days, side="right").astype(np.int8)

    def inside(self, days, splits):
        """Whether each day lies in the period of a split: bool [N]; never for split -1."""
        return self.of(days) == splits

    def boundaries(self, splits):
        """First day after the period of each split (int [N]): int64 [N]."""
        return np.array([self.valid_from, self.test_from, NO_BOUNDARY, NO_BOUNDARY], np.int64)[splits]

    def at_boundary(self, visits, splits, observation_ends, deaths):
        """Hides what comes after the period of each patient's split.

        A stay that ends on the boundary or later is not known by its codes. One that goes on over the boundary may
        carry an event that would be dated by its admission: observation ends on the day before that admission.

        Args:
            visits: `Visits`.
            splits: int8 [P].
            observation_ends, deaths: int32 [P], days, `UNKNOWN_DAY` where unknown.

        Returns:
            `Known`.
        """
        boundaries = self.boundaries(splits)
        of_visit = boundaries[visits.slots]
        late = visits.discharge_days >= of_visit
        open_then = late & (visits.admission_days < of_visit)
        last = boundaries - 1
        np.minimum.at(last, visits.slots[open_then], visits.admission_days[open_then] - 1)
        unknown = observation_ends == UNKNOWN_DAY
        none = np.uint64(0)
        return Known(
            visits=dataclasses.replace(
                visits,
                endpoint_codes=np.where(late, none, visits.endpoint_codes),
                endpoint_events=np.where(late, none, visits.endpoint_events),
            ),
            boundaries=boundaries,
            observation_ends=np.where(unknown, UNKNOWN_DAY, np.minimum(observation_ends, last)).astype(np.int32),
            deaths=np.where(deaths >= boundaries, UNKNOWN_DAY, deaths).astype(np.int32),
        )
