"""A whole preprocessing run: earlier outputs, source, cohort, manifest, files under their names."""

import contextlib
import dataclasses
from pathlib import Path

from medtop.cohort import manifest as manifests
from medtop.cohort.build import build_cohort
from medtop.cohort.date_shift import key_of, shift_stays
from medtop.cohort.endpoints import SHIPPED
from medtop.cohort.medbert_layout import build_medbert
from medtop.cohort.meds_labels import label_files
from medtop.cohort.splits import SPLITS
from medtop.cohort.vocabulary_map import path_beside
from medtop.files import staging
from medtop.files.options import at_least, compared, option
from medtop.files.sql import open_database
from medtop.files.temporary import temporary_folder
from medtop.sources import load_stays, parse_columns
from medtop.sources.database import SOURCE, check_flags, fetched, is_database, shown_address
from medtop.sources.rules import Rules
from medtop.sources.text_files import expand_paths

OUTPUTS = (
    *(f"{kind}.{split}" for kind in ("bencs", "ptencs") for split in SPLITS),
    "types",
    "vocab.txt",
    "code_map.json",
    "splits.csv",
    "follow_up.csv",
    "rejects.csv",
    "manifest.json",
)
"""Everything that may stand under a prefix; the manifest comes last."""
SHIFTED = (
    "dates were moved by each patient's own secret number of days; dates of the whole table are as they were before"
)
ON_DISK_BYTES = 1 << 30
"""Input from this size on keeps its tables in a compressed database file rather than in memory."""
ONE_THREAD_BYTES = 1 << 28
"""Below this size one thread is as soon done as several, which would mostly wait for each other."""


@dataclasses.dataclass(frozen=True)
class CohortInput:
    """What is read, and how."""

    data_file: str  # file, folder, glob or comma list; not a flag
    source: str | None = option(
        None, "Layout of <data_File>, such as medbert_tsv, mimic, synpuf, columns; else recognised."
    )
    # dict standard name -> header
    columns: dict | None = option(
        None,
        "Any CSV or Parquet: patient_id=MRN,admit=ADM_DT,discharge=DIS_DT,code=DX,...",
        parse=lambda text: parse_columns(text) if text else None,
    )
    query_file: str | None = option(
        None, "With <data_File>=adbc:postgresql://user@host/database: file with the query that makes the stays table."
    )
    strict: bool = option(False, "Stop at the first bad row instead of listing it in .rejects.csv.", compared=False)
    memory_limit: str = option(
        "2GB", "Memory of the database; beyond it, it uses the disk beside the outputs.", compared=False
    )
    threads: int = option(
        0, "Threads of the database, 0 = one for small input, else one a core.", rule=at_least(0), compared=False
    )
    shift_dates: bool = option(
        False,
        "Move all dates of a patient by the secret number of days of --key_file, as deidentify_notes.py does.",
        compared=False,
    )
    key_file: str = option("", "With --shift_dates: the key of deidentify_notes.py, mode 0600.", compared=False)
    rules: Rules = dataclasses.field(default_factory=Rules, metadata={"compared": False})  # flags of their own


def settings_of(source, options):
    """The flags that determine the outputs, as plain values; files by their full path."""

    def full(path):
        return str(Path(path).resolve()) if path and Path(path).exists() else path

    def shown_file(path):
        return shown_address(path) if is_database(path) else full(path)

    settings = {**compared(source), **source.rules.settings, **compared(options)}
    settings |= {"data_file": shown_file(source.data_file), "query_file": full(source.query_file)}
    if source.query_file is None:  # named only where it is used, as below
        del settings["query_file"]
    settings |= {name: list(settings[name]) for name in ("tasks", "horizons", "test_sites", "valid_sites")}
    settings |= {name: full(settings[name]) for name in ("subject_ids", "vocabulary", "code_table", "sites")}
    if options.prediction_times:
        settings["prediction_times"] = ",".join(map(full, options.prediction_times.split(",")))
    if source.shift_dates:  # named only where it is used: runs of before stay the same runs
        settings["shift_dates"] = key_of(source).digest("fingerprint").hex()[:16]
    settings["splits"] = options.splits if options.splits in SPLITS else full(options.splits)
    settings |= {
        name: full(settings[name]) if Path(settings[name]).suffix else settings[name]
        for name in ("endpoints", "code_map")
    }
    return settings


def preprocess(source, options, prefix, overwrite=False, dry_run=False, progress=None):
    """Raw table -> `<prefix>.bencs.*`, `.types`, `.vocab.txt`, `.splits.csv`, `.manifest.json` and, if rows were bad,
    `.rejects.csv`; for Med-BERT's layout `.ptencs.*` too. All appear when everything is done, the manifest last.

    Args:
        source: `CohortInput`.
        options: `Options`.
        prefix: beginning of the outputs' names, with their folder.
        overwrite: replace outputs of other flags, another input, or unknown origin.
        dry_run: write nothing.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `medtop.files.staging.Outcome`.

    Raises:
        DataError: for bad input, options that do not fit, or outputs of another run.
    """
    key_of(source, [Path(prefix).parent])
    check_flags(source.data_file, source.query_file, source.source)
    settings = settings_of(source, options)

    def make(folder, write):
        manifest = _run(source, options, settings, folder, write, progress)
        return manifest | {"inputs": _inputs(manifest["source"]["files"], options)}

    return staging.run_once(prefix, settings, OUTPUTS, make, overwrite=overwrite, dry_run=dry_run)


def _run(source, options, settings, folder, write, progress):
    with contextlib.ExitStack() as stack:
        data_file, rename = stack.enter_context(fetched(source.data_file, source.query_file, folder, progress))
        connection = stack.enter_context(_database(source, data_file, folder))
        rejects = folder / "out.rejects.csv" if write else None
        report = load_stays(
            connection,
            data_file,
            source=SOURCE if is_database(source.data_file) else source.source,
            columns=source.columns,
            strict=source.strict,
            rejects_path=rejects,
            rules=_rules(source.rules, options),
        )
        rename(report, rejects)
        if progress:
            progress("rows read", report.rows_in)
        if (key := key_of(source)) is not None:
            report.counts.update(shift_stays(connection, key))
            report.notes.append(SHIFTED)
        if options.layout == "medbert":
            result = build_medbert(
                connection, folder, options.vocabulary, options.subset_size, options.seed, write, progress
            )
            return manifests.medbert_manifest(report, result, settings)
        cohort = build_cohort(connection, report, options, folder, write, progress)
        return manifests.default_manifest(report, cohort, options, settings)


def check_input(source, options):
    """The data report of an input, before anything is built of it; see `medtop.sources.data_report`.

    Args:
        source: `Input`.
        options: `Options`; its layout decides on the codes, its `code_table` is what they are held against.

    Returns:
        dict.
    """
    from medtop.sources.data_report import check_data  # not needed by a run

    check_flags(source.data_file, source.query_file, source.source)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        data_file, _ = stack.enter_context(fetched(source.data_file, source.query_file, folder))
        connection = stack.enter_context(_database(source, data_file, folder))
        name, rules = SOURCE if is_database(source.data_file) else source.source, _rules(source.rules, options)
        report = check_data(connection, data_file, name, source.columns, rules, options.code_table)
    if is_database(source.data_file):
        report["files"] = [source.query_file]
        report["columns"] = [profile | {"file": source.query_file} for profile in report["columns"]]
    return report


def _database(source, data_file, folder):
    """A connection of the size that the input asks for."""
    size = _size(data_file)
    threads = source.threads or int(size < ONE_THREAD_BYTES)  # 0: DuckDB's own choice, one a core
    return open_database(folder, source.memory_limit, threads, size >= ON_DISK_BYTES)


def _rules(rules, options):
    """The rules; codes stay verbatim for Med-BERT's layout, unless the user says otherwise."""
    if options.layout == "medbert" and rules.code_system is None:
        return dataclasses.replace(rules, code_system="verbatim")
    return rules


def _size(data_file):
    """Bytes of the input as plain text, roughly: gzip packs such tables to a sixth or less."""
    path = Path(data_file)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else expand_paths(data_file)
    return sum(file.stat().st_size * (6 if file.suffix.lower() == ".gz" else 1) for file in files)


def _inputs(data_files, options):
    """Fingerprints of everything that was read: large data by size and time of change, small tables by content."""
    endpoints = [] if (SHIPPED / f"{options.endpoints}.json").is_file() else [options.endpoints]
    code_map = [] if options.code_map in ("none", "first3") else [options.code_map]
    splits = [] if options.splits in SPLITS else [options.splits]
    times = label_files(options.prediction_times) if options.prediction_times else []
    small = [
        *times,
        options.subject_ids,
        *splits,
        options.sites,
        options.vocabulary,
        options.vocabulary and path_beside(options.vocabulary),
        options.code_table,
        *endpoints,
        *code_map,
    ]
    entries = {str(Path(file).resolve()): staging.fingerprint(file) for file in data_files}
    return entries | {
        str(Path(file).resolve()): staging.fingerprint(file, by_content=True)
        for file in small
        if file and Path(file).is_file()
    }
