"""A clean table of stays, and one damage at a time of the kinds that hospital tables have.

Each damage is a function (table, rng) that changes a `Table`; what it does is uncertain or wrong in a way that could
move a label, a split, a time or a code. `DAMAGES` lists them all. `damage.prepare(table)` makes the clean table that it
is compared with, where that is not the plain one.
"""

import dataclasses
import datetime as dt
import json

import numpy as np
import pandas as pd

DAY = dt.timedelta(days=1)
COLUMNS = ("patient_id", "stay_id", "admit", "discharge", "code", "order_1", "birth", "sex", "death")
CODES = ("I10", "E119", "E1122", "I219", "I509", "N183", "E1142", "J189", "I252", "Z992", "N390", "E785")
ZERO_WIDTH, NO_BREAK, TAB = "\u200b", "\u00a0", "\t"
NULL_WORDS = ("NULL", "null", "nan", "NaN", "None", "N/A", "NA", "-", "UNK", "unknown", "")
SENTINELS = ("1900-01-01", "1800-01-01", "1899-12-30", "2999-12-31", "9999-12-31", "0001-01-01")


@dataclasses.dataclass
class Table:
    """A table as it will be written.

    Attributes:
        rows: list of dicts column -> text.
        prefix, suffix: bytes before and after the text of the file.
        separator: between fields.
        header: column -> name in the file.
        kind: "csv" or "parquet".
        types: column -> pandas dtype for Parquet, text where not named.
        flags: of `medtop.sources.dates.DateRules`.
        options: of `medtop.cohort.build.Options`.
        endpoints: content of an own endpoint file, or None.
        times: lines of a file of prediction times, or None.
        quote: a row (number) whose field gets a stray quote, or None.
        cut: a row (number) that loses its last fields, or None.
    """

    rows: list
    prefix: bytes = b""
    suffix: bytes = b""
    separator: str = ","
    header: dict = dataclasses.field(default_factory=dict)
    kind: str = "csv"
    types: dict = dataclasses.field(default_factory=dict)
    flags: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    endpoints: dict | None = None
    times: list | None = None
    quote: int | None = None
    cut: int | None = None

    def write(self, folder):
        """Writes the files; (path of the table, keyword arguments of Input, keyword arguments of Options)."""
        folder.mkdir(parents=True, exist_ok=True)
        options = dict(self.options)
        if self.endpoints is not None:
            (folder / "own.json").write_text(json.dumps({"endpoints": self.endpoints}))
            options["endpoints"] = str(folder / "own.json")
        if self.times is not None:
            (folder / "times.csv").write_text("\n".join(["patient_id,prediction_time", *self.times]) + "\n")
            options["prediction_times"] = str(folder / "times.csv")
        if self.kind == "parquet":
            frame = pd.DataFrame(self.rows)
            for name, kind in self.types.items():
                frame[name] = kind(frame[name]) if callable(kind) else frame[name].astype(kind)
            frame.to_parquet(folder / "table.parquet")
            return folder / "table.parquet", self.flags, options
        lines = [self.separator.join(self.header.get(name, name) for name in COLUMNS)]
        for number, row in enumerate(self.rows):
            fields = [row[name] for name in COLUMNS]
            if number == self.quote:
                fields[4] = f'"{fields[4]}'
            lines.append(self.separator.join(fields[:-4] if number == self.cut else fields))
        text = ("\n".join(lines) + "\n").encode()
        (folder / "table.csv").write_bytes(self.prefix + text + self.suffix)
        return folder / "table.csv", self.flags, options

    def stays(self, wanted=lambda row: True):
        """Keys (patient, stay) of the stays that have a row as wanted."""
        return sorted({(row["patient_id"], row["stay_id"]) for row in self.rows if wanted(row)})

    def rows_of(self, patient, stay=None):
        """A patient's rows, perhaps of one stay."""
        return [row for row in self.rows if row["patient_id"] == patient and stay in (None, row["stay_id"])]


def clean_table(seed=0, patients=60):
    """Patients with some years of stays each, some deaths; nothing in it is uncertain: as many admissions in each month
    as in others, to the last."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        day = dt.date(2011, 1, 1) + int(rng.integers(0, 700)) * DAY
        birth = dt.date(1930 + int(rng.integers(0, 60)), 1 + int(rng.integers(12)), 5)
        stays = []
        for _ in range(int(rng.integers(3, 8))):
            end = day + int(rng.choice([1, 3, 6, 9, 14])) * DAY
            stays.append((day, end))
            day = end + int(rng.integers(20, 260)) * DAY
        stays = [stay for place, stay in enumerate(stays) if place == 0 or stay[0] < dt.date(2013, 9, 1)]
        dead = rng.random() < 0.25
        death = stays[-1][1] + int(rng.integers(5, 200)) * DAY if dead else None
        for place, (admit, discharge) in enumerate(stays):
            for order, code in enumerate(rng.choice(CODES, int(rng.integers(1, 4)), replace=False)):
                rows.append(
                    {
                        "patient_id": f"P{number:03d}",
                        "stay_id": f"{number:03d}{place}",
                        "admit": admit.isoformat(),
                        "discharge": discharge.isoformat(),
                        "code": f"ICD10_{code}",
                        "order_1": str(order),
                        "birth": birth.isoformat(),
                        "sex": "FM"[number % 2],
                        "death": death.isoformat() if death else "",
                    }
                )
    return Table(rows, options={"min_code_count": 1, "min_code_patients": 1, "horizons": (180, 365)})


def one(rng, values):
    """One of the values."""
    return values[int(rng.integers(len(values)))]


def some_stay(table, rng, wanted=lambda row: True):
    """The rows of a stay."""
    return table.rows_of(*one(rng, table.stays(wanted)))


def change(rows, **columns):
    """Sets columns of rows; a value may be a function of the row."""
    for row in rows:
        for name, value in columns.items():
            row[name] = value(row) if callable(value) else value


def as_day(text):
    """A date from ISO text."""
    return dt.date.fromisoformat(text)


def prepared(prepare):
    """Decorator: the damage belongs to a clean table that `prepare(table)` has changed."""

    def mark(damage):
        damage.prepare = prepare
        return damage

    return mark


def plain(table):
    """The clean table as it is."""


def numeric_ids(table):
    """Ids are whole numbers without zeros in front."""
    change(table.rows, patient_id=lambda row: str(1 + int(row["patient_id"][1:])))


def padded_ids(table):
    """Ids are whole numbers with zeros in front."""
    change(table.rows, patient_id=lambda row: row["patient_id"][1:])


def with_times(table):
    """Times of day, near midnight."""
    change(
        table.rows, admit=lambda row: row["admit"] + " 23:30:00", discharge=lambda row: row["discharge"] + " 00:30:00"
    )


def times_of_three(table):
    """A file of prediction times."""
    table.times = [f"{key},{max(row['discharge'] for row in table.rows_of(key))}" for key in ("P001", "P002", "P003")]


# --- the kinds -------------------------------------------------------------------------------------------------------


def far_date(table, rng):
    """A stay decades after all others, of one patient or of a new one."""
    row = dict(one(rng, table.rows))
    row |= {"admit": "2085-01-01", "discharge": "2085-01-03", "stay_id": "far", "death": ""}
    table.rows.append(row | ({"patient_id": "P999"} if rng.random() < 0.5 else {}))


def near_equal_id(table, rng):
    """One stay's id gets something that cannot be seen, another case, or lost zeros."""
    rows = some_stay(table, rng)
    text = rows[0]["patient_id"]
    change(rows, patient_id=one(rng, (f"{text} ", f" {text}", text + NO_BREAK, text + ZERO_WIDTH, text.lower())))


@prepared(numeric_ids)
def float_ids(table, rng):
    """Numeric ids, some of them written by a program that took them for floats."""
    change(some_stay(table, rng), patient_id=lambda row: f"{row['patient_id']}.0")


@prepared(padded_ids)
def lost_zeros(table, rng):
    """Numeric ids with leading zeros, lost in one stay."""
    change(
        some_stay(table, rng, lambda row: row["patient_id"].startswith("0")),
        patient_id=lambda row: row["patient_id"].lstrip("0") or "0",
    )


def null_id(table, rng):
    """A word for nothing instead of an id."""
    change(some_stay(table, rng), patient_id=one(rng, NULL_WORDS[:-3]))


@prepared(with_times)
def offset_in_time(table, rng):
    """Times with an offset in one stay, or in all."""
    rows = table.rows if rng.random() < 0.5 else some_stay(table, rng)
    zone = one(rng, ("+02:00", "Z", "-05:00"))
    change(rows, admit=lambda row: row["admit"] + zone, discharge=lambda row: row["discharge"] + zone)


@prepared(with_times)
def zoned_parquet(table, rng):
    """Parquet whose times have a zone."""
    zone = one(rng, ("Europe/Berlin", "UTC", "America/New_York"))
    table.kind = "parquet"

    def read(column):
        return pd.to_datetime(column).dt.tz_localize(zone)

    table.types = {"admit": read, "discharge": read}


def other_date_format(table, rng):
    """One column, or a share of its rows, in another form."""
    column = one(rng, ("admit", "discharge", "birth", "death"))
    form = one(rng, ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%d-%b-%Y"))
    rows = table.rows if rng.random() < 0.5 else [row for row in table.rows if rng.random() < 0.3]
    change(rows, **{column: lambda row: as_day(row[column]).strftime(form) if row[column] else ""})


def two_digit_years(table, rng):
    """Every date with two digits of the year, read with %y: 1930 could be 2030."""
    for column in ("admit", "discharge", "birth", "death"):
        change(table.rows, **{column: lambda row, c=column: as_day(row[c]).strftime("%d/%m/%y") if row[c] else ""})
    table.flags = {"date_format": "%d/%m/%y"}


def sentinel_date(table, rng):
    """A date that stands for none."""
    column, word = one(rng, ("admit", "discharge", "birth", "death")), one(rng, SENTINELS)
    if column in ("birth", "death"):
        patient = one(rng, table.stays())[0]
        change(table.rows_of(patient), **{column: word})
    else:
        change(some_stay(table, rng), **{column: word})


def unusable_column(table, rng):
    """Sex, birth or order as words nobody reads."""
    column = one(rng, ("sex", "birth", "order_1"))
    word = {"sex": "divers", "birth": "forty-two", "order_1": "first"}[column]
    rows = table.rows if rng.random() < 0.5 else [row for row in table.rows if rng.random() < 0.2]
    change(rows, **{column: word})


def bad_patient(table, rng):
    """All rows of a patient cannot be used."""
    change(table.rows_of(one(rng, table.stays())[0]), admit="soon")


def code_form(table, rng):
    """Codes of a stay in another form: case, dots, blanks, a mark in lower case."""
    forms = (
        lambda code: code.lower(),
        lambda code: code[:9] + "." + code[9:],
        lambda code: code + " ",
        lambda code: code.replace("ICD10_", "icd10_"),
        lambda code: code + NO_BREAK,
    )
    form = one(rng, forms)
    change(table.rows if rng.random() < 0.3 else some_stay(table, rng), code=lambda row: form(row["code"]))


def null_code(table, rng):
    """A word for nothing instead of a code."""
    change([one(rng, table.rows)], code=one(rng, NULL_WORDS))


def several_codes(table, rng):
    """Two codes in one cell."""
    mark = one(rng, (";", "|", " ; "))
    change([one(rng, table.rows)], code=lambda row: f"{row['code']}{mark}ICD10_E119")


def codes_without_mark(table, rng):
    """Codes lose their mark, all or some."""
    rows = table.rows if rng.random() < 0.3 else [row for row in table.rows if rng.random() < 0.3]
    change(rows, code=lambda row: row["code"].removeprefix("ICD10_"))


def stay_after_death(table, rng):
    """A stay that begins after the patient's death."""
    patient = one(rng, table.stays(lambda row: row["death"]))[0]
    row = dict(table.rows_of(patient)[0])
    admit = as_day(row["death"]) + int(rng.choice([1, 2, 3, 40])) * DAY
    row |= {"admit": admit.isoformat(), "discharge": (admit + 9 * DAY).isoformat(), "stay_id": "late"}
    table.rows.append(row | {"code": "ICD10_I219"})


def early_death(table, rng):
    """A day of death before the patient's last stays."""
    patient, stay = one(rng, table.stays())
    day = as_day(table.rows_of(patient, stay)[0]["admit"]) - int(rng.choice([1, 2, 30])) * DAY
    change(table.rows_of(patient), death=day.isoformat())


def birth_too_late(table, rng):
    """A birth in the future, or after the first admission."""
    change(table.rows_of(one(rng, table.stays())[0]), birth=one(rng, ("2031-01-01", "2013-06-01")))


def turned_dates(table, rng):
    """The discharge before the admission."""
    change(some_stay(table, rng), discharge=lambda row: (as_day(row["admit"]) - 3 * DAY).isoformat())


def conflicting_person(table, rng):
    """Rows of a patient that disagree on birth, sex or death."""
    column = one(rng, ("birth", "sex", "death"))
    value = {"birth": "1941-01-01", "sex": one(rng, "FM"), "death": "2019-01-01"}[column]
    rows = table.rows_of(one(rng, [key for key in table.stays() if len(table.rows_of(key[0])) > 1])[0])
    change(rows[:1], **{column: value})


def first_line(table, rng):
    """A line above the header."""
    table.prefix = one(rng, (b"sep=,\n", b"# exported on 2016-01-01\n", b"\n"))


def strange_bytes(table, rng):
    """A byte order mark, other line ends, or a byte that is no UTF-8 at the end."""
    table.prefix, table.suffix = one(rng, ((b"\xef\xbb\xbf", b""), (b"", b"\xff\xfe,a,b\n"), (b"", b"\n\n")))


def broken_line(table, rng):
    """A row that is cut, or a quote that is not closed."""
    place = int(rng.integers(len(table.rows)))
    if rng.random() < 0.5:
        table.cut = place
    else:
        table.quote = place


def float_codes(table, rng):
    """Parquet whose codes are floats: 4019.0."""
    change(table.rows, code=lambda row: str(4000 + len(row["code"])))
    table.kind, table.types = "parquet", {"code": "float64"}


@prepared(numeric_ids)
def parquet_ids(table, rng):
    """Parquet with float ids, as pandas makes them where some are missing."""
    change([one(rng, table.rows)], patient_id="nan")
    table.kind, table.types = "parquet", {"patient_id": "float64"}


def wrong_endpoint(table, rng):
    """An endpoint file that matches nothing, or something else than it says."""
    lists = one(
        rng,
        (
            {"icd9": ["I10"]},
            {"icd10": ["I10*"]},
            {"icd10": ["I10-I15"]},
            {"icd10": ["O99"]},
            {"icd9": ["410"]},
            {"icd10": ["410"]},
            {"verbatim": ["I10"]},
        ),
    )
    table.endpoints = {"A": lists}


@prepared(times_of_three)
def wrong_times(table, rng):
    """Prediction times after death, of strangers, with an offset, before any stay, or with ids that nearly fit."""
    patient = one(rng, table.stays())[0]
    dead = one(rng, table.stays(lambda row: row["death"]))[0]
    after = as_day(table.rows_of(dead)[0]["death"]) + 5 * DAY
    last = max(row["discharge"] for row in table.rows_of(patient))
    bad = one(
        rng,
        (
            f"{dead},{after}",
            f"stranger,{last}",
            f"{patient},{last}T10:00:00+02:00",
            f"{patient},1950-01-01",
            f"{patient} ,{last}",
            f"{patient},9999-12-31",
        ),
    )
    table.times.append(bad)


def repeated_rows(table, rng):
    """Rows that stand there twice."""
    table.rows += [dict(row) for row in some_stay(table, rng)]


def another_order(table, rng):
    """The same rows in another order, another separator, headers in capitals: nothing changes."""
    rng.shuffle(table.rows)
    table.separator = one(rng, (",", ";", "\t", "|"))
    table.header = {name: name.upper() for name in COLUMNS}


DAMAGES = (
    far_date,
    near_equal_id,
    float_ids,
    lost_zeros,
    null_id,
    offset_in_time,
    zoned_parquet,
    other_date_format,
    two_digit_years,
    sentinel_date,
    unusable_column,
    bad_patient,
    code_form,
    null_code,
    several_codes,
    codes_without_mark,
    stay_after_death,
    early_death,
    birth_too_late,
    turned_dates,
    conflicting_person,
    first_line,
    strange_bytes,
    broken_line,
    float_codes,
    parquet_ids,
    wrong_endpoint,
    wrong_times,
    repeated_rows,
    another_order,
)
