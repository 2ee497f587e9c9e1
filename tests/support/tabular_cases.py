"""A small table for the tabular tests, and how it is written."""

import json

import numpy as np

from medtop.tabular.schema import read_schema
from medtop.tabular.table_data import load

SCHEMA = {
    "version": 1,
    "rows": ["kt_v > 1.2"],
    "group": "patient",
    "inputs": [
        {"column": "age", "kind": "numeric", "indicator": True},
        {"column": "sex", "kind": "categorical"},
        {"name": "illness", "kind": "multi_hot", "columns": ["stroke", "diabetes"], "components": 1},
    ],
    "targets": [{"column": "mode", "kind": "classification"}, {"column": "flow", "kind": "regression"}],
}
HEADER = ("patient", "kt_v", "age", "sex", "stroke", "diabetes", "mode", "flow")


def rows_of(count, seed=0):
    """A list of rows of text: `mode` follows age, `flow` age and diabetes; some values are missing."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        age, diabetes = generator.normal(60, 10), int(generator.random() < 0.4)
        row = [
            f"P{number // 2}",
            f"{generator.uniform(1.25, 1.9):.2f}",
            f"{age:.1f}",
            generator.choice(["F", "M"]),
            str(int(generator.random() < 0.3)),
            str(diabetes),
            "HDF" if age > 60 else "HD",
            f"{250 + 3 * (age - 60) + 20 * diabetes + generator.normal(0, 5):.1f}",
        ]
        if number % 5 == 4:
            row[(2, 3, 6, 7)[number // 5 % 4]] = ""
        rows.append(row)
    return rows


def write(folder, rows=None, schema=None, header=HEADER, name="table.csv"):
    """Writes the table and the schema; returns both paths."""
    rows = rows_of(60) if rows is None else rows
    data, described = folder / name, folder / "schema.json"
    data.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    described.write_text(json.dumps(SCHEMA | (schema or {})), encoding="utf-8")
    return data, described


def loaded(folder, rows=None, schema=None):
    """`Data` of such a table."""
    data, described = write(folder, rows, schema)
    return load(data, read_schema(described))
