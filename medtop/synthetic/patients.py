"""How the generated patients live: latent disease, history of stays, and the future drawn from the written risk.

Whole blocks of patients are drawn as arrays; no loop goes over patients. Days are calendar days since 1970-01-01.

Letters: N patients, S visits, C codes, D conditions, G acute groups, E endpoints.
"""

import dataclasses

import numpy as np

from medtop.synthetic import risk, tree
from medtop.synthetic.codes import (
    ACUTE_CODES,
    ACUTE_GROUPS,
    BACKGROUND_CUMULATIVE,
    CODES,
    CONDITIONS,
    ENDPOINTS,
    FIRST_BACKGROUND,
    NUM_CHRONIC,
    NUM_STAGES,
    STAGE_CODES,
)

FIRST_PREDICTION_DAY, LAST_PREDICTION_DAY = 15340, 17531  # 2012-01-01 to 2017-12-31
FOLLOW_UP_DAYS = 1140
MAX_HISTORY_VISITS = 250
MAX_FUTURE_OTHER, LATER_ADMISSIONS = 10, 0.5
MAX_HISTORY_DAYS = 12 * 365

# Condition -> (cumulative hazard of onset from age 20 to 65 at average frailty, chance to be documented in a stay).
ONSETS = {
    "diabetes": (1e9, 0.55),
    "hypertension": (0.95, 0.40),
    "dyslipidaemia": (0.85, 0.36),
    "obesity": (0.65, 0.36),
    "coronary_disease": (0.55, 0.40),
    "atrial_fibrillation": (0.35, 0.45),
    "pulmonary_disease": (0.40, 0.40),
    "depression": (0.55, 0.36),
    "anaemia": (0.65, 0.36),
    "liver_disease": (0.30, 0.35),
    "arterial_disease": (0.45, 0.38),
    "proteinuria": (0.70, 0.36),
    "sleep_apnoea": (0.40, 0.35),
    "MACE": (0.17, 0.45),
    "CKD": (0.19, 0.45),
    "RET": (0.14, 0.40),
    "NEUR": (0.19, 0.40),
}
ONSET_SHAPE, ONSET_FRAILTY = 2.5, 0.45
STAGE_YEARS = 5.0
ALTERNATIVE_CODE = 0.3

ACUTE_INTERCEPTS = np.array([-0.85, -0.75, -0.95])
ACUTE_SPREAD, ACUTE_FRAILTY = 0.35, 0.15
ACUTE_CODE_CUMULATIVE = np.array([0.4, 0.7, 0.9])

VISITS_LOG_MEAN, VISITS_LOG_SD, VISITS_FRAILTY = 1.72, 0.76, 0.25
BURST, BURST_DAYS, QUIET_DAYS = 0.35, 18.0, 210.0
GAP_TREND = 0.5
LONG_STAY_LOGIT, LONG_STAY_SPREAD, LONG_STAY_FRAILTY = -1.65, 0.8, 0.3
SHORT_STAY_CUMULATIVE = np.cumsum([0.04, 0.16, 0.20, 0.18, 0.15, 0.12, 0.09])  # 0 to 6 days; the rest 7
BACKGROUND_MEAN, BACKGROUND_SPREAD, BACKGROUND_SHAPE = 1.9, 0.45, 0.8
PERSONAL_CODES, PERSONAL_SHARE = 6, 0.4
DEATH_IN_HOSPITAL = 0.4


@dataclasses.dataclass
class People:
    """N patients: what stays with them. Onsets are ages (years) at which stage 1, 2, 3 begin [N, D, 3]."""

    prediction_days: np.ndarray
    births: np.ndarray
    female: np.ndarray
    frailty: np.ndarray
    stage_ages: np.ndarray
    acute_logits: np.ndarray
    background_means: np.ndarray
    personal_codes: np.ndarray  # of a hierarchical cohort: categories
    hierarchical: bool = False


@dataclasses.dataclass
class Visits:
    """S stays, ordered by patient and time; days are calendar days.

    `endpoints` bool [S, E]: endpoint diseases that must be coded in the stay; None in a history, where the latent
    disease decides.
    """

    patients: np.ndarray
    admit_days: np.ndarray
    stay_days: np.ndarray
    endpoints: np.ndarray | None = None

    @property
    def discharge_days(self):
        return self.admit_days + self.stay_days


@dataclasses.dataclass
class Future:
    """What happens after the prediction time: stays, death day and end of observation [N] (day; death -1: not seen)."""

    visits: Visits
    death_days: np.ndarray
    observation_days: np.ndarray


def _zipf(rng, size):
    return (FIRST_BACKGROUND + np.searchsorted(BACKGROUND_CUMULATIVE, rng.random(size))).clip(max=len(CODES) - 1)


def draw_people(rng, count, hierarchical=False):
    """Draws `count` patients; background codes of hierarchical ones follow ICD-10's tree (`tree`)."""
    prediction_days = rng.integers(FIRST_PREDICTION_DAY, LAST_PREDICTION_DAY, count, endpoint=True)
    ages = np.clip(rng.normal(66, 12, count), 30, 89.9)
    frailty = rng.normal(size=count)
    hazards = np.array([ONSETS[name][0] for name in CONDITIONS])
    speed = hazards * np.exp(ONSET_FRAILTY * frailty)[:, None]
    onset = 20 + 45 * (rng.exponential(size=(count, len(CONDITIONS))) / speed) ** (1 / ONSET_SHAPE)
    steps = rng.exponential(STAGE_YEARS, (count, len(CONDITIONS), 2)) * np.exp(-0.3 * frailty)[:, None, None]
    stage_ages = np.stack([onset, onset + steps[..., 0], onset + steps.sum(-1)], -1)
    stage_ages[:, np.arange(3) >= NUM_STAGES[:, None]] = np.inf
    acute = rng.normal(0, ACUTE_SPREAD, (count, len(ACUTE_GROUPS))) + ACUTE_FRAILTY * frailty[:, None]
    return People(
        prediction_days=prediction_days,
        births=prediction_days - np.round(ages * risk.DAYS_PER_YEAR).astype(np.int64),
        female=rng.random(count) < 0.47,
        frailty=frailty,
        stage_ages=stage_ages,
        acute_logits=ACUTE_INTERCEPTS + acute,
        background_means=BACKGROUND_MEAN * np.exp(rng.normal(0, BACKGROUND_SPREAD, count)),
        personal_codes=tree.draw_personal(rng, count) if hierarchical else _zipf(rng, (count, PERSONAL_CODES)),
        hierarchical=hierarchical,
    )


def _stay_days(rng, long):
    short = np.searchsorted(SHORT_STAY_CUMULATIVE, rng.random(len(long)), side="right")
    return np.where(long, np.minimum(risk.LONG_STAY_DAYS + rng.geometric(0.14, len(long)), 90), short)


def draw_history(rng, people):
    """Draws the stays up to the prediction time, at which the last one ends."""
    count = len(people.births)
    numbers = np.exp(rng.normal(VISITS_LOG_MEAN, VISITS_LOG_SD, count) + VISITS_FRAILTY * people.frailty)
    numbers = np.clip(np.round(numbers), 2, MAX_HISTORY_VISITS).astype(np.int64)
    patients = np.repeat(np.arange(count), numbers)
    starts = np.cumsum(numbers) - numbers
    places = np.arange(len(patients)) - starts[patients]
    long_logit = LONG_STAY_LOGIT + LONG_STAY_FRAILTY * people.frailty + rng.normal(0, LONG_STAY_SPREAD, count)
    stay_days = _stay_days(rng, rng.random(len(patients)) < 1 / (1 + np.exp(-long_logit[patients])))
    burst = rng.random(len(patients)) < BURST
    trend = GAP_TREND * rng.normal(size=count)[patients] * (places / numbers[patients] - 0.5) * 2
    scale = np.sqrt(8 / (numbers[patients] + 4))
    gaps = np.where(burst, BURST_DAYS, QUIET_DAYS * scale) * np.exp(rng.normal(0, 0.75, len(patients)) + trend)
    gaps[starts] = 0
    span = np.bincount(patients, gaps, minlength=count)[patients]
    gaps = np.where(places > 0, 1 + np.floor(gaps * np.minimum(1, MAX_HISTORY_DAYS / np.maximum(span, 1))), 0)
    steps = gaps.astype(np.int64) + stay_days
    elapsed = np.cumsum(steps)
    last = starts + numbers - 1
    discharge_days = people.prediction_days[patients] - (elapsed[last][patients] - elapsed)
    # elapsed counts each visit's own gap and stay, so the difference is what follows the visit's discharge
    return Visits(patients, discharge_days - stay_days, stay_days)


def _stages(people, visits):
    """Latent stage [S, D] at each admission."""
    ages = (visits.admit_days - people.births[visits.patients]) / risk.DAYS_PER_YEAR
    return (people.stage_ages[visits.patients] <= ages[:, None, None]).sum(-1)


def draw_codes(rng, people, visits, may_have=None):
    """Draws the codes of stays.

    Args:
        rng: numpy Generator.
        people: `People`.
        visits: `Visits`.
        may_have: bool [S, E] or None; endpoint diseases that may be coded although the stay need not (futures).

    Returns:
        (visit int64 [C], code int64 [C], present on admission str [C], priority int64 [C] from 1), in that order.
        No code stands twice in a visit and every visit has at least one.
    """
    count = len(visits.patients)
    stages = _stages(people, visits)
    chances = np.broadcast_to([ONSETS[name][1] for name in CONDITIONS], stages.shape).copy()
    if visits.endpoints is not None:
        stages[:, NUM_CHRONIC:] = np.maximum(stages[:, NUM_CHRONIC:], 1)
        chances[:, NUM_CHRONIC:] = np.where(visits.endpoints, 1.0, np.where(may_have, chances[:, NUM_CHRONIC:], 0.0))
    visit, condition = np.nonzero((stages > 0) & (rng.random(stages.shape) < chances))
    alternative = (rng.random(len(visit)) < ALTERNATIVE_CODE).astype(np.int64)
    chronic = visit, STAGE_CODES[condition, stages[visit, condition] - 1, alternative]
    logits = people.acute_logits[visits.patients]
    visit, group = np.nonzero(rng.random(logits.shape) < 1 / (1 + np.exp(-logits)))
    acute = visit, ACUTE_CODES[group, np.searchsorted(ACUTE_CODE_CUMULATIVE, rng.random(len(visit)))]
    means = people.background_means[visits.patients] * rng.gamma(BACKGROUND_SHAPE, 1 / BACKGROUND_SHAPE, count)
    numbers = rng.poisson(means)
    numbers[np.bincount(chronic[0], minlength=count) + np.bincount(acute[0], minlength=count) + numbers == 0] = 1
    visit = np.repeat(np.arange(count), numbers)
    background = visit, _background(rng, people, visits.patients[visit])
    cells = np.unique(np.concatenate([part[0] * len(CODES) + part[1] for part in (chronic, acute, background)]))
    visit, code = cells // len(CODES), cells % len(CODES)
    return _order_codes(rng, visits, visit, code)


def _background(rng, people, patients):
    """A background code for each entry of `patients`, int64 [C]."""
    if people.hierarchical:
        return tree.draw_background(rng, people.personal_codes[patients])
    personal = people.personal_codes[patients, rng.integers(0, PERSONAL_CODES, len(patients))]
    return np.where(rng.random(len(patients)) < PERSONAL_SHARE, personal, _zipf(rng, len(patients)))


def _order_codes(rng, visits, visit, code):
    """Adds present on admission and priority, and puts the codes of a visit in clinical order."""
    draw = rng.random(len(visit))
    present = np.where(draw < 0.84, "Y", np.where(draw < 0.96, "N", ""))
    rank = rng.random(len(visit)) - 0.5 * ((code >= STAGE_CODES.max() + 1) & (code < FIRST_BACKGROUND))
    order = np.lexsort((rank, visit))
    visit, code, present = visit[order], code[order], present[order]
    counts = np.bincount(visit, minlength=len(visits.patients))
    priority = np.arange(len(visit)) - (np.cumsum(counts) - counts)[visit] + 1
    return visit, code, present, priority


def history_of(people, visits, visit, code):
    """The `History` that the risk function sees, from a block's stays and codes."""
    days = visits.discharge_days
    first = np.r_[True, visits.patients[1:] != visits.patients[:-1]]
    gaps = np.where(first, 0, visits.admit_days - np.r_[0, days[:-1]])
    return risk.RiskHistory(
        ages=(people.prediction_days - people.births) / risk.DAYS_PER_YEAR,
        visit_patients=visits.patients,
        stay_days=visits.stay_days,
        gaps_before=gaps,
        recencies=people.prediction_days[visits.patients] - days,
        code_visits=visit,
        codes=code,
        hierarchical=people.hierarchical,
    )


def _candidates(rng, components, prevalent):
    """Drawn times (days after the prediction time, from 1) of what may happen: [N, E + 1 + others], and loss [N].

    Columns: the endpoints' events, death, other admissions. An endpoint's disease that the history shows has no event.
    """
    events, death, loss, admission = risk.daily_rates(components)
    count = len(death)
    event_times = 1 + rng.exponential(size=events.shape) / events
    event_times[prevalent] = np.inf
    death_times = 1 + rng.exponential(size=count) / death
    waits = rng.exponential(size=(count, MAX_FUTURE_OTHER))
    waits[:, 1:] /= LATER_ADMISSIONS  # the first is what the labels need; fewer later ones keep the table small
    others = 1 + np.cumsum(waits, 1) / admission[:, None]
    lost = np.minimum(1 + rng.exponential(size=count) / loss, FOLLOW_UP_DAYS + 1)
    return np.concatenate([event_times, death_times[:, None], others], 1), lost


def draw_future(rng, people, components, prevalent):
    """Draws what follows the prediction time.

    Candidates are taken in time order. One that falls into a running stay (or on its day of discharge) joins it: an
    event adds its code there, death comes at its discharge, an admission is void. Any other opens a stay, whose length
    is more than 7 days with the written probability whatever its reason. Death ends everything; nothing after the loss
    to follow-up is seen.

    Args:
        rng: numpy Generator.
        people: `People`.
        components: what `observed_components` gave for their histories.
        prevalent: bool [N, E], endpoint code in the history.

    Returns:
        `Future`; its visits carry `endpoints`.
    """
    times, lost = _candidates(rng, components, prevalent)
    count, number = times.shape
    num_endpoints = len(ENDPOINTS)
    long_probability = risk.long_stay_probability(components)
    in_hospital = rng.random(count) < DEATH_IN_HOSPITAL
    order = np.argsort(times, 1, kind="stable")
    rows = np.arange(count)
    ends = np.zeros(count, np.int64)  # day, after the prediction time, on which the latest stay ends
    deaths = np.full(count, -1, np.int64)
    admits = np.full((count, number), -1, np.int64)
    lengths = np.zeros((count, number), np.int64)
    marks = np.zeros((count, number, num_endpoints), bool)
    current = np.zeros(count, np.int64)
    for rank in range(number):
        kind = order[:, rank]
        time = times[rows, kind]
        seen = (time < lost) & (deaths < 0)
        day = np.where(seen, np.floor(np.where(np.isfinite(time), time, 0)), 0).astype(np.int64)
        joins, dies, event = seen & (day <= ends), seen & (kind == num_endpoints), seen & (kind < num_endpoints)
        opens = seen & ~joins & (~dies | in_hospital)
        length = _stay_days(rng, rng.random(count) < long_probability)
        admits[opens, rank], lengths[opens, rank] = day[opens], length[opens]
        current = np.where(opens, rank, current)
        ends = np.where(opens, day + length, ends)
        marks[rows[event], current[event], kind[event]] = True
        deaths = np.where(dies, np.where(opens | joins, ends, day), deaths)
    patients, ranks = np.nonzero(admits >= 0)
    visits = Visits(
        patients,
        people.prediction_days[patients] + admits[patients, ranks],
        lengths[patients, ranks],
        marks[patients, ranks],
    )
    # The day of loss itself is seen in part only; a stay that has begun is seen to its end.
    observed = np.where(deaths >= 0, deaths, np.maximum(np.floor(lost).astype(np.int64) - 1, ends))
    return Future(visits, np.where(deaths >= 0, people.prediction_days + deaths, -1), people.prediction_days + observed)


def possible_endpoints(future, prevalent):
    """Endpoint diseases that occurred before each future stay: bool [S, E], by history or by an earlier future stay."""
    visits = future.visits
    starts = np.r_[True, visits.patients[1:] != visits.patients[:-1]] if len(visits.patients) else np.zeros(0, bool)
    total = np.cumsum(visits.endpoints, 0)
    before = total - visits.endpoints
    base = before[np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))]
    return (before - base > 0) | prevalent[visits.patients]
