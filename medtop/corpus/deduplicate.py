"""A whole run of de-duplication: sources -> the documents that are kept, by split, and the pairs that say why."""

import collections
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS, read_split_file
from medtop.corpus import near_copies, parts
from medtop.corpus.copies_report import manifest_of
from medtop.corpus.documents import NO_TIME, find_sources, read_batches
from medtop.corpus.parts import PartWriter, Sets, frequent, is_among, read_table
from medtop.corpus.shingles import MOST_SHINGLE, line_codes
from medtop.files import staging
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, SEED, Rule, at_least, check, compared, option
from medtop.files.sql import open_database
from medtop.notes.options import ENCODINGS

OUTPUTS = (*(f"notes.{split}.parquet" for split in SPLITS), "pairs.parquet", "manifest.json")

SCHEMA = pa.schema(
    {
        "source": pa.string(),
        "document_id": pa.string(),
        "patient_id": pa.string(),
        "admission_id": pa.string(),
        "kind": pa.string(),
        "prediction_time": pa.timestamp("s"),
        "text": pa.string(),
    }
)
"""Columns of `<prefix>.notes.<split>.parquet`; the file fits wherever texts of admissions do. Documents of no patient
have `<source>:<document_id>` as their patient, and 1970-01-01 stands for no time."""

LEAST_BOILERPLATE = 50
"""Documents that a shingle or a line must stand in to be boilerplate, however small the corpus."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupSettings:
    """What is read, and what counts as a copy."""

    input: tuple = option(
        REQUIRED,
        "Sources: name=path or path, a comma list; .csv(.gz) like NOTEEVENTS, .parquet, .jsonl, folders of .txt.",
    )
    encoding: str = option("utf-8", "Encoding of the .csv files.", choices=ENCODINGS)
    near: float = option(
        0.8, "Jaccard similarity from which a text is a copy.", rule=Rule("above 0, at most 1", lambda v: 0 < v <= 1)
    )
    shingle: int = option(
        5, "Words of a shingle.", rule=Rule(f"1 to {MOST_SHINGLE}", lambda value: 1 <= value <= MOST_SHINGLE)
    )
    keep: str = option("first", "Which of several copies stays.", choices=("first", "longest", "newest"))
    splits: str | None = option(
        None, "patient_id,split: of two copies the one of the test, then of the validation split stays."
    )
    unlisted_patients: str = option("refuse", "Patients who are not in the split file.", choices=("refuse", "use"))
    boilerplate: float = option(
        0.05,
        f"Shingles in more than this share of the documents (exact copies aside, and in {LEAST_BOILERPLATE}) weigh "
        "nothing; 1: all weigh.",
        rule=Rule("a share above 0", lambda value: 0 < value <= 1),
    )
    boilerplate_lines: float = option(
        1.0,
        "Lines in more than this share of the documents are removed from the texts; 1: none.",
        rule=Rule("a share above 0", lambda value: 0 < value <= 1),
    )
    largest_cluster: int = option(
        1000, "Near copies that one text may displace; further ones stay, and are counted.", rule=at_least(1)
    )
    seed: int = option(0, "Seed of the hash functions.", rule=SEED)
    memory_limit: str = option("1GB", "Memory of the database; beyond it, it uses the disk.", compared=False)
    threads: int = option(0, "Threads of the database, 0 = one a core.", rule=at_least(0), compared=False)


def deduplicate(settings, prefix, overwrite=False, progress=None):
    """Sources -> `<prefix>.notes.{train,valid,test}.parquet`, `.pairs.parquet`, `.manifest.json`.

    A killed run goes on: what it had read stands in a hidden folder beside the outputs until the run is done.

    Args:
        settings: `DedupSettings`.
        prefix: beginning of the outputs' names, with their folder.
        overwrite: replace outputs of other settings or other input.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `medtop.files.staging.Outcome`.

    Raises:
        DataError: for bad input or outputs of another run.
    """
    check(settings)
    sources = find_sources(settings.input)
    plain = {
        **compared(settings),
        "input": [f"{source.name}={path.resolve()}" for source in sources for path in source.files],
        "splits": settings.splits and str(Path(settings.splits).resolve()),
    }
    files = [path for source in sources for path in source.files] + ([settings.splits] if settings.splits else [])

    def make(folder, write):
        inputs = {str(Path(file).resolve()): staging.fingerprint(file) for file in files}
        work = _work_folder(prefix, plain, inputs)
        try:
            manifest = _Run(settings, sources, work, folder, progress or (lambda *_: None)).run()
        except DataError:  # the same input would end here again
            shutil.rmtree(work)
            raise
        if inputs != {str(Path(file).resolve()): staging.fingerprint(file) for file in files}:
            raise DataError(
                "--input: expected files that stay as they are, received one that changed while it was read"
            )
        shutil.rmtree(work)
        return {"settings": plain, "inputs": inputs, **manifest}

    return staging.run_once(prefix, plain, OUTPUTS, make, overwrite=overwrite)


def _work_folder(prefix, plain, inputs):
    """A folder for the parts that outlives a killed run; one of other settings or another input is emptied."""
    prefix = Path(prefix)
    folder = prefix.parent / f".{prefix.name}.parts"
    about = {"settings": {name: plain[name] for name in _PARTS_DEPEND_ON}, "inputs": inputs}
    about["part"] = parts.PART_DOCUMENTS
    name = folder / "about.json"
    if folder.exists() and (not name.is_file() or json.loads(name.read_text(encoding="utf-8")) != about):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(name, about)
    return folder


_PARTS_DEPEND_ON = ("input", "encoding", "shingle", "splits", "unlisted_patients", "boilerplate_lines")


class SplitOf:
    """The split of each document.

    Args:
        splits: path of the split file or None: as the file's name says, else training.
        unlisted: "refuse" or "use" (as training).
    """

    def __init__(self, splits, unlisted):
        self.path, self.unlisted = splits, unlisted
        self.known = read_split_file(splits) if splits else None

    def __call__(self, document):
        """str.

        Raises:
            DataError: for a patient who is not in the split file.
        """
        if self.known is None or not document.patient_id:
            return document.split or "train"
        split = self.known.get(document.patient_id)
        if split is None and self.unlisted == "refuse":
            raise DataError(
                f"{document.source}: expected notes of the patients in {self.path}, "
                "received one of a patient who is not in that file (--unlisted_patients=use takes those for training)"
            )
        return split or "train"


class _Run:
    def __init__(self, settings, sources, work, folder, progress):
        self.settings, self.sources, self.work, self.folder, self.progress = settings, sources, work, folder, progress
        self.split_of = SplitOf(settings.splits, settings.unlisted_patients)

    def run(self):
        """The manifest, without `settings` and `inputs`."""
        settings = self.settings
        with open_database(self.folder, settings.memory_limit, settings.threads):
            pass  # a wrong limit is refused before hours of reading
        left_out, reused = self._store()
        table = read_table(self.work)
        sets = Sets(self.work, table.sizes)
        order = near_copies.order_of(table, settings.keep)
        exact = near_copies.exact_copies(table, order)
        alone = np.ones(len(table), bool)
        alone[exact[0]] = False
        boilerplate = frequent(sets, settings.boilerplate, LEAST_BOILERPLATE, alone)
        self.progress("frequent shingles", len(boilerplate))
        copies = near_copies.near_copies(table, sets, boilerplate, order, exact, settings, self.folder)
        self.progress("copies", len(copies.dropped))
        lines = np.zeros(0, np.uint64)
        if settings.boilerplate_lines < 1:
            lines = frequent(
                Sets(self.work, table.line_sizes, ".lines"), settings.boilerplate_lines, LEAST_BOILERPLATE, alone
            )
        kept = np.ones(len(table), bool)
        kept[copies.dropped] = False
        removed = self._write(kept, lines)
        self._write_pairs(copies, table)
        return manifest_of(settings, table, copies, left_out, reused, len(boilerplate), len(lines), removed)

    def _store(self):
        """Makes the parts; (dict source -> dict reason -> documents left out, parts of an earlier run)."""
        writer, left_out = PartWriter(self.work, self.settings.shingle, self.settings.boilerplate_lines < 1), {}
        for source in self.sources:
            before, dropped = writer.documents + len(writer.rows), collections.Counter()
            for batch in read_batches(source, dropped, self.settings.encoding):
                writer.add(batch, [self.split_of(document) for document in batch])
                self.progress("documents read", writer.documents + len(writer.rows))
            left_out[source.name] = dict(sorted(dropped.items()))
            if writer.documents + len(writer.rows) == before:
                reasons = ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()) or "no rows"
                raise DataError(f"{source.files[0]}: expected documents ({source.name}), received none ({reasons})")
        writer.close()
        return left_out, writer.reused

    def _write(self, kept, lines):
        """Writes the documents that are kept, split by split; lines removed."""
        writers, place, removed = {}, 0, 0
        try:
            for source in self.sources:
                for batch in read_batches(source, collections.Counter(), self.settings.encoding):
                    rows = collections.defaultdict(list)
                    for document in batch:
                        if kept[place]:
                            text, number = without_lines(document.text, lines)
                            removed += number
                            rows[self.split_of(document)].append(dataclasses.replace(document, text=text))
                        place += 1
                    for split, documents in rows.items():
                        if split not in writers:
                            name = staging.made_path(self.folder, f"notes.{split}.parquet")
                            writers[split] = pq.ParquetWriter(name, SCHEMA, compression="zstd")
                        writers[split].write_table(to_arrow(documents), row_group_size=4096)
                    self.progress("documents written", place)
        finally:
            for writer in writers.values():
                writer.close()
        return removed

    def _write_pairs(self, copies, table):
        """A row for each document that went: itself, the one that is kept, and how similar they are."""
        names = pa.concat_tables(
            pq.read_table(path, columns=["source", "kind", "document_id"])
            for path in sorted(self.work.glob("*.parquet"))
        )
        order = np.argsort(copies.dropped, kind="stable")
        columns = {}
        for what, places in (("dropped", copies.dropped[order]), ("kept", copies.kept[order])):
            taken = names.take(pa.array(places))
            columns |= {f"{what}_{name}": taken[name] for name in ("source", "document_id")}
            columns[f"{what}_split"] = [SPLITS[place] for place in table.splits[places].tolist()]
            columns["kind"] = taken["kind"] if what == "dropped" else columns["kind"]
        columns["similarity"] = copies.similarities[order]
        columns["match"] = np.where(copies.exact[order], "exact", "near").tolist()
        pq.write_table(pa.table(columns), staging.made_path(self.folder, "pairs.parquet"))


def without_lines(text, lines):
    """(the text without the lines whose normal form is among sorted `lines`, how many these were)."""
    if not len(lines):
        return text, 0
    parts, codes = line_codes(text)
    gone = is_among(codes, lines)
    return "".join(part for part, drop in zip(parts, gone.tolist(), strict=True) if not drop), int(gone.sum())


def to_arrow(documents):
    """A table of `SCHEMA` of a list of `Document`s."""
    times = [0 if document.time == NO_TIME else document.time for document in documents]
    patients = [document.patient_id or f"{document.source}:{document.document_id}" for document in documents]
    admissions = [document.admission_id or document.document_id for document in documents]
    rows = {
        "source": [document.source for document in documents],
        "document_id": [document.document_id for document in documents],
        "patient_id": patients,
        "admission_id": admissions,
        "kind": [document.kind for document in documents],
        "prediction_time": pa.array(times, pa.int64()).cast(pa.timestamp("s")),
        "text": [document.text for document in documents],
    }
    return pa.table(rows, schema=SCHEMA)
