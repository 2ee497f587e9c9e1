"""Ids of patients, stays and admissions: one normal form for all tables, and ids that only look different.

An id is what is left without invisible characters at its ends; `17.0`, which exports write where a column of whole
numbers has gaps, is 17; a null word (`NULL`, `nan`, `-`) is no id. Nothing else is changed: `p1` and `P1`, `007` and
`7` may be two people, so they are counted, not merged.
"""

import re

from medtop.files.sql import quote
from medtop.sources.words import INVISIBLE, is_null_word_sql, trimmed, trimmed_sql

_POINT_ZERO = r"^(-?[0-9]+)[.]0+$"


def normal_id(text):
    """What `settle_ids` makes of a text that is no null word, in Python.

    >>> normal_id(" 17.0\\u200b"), normal_id("P 1"), normal_id("0.0.0")
    ('17', 'P 1', '0.0.0')
    """
    return re.sub(_POINT_ZERO, r"\1", trimmed(text))


def settle_ids(connection, table, column="patient_id", name=None, distinct=None):
    """Brings the column of a table to the normal form, in place; what is no id becomes null.

    Works on distinct values, so that a clean column costs one grouping.

    Args:
        connection: DuckDB connection.
        table, column: a VARCHAR column.
        name: what the counts are called by, default `column`.
        distinct: SQL giving (old, number): the distinct values and their rows, where they have been found before.

    Returns:
        dict of rows changed: `<name>_trimmed`, `<name>_point_zero`, `<name>_null_words`; without zeros.
    """
    name, pattern = name or column, quote(_POINT_ZERO)
    distinct = distinct or f"SELECT {column} AS old, count(*) AS number FROM {table} GROUP BY {column}"
    # Each pattern stands here once: DuckDB builds every one that it meets anew.
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE medtop_ids AS SELECT * FROM (
            SELECT old, CASE WHEN NOT null_word THEN nullif(regexp_replace(trim, {pattern}, '\\1'), '') END AS new,
                   number, null_word, trim <> old AND trim <> '' AS trimmed,
                   regexp_matches(trim, {pattern}) AS point_zero
            FROM (SELECT old, number, {is_null_word_sql("old")} AS null_word, {trimmed_sql("old")} AS trim
                  FROM ({distinct}) WHERE old IS NOT NULL))
        WHERE new IS DISTINCT FROM old"""
    )
    changed, *counts = connection.execute(
        "SELECT count(*), sum(number) FILTER (trimmed AND NOT null_word), sum(number) FILTER (point_zero), "
        "sum(number) FILTER (null_word) FROM medtop_ids"
    ).fetchone()
    if changed:
        connection.execute(f"UPDATE {table} SET {column} = new FROM medtop_ids WHERE {column} = old")
    connection.execute("DROP TABLE medtop_ids")
    kinds = ("trimmed", "point_zero", "null_words")
    return {f"{name}_{kind}": int(count) for kind, count in zip(kinds, counts, strict=True) if count}


def count_alike(connection, query):
    """Ids that differ from another one only in case, leading zeros or inner blanks: how many.

    Args:
        connection: DuckDB connection.
        query: SQL giving the column `patient_id`, distinct.
    """
    one_length, one_case, ascii = connection.execute(
        "SELECT min(strlen(patient_id)) = max(strlen(patient_id)), bool_and(patient_id = upper(patient_id)) "
        f"OR bool_and(patient_id = lower(patient_id)), bool_and(strlen(patient_id) = length(patient_id)) FROM ({query})"
    ).fetchone()
    if one_length and one_case and ascii:  # then nothing but the digits can differ
        return 0
    key = (
        "regexp_replace(regexp_replace(lower(nfc_normalize(patient_id)), "
        f"{quote(INVISIBLE)}, '', 'g'), '(^|[^0-9])0+([0-9])', '\\1\\2', 'g')"
    )
    return connection.execute(
        f"SELECT coalesce(sum(number), 0)::BIGINT FROM "
        f"(SELECT count(*) AS number FROM ({query}) GROUP BY {key} HAVING count(*) > 1)"
    ).fetchone()[0]
