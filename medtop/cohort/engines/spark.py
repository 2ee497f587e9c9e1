"""The first pass on Spark: it range-partitions and sorts the rows, and runs `FirstPass` on every partition.

DuckDB reads the source and applies its rules, because they look at whole columns (the end of observation, what a column
of codes is); it numbers patients and codes and writes the rows as whole numbers. Spark takes it from there; the parts
come back through the folder of the outputs, which executors on other machines must see under the same name. Outputs are
those of DuckDB, byte for byte.

What does not hold on Spark by itself: nulls sort first unless told otherwise, there are no unsigned 64-bit numbers, and
times follow the session's zone, so that none is sent.
"""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np

from medtop.cohort.sorted_rows import BATCH_ROWS, export_rows, exported_batch, whole_patients
from medtop.cohort.spill import open_columns
from medtop.files.errors import DataError

ORDERS = {
    "stay": ("patient_index", "discharge", "admit", "stay_id", "order_1", "order_2", "order_3", "code_index"),
    "discharge_date": (
        *("patient_index", "day", "order_1", "order_2", "order_3"),
        *("discharge", "admit", "stay_id", "code_index"),
    ),
}
MICROSECONDS_A_DAY = 86_400_000_000
SUMS, ROWS = "sums.npz", "rows.parquet"


def run_spark(parts, first, connection, sorting, spilled, tally, folder):
    """Runs the first pass over all patients.

    Args:
        parts: how many partitions.
        first: `medtop.cohort.first_pass.FirstPass`; it travels to every part (some 50 bytes a patient).
        connection: DuckDB connection with the tables of `sorted_rows`.
        sorting: `medtop.cohort.sorted_rows.Sorting`.
        spilled: list of `ColumnFiles`, one a split, or None for a dry run.
        tally: `Tally` that gets the sums.
        folder: existing folder for the rows and the parts' files.

    Raises:
        DataError: without Spark or Java.
    """
    folder = Path(folder).resolve()
    with_stays = export_rows(connection, folder / ROWS, sorting.living)
    columns = spilled[0].dtypes if spilled is not None else None
    with contextlib.ExitStack() as stack:
        stack.callback((folder / ROWS).unlink, missing_ok=True)
        session = _session()
        stack.callback(session.stop)
        work = part_function(first, sorting, with_stays, columns, str(folder))
        results = _sorted(session, folder / ROWS, sorting.visit, parts).mapInArrow(work, "part int, folder string")
        for row in sorted(results.collect(), key=lambda row: row["part"]):
            _merge(Path(row["folder"]), first, spilled, tally)


def _session():
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise DataError(
            "--engine=spark: expected the package pyspark, which the extra [spark] brings; found none"
        ) from None
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH_ROWS),
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        "spark.ui.showConsoleProgress": "false",
    }
    try:
        conf = SparkConf()  # what spark-submit or spark-defaults.conf say
        if not conf.contains("spark.master"):
            settings |= {"spark.master": "local[*]", "spark.ui.enabled": "false"}
        session = SparkSession.builder.config(conf=conf).config(map=settings).appName("medtop").getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"--engine=spark: expected Spark with Java 17 or 21, received: {line}") from error
    session.sparkContext.setLogLevel("ERROR")
    if (
        session.sparkContext.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ
    ):  # else Spark takes the first python3 that it finds
        session.sparkContext.pythonExec = sys.executable
    return session


def _sorted(session, path, visit, parts):
    from pyspark.sql import functions

    rows = session.read.parquet(str(path))
    rows = rows.withColumn("day", functions.floor(functions.col("discharge") / MICROSECONDS_A_DAY))
    keys = [functions.col(name).asc_nulls_last() for name in ORDERS[visit]]
    return rows.repartitionByRange(parts, "patient_index").sortWithinPartitions(*keys)


def part_function(first, sorting, with_stays, columns, folder):
    """The function that Spark runs on the Arrow batches of a partition: it writes the part's files and names them."""

    def work(batches):
        import pyarrow
        from pyspark import TaskContext

        number = TaskContext.get().partitionId()
        rows = [exported_batch(batch, with_stays, sorting.acquired) for batch in batches if batch.num_rows]
        if not rows:
            return
        place = Path(folder) / f"part-{number:05d}-{TaskContext.get().taskAttemptId()}"
        place.mkdir()
        tally = first.new_tally()
        with contextlib.ExitStack() as stack:
            files = open_columns(stack, place, columns, keep=True) if columns is not None else None
            first.run(whole_patients(rows), files, tally, lambda what, count: None)
        np.savez(place / SUMS, **tally.arrays())
        yield pyarrow.RecordBatch.from_pydict(
            {"part": pyarrow.array([number], pyarrow.int32()), "folder": pyarrow.array([str(place)])}
        )

    return work


def _merge(place, first, spilled, tally):
    """Appends a part's files, adds its sums, and removes it."""
    own = first.new_tally()
    with np.load(place / SUMS, allow_pickle=False) as arrays:
        own.load({name: arrays[name] for name in arrays.files})
    tally.add(own)
    for files in spilled or ():
        files.append_folder(place)
    (place / SUMS).unlink()
    place.rmdir()
