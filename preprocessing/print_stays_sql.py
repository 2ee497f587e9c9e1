"""Prints the query that makes the stays table inside a warehouse, in its own SQL.

Example:

  python preprocessing/print_stays_sql.py --source=pcornet --dialect=snowflake > stays.sql

Export its result and read it with --source=columns. The queries were run on DuckDB; those for Snowflake, BigQuery,
PostgreSQL and Spark are translated and parsed, never run. docs/sources.md says what a query leaves out.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.options import REQUIRED, option
from medtop.sources.warehouse_sql import DIALECTS, QUERIES, stays_query


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is printed."""

    source: str = option(REQUIRED, "Data model of the tables.", choices=tuple(QUERIES))
    dialect: str = option(REQUIRED, "The warehouse's SQL.", choices=DIALECTS)


flags.define(Options)


def main(_):
    """Flags in, a query out."""
    options = flags.read(Options)
    print(stays_query(options.source, options.dialect) + ";")


if __name__ == "__main__":
    commands.run(main)
