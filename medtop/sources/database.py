"""A query's result instead of a file: `<data_File>=adbc:postgresql://user@host/database` with `--query_file=`.

The query makes a stays table (`preprocessing/print_stays_sql.py` prints such a one); it is run in a transaction that
may only read, its result streams through ADBC, batch by batch, into a Parquet file beside the outputs that lives as
long as the run, and the source `columns` reads that with all its rules. Nothing that is kept, shown or raised holds a
password.
"""

import contextlib
import csv
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError

SCHEME = "adbc:"
SOURCE = "columns"
MOST_LETTERS = 1 << 20
"""Of a query."""
_HOST = r"(?:\[[0-9A-Fa-f:.]*\]|[^@/?#:,\[\]]*)(?::\d+)?"
_ADDRESS = re.compile(
    rf"(postgres|postgresql)://(?:([^:@/?#]*)(?::[^@/?#]*)?@)?({_HOST}(?:,{_HOST})*(?:/[^@?#]*)?)(?:\?[^@]*)?"
)
"""What is no such address shows nothing of itself: any part of it may be a password."""
_SECRET = ("password", "sslpassword", "passfile", "sslkey")


def is_database(data_file):
    """Whether `<data_File>` means a database."""
    return str(data_file).startswith(SCHEME)


def shown_address(data_file):
    """The address without password and parameters, for messages, settings and manifests.

    >>> shown_address("adbc:postgresql://anna:se:cret@db.example:5433/cohort?password=x&sslmode=require")
    'adbc:postgresql://anna@db.example:5433/cohort'
    """
    match = _ADDRESS.fullmatch(str(data_file).removeprefix(SCHEME))
    if not match:
        return f"{SCHEME}postgresql://..."
    system, user, place = match.groups()
    return f"{SCHEME}{system}://{f'{user}@' if user else ''}{place}"


def check_flags(data_file, query_file, source):
    """Refuses an address without a query, a query without an address, and other systems and sources.

    Raises:
        DataError.
    """
    if not is_database(data_file):
        if query_file:
            raise DataError("--query_file has no effect unless <data_File> is a database (adbc:postgresql://...)")
        return
    shown = shown_address(data_file)
    if not _ADDRESS.fullmatch(str(data_file).removeprefix(SCHEME)):
        raise DataError(
            "<data_File>: expected adbc:postgresql://user@host/database (@, /, ? and # of a password as %40, %2F, %3F, "
            "%23), received another address"
        )
    if not query_file:
        raise DataError(f"{shown}: expected --query_file with the query that makes the stays table, received none")
    if source not in (None, SOURCE):
        raise DataError(f"{shown}: expected --source={SOURCE}, which reads what a query gives, received {source}")


def fetch(data_file, query_file, path, progress=None):
    """Writes a query's result as Parquet; memory holds a batch of rows.

    Args:
        data_file: address.
        query_file: text file with one SELECT.
        path: Parquet file to make, in a folder of our own.
        progress: None, or a function called with ("rows fetched", rows so far).

    Returns:
        int, rows.

    Raises:
        DataError: without the driver, for a file that holds no query, a database that cannot be reached or refuses the
            query, and a result without columns or rows.
    """
    query, shown = _query(query_file), shown_address(data_file)
    try:
        import adbc_driver_postgresql.dbapi as driver
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{shown}: expected the packages of the extra [database] (adbc-driver-postgresql)") from None
    rows = 0
    try:
        with driver.connect(str(data_file).removeprefix(SCHEME)) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query)
            batches = cursor.fetch_record_batch()
            schema = _plain_schema(batches.schema)
            if not schema.names:
                raise DataError(
                    f"{query_file}: expected a query that gives a stays table, received one without columns"
                )
            path.touch(mode=0o600)
            with pyarrow.parquet.ParquetWriter(path, schema) as writer:
                for batch in batches:
                    writer.write_batch(_plain(batch, schema))
                    rows += batch.num_rows
                    if progress:
                        progress("rows fetched", rows)
    except driver.Error as error:
        raise DataError(f"{query_file}: expected a result of {shown}, received: {_safe(error, data_file)}") from None
    except pyarrow.ArrowException as error:  # what comes while the result streams
        raise DataError(f"{query_file}: expected a result of {shown}, received: {_safe(error, data_file)}") from None
    if not rows:
        raise DataError(f"{query_file}: expected rows of {shown}, received none")
    return rows


def _query(query_file):
    path = Path(query_file)
    if not path.is_file():
        raise DataError(f"{query_file}: expected a file with a query, found no such file")
    if path.stat().st_size > MOST_LETTERS:
        raise DataError(f"{query_file}: expected a query of at most {MOST_LETTERS:,} bytes")
    try:
        query = path.read_bytes().decode("utf-8-sig").strip().rstrip(";").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{query_file}: expected a query in UTF-8; byte {error.start} is not") from None
    plain = re.sub(r"--[^\n]*|/\*.*?\*/", "", query, flags=re.DOTALL).strip()
    if not re.match(r"(?i)(select|with|table|values)\b|\(", plain):
        raise DataError(
            f"{query_file}: expected one SELECT, received {'nothing' if not plain else 'another statement'}"
        )
    return f"{query}\n"  # the driver puts it in brackets: a comment may end it


def _plain_schema(schema):
    """The schema with the database's own types as what they are stored as (a NUMERIC comes as text)."""
    import pyarrow

    fields = [field.with_type(getattr(field.type, "storage_type", field.type)) for field in schema]
    return pyarrow.schema([field.remove_metadata() for field in fields])


def _plain(batch, schema):
    import pyarrow

    columns = [getattr(column, "storage", column) for column in batch.columns]
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _safe(error, data_file):
    """A driver's message in one line, without address, secrets, quoted values (which may be cells) and detail."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(line for line in lines if not line.startswith(("DETAIL", "CONTEXT", "LINE", "QUERY", "^")))
    text = text.partition(" Query was:")[0]
    for secret in _secrets(data_file):
        text = text.replace(secret, "...")
    text = re.sub(r"\S+://\S+", "...", text)
    text = re.sub(r"'[^']*'", "'...'", text)
    if not re.search("SQLSTATE: (28|3D|42)", text):  # those name users, databases, tables and columns; others may cells
        text = re.sub(r'"[^"]*"', '"..."', text)
    return text[:300]


def _secrets(data_file):
    """Every text of the address that may be a password, longest first; as it is written and as it is meant."""
    address = str(data_file).removeprefix(SCHEME)
    login, _, _ = address.partition("://")[2].partition("?")[0].rpartition("@")
    secrets = [address, login.partition(":")[2]]
    pairs = (pair.partition("=") for pair in urlsplit(address).query.split("&"))
    secrets += [value for name, _, value in pairs if unquote(name).lower() in _SECRET]
    return sorted({text for value in secrets for text in (value, unquote(value)) if text}, key=len, reverse=True)


@contextlib.contextmanager
def fetched(data_file, query_file, folder, progress=None):
    """Yields (what `load_stays` reads, function that names it rightly in a report): the query's result, or the files
    that `data_file` means.

    Args:
        data_file, query_file: as given.
        folder: existing folder of our own; the result lies there for as long as the context lasts.
        progress: see `fetch`.

    Raises:
        DataError: see `fetch`; those that name the result name the query instead.
    """
    if not is_database(data_file):
        yield data_file, lambda report, rejects: None
        return
    path = folder / "query_result.parquet"
    rows = fetch(data_file, query_file, path, progress)

    def rename(report, rejects):
        report.files = [str(query_file)]
        report.notes.append(
            f"Read from {shown_address(data_file)}: {rows:,} rows of the query in {Path(query_file).name}. Whether the "
            "database has changed since is not known: --overwrite reads it again."
        )
        if rejects is not None and rejects.is_file():
            _rename_rejects(rejects, str(path), str(query_file))

    try:
        yield str(path), rename
    except DataError as error:
        raise DataError(str(error).replace(str(path), str(query_file))) from None
    finally:
        path.unlink(missing_ok=True)


def _rename_rejects(rejects, path, name):
    with (
        atomic_path(rejects) as temporary,
        open(rejects, encoding="utf-8", newline="") as old,
        open(temporary, "w", encoding="utf-8", newline="") as new,
    ):
        writer = csv.writer(new, lineterminator="\n")
        writer.writerows([name if row[0] == path else row[0], *row[1:]] for row in csv.reader(old))
