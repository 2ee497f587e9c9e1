"""Which split each patient of the admissions is in, and in which period they are looked at.

Over time it is the codes path's rule (`medtop.cohort.division`): a patient has one split and is looked at in its period
only, and of training and validation patients nothing is known from the first day after it.
"""

import numpy as np
import pyarrow

from medtop.cohort.division import divide
from medtop.cohort.sorted_rows import load_patients
from medtop.cohort.split_options import check_split_options
from medtop.files.arrow import numbers_column
from medtop.files.errors import DataError
from medtop.files.sql import quote
from medtop.sources.dates import as_written_sql


def check_division(options, dates):
    """Refuses splits that cannot be, before anything is read.

    Args:
        options: `NotesOptions`.
        dates: `medtop.sources.dates.DateRules`.

    Raises:
        DataError: naming the flag.
    """
    check_split_options(options, "")
    if options.split_by != "time":
        return
    if options.legacy:
        raise DataError("--split_by=time and --legacy exclude each other: ClinicalBERT's labels look over any boundary")
    if dates.shifted_dates:
        raise DataError(
            "--split_by=time: expected --noshifted_dates; where each patient's dates were shifted by another number of "
            "days, as MIMIC's are, no common boundary exists"
        )


def split_patients(connection, options):
    """Splits all patients of `admissions` and makes the table `patient_splits`: patient_index, split, reason (why
    there is none), begins and ends (TIMESTAMP, the period of the split; null: no limit).

    Returns:
        `medtop.cohort.division.Division`.
    """
    connection.execute(
        """CREATE OR REPLACE TABLE patients AS SELECT DISTINCT patient_id, NULL::DATE AS birth, NULL::VARCHAR AS sex,
            NULL::DATE AS death, NULL::DATE AS observation_end FROM admissions"""
    )
    division = divide(connection, options, load_patients(connection, options.seed).hashes[:, 0])
    reasons = np.zeros(len(division.places), np.int8)
    names = list(division.left_out)
    for number, name in enumerate(names, 1):
        reasons[division.left_out[name]] = number
    numbered = {"patient_index": np.arange(len(division.places), dtype=np.int32), "split": division.places}
    numbered |= {"why": reasons}
    columns = {name: numbers_column(values) for name, values in numbered.items()}
    connection.register("given_places", pyarrow.table(columns))
    why = " ".join(f"WHEN {number} THEN {quote(name)}" for number, name in enumerate(names, 1))
    begins = ends = "NULL"
    if options.split_by == "time":
        first, second = (f"TIMESTAMP {quote(day)}" for day in (options.valid_from, options.test_from))
        begins, ends = f"WHEN 1 THEN {first} WHEN 2 THEN {second}", f"WHEN 0 THEN {first} WHEN 1 THEN {second}"
        begins, ends = (f"CASE split {cases} END" for cases in (begins, ends))
    connection.execute(
        f"""CREATE OR REPLACE TABLE patient_splits AS SELECT patient_index, patient_id, split,
            CASE why {why} END AS reason, {begins}::TIMESTAMP AS begins, {ends}::TIMESTAMP AS ends
        FROM given_places JOIN cohort_patients USING (patient_index)"""
    )
    connection.unregister("given_places")
    return division


def hide_later_deaths(connection):
    """Takes days of death on the boundary or later for unknown: an earlier one in hospital counts then, if there is."""
    connection.execute(
        """UPDATE deaths SET died_on = in_hospital FROM patient_splits AS p
            WHERE p.patient_id = deaths.patient_id AND died_on >= ends"""
    )


def cut_at_boundaries(connection, options):
    """Leaves out of the table `labelled` what lies outside the patients' periods, and takes labels whose window does
    not end before the boundary for unknown: of those nearer to it only readmissions would be known, not their absence.

    A stay that goes on over the boundary is left out: whether it ends with a death was not known.
    """
    own = "patient_splits AS p WHERE p.patient_id = labelled.patient_id"
    connection.execute(
        f"""UPDATE labelled SET dropped = 'outside_period' FROM {own} AND dropped IS NULL
            AND (prediction_time < begins OR prediction_time >= ends OR discharge >= ends)"""
    )
    window = f"INTERVAL {int(options.readmission_days)} DAY"
    connection.execute(
        f"""UPDATE labelled SET label = NULL, unknown = 'censored' FROM {own} AND dropped IS NULL
            AND {as_written_sql("discharge")} + {window} > ends"""
    )
