"""A whole run of de-duplication: sources -> the documents that are kept, by split, and the pairs that say why."""

import collections
import dataclasses

import numpy as np
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.corpus import near_copies
from medtop.corpus.buckets import parse_size
from medtop.corpus.copies_report import manifest_of
from medtop.corpus.corpus_files import SplitFiles, table_of
from medtop.corpus.documents import read_batches
from medtop.corpus.parts import Sets, ShinglePart, frequent, is_among, read_names, read_table
from medtop.corpus.resumable import PartWriter, SourceSettings, SplitOf, run_over_sources, store
from medtop.corpus.shingles import MOST_SHINGLE, line_codes
from medtop.files import staging
from medtop.files.options import SEED, Rule, at_least, option

OUTPUTS = (*(f"notes.{split}.parquet" for split in SPLITS), "pairs.parquet", "manifest.json")

LEAST_BOILERPLATE = 50
"""Documents that a shingle or a line must stand in to be boilerplate, however small the corpus."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupSettings(SourceSettings):
    """What is read, and what counts as a copy."""

    near: float = option(
        0.8, "Jaccard similarity from which a text is a copy.", rule=Rule("above 0, at most 1", lambda v: 0 < v <= 1)
    )
    shingle: int = option(
        5, "Words of a shingle.", rule=Rule(f"1 to {MOST_SHINGLE}", lambda value: 1 <= value <= MOST_SHINGLE)
    )
    keep: str = option("first", "Which of several copies stays.", choices=("first", "longest", "newest"))
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
    memory_limit: str = option(
        "32MB", "Memory for sorting what the hash functions say; what is more waits on the disk.", compared=False
    )


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
    parse_size(settings.memory_limit)  # a wrong one is refused before hours of reading
    show = progress or (lambda *_: None)

    def make(sources, parts, folder):
        return _Run(settings, sources, parts, folder, show).run()

    return run_over_sources(settings, prefix, OUTPUTS, make, _PARTS_DEPEND_ON, overwrite)


_PARTS_DEPEND_ON = ("shingle", "boilerplate_lines")


class _Run:
    def __init__(self, settings, sources, parts, folder, progress):
        self.settings, self.sources, self.parts, self.folder, self.progress = settings, sources, parts, folder, progress

    def run(self):
        """The manifest, without `settings` and `inputs`."""
        settings = self.settings
        writer = PartWriter(self.parts, ShinglePart(settings.shingle, settings.boilerplate_lines < 1))
        left_out = store(self.sources, settings, writer, self.progress)
        table = read_table(self.parts)
        sets = Sets(self.parts, table.sizes)
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
            sets_of_lines = Sets(self.parts, table.line_sizes, ".lines")
            lines = frequent(sets_of_lines, settings.boilerplate_lines, LEAST_BOILERPLATE, alone)
        kept = np.ones(len(table), bool)
        kept[copies.dropped] = False
        removed = self._write(kept, lines)
        self._write_pairs(copies, table)
        return manifest_of(settings, table, copies, left_out, len(boilerplate), len(lines), removed)

    def _write(self, kept, lines):
        """Writes the documents that are kept, split by split; lines removed."""
        split_of = SplitOf(self.settings.splits, self.settings.unlisted_patients)
        place, removed = 0, 0
        with SplitFiles(self.folder) as files:
            for source in self.sources:
                for batch in read_batches(source, collections.Counter(), self.settings.encoding):
                    staying = []
                    for document in batch:
                        if kept[place]:
                            text, number = without_lines(document.text, lines)
                            removed += number
                            staying.append(dataclasses.replace(document, text=text))
                        place += 1
                    files.write(staying, [split_of(document) for document in staying])
                    self.progress("documents written", place)
        return removed

    def _write_pairs(self, copies, table):
        """A row for each document that went: itself, the one that is kept, and how similar they are."""
        order = np.argsort(copies.dropped, kind="stable")
        columns = {}
        for what, places in (("dropped", copies.dropped[order]), ("kept", copies.kept[order])):
            rising, inverse = np.unique(places, return_inverse=True)
            names = read_names(self.parts, rising)
            taken = {name: [values[place] for place in inverse.tolist()] for name, values in names.items()}
            columns |= {f"{what}_{name}": taken[name] for name in ("source", "document_id")}
            columns[f"{what}_split"] = [SPLITS[place] for place in table.splits[places].tolist()]
            columns["kind"] = taken["kind"] if what == "dropped" else columns["kind"]
        columns["similarity"] = copies.similarities[order]
        columns["match"] = ["exact" if exact else "near" for exact in copies.exact[order].tolist()]
        pq.write_table(table_of(columns), staging.made_path(self.folder, "pairs.parquet"))


def without_lines(text, lines):
    """(the text without the lines whose normal form is among sorted `lines`, how many these were)."""
    if not len(lines):
        return text, 0
    parts, codes = line_codes(text)
    gone = is_among(codes, lines)
    return "".join(part for part, drop in zip(parts, gone.tolist(), strict=True) if not drop), int(gone.sum())
