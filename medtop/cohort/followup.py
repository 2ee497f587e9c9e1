"""What is known of an outcome when observation ends at different times for different patients.

Letters: E examples, K endpoints, D days.
"""

import dataclasses

import numpy as np

EVENT, DEATH, CENSORED = 0, 1, 2


@dataclasses.dataclass
class FollowUp:
    """How the time after each prediction ends, for each endpoint.

    Attributes:
        days: int64 [E, K], days from the prediction to the first event, to death without it, or to the last day that is
            observed; at most one more than the longest horizon.
        kinds: int8 [E, K], `EVENT`, `DEATH` or `CENSORED`.
        at_risk: bool [E, K], not prevalent, and observed on the day of the prediction at least.
    """

    days: np.ndarray
    kinds: np.ndarray
    at_risk: np.ndarray


def follow_up(first, death, observed, prevalent, longest):
    """`FollowUp`: an event on the last observed day is seen; later ones, and later deaths, are not.

    Args:
        first: int64 [E, K], days to the first event; very large where none is known.
        death: int64 [E], the same for death.
        observed: int64 [E], days to the end of observation; negative where it ends before the prediction.
        prevalent: bool [E, K].
        longest: longest horizon, days.
    """
    observed, death = observed[:, None], death[:, None]
    kinds = np.where(
        (first <= observed) & (first <= death), EVENT, np.where(death <= observed, DEATH, CENSORED)
    ).astype(np.int8)
    days = np.choose(kinds, np.broadcast_arrays(first, death, observed))
    return FollowUp(np.clip(days, 0, longest + 1), kinds, ~prevalent & (observed >= 0))


def cumulative_incidence(counts, horizons):
    """Risk of an event within each horizon, corrected for censoring.

    The Aalen-Johansen estimate (1978): `sum over days d of S(d-) events(d) / at risk(d)`, S the share without event and
    death by then. It equals the mean of `event / G(day-)` over all at risk, with G the Kaplan-Meier estimate of staying
    under observation: inverse-probability-of-censoring weights. A death is no event, and takes its patient out. It is
    the risk in all who were at risk, if the end of observation tells nothing of the outcome.

    Args:
        counts: int64 [D, 3], patients by day on which their time ends, and kind of its end; D exceeds every horizon.
        horizons: days.

    Returns:
        list of floats, None where nobody is observed so long.

    >>> risks = cumulative_incidence(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2], [1, 0, 1]]), [1, 2, 3])
    >>> [round(risk, 6) for risk in risks]
    [0.2, 0.2, 0.6]
    """
    ends = counts.sum(1)
    at_risk = ends[::-1].cumsum()[::-1]
    shown = np.maximum(at_risk, 1)
    survival = np.cumprod(1 - (counts[:, EVENT] + counts[:, DEATH]) / shown)
    before = np.concatenate([[1.0], survival[:-1]])
    risk = np.cumsum(before * counts[:, EVENT] / shown)
    open_end = (at_risk == 0) & (before > 1e-12)
    return [None if open_end[days] or not at_risk[0] else float(risk[days]) for days in horizons]
