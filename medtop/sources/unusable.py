"""How much of a column cannot be used: from 5% on it is said, from 50% on the run stops unless the user accepts it."""

from medtop.files.errors import DataError

SAID, STOPS = 0.05, 0.5
ROWS = "rows"
"""What `--accept_unusable` calls the loss of more than half of the rows."""
CODE_MAP = "code_map"
"""What it calls the loss of more than half of the rows to a map of codes (`--code_map_missing=drop`)."""
YEARS = "beneficiary_years"
"""What it calls years of claims without a beneficiary file (SynPUF)."""


def check_columns(data_file, unusable, given, accepted):
    """Stops where more than half of a column's values cannot be used.

    Args:
        data_file: for the error line.
        unusable, given: dict column -> values that cannot be used, values that were given.
        accepted: columns that the user accepts all the same.

    Raises:
        DataError: naming the column, the share and the flags that help.
    """
    for name, count in unusable.items():
        if count > STOPS * given[name] and name not in accepted:
            hint = "--date_format gives their form, " if name in ("birth", "death", "observation_end") else ""
            raise DataError(
                f"{data_file}: column {name}: expected values that can be used, received {count:,} of {given[name]:,} "
                f"that cannot; {hint}--accept_unusable={name} takes them for missing"
            )


def check_rows(data_file, total, dropped, accepted):
    """Stops where more than half of the rows cannot be used.

    Args:
        data_file: for the error line.
        total: rows in.
        dropped: dict reason -> rows.
        accepted: `ROWS` among them: the user accepts it.
    """
    lost = sum(dropped.values())
    if lost <= STOPS * total or (ROWS in accepted and lost < total):
        return
    commonest = max(dropped, key=dropped.get)
    hint = "; give the form with --date_format" if "unparsable" in commonest else ""
    hint = "; --shifted_dates takes dates that were shifted per patient" if "in_future" in commonest else hint
    if commonest == "stay_unknown":
        hint = "; --link_by_date gives diagnoses to the stay of their date, where the source knows it"
    if lost == total:
        raise DataError(
            f"{data_file}: expected usable rows, received none: {dropped[commonest]} of {total} "
            f"rows dropped for {commonest}{hint}"
        )
    raise DataError(
        f"{data_file}: expected usable rows, received {lost:,} of {total:,} that cannot be used, "
        f"{dropped[commonest]:,} of them for {commonest}{hint}; --accept_unusable={ROWS} goes on with the others"
    )


def shares(unusable, given):
    """Columns of which more than 5% cannot be used: dict `<name>` -> (count, given)."""
    return {name: (count, given[name]) for name, count in unusable.items() if count > SAID * given[name]}
