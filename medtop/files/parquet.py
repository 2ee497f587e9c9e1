"""Parquet files that somebody hands us: what Arrow raises for a damaged one becomes one line that names the file."""

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq

from medtop.files.errors import DataError
from medtop.files.shown import shown_error


@contextlib.contextmanager
def reading(path):
    """Around whatever reads a Parquet file, its values included.

    Raises:
        DataError: for another content, a damaged one, or a text that is not UTF-8. What is wrong with the file system
            (`OSError` with a file's name) goes through.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected texts in UTF-8, received other bytes (byte {error.start})") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (error.filename is not None or isinstance(error, FileNotFoundError)):
            raise
        told = shown_error(error, 100)
        raise DataError(f"{path}: expected a Parquet file, received another content ({told})") from error


def open_parquet(path):
    """`pyarrow.parquet.ParquetFile`, or a DataError for what is none."""
    with reading(path):
        return pq.ParquetFile(path)


def batches(path, size, columns=None):
    """Yields record batches of at most `size` rows; a DataError where the file is damaged."""
    with reading(path):
        yield from pq.ParquetFile(path).iter_batches(size, columns=columns)
