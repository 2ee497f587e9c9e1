"""A run over sources of texts that goes on where it was killed: what all scripts on corpora share.

While it reads, a run keeps what it has made of the documents in parts, in a hidden folder `.<prefix>.parts` beside the
outputs; the same command finds them there and goes on behind the last whole one. Once the outputs stand, the folder
goes.
"""

import collections
import dataclasses
import shutil
from pathlib import Path

from medtop.cohort.splits import read_split_file
from medtop.corpus.documents import find_sources, read_batches
from medtop.files import staging
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.locks import PRIVATE_FOLDER, check_own_folder
from medtop.files.options import REQUIRED, check, compared, option
from medtop.notes.options import ENCODINGS

PART_DOCUMENTS = 1_000
PART_CHARACTERS = 1 << 24
"""A part ends at so many documents or characters, whichever comes first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What is read, and which split each text is of."""

    input: tuple = option(
        REQUIRED,
        "Sources: name=path or path, a comma list; .csv(.gz) like NOTEEVENTS, .parquet, .jsonl, folders of .txt.",
    )
    encoding: str = option("utf-8", "Encoding of the .csv files.", choices=ENCODINGS)
    splits: str | None = option(
        None, "patient_id,split; default: as the files' names say (x.notes.valid.parquet), else training."
    )
    unlisted_patients: str = option("refuse", "Patients who are not in the split file.", choices=("refuse", "use"))


def run_over_sources(settings, prefix, outputs, make, parts_depend_on, overwrite=False):
    """Sources -> outputs under a prefix, once.

    Args:
        settings: `SourceSettings`, and what a run adds.
        prefix: beginning of the outputs' names, with their folder.
        outputs: their names, manifest.json last.
        make: function (list of `Source`, folder of the parts, folder of the outputs) -> manifest, without `settings`
            and `inputs`.
        parts_depend_on: names of the settings that the parts depend on, beside those of `SourceSettings`.
        overwrite: replace outputs of other settings or other input.

    Returns:
        `medtop.files.staging.Outcome`.

    Raises:
        DataError: for bad input, input that changes while it is read, or outputs of another run.
    """
    check(settings)
    sources = find_sources(settings.input)
    plain = {
        **compared(settings),
        "input": [f"{source.name}={path.resolve()}" for source in sources for path in source.files],
        "splits": settings.splits and str(Path(settings.splits).resolve()),
    }
    files = [path for source in sources for path in source.files] + ([settings.splits] if settings.splits else [])
    parts = Path(prefix).parent / f".{Path(prefix).name}.parts"
    shared = [field.name for field in dataclasses.fields(SourceSettings)]

    def fingerprints():
        return {str(Path(file).resolve()): staging.fingerprint(file) for file in files}

    def make_outputs(folder, write):
        inputs = fingerprints()
        _open_parts(parts, {name: plain[name] for name in (*shared, *parts_depend_on)}, inputs)
        try:
            manifest = make(sources, parts, folder)
            if inputs != fingerprints():
                raise DataError(
                    "--input: expected files that stay as they are, received one that changed while it was read"
                )
        except DataError:  # the same input would end here again
            shutil.rmtree(parts)
            raise
        return {"settings": plain, "inputs": inputs, **manifest}

    check_own_folder(parts)
    outcome = staging.run_once(prefix, plain, outputs, make_outputs, overwrite=overwrite)
    if not staging.is_at_work(prefix):  # another run that replaces these outputs still needs its parts
        shutil.rmtree(parts, ignore_errors=True)
    return outcome


def _open_parts(folder, settings, inputs):
    """Makes the folder of the parts; one of other settings or another input is emptied."""
    about = {"settings": settings, "inputs": inputs, "part": [PART_DOCUMENTS, PART_CHARACTERS]}
    name = folder / "about.json"
    if folder.exists() and not (name.is_file() and read_json(name) == _as_read(about)):
        shutil.rmtree(folder)
    folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_json(name, about)


def _as_read(value):
    """Plain values as JSON gives them back: tuples are lists."""
    if isinstance(value, dict):
        return {key: _as_read(item) for key, item in value.items()}
    return [_as_read(item) for item in value] if isinstance(value, (list, tuple)) else value


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


class PartWriter:
    """Documents -> parts in a folder; parts that stand there whole are not made again.

    Args:
        folder: of this input and these settings alone.
        make: function (path without suffix, list of `Document`, list of their splits) -> dict of plain values. It makes
            the part's files; the dict is kept in `<number>.json`, which is written last.

    Attributes:
        documents: how many were added; reused: parts of an earlier run.
    """

    def __init__(self, folder, make):
        self.folder, self._make = Path(folder), make
        self.documents = self.reused = self._number = self._characters = 0
        self._rows, self._splits = [], []

    def add(self, documents, splits):
        """Takes a list of `Document`s and the split (str) of each."""
        for document, split in zip(documents, splits, strict=True):
            self._rows.append(document)
            self._splits.append(split)
            self._characters += len(document.text)
            if len(self._rows) == PART_DOCUMENTS or self._characters >= PART_CHARACTERS:
                self.close()
        self.documents += len(documents)

    def close(self):
        """Writes what waits."""
        if not self._rows:
            return
        path = self.folder / f"{self._number:07d}"
        mark = path.with_suffix(".json")
        if mark.is_file() and read_json(mark)["documents"] == len(self._rows):
            self.reused += 1
        else:
            about = self._make(path, self._rows, self._splits)
            write_json(mark, {"documents": len(self._rows), **about})
        self._number += 1
        self._rows, self._splits, self._characters = [], [], 0


def part_paths(folder):
    """The parts in their order: list of paths without suffix."""
    return sorted(path.with_suffix("") for path in Path(folder).glob("[0-9]*.json"))


def store(sources, settings, writer, progress):
    """Reads all sources into parts.

    Args:
        sources: list of `Source`.
        settings: `SourceSettings`.
        writer: `PartWriter`.
        progress: function (what is counted, how many so far).

    Returns:
        dict source -> dict reason -> documents left out while reading.

    Raises:
        DataError: for a source without a document.
    """
    split_of, left_out = SplitOf(settings.splits, settings.unlisted_patients), {}
    for source in sources:
        before, dropped = writer.documents, collections.Counter()
        for batch in read_batches(source, dropped, settings.encoding):
            writer.add(batch, [split_of(document) for document in batch])
            progress("documents read", writer.documents)
        left_out[source.name] = dict(sorted(dropped.items()))
        if writer.documents == before:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()) or "no rows"
            raise DataError(f"{source.files[0]}: expected documents ({source.name}), received none ({reasons})")
    writer.close()
    progress("parts taken over from a killed run", writer.reused)
    return left_out
