"""The split of each patient: by the seeded hash or a file, over time, or by site. Each patient has one, or none."""

import dataclasses

import numpy as np

from medtop.cohort.given_tables import read_text_table
from medtop.cohort.periods import NO_BOUNDARY, Known, Periods, day_number
from medtop.cohort.splits import SHARES, SPLITS, choose_splits, uniform
from medtop.cohort.visits import DAY
from medtop.files.errors import DataError
from medtop.files.sql import first_row, numbers
from medtop.sources.ids import settle_ids

TRAIN, VALID, TEST = range(3)
_SEVERAL, _NO_SITE = -3, -2


@dataclasses.dataclass
class Division:
    """The patients' splits.

    Attributes:
        places: int8 [A], place in `SPLITS`; -1 for none.
        left_out: dict reason (of `prediction_times.REASONS`) -> bool [A], why some have none.
        periods: `Periods`, or None unless the splits are over time.
        report: dict for the manifest.
        sentences: what a reader of the results must know.
    """

    places: np.ndarray
    left_out: dict
    periods: Periods | None
    report: dict
    sentences: list

    def known(self, visits, patients):
        """`medtop.cohort.periods.Known` of a batch: all there is, or, over time, what the patients' periods show.

        Args:
            visits: `Visits`.
            patients: `medtop.cohort.sorted_rows.Patients`.
        """
        ends, deaths = patients.observation_ends[visits.patients], patients.deaths[visits.patients]
        if self.periods:
            return self.periods.at_boundary(visits, self.places[visits.patients], ends, deaths)
        return Known(visits, np.full(len(ends), NO_BOUNDARY), ends, deaths)


def divide(connection, options, hashes, given=None):
    """`Division` of the patients in the table `cohort_patients`.

    Over time, patients keep the split of their hash (or file) and are looked at in its period only: a rule that put
    each patient where its prediction time falls would leave those without later stays, or dead, to the training split.
    Where a file gives each patient one time, that time decides.

    Args:
        connection: DuckDB connection.
        options: `SplitOptions`, checked.
        hashes: uint64 [A], the first number of `patient_hash`.
        given: `medtop.cohort.prediction_times.GivenTimes`, or None.
    """
    if options.split_by == "site":
        return _by_site(connection, options, hashes)
    counts = {}
    places = choose_splits(connection, options.splits or None, hashes, counts)
    report = {"by": options.split_by, "counts": counts}
    if options.split_by == "patient":
        return Division(places, {"not_in_splits_file": places < 0}, None, report, [])
    periods = Periods(day_number(options.valid_from), day_number(options.test_from))
    single = given is not None and not options.splits and len(np.unique(given.patients)) == len(given.patients)
    if single:
        places[given.patients] = periods.of(given.times // DAY)
    how = "each patient's only given prediction time" if single else "a seeded hash of the patient's id"
    how = f"the file {options.splits}" if options.splits else how
    report |= {"valid_from": options.valid_from, "test_from": options.test_from, "patients_by": how}
    return Division(places, {"not_in_splits_file": places < 0}, periods, report, _time_sentences(options, how, given))


def _time_sentences(options, how, given):
    sentences = [
        f"Splits over time: training before {options.valid_from}, validation from then on, test from "
        f"{options.test_from} on. A patient is in one split, by {how}, and is looked at in its period only; of "
        "training and validation patients nothing after their period is known, stays, deaths and observation alike "
        "(--split_by=time)."
    ]
    if given is not None and given.tasks:
        sentences.append(
            f"Labels of {', '.join(given.tasks)} come from the file of prediction times and cannot be cut at the "
            "boundaries: those that look beyond the period of their split leak. Leave them empty there."
        )
    return sentences


def _by_site(connection, options, hashes):
    read_text_table(connection, options.sites, "given_sites", ["patient_id", "site"])
    counts = settle_ids(connection, "given_sites")
    named = [site for (site,) in connection.execute("SELECT DISTINCT site FROM given_sites ORDER BY 1").fetchall()]
    for flag in ("test_sites", "valid_sites"):
        if missing := [site for site in getattr(options, flag) if site not in named]:
            raise DataError(f"--{flag}: expected sites that {options.sites} holds, received {missing[0]!r}")
    connection.execute("CREATE OR REPLACE TEMP TABLE split_sites (site VARCHAR, place TINYINT)")
    pairs = [(site, TEST) for site in options.test_sites] + [(site, VALID) for site in options.valid_sites]
    connection.executemany("INSERT INTO split_sites VALUES (?, ?)", pairs)
    table = connection.sql(
        f"SELECT CASE WHEN count(given_sites.site) = 0 THEN {_NO_SITE} "
        f"WHEN min(coalesce(place, {TRAIN})) <> max(coalesce(place, {TRAIN})) THEN {_SEVERAL} "
        f"ELSE min(coalesce(place, {TRAIN})) END::TINYINT AS split "
        "FROM cohort_patients LEFT JOIN (SELECT * FROM given_sites WHERE site IS NOT NULL) AS given_sites "
        "USING (patient_id) LEFT JOIN split_sites USING (site) GROUP BY patient_index ORDER BY patient_index"
    ).to_arrow_table()
    places = numbers(table["split"], np.int8).copy()
    if not options.valid_sites:
        within = SHARES[VALID] / (SHARES[TRAIN] + SHARES[VALID])
        places[(places == TRAIN) & (uniform(hashes) < within)] = VALID
    left_out = {"no_site": places == _NO_SITE, "sites_of_several_splits": places == _SEVERAL}
    others = [site for site in named if site is not None and site not in (*options.test_sites, *options.valid_sites)]
    rows = first_row(connection, "SELECT count(*) FROM given_sites WHERE patient_id IS NULL")[0]
    report = {"by": "site", "counts": counts | ({"rows_without_patient": rows} if rows else {}), "train_sites": others}
    report |= {"valid_sites": list(options.valid_sites), "test_sites": list(options.test_sites)}
    valid = ", ".join(options.valid_sites) or "an eighth of the patients of the training sites, by a seeded hash"
    sentence = (
        f"Splits by site: training at {_listed(others)}, validation at {valid}, test at "
        f"{', '.join(options.test_sites)}. Patients of sites in different splits, and without a site, are left out "
        "(--split_by=site)."
    )
    return Division(np.maximum(places, -1), left_out, None, report, [sentence])


def _listed(names, most=10):
    return ", ".join(names[:most]) + (f" and {len(names) - most} others" if len(names) > most else "") or "no site"


def short_periods(report, labels):
    """Sentences naming labels of which nothing is known in a split, where the splits are over time.

    Args:
        report: `Division.report`.
        labels: dict split -> task -> label -> {"known": number, ...}.
    """
    if report["by"] != "time":
        return []
    months_of = {
        split: [name for entries in tasks.values() for name, entry in entries.items() if not entry["known"]]
        for split, tasks in labels.items()
    }
    return [
        f"Nothing is known of {', '.join(names)} in the {split} split: is its period longer than the horizon? "
        "(--valid_from, --test_from; calibration and thresholds are fitted on validation)"
        for split, names in months_of.items()
        if names
    ]


def empty_splits(report, splits):
    """Sentence naming splits without an example where the splits are over time or by site; None elsewhere.

    Args:
        report: `Division.report`.
        splits: dict split -> {"examples": number, ...}.
    """
    empty = [split for split in SPLITS if not splits[split]["examples"]]
    if report["by"] == "patient" or not empty:
        return None
    return f"No example in the {' and '.join(empty)} split (--split_by={report['by']}): is that meant?"
