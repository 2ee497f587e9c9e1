"""A table and a schema -> everything that cross-validation needs, checked.

Letters: N rows, n targets.
"""

import dataclasses

import numpy as np

from medtop.tabular.encoding import InputEncoder, target_values
from medtop.tabular.rows import check_columns, choose_rows, read_table


@dataclasses.dataclass
class Data:
    """A table ready for cross-validation.

    Attributes:
        table: `Table` of the rows that take part.
        dropped: dict reason -> rows left out.
        encoder: `InputEncoder`.
        targets: n `TargetValues`.
        groups: [N], each row's group; its number where the schema names no group.
    """

    table: object
    dropped: dict
    encoder: InputEncoder
    targets: list
    groups: np.ndarray


def load(data_file, schema):
    """Reads and checks a table as a schema says: `Data`.

    Raises:
        DataError: in one line, for whatever does not fit.
    """
    table, dropped = choose_rows(read_table(data_file, schema), schema)
    check_columns(table, schema)
    groups = np.arange(len(table)) if schema.group is None else table.columns[schema.group].astype(str)
    return Data(table, dropped, InputEncoder(table, schema), target_values(table, schema), groups)
