"""Labels at a prediction time, with three states: 1, 0, or unknown for a stated reason.

Durations are whole calendar days (see `medtop.cohort.visits.DAY`). Letters: E examples, K labels, S visits of a batch.
"""

import dataclasses

import numpy as np

from medtop.cohort.followup import follow_up
from medtop.cohort.visits import DAY, UNKNOWN_DAY, ranges

LONG_STAY_DAYS = 7
"""A stay is prolonged when it lasts longer than this (Med-BERT, top-BERT)."""

REASONS = ("known", "death_without_event", "prevalent", "censored", "no_admission_in_window", "not_given")
"""State of a label; the place in this tuple is its number. The first two are known, the others unknown: an endpoint
code at or before the prediction time; observation ends before the horizon; no later admission within the window; empty
in the user's file."""
KNOWN_REASONS = 2

_NEVER = np.iinfo(np.int64).max
_FAR_DAY = 1 << 40


@dataclasses.dataclass
class Labels:
    """Labels of one task.

    Attributes:
        values: float32 [E, K], 1 or 0; 0 where unknown.
        reasons: int8 [E, K], place in `REASONS`.
        follow_up: `medtop.cohort.followup.FollowUp` of the endpoints, or None where labels have no horizon.
        later_codes: bool [E, K], label 0 although a code of the endpoint that is no event (of its history, or brought
            along where only hospital-acquired ones count) first stands in a stay within the horizon; None as above.
    """

    values: np.ndarray
    reasons: np.ndarray
    follow_up: object = None
    later_codes: np.ndarray | None = None

    @property
    def weights(self):
        """float32 [E, K], 1 where known, 0 where unknown."""
        return (self.reasons < KNOWN_REASONS).astype(np.float32)


@dataclasses.dataclass
class Pairs:
    """Each example beside every visit of its patient (also those after the prediction time).

    Attributes:
        visits: `Visits` of the batch.
        starts: int64 [E], where an example's pairs begin; each has at least one.
        places: int64 [pairs], visit of each pair.
        examples: int64 [pairs], example of each pair.
        known_until: int64 [E], last known instant.
        days: int64 [E], day of the prediction time.
        past: bool [pairs], whether the visit is known at the prediction time.
        boundaries: int64 [E], first day of which nothing is known (`medtop.cohort.periods`); far away where all is.
    """

    visits: object
    starts: np.ndarray
    places: np.ndarray
    examples: np.ndarray
    known_until: np.ndarray
    days: np.ndarray
    past: np.ndarray
    boundaries: np.ndarray


def pair_up(visits, slots, times, known_until, boundaries=None):
    """`Pairs` of these examples with the visits of their patients.

    Args:
        visits: `Visits`.
        slots: int64 [E], place of each example's patient within the batch.
        times, known_until: int64 [E], seconds.
        boundaries: see `Pairs`; None where all is known.
    """
    counts = visits.counts[slots]
    examples = np.repeat(np.arange(len(slots)), counts)
    places = ranges(visits.starts[slots], counts)
    return Pairs(
        visits,
        np.cumsum(counts) - counts,
        places,
        examples,
        known_until,
        times // DAY,
        visits.discharges[places] <= known_until[examples],
        np.full(len(slots), _FAR_DAY) if boundaries is None else boundaries,
    )


def long_stay_next(pairs, within_days):
    """1 where the first admission after the prediction time lasts more than 7 days, 0 where it does not.

    "After" is strict (an admission at the very instant of the prediction time is a transfer); among admissions at one
    instant the one that ends first counts. Unknown without an admission within `within_days`, and, before a boundary
    ("censored"), where less than eight days are known from the admission on: of stays that begin there only short ones
    have ended.
    """
    visits = pairs.visits
    admissions = visits.admissions[pairs.places]
    later = admissions > pairs.known_until[pairs.examples]
    if not len(pairs.starts):
        return Labels(np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int8))
    first = np.minimum.reduceat(np.where(later, admissions, _NEVER), pairs.starts)
    admitted = (first // DAY - pairs.days <= within_days) & (first < _NEVER)
    same = later & (admissions == first[pairs.examples])
    place = np.minimum.reduceat(np.where(same, pairs.places, _NEVER), pairs.starts)
    values = np.zeros(len(first), np.float32)
    values[admitted] = visits.stay_days[place[admitted]] > LONG_STAY_DAYS
    reasons = np.where(admitted, REASONS.index("known"), REASONS.index("no_admission_in_window")).astype(np.int8)
    seen = pairs.boundaries - first // DAY
    reasons[admitted & (seen > 0) & (seen <= LONG_STAY_DAYS)] = REASONS.index("censored")
    reasons[seen <= 0] = REASONS.index("no_admission_in_window")
    values[reasons != REASONS.index("known")] = 0
    return Labels(values[:, None], reasons[:, None])


def long_stay_any(pairs):
    """1 where some stay in the whole record lasts more than 7 days: the lineage's label, which looks into the input."""
    long = (pairs.visits.stay_days > LONG_STAY_DAYS)[pairs.places]
    long &= pairs.visits.admission_days[pairs.places] + LONG_STAY_DAYS < pairs.boundaries[pairs.examples]
    values = np.maximum.reduceat(long, pairs.starts) if len(pairs.starts) else np.zeros(0)
    return Labels(values.astype(np.float32)[:, None], np.zeros((len(values), 1), np.int8))


def complications(pairs, num_endpoints, horizons, observation_ends, deaths, latest_end=None):
    """Per endpoint and horizon (endpoint-major): does the first event come within the horizon?

    An event is dated by the admission of its stay, or by the prediction time where that stay had begun before.

    - endpoint code in a visit known at the prediction time: unknown, "prevalent";
    - with `latest_end`, observation that does not reach the horizon: unknown, "censored", whatever is known;
    - a boundary within the horizon: unknown, "censored", whatever is known: the cut is ours, and events alone would be
      left near it;
    - first event within `horizon` days after it: 1;
    - death within the horizon without it: 0, "death_without_event";
    - observed through the horizon without it: 0;
    - else unknown, "censored".

    Args:
        pairs: `Pairs`.
        num_endpoints: endpoints in use, bits of `Visits.endpoint_codes`.
        horizons: days, [H].
        observation_ends, deaths: int32 [E], days, `UNKNOWN_DAY` where unknown.
        latest_end: None (`--labels=observed`), or the day on which the source's observation ends at the latest
            (`--labels=complete_followup`): those whose observation ends with their death would have been seen until
            then.

    Returns:
        `Labels` with K = num_endpoints * H.
    """
    visits, days = pairs.visits, pairs.days
    shape = (len(pairs.starts), num_endpoints * len(horizons))
    values, reasons = np.zeros(shape, np.float32), np.zeros(shape, np.int8)
    if not len(pairs.starts):
        return Labels(values, reasons)
    after = np.maximum(visits.admission_days[pairs.places] - days[pairs.examples], 0)
    reach = observation_ends
    if latest_end is not None:
        latest = np.minimum(latest_end, pairs.boundaries - 1)
        reach = np.where((deaths != UNKNOWN_DAY) & (deaths == observation_ends), latest, observation_ends)
    reach = np.where(reach == UNKNOWN_DAY, -1, reach - days)
    known_codes = np.where(pairs.past, visits.endpoint_codes[pairs.places], np.uint64(0))
    bits = np.uint64(1) << np.arange(num_endpoints, dtype=np.uint64)
    prevalent = (np.bitwise_or.reduceat(known_codes, pairs.starts)[:, None] & bits) != 0
    events = np.where(pairs.past, np.uint64(0), visits.endpoint_events[pairs.places])
    observed = np.where(observation_ends == UNKNOWN_DAY, -1, observation_ends - days)
    death = np.where(deaths == UNKNOWN_DAY, _NEVER, deaths - days)
    firsts = np.stack(
        [np.minimum.reduceat(np.where(events & bit, after, _NEVER), pairs.starts) for bit in bits], axis=1
    )
    others = np.where(pairs.past, np.uint64(0), visits.endpoint_codes[pairs.places] & ~events)
    told_of = np.bitwise_or.reduce(others) & bits  # most endpoints have no code that is no event
    later = np.zeros(shape, bool)
    without_event = [_without_event(horizon, death, observed, reach, latest_end is not None) for horizon in horizons]
    bounded = [days + horizon >= pairs.boundaries for horizon in horizons]
    for endpoint in range(num_endpoints):
        told = None
        if told_of[endpoint]:
            told = np.minimum.reduceat(np.where(others & bits[endpoint], after, _NEVER), pairs.starts)
        for number, horizon in enumerate(horizons):
            event, place = firsts[:, endpoint] <= horizon, endpoint * len(horizons) + number
            state = without_event[number].copy()
            state[event if latest_end is None else event & (reach >= horizon)] = REASONS.index("known")
            state[bounded[number]] = REASONS.index("censored")
            state[prevalent[:, endpoint]] = REASONS.index("prevalent")
            reasons[:, place] = state
            values[:, place] = event & (state == REASONS.index("known"))
            if told is not None:
                later[:, place] = (told <= horizon) & (state < KNOWN_REASONS) & ~event
    return Labels(values, reasons, follow_up(firsts, death, observed, prevalent, max(horizons)), later)


def _without_event(horizon, death, observed, reach, whole):
    """int8 [E], the state of a label without an event, with `whole` only where observation reaches the horizon."""
    state = np.where(
        death <= horizon,
        np.int8(REASONS.index("death_without_event")),
        np.where(observed >= horizon, np.int8(REASONS.index("known")), np.int8(REASONS.index("censored"))),
    )
    if whole:
        state[reach < horizon] = REASONS.index("censored")
    return state


def given_labels(columns):
    """A user's own labels: float32 [E, K], NaN where unknown."""
    missing = np.isnan(columns)
    return Labels(
        np.where(missing, 0, columns).astype(np.float32),
        np.where(missing, REASONS.index("not_given"), REASONS.index("known")).astype(np.int8),
    )
