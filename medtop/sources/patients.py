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


def make_patients(request, given, account):
    """Makes `patients` out of the wide `stays` table.

    Where rows of a patient disagree the smallest value is taken (observation_end: the largest) and the patient counted.

    Args:
        request: Request.
        given: set of standard names that the source fills.
        account: Account, gets `patients_with_conflicting_<column>` and what else is odd about patients.

    Returns:
        Sentence on `observation_end`, or None where the source's own holds.
    """
    connection = request.connection
    own = [name for name in ("birth", "sex", "death") if name in given]
    seen = "".join(f", min({name}) AS {name}, min({name}) <> max({name}) AS {name}_differs" for name in own)
    seen += ", max(observation_end) AS own_end" * ("observation_end" in given)
    seen += ", min(admit) AS first_admit" * ("birth" in given)
    seen += ", max(discharge) AS last_discharge" * request.rules.dates.shifted_dates
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE medtop_patients AS SELECT patient_id{seen} FROM stays GROUP BY patient_id"
    )
    default, sentence = _default_end(request, "observation_end" in given, account)
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
    connection.execute("DROP TABLE medtop_patients")
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


def _default_end(request, has_own, account):
    """(SQL of the default, sentence): the end of usual admissions; where dates are shifted the patient's last
    discharge; nothing where the user gave a day or every patient has a value."""
    if request.rules.observation_end is not None:
        return "CAST(NULL AS DATE)", observation_sentence(request)
    if request.rules.dates.shifted_dates:
        return "CAST(last_discharge AS DATE)", "the patient's last discharge, because dates are shifted per patient"
    if (
        has_own
        and not request.connection.execute("SELECT count(*) FROM medtop_patients WHERE own_end IS NULL").fetchone()[0]
    ):
        return "CAST(NULL AS DATE)", None
    found = usual_end(request.connection)
    account.add({"admissions_after_observation_end": sum(found.later.values())})
    sentence = f"for all patients without a value of their own, or the death before it: {found.sentence}"
    return f"DATE '{found.end}'", sentence


def observation_sentence(request):
    """A sentence on `--observation_end`."""
    rule = request.rules.observation_end
    if rule == FOR_COLUMN:
        return "the table's own column observation_end; a patient without a value is not observed (--observation_end)"
    return f"{rule} for every patient, or the death before it (--observation_end)"
