"""Months in a health maintenance organisation: claims of that time are not in the table (CMS DE-SynPUF).

Beneficiary files tell how many months of their year a person was in an HMO (Medicare Advantage), not which ones. Care
in those months is paid by the HMO and leaves no claim, so that the absence of an event says nothing there. Under
`--coverage=ffs` a person is observed until the day before the first such year, counted from the year of the first
admission on: earlier years hold no stay that could be predicted from. Under `--coverage=ignore` they are counted.
"""

from medtop.files.errors import DataError
from medtop.sources.tables import headers_of
from medtop.sources.words import is_given_sql, trimmed_sql

COLUMN = "BENE_HMO_CVRAGE_TOT_MONS"
FFS = "ffs"


def hmo_column(request, files, years):
    """The column to read besides: {"raw_hmo": header}, or {} where not every file has it.

    Args:
        request: Request.
        files: beneficiary files.
        years: list of sets of int, the years in each file's name.

    Raises:
        DataError: with `--coverage=ffs` for a file without the column, or without one year in its name.
    """
    lacking = [path for path in files if COLUMN.lower() not in headers_of(path)]
    unclear = [path for path, named in zip(files, years, strict=True) if len(named) != 1]
    if request.rules.choices.coverage == FFS and (lacking or unclear):
        what = f"a column {COLUMN}" if lacking else "one year in the file's name"
        raise DataError(f"{(lacking or unclear)[0]}: expected {what} for --coverage={FFS}, received none")
    return {} if lacking or unclear else {"raw_hmo": COLUMN}


def find_hmo_years(request, account, years):
    """Makes `synpuf_hmo` (patient_id, first): the first year with HMO months, from the first admission's year on.

    A number of months that cannot be read counts as some: not certain to be covered is not covered.

    Args:
        request: Request, with `stays` filled and `synpuf_beneficiaries` holding `file` and `raw_hmo`.
        account: Account, gets `hmo_months_unusable` and `patients_with_hmo_months`.
        years: dict number of a beneficiary file -> year.
    """
    months = f"TRY_CAST({trimmed_sql('raw_hmo')} AS INTEGER)"
    year = " ".join(f"WHEN {number} THEN {value}" for number, value in years.items())
    bad = f"({is_given_sql('raw_hmo')} AND NOT coalesce({months} BETWEEN 0 AND 12, false))"
    request.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE synpuf_hmo AS SELECT patient_id, min(year) AS first FROM (
            SELECT patient, CASE file {year} END AS year FROM synpuf_beneficiaries WHERE {bad} OR {months} > 0)
        JOIN (SELECT patient_id, year(min(admit)) AS begun FROM stays GROUP BY patient_id) ON patient = patient_id
        WHERE year >= begun GROUP BY patient_id"""
    )
    unusable, patients = request.connection.execute(
        f"SELECT (SELECT count(*) FROM synpuf_beneficiaries WHERE {bad}), (SELECT count(*) FROM synpuf_hmo)"
    ).fetchone()
    account.add({"hmo_months_unusable": unusable, "patients_with_hmo_months": patients})


def note(rule, has_column):
    """A sentence for the manifest."""
    if not has_column:
        return f"Coverage: the beneficiary files have no column {COLUMN}; months in an HMO are not known."
    if rule == FFS:
        return (
            "Coverage: a patient is observed until the day before the first year with months in an HMO, from the year "
            f"of the first admission on (--coverage={FFS})."
        )
    return (
        "Coverage: months in an HMO, whose claims are not in the table, count as observed; "
        f"--coverage={FFS} ends observation before them."
    )
