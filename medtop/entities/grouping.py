"""Which documents must share a split: those of one patient, with one text, or in one group."""

import csv

from medtop.cohort.splits import SPLITS, assign_splits
from medtop.files.bounded import lines
from medtop.files.errors import DataError
from medtop.files.shown import shown_headers


class Groups:
    """Joins documents that share anything (union-find).

    >>> groups = Groups()
    >>> groups.add("a", ["patient 1"]); groups.add("b", ["text x"]); groups.add("c", ["patient 1", "text x"])
    >>> groups.of("a") == groups.of("b") == groups.of("c")
    True
    """

    def __init__(self):
        self._above = {}

    def add(self, document_id, shared):
        """Adds a document and the keys that it shares with others."""
        root = self._root(("document", document_id))
        for key in shared:
            other = self._root(("shared", key))
            if other != root:
                low, high = sorted((root, other))  # the same names whatever the order of joins
                self._above[high] = low
                root = low

    def _root(self, item):
        self._above.setdefault(item, item)
        path = []
        while self._above[item] != item:
            path.append(item)
            item = self._above[item]
        for each in path:
            self._above[each] = item
        return item

    def of(self, document_id):
        """The group of a document: a pair of str."""
        return self._root(("document", document_id))


def keys_of(document, columns):
    """What a document shares with others: its patient, its text, its values in some columns."""
    keys = [f"text {document.sha256}"]
    if document.patient_id:
        keys.append(f"patient {document.patient_id}")
    return keys + [f"{name} {document.columns[name]}" for name in columns if document.columns.get(name)]


def read_split_table(path):
    """Reads `document_id,split` or `patient_id,split`: (column's name, dict id -> split).

    Raises:
        DataError: for another file, another split's name, or an id in two splits; names the line.
    """
    column, rows = read_table(path, ("split",), ("document_id", "patient_id"))
    chosen = {}
    for line, row in rows:
        if row["split"] not in SPLITS or not row[column]:
            raise DataError(
                f"{path}: line {line}: expected an id and one of {', '.join(SPLITS)}, received another value"
            )
        if chosen.setdefault(row[column], row["split"]) != row["split"]:
            raise DataError(f"{path}: line {line}: expected each id in one split, received one in two")
    return column, chosen


def read_document_columns(path):
    """Reads a CSV of `document_id` and other columns (`patient_id`, groups): dict document id -> dict of columns."""
    _, rows = read_table(path, (), ("document_id",))
    row_of = {}
    for line, row in rows:
        name = row.pop("document_id")
        if name in row_of:
            raise DataError(f"{path}: line {line}: expected each document once, received one twice")
        row_of[name] = row
    return row_of


def read_table(path, needed, one_of):
    """(which of `one_of` the header has, list of (line, row)) of a CSV with a header.

    Raises:
        DataError: for a missing file or column, and for rows of another length.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(lines(file, path))
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            column = next((name for name in one_of if name in names), None)
            if column is None or not set(needed) <= set(names):
                expected = ", ".join([" or ".join(one_of), *needed])
                raise DataError(f"{path}: line 1: expected columns {expected}, received {shown_headers(names, 80)}")
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}: line {reader.line_num}: expected {len(names)} values, received another number"
                    )
                rows.append((reader.line_num, row))
            return column, rows
    except FileNotFoundError:
        raise DataError(f"{path}: expected a CSV file, found no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected UTF-8 CSV, received another content") from error


def choose(groups, ids, seed):
    """A split for each document by the seeded hash of its group's name (7:1:2): dict id -> split.

    Documents that share nothing with others are drawn by the name of their group alone, so that they stay in their
    split when the data grow.
    """
    names = {document_id: "/".join(groups.of(document_id)) for document_id in ids}
    order = sorted(set(names.values()))
    chosen = dict(zip(order, assign_splits(order, seed), strict=True))
    return {document_id: chosen[name] for document_id, name in names.items()}
