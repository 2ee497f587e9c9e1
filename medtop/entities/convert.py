"""Entities from one format to tables or to another format, each document once, nothing lost without a count."""

import collections
import contextlib
import csv
import dataclasses
from pathlib import Path

import medtop
from medtop.cohort.splits import SPLITS
from medtop.entities import grouping
from medtop.entities.documents import Tally
from medtop.entities.formats import FORMATS, find_format
from medtop.entities.reading import input_files
from medtop.entities.spans import RULES, reduce_fragments
from medtop.entities.tables import TableWriter, read_tables, splits_of, table_paths
from medtop.files import staging
from medtop.files.atomic import atomic_path, write_json
from medtop.files.errors import DataError
from medtop.files.folders import has_json_key, whole_folder
from medtop.files.options import REQUIRED, at_least, option

TABLES = "parquet"
OUTPUTS = (
    *(f"{kind}.{split}.parquet" for split in SPLITS for kind in ("documents", "spans")),
    "splits.csv",
    "rejects.csv",
    "manifest.json",
)
SPLIT_NAMES = {"train": "train", "valid": "valid", "dev": "valid", "devel": "valid", "test": "test"}
CONVERSION = "conversion.json"


def parse_inputs(text):
    """`train=a.txt,test=b.txt` or `folder` -> tuple of (split or None, path).

    Raises:
        DataError: for a mixture of the two.
    """
    inputs = []
    for word in filter(None, text.split(",")):
        name, equals, path = word.partition("=")
        inputs.append((SPLIT_NAMES[name], path) if equals and name in SPLIT_NAMES else (None, word))
    if not inputs or len({split is None for split, _ in inputs}) > 1:
        raise DataError(f"--input: expected FILE,... or train=FILE,valid=FILE,test=FILE, received {text!r}")
    return tuple(inputs)


def parse_types(text):
    """`Disease,Modifier=Disease` -> dict type -> name; None for an empty text.

    >>> parse_types("Disease,Modifier=Disease")
    {'Disease': 'Disease', 'Modifier': 'Disease'}
    """
    pairs = [word.partition("=") for word in filter(None, (text or "").split(","))]
    return {name: new or name for name, _, new in pairs} or None


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """What is read and what is made of it."""

    # of (split or None, path); for tables the path is a prefix
    inputs: tuple = option(
        REQUIRED,
        "File, folder or comma list; or train=...,valid=...,test=... for given splits.",
        parse=lambda texts: parse_inputs(",".join(texts)),
        flag="input",
    )
    source: str = option(
        REQUIRED, "Format of the input; parquet: --input is a prefix.", choices=(*FORMATS, TABLES), flag="from"
    )
    target: str = option(TABLES, "What is written.", choices=(*FORMATS, TABLES), flag="to")
    splits: str | None = option(
        None,
        "File document_id,split or patient_id,split, or the name of one split for all; default 7:1:2 by a seeded "
        "hash, documents of one patient, one text or one group together.",
    )
    documents: str | None = option(None, "CSV document_id,patient_id[,other columns]: whose the documents are.")
    groups: tuple = option((), "Columns of --documents or of JSONL whose equal values stay in one split.")
    # dict type -> new name of the types that are used
    types: dict | None = option(
        None,
        "Types to use, NAME or NAME=NEW_NAME; others go to the rejects. Default all.",
        parse=parse_types,
    )
    fragments: str | None = option(None, "Make one piece of spans in fragments. Default: as they are.", choices=RULES)
    seed: int = option(0, "Seed of the split.", rule=at_least(0))
    strict: bool = option(False, "Stop at the first thing that would go to the rejects.")


def convert(options, prefix, overwrite=False):
    """Reads, checks, splits and writes.

    Args:
        options: `ConvertOptions`.
        prefix: beginning of the tables' names, or the folder of another format's files.
        overwrite: replace earlier outputs.

    Returns:
        (manifest, whether the same run had been done before).

    Raises:
        DataError: for bad input or outputs of another run.
    """
    if options.target == TABLES:
        return _convert_to_tables(options, prefix, overwrite)
    return _convert_to_folder(options, prefix, overwrite), False


def read_documents(options, tally):
    """Yields the `Document`s of the inputs, each once, with types, fragments and columns as the options say.

    Of documents with one id the first stays; an equal second one is counted, another goes to the rejects.
    """
    columns = grouping.read_document_columns(options.documents) if options.documents else {}
    seen = {}
    for split, name, document in _each(options, tally):
        tally.count("documents_in")
        document.split = split
        spans = hash(tuple((span.type, span.fragments) for span in document.spans))
        content = (document.sha256, spans, split)
        if document.document_id in seen:
            if seen[document.document_id] == content:
                tally.count("documents_merged")
                tally.count("spans_of_repeated_documents", len(document.spans))
            else:
                tally.reject(name, "", "document", "a second document with this id", "documents")
            continue
        seen[document.document_id] = content
        more = dict(columns.get(document.document_id, {}))
        document.patient_id = more.pop("patient_id", "") or document.patient_id
        document.columns |= more
        tally.count("documents_without_a_row_in_the_documents_file", bool(columns) and not more)
        _change_spans(document, options, name, tally)
        yield document


def _each(options, tally):
    """Yields (split, file, `Document`) in the order of the inputs."""
    for split, path in options.inputs:
        if options.source == TABLES:
            for each in splits_of(path):
                for document in read_tables(path, each, tally):
                    yield split or each, table_paths(path, each)[0], document
        else:
            source = find_format(options.source)
            files = input_files(path, source.suffixes)
            for document in source.read(files, tally):
                yield split, files.path(document.source), document


def _change_spans(document, options, name, tally):
    spans = []
    for span in document.spans:
        if options.types is not None and span.type not in options.types:
            tally.reject(name, "", f"span {span.span_id}", "a type that --types does not name")
            continue
        if options.types is not None:
            span = dataclasses.replace(span, type=options.types[span.type])
        if options.fragments and (span := reduce_fragments(span, options.fragments, tally)) is None:
            continue
        spans.append(span)
    document.spans = spans


def _convert_to_folder(options, folder, overwrite):
    target, tally = find_format(options.target), Tally(options.strict)
    with whole_folder(folder, has_json_key(CONVERSION, "format"), overwrite) as work:
        counter, present = _Counter(), []
        if any(split for split, _ in options.inputs) or options.source == TABLES:
            wanted = {split for split, _ in options.inputs if split}
            for path in (path for _, path in options.inputs if options.source == TABLES):
                wanted |= set(splits_of(path))
            present = [split for split in SPLITS if split in wanted]
        for split in present or [None]:
            documents = read_documents(options, tally if split == (present or [None])[0] else Tally())
            chosen = (document for document in documents if document.split == split)
            target.write(work / split if split else work, counter.watch(chosen), tally)
            counter.take_back(split or "all", tally)
        if not counter.documents.total():
            raise _nothing_left(options, tally)
        manifest = _manifest(options, tally, counter)
        _write_rejects(work / "rejects.csv", tally)
        write_json(work / CONVERSION, manifest)
    return manifest


class _Counter:
    """Counts documents and spans by split and type while they pass."""

    def __init__(self):
        self.documents, self.spans = collections.Counter(), collections.defaultdict(collections.Counter)

    def take_back(self, split, tally):
        """Takes off what the format had no place for."""
        self.documents[split] -= tally.unwritten_documents
        self.spans[split] -= tally.unwritten
        tally.unwritten.clear()
        tally.unwritten_documents = 0

    def watch(self, documents):
        for document in documents:
            split = document.split or "all"
            self.documents[split] += 1
            self.spans[split].update(span.type for span in document.spans)
            yield document


def _settings(options):
    settings = dataclasses.asdict(options)
    settings["inputs"] = [[split, str(Path(path).resolve())] for split, path in options.inputs]
    for name in ("splits", "documents"):
        if settings[name] and settings[name] not in SPLITS:
            settings[name] = str(Path(settings[name]).resolve())
    settings["groups"] = list(options.groups)
    return settings


def _convert_to_tables(options, prefix, overwrite):
    settings = _settings(options)

    def make(work, _):
        tally, counter = Tally(options.strict), _Counter()
        chosen = _choose_splits(options, tally)
        _write_tables(options, chosen, counter, work)
        _write_splits(staging.made_path(work, "splits.csv"), chosen)
        _write_rejects(staging.made_path(work, "rejects.csv"), tally)
        inputs = {str(path.resolve()): staging.fingerprint(path) for path in _input_paths(options)}
        return _manifest(options, tally, counter) | {"settings": settings, "inputs": inputs}

    return staging.run_once(prefix, settings, OUTPUTS, make, overwrite=overwrite)


def _input_paths(options):
    for _, path in options.inputs:
        if options.source == TABLES:
            for split in splits_of(path):
                yield from table_paths(path, split)
        else:
            files = input_files(path, find_format(options.source).suffixes)
            yield from map(files.path, files.names)
    yield from (Path(name) for name in (options.splits, options.documents) if name and name not in SPLITS)


def _nothing_left(options, tally):
    """What to raise where no document can be used: the commonest reasons, without names of files."""
    reasons = "; ".join(f"{reason} ({count:,} times)" for reason, count in tally.reasons.most_common(3))
    found = f"found none that can be used{': ' * bool(reasons)}{reasons}"
    return DataError(f"{options.inputs[0][1]}: expected documents, {found}")


def _choose_splits(options, tally):
    """dict document id -> (patient id, split or None); None where a split file does not name it."""
    groups, patients, own, group_of_name = grouping.Groups(), {}, {}, {}
    known_columns = set()
    for document in read_documents(options, tally):
        groups.add(document.document_id, grouping.keys_of(document, options.groups))
        patients[document.document_id] = document.patient_id
        own[document.document_id] = document.split
        known_columns |= document.columns.keys()
        group_of_name[document.document_id] = document.document_id
    if not patients:
        raise _nothing_left(options, tally)
    for column in options.groups:
        if column not in known_columns:
            raise DataError(f"--groups: expected a column of the documents ({', '.join(sorted(known_columns))}), "
                            f"received {column!r}")  # fmt: skip
    if options.splits in SPLITS:
        splits = dict.fromkeys(patients, options.splits)
    elif options.splits:
        column, given = grouping.read_split_table(options.splits)
        keys = patients if column == "patient_id" else {name: name for name in patients}
        splits = {name: given.get(keys[name]) for name in patients}
        for name in [name for name, split in splits.items() if split is None]:
            tally.reject(name, "", "document", "not in the file of splits", "documents")
    elif any(own.values()):
        splits = own
    else:
        splits = grouping.choose(groups, patients, options.seed)
    _count_shared(groups, splits, tally)
    return {name: (patients[name], splits[name]) for name in patients}


def _count_shared(groups, splits, tally):
    """Counts documents that share a patient, a text or a group with a document of another split."""
    held = collections.defaultdict(set)
    for name, split in splits.items():
        if split:
            held[groups.of(name)].add(split)
    tally.count(
        "documents_that_share_a_patient_text_or_group_with_another_split",
        sum(1 for name, split in splits.items() if split and len(held[groups.of(name)]) > 1),
    )


def _write_tables(options, chosen, counter, work):
    with contextlib.ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            paths = [staging.made_path(work, f"{kind}.{split}.parquet") for kind in ("documents", "spans")]
            writers[split] = stack.enter_context(TableWriter(*paths))

        def placed():
            for document in read_documents(options, Tally()):
                document.split = chosen[document.document_id][1]
                if document.split:
                    yield document

        for document in counter.watch(placed()):
            writers[document.split].add(document)


def _write_splits(path, chosen):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["document_id", "patient_id", "split"])
        writer.writerows([name, patient, split] for name, (patient, split) in sorted(chosen.items()) if split)


def _write_rejects(path, tally):
    if tally.rejects:
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "line", "column", "reason"])
            writer.writerows(tally.rejects)


def _manifest(options, tally, counter):
    counts = dict(sorted(tally.counts.items()))
    return {
        "format": "medtop entities",
        "versions": {"medtop": medtop.__version__},
        "from": options.source,
        "to": options.target,
        "documents_in": counts.pop("documents_in", 0),
        "documents_merged": counts.pop("documents_merged", 0),
        "documents_left_out": counts.pop("documents_left_out", 0),
        "documents_out": counter.documents.total(),
        "spans_left_out": counts.pop("spans_left_out", 0),
        "spans_out": sum(types.total() for types in counter.spans.values()),
        "splits": {
            split: {"documents": number, "spans": dict(sorted(counter.spans[split].items()))}
            for split, number in sorted(counter.documents.items())
        },
        "rejected": dict(tally.reasons.most_common()),
        "counts": counts,
    }


def summary_lines(manifest):
    """What the run did, line by line."""
    lines = [
        f"{manifest['documents_out']:,} documents, {manifest['spans_out']:,} spans"
        f" ({manifest['documents_merged']} repeated documents merged, {manifest['documents_left_out']} documents and "
        f"{manifest['spans_left_out']} spans left out)"
    ]
    for split, entry in manifest["splits"].items():
        types = ", ".join(f"{kind} {number:,}" for kind, number in entry["spans"].items()) or "no spans"
        lines.append(f"  {split}: {entry['documents']:,} documents; {types}")
    lines += [f"  rejected: {reason}: {number:,}" for reason, number in manifest["rejected"].items()]
    return lines + [f"  {name.replace('_', ' ')}: {number:,}" for name, number in manifest["counts"].items()]
