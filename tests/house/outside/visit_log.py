"""A source from outside the package: a log of visits, one JSON object a line."""

import json

from medtop.files.errors import DataError
from medtop.sources import PATIENTS_COLUMNS, SOURCES, STAYS_COLUMNS, Source, StaysReport
from medtop.sources.text_files import expand_paths

KEYS = {"who", "from", "to", "codes"}


def _recognise(data_file):
    with open(expand_paths(data_file)[0], encoding="utf-8") as file:
        return file.read(1) == "{"


def _visits(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        visit = json.loads(line)
        if visit.keys() != KEYS:
            raise DataError(f"{path}: line {number}: expected the keys {', '.join(sorted(KEYS))}, received others")
        yield visit


def _load(request):
    files = expand_paths(request.data_file)
    rows, ends = [], {}
    for path in files:
        for visit in _visits(path):
            for place, code in enumerate(visit["codes"]):
                rows.append((visit["who"], None, visit["from"], visit["to"], code, place, None, None, None))
            ends[visit["who"]] = max(ends.get(visit["who"], ""), visit["to"])
    patients = [(patient, None, None, None, end) for patient, end in ends.items()]
    for table, columns, values in (("stays", STAYS_COLUMNS, rows), ("patients", PATIENTS_COLUMNS, patients)):
        listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        request.connection.execute(f"CREATE OR REPLACE TABLE {table} ({listed})")
        request.connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", values)
    return StaysReport(SOURCE.name, files, len(rows), 0, {}, {}, SOURCE.observation_end, False, False)


SOURCE = Source(
    name="visit_log",
    description="a log of visits: one JSON object a line, with who, from, to and codes",
    observation_end="each patient's last discharge",
    present_on_admission="null: the log does not say",
    recognise=_recognise,
    load=_load,
)
SOURCES[SOURCE.name] = SOURCE
