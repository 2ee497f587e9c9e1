"""The table `patients`: one row per patient of `stays`, with birth, sex, death, and until when they are observed."""

from medtop.files.errors import DataError
from medtop.sources.ids import count_alike
from medtop.sources.observation import FOR_COLUMN, usual_end

NULLS = {"birth": "CAST(NULL AS DATE)", "sex": "CAST(NULL AS VARCHAR)", "death": "CAST(NULL AS DATE)"}


def observation_sql(request, own, default, death, has_own):
    """SQL: the patient's `observation_end`, by the user's rule or the source's.

    Args:
        request: Request.
        own: SQL of the table's own value.
        default: SQL of the source's default, without regard to death.
        death: SQL of the date of death, null where unknown.
        has_own: whether the table brings a column of its own.

    Raises:
        DataError: for `--observation_end=column` without such a column.
    """
    rule = request.rules.observation_end
    if rule == FOR_COLUMN and not has_own:
        raise DataError(
            f"{request.data_file}: expected a column observation_end for --observation_end={FOR_COLUMN}, received none"
        )
    if rule == FOR_COLUMN:
        return own
    if rule is not None:
        return f"least(DATE '{rule}', {death})"  # least() passes over nulls in DuckDB
    fallback = f"least({default}, {death})"
    return f"coalesce({own}, {fallback})" if has_own else fallback


def summarise_patients(request, given, where="true"):
    """Makes `medtop_patients`: one row per patient of the wide `stays` table, out of its rows.

    Where the end of observation will be looked for among the months, `medtop_admissions` (one row per patient and
    admission) is made on the way: one grouping of all rows serves both. Where rows of a patient disagree the smallest
    value is taken (observation_end: the largest).

    Args:
        request: Request.
        given: set of standard names that the source fills.
        where: SQL condition of the rows.
    """
    own = [name for name in ("birth", "sex", "death") if name in given]
    ends = {name: ("min", name) for name in own} | {f"{name}_high": ("max", name) for name in own}
    ends |= {"own_end": ("max", "observation_end")} if "observation_end" in given else {}
    ends |= {"last_discharge": ("max", "discharge")} if "death" in given or request.rules.dates.shifted_dates else {}
    source, number = f"stays WHERE {where}", "count(*)"
    if _asks_months(request, given):
        seen = "".join(f", {end}({column}) AS {name}" for name, (end, column) in ends.items())
        request.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE medtop_admissions AS SELECT patient_id, admit, count(*) AS rows{seen} "
            f"FROM {source} GROUP BY patient_id, admit"
        )
        source, number = "medtop_admissions", "sum(rows)::BIGINT"
        ends = {name: (end, name) for name, (end, _) in ends.items()}
    ends |= {"first_admit": ("min", "admit")} if "birth" in given else {}
    ends |= {"last_admit": ("max", "admit")} if "death" in given else {}
    seen = "".join(f", {end}({column}) AS {name}" for name, (end, column) in ends.items())
    differ = "".join(f", {name} <> {name}_high AS {name}_differs" for name in own)
    request.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE medtop_patients AS SELECT *{differ} FROM "
        f"(SELECT patient_id, {number} AS rows{seen} FROM {source} GROUP BY patient_id)"
    )


def _asks_months(request, given):
    """Whether months are sure to be asked for the end of observation."""
    rules = request.rules
    return rules.observation_end is None and not rules.dates.shifted_dates and "observation_end" not in given


def summarise_again(request, given):
    """`medtop_patients` anew, after rows were dropped; a death stays known that stood in dropped rows alone."""
    connection, died = request.connection, "death" in given
    if died:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE medtop_deaths AS SELECT patient_id, death, death_differs FROM medtop_patients"
        )
    summarise_patients(request, given)
    if died:
        connection.execute(
            "UPDATE medtop_patients SET death = d.death, death_differs = d.death_differs FROM medtop_deaths d "
            "WHERE medtop_patients.patient_id = d.patient_id"
        )
        connection.execute("DROP TABLE medtop_deaths")


def make_patients(request, given, account):
    """Makes `patients` out of `medtop_patients`, and counts patients whose rows disagree.

    Args:
        request: Request.
        given: set of standard names that the source fills.
        account: Account, gets `patients_with_conflicting_<column>` and what else is odd about patients.

    Returns:
        Sentence on `observation_end`, or None where the source's own holds.
    """
    connection = request.connection
    own = [name for name in ("birth", "sex", "death") if name in given]
    default, sentence = _default_end(request, given, account)
    value = {name: name if name in own else sql for name, sql in NULLS.items()}
    observed = observation_sql(request, "own_end", default, value["death"], "observation_end" in given)
    connection.execute(
        f"CREATE OR REPLACE TABLE patients AS SELECT patient_id, {value['birth']} AS birth, {value['sex']} AS sex, "
        f"{value['death']} AS death, {observed} AS observation_end FROM medtop_patients"
    )
    tests = {f"patients_with_conflicting_{name}": f"{name}_differs" for name in own}
    if "birth" in given:
        tests["patients_born_after_admission"] = "birth > first_admit"
        tests |= {"patients_dead_before_birth": "death < birth"} if "death" in given else {}
    account.add(count_patients(connection, "medtop_patients", tests))
    account.add({"patient_ids_alike": count_alike(connection, "SELECT patient_id FROM medtop_patients")})
    connection.execute("DROP TABLE medtop_patients; DROP TABLE IF EXISTS medtop_admissions")
    return sentence


def count_patients(connection, table, tests):
    """How many rows of a table satisfy each test: dict name -> int.

    Args:
        tests: dict name -> SQL condition.
    """
    if not tests:
        return {}
    sums = ", ".join(f"count(*) FILTER (WHERE {test})" for test in tests.values())
    counts = connection.execute(f"SELECT {sums} FROM {table}").fetchone()
    return dict(zip(tests, counts, strict=True))


def _default_end(request, given, account):
    """(SQL of the default, sentence): the end of usual admissions; where dates are shifted the patient's last
    discharge; nothing where the user gave a day or every patient has a value."""
    if request.rules.observation_end is not None:
        return "CAST(NULL AS DATE)", observation_sentence(request)
    if request.rules.dates.shifted_dates:
        return "CAST(last_discharge AS DATE)", "the patient's last discharge, because dates are shifted per patient"
    if (
        "observation_end" in given
        and not request.connection.execute("SELECT count(*) FROM medtop_patients WHERE own_end IS NULL").fetchone()[0]
    ):
        return "CAST(NULL AS DATE)", None
    table = "medtop_admissions" if _asks_months(request, given) else None
    usual = usual_end(request.connection, table)
    account.add({"admissions_after_observation_end": sum(usual.later.values())})
    sentence = f"for all patients without a value of their own, or the death before it: {usual.sentence}"
    return f"DATE '{usual.end}'", sentence


def observation_sentence(request):
    """A sentence on `--observation_end`."""
    rule = request.rules.observation_end
    if rule == FOR_COLUMN:
        return "the table's own column observation_end; a patient without a value is not observed (--observation_end)"
    return f"{rule} for every patient, or the death before it (--observation_end)"
