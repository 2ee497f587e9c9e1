"""The stays table: what every source yields, column by column, and the report that goes with it.

One row of `stays` is one diagnosis code of one stay; one row of `patients` is one patient who occurs in `stays`.
Both are tables of the DuckDB connection that the caller made; `load_stays` fills them.
"""

import dataclasses

from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules

STAYS_COLUMNS = {
    "patient_id": "VARCHAR",  # never null, never empty
    "stay_id": "VARCHAR",  # null where the source has none: a stay is then (patient_id, admit, discharge)
    "admit": "TIMESTAMP",  # never null; without time zone, as the source writes it
    "discharge": "TIMESTAMP",  # never null, >= admit
    "code": "VARCHAR",  # never null, never empty
    "order_1": "INTEGER",  # clinical order within a stay, smallest first; null sorts last; ties keep the file's order
    "order_2": "INTEGER",
    "order_3": "INTEGER",
    "present_on_admission": "VARCHAR",  # 'Y', 'N' or null
}
PATIENTS_COLUMNS = {
    "patient_id": "VARCHAR",  # each patient of `stays` once
    "birth": "DATE",  # null where unknown
    "sex": "VARCHAR",  # 'F', 'M' or null
    "death": "DATE",  # null where unknown or alive
    "observation_end": "DATE",  # until when the source would have shown an event of this patient
}
REQUIRED_COLUMNS = ("patient_id", "admit", "discharge", "code")
ORDER_COLUMNS = ("order_1", "order_2", "order_3")
STANDARD_COLUMNS = tuple(dict.fromkeys([*STAYS_COLUMNS, *PATIENTS_COLUMNS]))
"""Every column a single table may bring; `REQUIRED_COLUMNS` must be there, the others become null."""


@dataclasses.dataclass(frozen=True)
class TableUse:
    """A raw table that a source read, for `medtop.sources.profile`.

    Attributes:
        path: the file.
        delimiter: one character, or None for Parquet.
        names: names of the file's columns, by position.
        columns: list of (header, SQL text value over `names`, standard name or what the source calls it).
    """

    path: object
    delimiter: str | None
    names: list
    columns: list


@dataclasses.dataclass
class StaysReport:
    """What was read, and what became of every row.

    The rows add up: `rows_in = rows in stays + rows_merged + sum(rows_dropped.values())`.

    Attributes:
        source: name of the source.
        files: the files that were read.
        rows_in: rows of the diagnosis table (SynPUF: diagnosis entries) that the files hold.
        rows_merged: rows that were folded into another one.
        rows_dropped: dict reason -> number of rows; each row has one reason, the first that holds.
        counts: dict name -> number: what a reader of the results should know (conflicts, overlaps, merged claims).
        observation_end: a sentence: until when this source would have shown an event.
        has_present_on_admission: whether any row of `stays` says if its code was present on admission.
        icd_codes: whether most codes carry `ICD9_` or `ICD10_`; endpoint files need it.
        notes: further sentences for the manifest.
        patients_dropped: dict reason -> patients of the files who are not in `stays`.
        dates: `medtop.sources.dates.DateRules` that were applied.
        tables: list of `TableUse`.
        given: dict column -> values given, of columns of which some cannot be used (`counts` says how many).
        code_rows: dict code -> rows of `stays` that carry it; None where nobody counted them.
        accepted: `--accept_unusable`, for the files that are read after the source.
        may_follow_death: whether a stay may begin after its patient's day of death; False where all were looked at and
            none does, so that nobody needs to look again.
    """

    source: str
    files: list
    rows_in: int
    rows_merged: int
    rows_dropped: dict
    counts: dict
    observation_end: str
    has_present_on_admission: bool
    icd_codes: bool
    notes: list = dataclasses.field(default_factory=list)
    patients_dropped: dict = dataclasses.field(default_factory=dict)
    given: dict = dataclasses.field(default_factory=dict)
    dates: DateRules = dataclasses.field(default_factory=DateRules)
    tables: list = dataclasses.field(default_factory=list)
    code_rows: dict | None = None
    accepted: tuple = ()
    may_follow_death: bool = True

    @property
    def rows_out(self):
        """Rows of `stays`, by the sum above."""
        return self.rows_in - self.rows_merged - sum(self.rows_dropped.values())


@dataclasses.dataclass
class Request:
    """What a source is asked to load; made by `medtop.sources.load_stays`.

    Attributes:
        connection: the caller's DuckDB connection.
        data_file: str, as the user gave it: a file, a folder, a glob pattern or a comma list.
        columns: dict standard name -> header in the file, or None.
        strict: whether the first bad row stops everything.
        rejects_path: where bad rows are listed, or None.
        rules: `medtop.sources.rules.Rules`: how values are read and judged.
    """

    connection: object
    data_file: str
    columns: dict | None = None
    strict: bool = False
    rejects_path: object = None
    rules: Rules = dataclasses.field(default_factory=Rules)


@dataclasses.dataclass(frozen=True)
class Source:
    """One raw layout. Adding a source is one file that makes one of these, and one line in the registry.

    Attributes:
        name: value of `--source`.
        description: one line: what `<data_File>` is.
        observation_end: sentence, see `StaysReport`.
        present_on_admission: sentence: where 'Y' and 'N' come from, or why they are null.
        recognise: function(data_file: str) -> bool; looks at names and first lines only.
        load: function(Request) -> StaysReport; fills the tables `stays` and `patients`.
        code_system: what `--code_system` is where the user says nothing, see `medtop.sources.code_forms`.
        choices: fields of `medtop.sources.choices.Choices` that this source reads.
    """

    name: str
    description: str
    observation_end: str
    present_on_admission: str
    recognise: object
    load: object
    code_system: str = "auto"
    choices: tuple = ()
