"""Stays that begin after the patient's death: they are another patient's, or the date of death is wrong.

Dates of death and of admission differ by a day or two in practice, so that there is a grace of days.
"""

GRACE_DAYS = 2


def mark_after_death(connection, deaths, reason, grace_days=GRACE_DAYS):
    """Gives good rows of the wide table `stays` that begin more than `grace_days` days after the death a reason.

    Args:
        connection: DuckDB connection.
        deaths: SQL giving (patient_id, death), one row a patient.
        reason: number of the reason `after_death`.
        grace_days: whole days.

    Returns:
        dict of rows kept: `rows_shortly_after_death` begin after the day of death but within the grace,
        `rows_ending_after_death` began before it and end more than the grace after it; without zeros.
    """
    known = f"(SELECT patient_id AS dead, death AS died FROM ({deaths}) WHERE death IS NOT NULL)"
    days_after = "CAST(admit AS DATE) - died"
    marked, shortly, ending = connection.execute(
        f"""SELECT count(*) FILTER ({days_after} > {int(grace_days)}),
            count(*) FILTER ({days_after} BETWEEN 1 AND {int(grace_days)}),
            count(*) FILTER ({days_after} < 1 AND CAST(discharge AS DATE) - died > {int(grace_days)})
        FROM stays JOIN {known} ON patient_id = dead WHERE reason = 0"""
    ).fetchone()
    if marked:
        connection.execute(
            f"UPDATE stays SET reason = {reason} FROM {known} WHERE patient_id = dead AND reason = 0 "
            f"AND {days_after} > {int(grace_days)}"
        )
    counts = {"rows_shortly_after_death": shortly, "rows_ending_after_death": ending}
    return {name: count for name, count in counts.items() if count}
