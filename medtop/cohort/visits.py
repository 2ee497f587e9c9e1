"""Visits from sorted rows: segment operations on arrays, never a loop over patients.

Letters: R rows of a batch (one per stay and code), P its patients, S its visits, C its codes after merging.
"""

import dataclasses

import numpy as np

DAY = 86_400
"""Seconds in a day. Durations are whole days: the difference of two calendar dates, so that a source with times and
the same source cut to dates give the same numbers."""

MICROSECONDS = 1_000_000
"""In a second; rows carry microseconds, visits seconds."""

LAST_SECOND = DAY - 1
"""A discharge in the last second of its day is a bare date (see `medtop.sources.dates`): known by then, not before."""

UNKNOWN_DAY = -(2**31)
"""Stands for a date that is not known, in int32 columns of days since 1970-01-01."""

OLDEST_AGE_DAYS = int(90 * 365.25)
"""Ages over 89 become 90 years: safe-harbour rule of HIPAA, and MIMIC's shifted births give about 300."""


def segment_starts(*columns):
    """Places where a run of equal values begins, int64; the columns are compared together.

    >>> segment_starts(np.array([7, 7, 8, 8, 8]), np.array([1, 2, 2, 2, 3])).tolist()
    [0, 1, 2, 4]
    """
    length = len(columns[0])
    begins = np.ones(length, bool)
    if length:
        begins[1:] = False
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def ranges(starts, counts):
    """Joins the ranges `start, start + 1, ..., start + count - 1`, int64 [sum(counts)].

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(np.asarray(starts) - (ends - counts), counts)


def offsets(counts):
    """Places where segments of these lengths begin, and the end: int64 [len(counts) + 1]."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def first_places(groups, values, num_values):
    """Marks the first occurrence of each value within its group.

    Args:
        groups: int [R], ascending.
        values: int [R], from 0 to `num_values - 1`.

    Returns:
        bool [R].

    >>> first_places(np.array([0, 0, 0, 1]), np.array([4, 2, 4, 4]), 5).tolist()
    [True, True, False, True]
    """
    length = len(groups)
    first = np.ones(length, bool)
    if length < 2:
        return first
    keys = groups.astype(np.int64) * num_values + values
    bits = int(length).bit_length()
    if int(keys[-1] + num_values) < 1 << (62 - bits):  # the place rides in the low bits: one sort of plain integers
        keys = (keys << bits) | np.arange(length)
        keys.sort()
        places = keys & ((1 << bits) - 1)
        keys >>= bits
    else:
        places = np.argsort(keys, kind="stable")
        keys = keys[places]
    first[places[1:][keys[1:] == keys[:-1]]] = False
    return first


@dataclasses.dataclass
class Visits:
    """The visits of some whole patients, in the order of `(patient, discharge, admission, stay)`.

    Attributes:
        patients: int32 [P], place in the table of patients, ascending.
        starts: int64 [P + 1], first visit of each patient.
        admissions, discharges: int64 [S], seconds since 1970-01-01; a bare date of discharge is the last second of its
            day.
        code_starts: int64 [S + 1], first code of each visit.
        codes: int32 [C], places in the list of distinct (rolled-up) codes; each once within a visit.
        row_counts: int64 [S], rows of each visit before repeated codes were merged.
        endpoint_codes: uint64 [S], bit k is set where the visit carries a code of endpoint k or of its history.
        endpoint_events: uint64 [S], the same for codes that count as a new event: no history, and hospital-acquired
            ones if asked.
        rows_with_new_codes, rows_without_codes: int64 [S], rows that gave the visit a code, and that have none; None
            where each row has one code.
    """

    patients: np.ndarray
    starts: np.ndarray
    admissions: np.ndarray
    discharges: np.ndarray
    code_starts: np.ndarray
    codes: np.ndarray
    row_counts: np.ndarray
    endpoint_codes: np.ndarray
    endpoint_events: np.ndarray
    rows_with_new_codes: np.ndarray | None = None
    rows_without_codes: np.ndarray | None = None

    def __post_init__(self):
        self.admission_days = self.admissions // DAY
        self.discharge_days = self.discharges // DAY
        self.counts = np.diff(self.starts)
        """int64 [P], visits of each patient."""
        self.slots = np.repeat(np.arange(len(self.patients)), self.counts)
        """int64 [S], place of the visit's patient within the batch."""

    @property
    def discharge_times(self):
        """int64 [S], seconds, the discharges as they are written: a bare date as its midnight."""
        bare = self.discharges % DAY == LAST_SECOND
        return np.where(bare, self.discharges - LAST_SECOND, self.discharges)

    @property
    def stay_days(self):
        """int64 [S], whole days from admission to discharge."""
        return self.discharge_days - self.admission_days

    @property
    def gaps_before(self):
        """int64 [S], days from the previous visit's discharge to this admission, clipped at 0; 0 for a first visit."""
        gaps = np.zeros(len(self.admissions), np.int64)
        gaps[1:] = np.maximum(self.admission_days[1:] - self.discharge_days[:-1], 0)
        gaps[self.starts[:-1]] = 0
        return gaps

    @property
    def overlaps(self):
        """Number of visits that begin before the previous visit of their patient ends (with bare dates: on a day
        before)."""
        return int(np.sum((self.admissions[1:] < self.discharge_times[:-1]) & (self.slots[1:] == self.slots[:-1])))

    def count_until(self, slots, instants):
        """Visits whose discharge is at or before an instant, int64 [N].

        Args:
            slots: int64 [N], place of the patient within the batch.
            instants: int64 [N], seconds.
        """
        if not len(self.discharges):
            return np.zeros(len(slots), np.int64)
        low = int(self.discharges.min()) - 1
        span = int(self.discharges.max()) - low + 1
        keys = self.slots * span + (self.discharges - low)  # ascending: discharges ascend within a patient
        asked = slots * span + np.clip(instants - low, 0, span - 1)
        return np.searchsorted(keys, asked, side="right") - self.starts[slots]


def build_visits(rows, visit, code_places, num_codes, endpoints=None, code_starts=None):
    """Groups sorted rows into visits and merges codes repeated within one.

    Args:
        rows: `medtop.cohort.sorted_rows.Rows`, whole patients, sorted for this kind of visit.
        visit: "stay" (patient, admission, discharge, stay) or "discharge_date" (what ends on one day is one visit;
            it begins with the earliest admission and ends with the latest discharge).
        code_places: int32 [raw codes], place of each raw code in the list of rolled-up codes.
        num_codes: length of that list.
        code_starts: int64 [raw codes + 1], where each raw code's places begin in `code_places`; None: one each.
        endpoints: `medtop.cohort.endpoint_codes.EndpointCodes` of the raw codes, or None: no code belongs to one.

    Returns:
        `Visits`.
    """
    if visit == "discharge_date":
        begins = segment_starts(rows.patients, rows.discharges // (DAY * MICROSECONDS))
        admissions = _reduce(np.minimum, rows.admissions, begins)
        discharges = _reduce(np.maximum, rows.discharges, begins)
    else:
        keys = [rows.patients, rows.discharges, rows.admissions]
        begins = segment_starts(*keys, *([] if rows.stays is None else [rows.stays]))
        admissions, discharges = rows.admissions[begins], rows.discharges[begins]
    row_counts = np.diff(np.append(begins, len(rows.codes)))
    visit_of_row = np.repeat(np.arange(len(begins)), row_counts)
    if code_starts is None:
        codes, visit_of_code = code_places[rows.codes], visit_of_row
    else:
        targets = np.diff(code_starts)[rows.codes]
        codes = code_places[ranges(code_starts[rows.codes], targets)]
        visit_of_code = np.repeat(visit_of_row, targets)
    first = first_places(visit_of_code, codes, num_codes)
    visit_bits = visit_events = np.zeros(len(begins), np.uint64)
    if endpoints is not None:
        events = endpoints.event_bits[rows.codes]
        if rows.acquired is not None:
            events = np.where(rows.acquired, events, np.uint64(0))
        visit_bits = _reduce(np.bitwise_or, endpoints.bits[rows.codes], begins)
        visit_events = _reduce(np.bitwise_or, events, begins)
    visit_patients = rows.patients[begins]
    starts = segment_starts(visit_patients)
    return Visits(
        patients=visit_patients[starts],
        starts=np.append(starts, len(begins)),
        admissions=admissions // MICROSECONDS,
        discharges=discharges // MICROSECONDS,
        code_starts=offsets(np.bincount(visit_of_code[first], minlength=len(begins))),
        codes=codes[first],
        row_counts=row_counts,
        endpoint_codes=visit_bits,
        endpoint_events=visit_events,
        **({} if code_starts is None else _rows_by_code(targets, first, visit_of_row, len(begins))),
    )


def _rows_by_code(targets, first, visit_of_row, visits):
    """Rows of each visit that gave a new code, and that have no code: dict of int64 [S].

    Args:
        targets: int64 [R], codes of each row.
        first: bool [sum(targets)], whether each is new in its visit.
    """
    gave = np.bincount(np.repeat(np.arange(len(targets)), targets)[first], minlength=len(targets)) > 0
    return {
        "rows_with_new_codes": np.bincount(visit_of_row[gave], minlength=visits),
        "rows_without_codes": np.bincount(visit_of_row[targets == 0], minlength=visits),
    }


def _reduce(operation, values, begins):
    return operation.reduceat(values, begins) if len(begins) else values[:0]


def ages_in_days(births, days):
    """Days from birth to `days`, int32; 0 where unknown; 1 for newborns, so that 0 stays "unknown"; 90 years at most.

    Args:
        births: int32 [N], days since 1970-01-01, `UNKNOWN_DAY` where unknown. A birth after the day is unknown too.
        days: int64 [N], days since 1970-01-01.

    >>> ages_in_days(np.array([0, 0, UNKNOWN_DAY, 5]), np.array([0, 40_000, 7, 4])).tolist()
    [1, 32872, 0, 0]
    """
    ages = np.clip(days - births, 1, OLDEST_AGE_DAYS)
    return np.where((births == UNKNOWN_DAY) | (births > days), 0, ages).astype(np.int32)
