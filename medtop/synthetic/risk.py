"""The written risk function of the generated cohort: what the observed history says about the future.

Everything here is computed from what stands in the written table at or before the prediction time (codes, visits,
times, age), never from the latent state that made the history. Sex has no part in it.
docs/synthetic_cohort.md states the formulas; this file is the definition.

Letters: N patients, S visits, C codes, D conditions, G acute groups, E endpoints, H horizons.
"""

import dataclasses

import numpy as np

from medtop.synthetic import tree
from medtop.synthetic.codes import ACUTE_GROUPS, CONDITION_OF, CONDITIONS, ENDPOINTS, GROUP_OF, STAGE_OF

CONSTANTS_VERSION = 1
HORIZONS = (365, 730, 1095)
LABELS = tuple(f"{endpoint}_{days}" for endpoint in ENDPOINTS for days in HORIZONS)
TASKS = {"complications": LABELS, "long_stay": ("long_stay",)}
LONG_STAY_DAYS = 7
LONG_STAY_WITHIN_DAYS = 365
DAYS_PER_YEAR = 365.25

RECENCY_DAYS = 90.0
"""An acute event d days before the prediction time weighs exp(-d / RECENCY_DAYS)."""

# What each outcome weighs: chronic conditions by documented stage, endpoint diseases, age, visits, share of long stays.
# The five columns are MACE, CKD, RET, NEUR, long_stay.
OUTCOMES = ENDPOINTS + ("long_stay",)
STAGE_WEIGHTS = {
    "hypertension": (0.6, 0.7, 0.5, 0.2, 0.1),
    "dyslipidaemia": (0.5, 0.2, 0.5, 0.3, 0.0),
    "obesity": (0.2, 0.4, 0.2, 0.6, 0.3),
    "coronary_disease": (0.7, 0.3, 0.1, 0.1, 0.3),
    "atrial_fibrillation": (0.6, 0.2, 0.0, 0.1, 0.4),
    "pulmonary_disease": (0.2, 0.1, 0.1, 0.1, 0.6),
    "depression": (0.1, 0.1, 0.2, 0.5, 0.5),
    "anaemia": (0.2, 0.6, 0.4, 0.3, 0.5),
    "arterial_disease": (0.5, 0.4, 0.5, 0.6, 0.2),
    "proteinuria": (0.3, 0.8, 0.7, 0.4, 0.1),
    "MACE": (0.0, 0.4, 0.2, 0.2, 0.3),
    "CKD": (0.5, 0.0, 0.6, 0.4, 0.3),
    "RET": (0.3, 0.5, 0.0, 0.6, 0.1),
    "NEUR": (0.2, 0.4, 0.6, 0.0, 0.2),
}
NUMBER_WEIGHTS = {
    "age": (0.7, 0.5, 0.2, 0.3, 0.5),
    "visits": (0.3, 0.3, 0.3, 0.3, 0.3),
    "long_share": (0.2, 0.2, 0.1, 0.2, 1.0),
}
AGE_CENTRE, AGE_SCALE = 66.0, 12.0
VISITS_CENTRE, VISITS_SCALE = 1.8, 0.8
LONG_SHARE_CENTRE, LONG_SHARE_SCALE = 0.2, 0.22

TIMING_WEIGHTS = {
    "glycaemic": (0.4, 0.7, 1.0, 0.9, 0.4),
    "infection": (0.3, 0.5, 0.3, 0.5, 1.0),
    "cardiopulmonary": (1.0, 0.6, 0.3, 0.2, 0.6),
}
ORDER_PAIRS = (("proteinuria", "hypertension"), ("depression", "obesity"), ("anaemia", "dyslipidaemia"))
"""First condition documented first: +1; second one first: -1; together or not both: 0."""
ORDER_WEIGHTS = ((0.6, 1.0, 0.7, 0.4, 0.4), (0.4, 0.3, 0.5, 1.0, 0.8), (0.8, 0.6, 0.8, 0.5, 0.6))
COMBINATION_PAIRS = (("hypertension", "obesity"), ("dyslipidaemia", "proteinuria"), ("anaemia", "depression"))
"""Both conditions documented: the product counts beyond the two parts."""
COMBINATION_WEIGHTS = ((1.0, 0.5, 0.4, 0.7, 0.5), (0.6, 1.0, 1.0, 0.5, 0.3), (0.3, 0.5, 0.4, 0.8, 1.0))

# Mean and standard deviation of each part before scaling, over 200,000 generated patients; columns as OUTCOMES.
PARTS = ("additive", "timing", "order", "combination", "acceleration")
PART_MEANS = np.array(
    [
        (3.6972, 3.7131, 3.3576, 3.0620, 2.6672),
        (0.4892, 0.5288, 0.4715, 0.4767, 0.5965),
        (-0.0103, -0.0160, -0.0120, -0.0078, -0.0076),
        (0.5031, 0.5141, 0.4651, 0.4983, 0.4311),
        (0.4487, 0.4487, 0.4487, 0.4487, 0.4487),
    ]
)
PART_SCALES = np.array(
    [
        (3.2460, 3.0659, 2.6688, 2.5809, 2.7507),
        (0.3627, 0.3520, 0.3538, 0.3449, 0.4107),
        (0.4758, 0.5451, 0.5179, 0.4911, 0.4533),
        (0.6302, 0.6433, 0.5932, 0.6189, 0.5714),
        (1.1145, 1.1145, 1.1145, 1.1145, 1.1145),
    ]
)
# Standard deviation of each part within the linear predictor; columns as OUTCOMES.
PART_LOADINGS = np.array(
    [
        (0.65, 0.65, 0.65, 0.65, 0.65),
        (1.10, 1.10, 1.10, 1.10, 1.10),
        (0.50, 0.50, 0.50, 0.50, 0.50),
        (0.25, 0.25, 0.25, 0.25, 0.25),
        (0.15, 0.15, 0.15, 0.15, 0.15),
    ]
)
INTERCEPTS = np.array([-2.05, -1.95, -2.15, -1.85, -1.75])
"""Linear predictor of the average patient: logit of P(event within 1,095 days), of P(stay > 7 days)."""

DEATH_RATE_PER_YEAR = 0.030
DEATH_AGE, DEATH_TIMING, RECENT_CENTRE = 0.6, 0.35, 0.9
LOSS_RATE_PER_YEAR = 0.06
ADMISSION_RATE_PER_YEAR = 1.1
ADMISSION_VISITS = 0.35


@dataclasses.dataclass
class RiskHistory:
    """What the written table shows of N patients up to their prediction times. Visits and codes in time order.

    Attributes:
        ages: float64 [N], years from birth to the prediction time (calendar days / 365.25).
        visit_patients: int [S], place of the visit's patient, rising.
        stay_days: int [S], calendar days from admission to discharge.
        gaps_before: int [S], calendar days from the previous discharge to the admission; 0 for the first visit.
        recencies: int [S], calendar days from the discharge to the prediction time.
        code_visits: int [C], place of the code's visit, rising.
        codes: int [C], place in `synthetic_codes.CODES`, or in `tree.NAMES`.
        hierarchical: whether background codes follow ICD-10's tree, and weigh by it (`tree`).
    """

    ages: np.ndarray
    visit_patients: np.ndarray
    stay_days: np.ndarray
    gaps_before: np.ndarray
    recencies: np.ndarray
    code_visits: np.ndarray
    codes: np.ndarray
    hierarchical: bool = False


def _documented(history, visit_numbers):
    """Highest documented stage [N, D] (0: never) and number of the first visit with it [N, D] (a large one: never)."""
    count, conditions = len(history.ages), len(CONDITIONS)
    rows = CONDITION_OF[history.codes] >= 0
    codes, visits = history.codes[rows], history.code_visits[rows]
    cells = history.visit_patients[visits] * conditions + CONDITION_OF[codes]
    stages = np.zeros(count * conditions, np.int64)
    np.maximum.at(stages, cells, STAGE_OF[codes])
    first = np.full(count * conditions, np.iinfo(np.int64).max)
    np.minimum.at(first, cells, visit_numbers[visits])
    return stages.reshape(count, conditions), first.reshape(count, conditions)


def _recent_burdens(history):
    """1 - exp(-B) [N, G], B = sum over the visits with a code of the group of exp(-days before the prediction / 90)."""
    count, groups = len(history.ages), len(ACUTE_GROUPS)
    rows = GROUP_OF[history.codes] >= 0
    seen = np.unique(history.code_visits[rows] * groups + GROUP_OF[history.codes[rows]])
    visits, group = seen // groups, seen % groups
    weights = np.exp(-history.recencies[visits] / RECENCY_DAYS)
    burdens = np.bincount(history.visit_patients[visits] * groups + group, weights, minlength=count * groups)
    return 1 - np.exp(-burdens.reshape(count, groups))


def _acceleration(history, starts, counts):
    """log of (1 + mean gap) / (1 + last gap) [N]: above 0 when the last gap is shorter than usual; 0 below 3 visits."""
    gaps = np.bincount(history.visit_patients, history.gaps_before, minlength=len(counts))
    mean = gaps / np.maximum(counts - 1, 1)
    last = history.gaps_before[starts + counts - 1]
    return np.where(counts >= 3, np.log((1 + mean) / (1 + last)), 0.0)


def observed_components(history):
    """The ingredients of the risk function, from the observed history.

    Args:
        history: a `RiskHistory` in which every patient has at least one visit.

    Returns:
        dict of arrays: `stages` int64 [N, D] highest documented stage; `age`, `visits`, `long_share`, `acceleration`
        float64 [N]; `recent` float64 [N, G]; `order` float64 [N, 3] in -1, 0, 1; `combination` float64 [N, 3] in 0, 1;
        of a hierarchical history what `tree.components` gives, too.
    """
    counts = np.bincount(history.visit_patients, minlength=len(history.ages))
    starts = np.cumsum(counts) - counts
    visit_numbers = np.arange(len(history.visit_patients)) - starts[history.visit_patients]
    stages, first = _documented(history, visit_numbers)
    place = {name: number for number, name in enumerate(CONDITIONS)}
    long_stays = np.bincount(history.visit_patients, history.stay_days > LONG_STAY_DAYS, minlength=len(counts))

    def both(a, b):
        return (stages[:, place[a]] > 0) & (stages[:, place[b]] > 0)

    order = [np.where(both(a, b), np.sign(first[:, place[b]] - first[:, place[a]]), 0) for a, b in ORDER_PAIRS]
    return {
        "stages": stages,
        "age": (history.ages - AGE_CENTRE) / AGE_SCALE,
        "visits": (np.log(counts) - VISITS_CENTRE) / VISITS_SCALE,
        "long_share": (long_stays / counts - LONG_SHARE_CENTRE) / LONG_SHARE_SCALE,
        "recent": _recent_burdens(history),
        "order": np.stack(order, 1).astype(np.float64),
        "combination": np.stack([both(a, b) for a, b in COMBINATION_PAIRS], 1).astype(np.float64),
        "acceleration": _acceleration(history, starts, counts),
        **(tree.components(history, visit_numbers) if history.hierarchical else {}),
    }


def raw_parts(components):
    """The five parts of each outcome's predictor before standardising: float64 [N, 5 parts, 5 outcomes]."""
    weights = np.array([STAGE_WEIGHTS.get(name, (0.0,) * 5) for name in CONDITIONS])
    additive = components["stages"] @ weights
    for name, loads in NUMBER_WEIGHTS.items():
        additive = additive + components[name][:, None] * np.array(loads)
    timing = components["recent"] @ np.array(list(TIMING_WEIGHTS.values()))
    order = components["order"] @ np.array(ORDER_WEIGHTS)
    combination = components["combination"] @ np.array(COMBINATION_WEIGHTS)
    acceleration = np.repeat(components["acceleration"][:, None], 5, 1)
    return np.stack([additive, timing, order, combination, acceleration], 1)


def linear_predictors(components):
    """Logit of each outcome's probability, float64 [N, 5 outcomes]."""
    parts = (raw_parts(components) - PART_MEANS) / PART_SCALES
    if "families" in components:
        return INTERCEPTS + (parts * tree.SHARED_LOADINGS).sum(1) + tree.linear_part(components)
    return INTERCEPTS + (parts * PART_LOADINGS).sum(1)


def daily_rates(components):
    """Constant hazards per day after the prediction time.

    Returns:
        (events float64 [N, E], death float64 [N], loss float, admission float64 [N]). An event's hazard is such that
        1 - exp(-1095 hazard) = sigmoid(linear predictor). Loss to follow-up does not depend on the patient.
    """
    events = np.logaddexp(0, linear_predictors(components)[:, : len(ENDPOINTS)]) / HORIZONS[-1]
    recent = components["recent"].sum(1) - RECENT_CENTRE
    death = DEATH_RATE_PER_YEAR / DAYS_PER_YEAR * np.exp(DEATH_AGE * components["age"] + DEATH_TIMING * recent)
    admission = ADMISSION_RATE_PER_YEAR / DAYS_PER_YEAR * np.exp(ADMISSION_VISITS * components["visits"])
    return events, death, LOSS_RATE_PER_YEAR / DAYS_PER_YEAR, admission


def long_stay_probability(components):
    """P(the first admission after the prediction time lasts more than 7 days), float64 [N]."""
    return 1 / (1 + np.exp(-linear_predictors(components)[:, -1]))


def true_risks(components):
    """P(label = 1 | observed history, label known) by the rule of docs/contract.md, "Time and labels".

    float64 [N, 13]: `LABELS`, then long_stay.

    With event, death and loss at constant hazards a, m, c and s = a + m + c, over h days: label 1 has probability
    (a/s)(1 - exp(-s h)), label 0 (m/s)(1 - exp(-s h)) by death or exp(-s h) by being seen without either; the risk is
    the first's share of their sum.
    """
    events, death, loss, _ = daily_rates(components)
    total = events + death[:, None] + loss
    risks = []
    for endpoint in range(len(ENDPOINTS)):
        for days in HORIZONS:
            left = np.exp(-total[:, endpoint] * days)
            ended = (1 - left) / total[:, endpoint]
            positive, negative = events[:, endpoint] * ended, death * ended + left
            risks.append(positive / (positive + negative))
    return np.stack([*risks, long_stay_probability(components)], 1)
