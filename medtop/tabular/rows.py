"""A table's rows: read as text, filtered as the schema says, columns checked and turned into numbers.

Letters: N rows.
"""

import dataclasses
from pathlib import Path

import numpy as np

from medtop.files.errors import DataError
from medtop.tabular.schema import CLASSIFICATION, COMPARISONS, MULTI_HOT, NUMERIC
from medtop.tabular.table_files import read_columns

YES = frozenset(("1", "1.0", "yes", "y", "true", "t", "present"))
NO = frozenset(("0", "0.0", "no", "n", "false", "f", "notpresent", "absent"))


@dataclasses.dataclass
class PatientRows:
    """Rows of text.

    Attributes:
        path: the file.
        columns: dict column -> object [N], text without surrounding blanks, or None where missing.
        lines: int64 [N], each row's number in the file; a CSV's header is 1.
    """

    path: Path
    columns: dict
    lines: np.ndarray

    def __len__(self):
        return len(self.lines)

    def rows(self, chosen):
        """The table of some rows: `chosen` bool [N]."""
        return PatientRows(
            self.path, {name: values[chosen] for name, values in self.columns.items()}, self.lines[chosen]
        )


def read_table(path, schema):
    """Reads the schema's columns of a CSV (plain or `.gz`) or Parquet file.

    Raises:
        DataError: see `medtop.tabular.table_files.read_columns`.
    """
    rows, lines = read_columns(path, schema.columns, schema.separator, schema.path)
    missing = {*schema.missing}

    def clean(value):
        value = "" if value is None else value.strip()
        return None if value == "" or value in missing else value

    columns = {}
    for number, name in enumerate(schema.columns):
        columns[name] = np.empty(len(rows), object)
        columns[name][:] = [clean(row[number]) for row in rows]
    return PatientRows(Path(path), columns, np.array(lines, np.int64))


def choose_rows(table, schema):
    """The rows that take part.

    Returns:
        (`PatientRows`, dict reason -> rows left out, in the order of the checks; each row is counted once).

    Raises:
        DataError: when none is left.
    """
    dropped, keep = {}, np.ones(len(table), bool)

    def drop(reason, bad):
        count = int((keep & bad).sum())
        if count:
            dropped[reason] = dropped.get(reason, 0) + count
        keep[bad] = False

    for condition in schema.rows:
        values, absent = table.columns[condition.column], is_missing(table, condition.column)
        if isinstance(condition.value, float):
            values = numbers(table, condition.column)
        drop(f"{condition.column} missing", absent)
        drop(f"not {condition}", ~absent & ~COMPARISONS[condition.comparison](values, condition.value).astype(bool))
    if schema.group:
        drop(f"{schema.group} missing", is_missing(table, schema.group))
    for feature in schema.inputs:
        if feature.missing == "drop":
            for column in feature.columns:
                drop(f"{column} missing", is_missing(table, column))
    known = [~is_missing(table, target.name) for target in schema.targets]
    drop("no target known", ~np.any(known, axis=0))
    if not keep.any():
        reasons = "; ".join(f"{reason}: {count}" for reason, count in dropped.items())
        raise DataError(f"{table.path}: expected rows that take part, {len(table)} were left out ({reasons})")
    return table.rows(keep), dropped


def is_missing(table, column):
    """bool [N]."""
    return np.array([value is None for value in table.columns[column]], bool)


def numbers(table, column):
    """float64 [N], NaN where missing.

    Raises:
        DataError: for text that is no finite number; it is not shown.
    """
    values, wrong = np.full(len(table), np.nan), []
    for row, text in enumerate(table.columns[column]):
        if text is not None:
            try:
                values[row] = float(text)
            except ValueError:
                values[row] = np.inf
            if not np.isfinite(values[row]):
                wrong.append(row)
    if wrong:
        raise DataError(
            f"{table.path}: line {table.lines[wrong[0]]}: {column}: expected a number or a missing value, "
            f"received another text (so in {len(wrong)} of {len(table)} rows)"
        )
    return values


def flags(table, column):
    """bool [N] of a yes/no column; missing counts as no."""
    lowered = [None if text is None else text.lower() for text in table.columns[column]]
    wrong = [row for row, text in enumerate(lowered) if text is not None and text not in YES and text not in NO]
    if wrong:
        raise DataError(
            f"{table.path}: line {table.lines[wrong[0]]}: {column}: expected yes or no (1 or 0, present or "
            f"notpresent), received another text (so in {len(wrong)} of {len(table)} rows)"
        )
    return np.array([text in YES for text in lowered], bool)


def check_columns(table, schema):
    """Refuses what cannot be learned from: an input or target that is missing everywhere, or a target of one value.

    Raises:
        DataError: naming the file and the column.
    """
    read = [column for feature in schema.inputs for column in feature.columns]
    for column in dict.fromkeys([*read, *(target.name for target in schema.targets)]):
        if is_missing(table, column).all():
            raise DataError(
                f"{table.path}: {column}: expected some value, received a column that is missing in all "
                f"{len(table)} rows"
            )
    for feature in schema.inputs:
        for column in feature.columns:
            if feature.kind == NUMERIC:
                negative = np.flatnonzero(numbers(table, column) < 0)
                if feature.log and len(negative):
                    raise DataError(
                        f"{table.path}: line {table.lines[negative[0]]}: {column}: expected 0 or more "
                        f"(log), received a negative number (so in {len(negative)} rows)"
                    )
            elif feature.kind == MULTI_HOT and feature.separator is None:
                flags(table, column)
    for target in schema.targets:
        if target.kind == CLASSIFICATION:
            classes = class_names(table, target)
            count = len({*table.columns[target.name]} - {None})
            if count < 2:
                raise DataError(
                    f"{table.path}: {target.name}: expected a target with two classes or more, received "
                    f"{count} (of {len(classes)})"
                )
        else:
            values = numbers(table, target.name)
            if np.nanmax(values) == np.nanmin(values):
                raise DataError(f"{table.path}: {target.name}: expected a target with two values or more, received one")


def class_names(table, target):
    """The classes of a target, list of text: the schema's, or those in the data, numbers by size, texts by letter.

    Raises:
        DataError: where the schema lists the classes and a row has another one.
    """
    received = {*table.columns[target.name]} - {None}
    if target.classes is None:
        try:
            return sorted(received, key=lambda text: (float(text), text))
        except ValueError:
            return sorted(received)
    if received - {*target.classes}:
        rows = [row for row, text in enumerate(table.columns[target.name]) if text not in (None, *target.classes)]
        raise DataError(
            f"{table.path}: line {table.lines[rows[0]]}: {target.name}: expected one of the "
            f"{len(target.classes)} classes of the schema, received another text (so in {len(rows)} rows)"
        )
    return list(target.classes)
