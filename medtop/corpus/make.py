"""A whole run: sources -> one corpus of cleaned, filtered, mixed and shuffled texts, with its card."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.corpus.card import card_lines
from medtop.corpus.deduplicate import SCHEMA, SplitOf, to_arrow
from medtop.corpus.documents import find_sources, read_batches
from medtop.corpus.filters import FILTERS, FilterSettings, clean_text, why_not
from medtop.corpus.mixture import make_plan, parse_mixture, times_taken, uniform
from medtop.files import staging
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, SEED, at_least, check, compared, option
from medtop.notes.options import ENCODINGS

OUTPUTS = (*(f"notes.{split}.parquet" for split in SPLITS), "card.md", "manifest.json")

SHUFFLED_CHARACTERS = 1 << 26
"""Characters that are held in memory to be shuffled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSettings(FilterSettings):
    """What is read, and how much of each source is taken."""

    input: tuple = option(
        REQUIRED,
        "Sources: name=path or path, a comma list; .parquet of deduplicate_notes.py, .csv, .jsonl, folders of .txt.",
    )
    encoding: str = option("utf-8", "Encoding of the .csv files.", choices=ENCODINGS)
    mixture: str = option("", "source:weight, a comma list: shares of the words. Default: all there is, once.")
    words: int | None = option(
        None, "Words of the training split. Default: until the first source runs dry.", rule=at_least(1)
    )
    repeat: float = option(
        1.0, "How often a training document may be taken at most, to use up every source.", rule=at_least(1)
    )
    splits: str | None = option(None, "patient_id,split; default: as the files' names say, else training.")
    unlisted_patients: str = option("refuse", "Patients who are not in the split file.", choices=("refuse", "use"))
    seed: int = option(0, "Seed of the choice and of the order.", rule=SEED)


def make_corpus(settings, prefix, overwrite=False, progress=None):
    """Sources -> `<prefix>.notes.{train,valid,test}.parquet`, `.card.md`, `.manifest.json`.

    The input is read twice: counted, then taken. Nothing but counts and `SHUFFLED_CHARACTERS` is held in memory.

    Args:
        settings: `CorpusSettings`.
        prefix: beginning of the outputs' names, with their folder.
        overwrite: replace outputs of other settings or other input.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `medtop.files.staging.Outcome`.

    Raises:
        DataError: for bad input or outputs of another run.
    """
    check(settings)
    weights, sources = parse_mixture(settings.mixture), find_sources(settings.input)
    plain = {
        **compared(settings),
        "input": [f"{source.name}={path.resolve()}" for source in sources for path in source.files],
        "splits": settings.splits and str(Path(settings.splits).resolve()),
    }
    files = [path for source in sources for path in source.files] + ([settings.splits] if settings.splits else [])

    def make(folder, write):
        inputs = {str(Path(file).resolve()): staging.fingerprint(file) for file in files}
        reader = _Reader(settings, sources, progress or (lambda *_: None))
        counted = reader.count()
        plans = _plans(settings, weights, counted)
        taken = _take(reader, settings, plans, counted, folder)
        if inputs != {str(Path(file).resolve()): staging.fingerprint(file) for file in files}:
            raise DataError(
                "--input: expected files that stay as they are, received one that changed while it was read"
            )
        manifest = _manifest(settings, plans, counted, taken)
        manifest = {"settings": plain, "inputs": inputs, **manifest}
        staging.made_path(folder, "card.md").write_text("\n".join(card_lines(manifest)) + "\n", encoding="utf-8")
        return manifest

    return staging.run_once(prefix, plain, OUTPUTS, make, overwrite=overwrite)


@dataclasses.dataclass
class Counted:
    """What the first reading found.

    Attributes:
        left_out: dict source of the flag -> Counter reason -> documents that could not be read.
        filtered: dict (source, split) -> Counter of `documents`, and of `FILTERS`.
        cleaned: dict source -> Counter rule -> documents that it changed.
        words, characters: dict (source, split) -> int, of what takes part.
    """

    left_out: dict = dataclasses.field(default_factory=dict)
    filtered: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    cleaned: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    words: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    characters: collections.Counter = dataclasses.field(default_factory=collections.Counter)


class _Reader:
    def __init__(self, settings, sources, progress):
        self.settings, self.sources, self.progress = settings, sources, progress
        self.split_of = SplitOf(settings.splits, settings.unlisted_patients)

    def count(self):
        """`Counted`.

        Raises:
            DataError: for a source of which nothing takes part.
        """
        counted, done = Counted(), 0
        for source in self.sources:
            counted.left_out[source.name] = collections.Counter()
            before = sum(counted.words.values())
            for document, split, words in self._documents(source, counted):
                key = (document.source, split)
                counted.words[key] += words
                counted.characters[key] += len(document.text)
                done += 1
                self.progress("documents counted", done)
            if sum(counted.words.values()) == before:
                reasons = counted.left_out[source.name] + sum(counted.filtered.values(), collections.Counter())
                reasons.pop("documents", None)
                said = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items()) or "no rows"
                raise DataError(f"{source.files[0]}: expected documents ({source.name}), received none ({said})")
        return counted

    def again(self):
        """Yields (document, split, words, number within its source) of what takes part."""
        numbers = collections.Counter()
        for source in self.sources:
            for document, split, words in self._documents(
                source, Counted(left_out={source.name: collections.Counter()})
            ):
                numbers[document.source] += 1
                yield document, split, words, numbers[document.source]

    def _documents(self, source, counted):
        settings = self.settings
        for batch in read_batches(source, counted.left_out[source.name], settings.encoding):
            for document in batch:
                split = self.split_of(document)
                text = clean_text(document.text, counted.cleaned[document.source]) if settings.clean else document.text
                words = len(text.split())
                tally = counted.filtered[(document.source, split)]
                tally["documents"] += 1
                if (reason := why_not(text, words, settings)) is not None:
                    tally[reason] += 1
                    continue
                yield dataclasses.replace(document, text=text), split, words


def _plans(settings, weights, counted):
    """dict split -> `Plan`; beside the training split, the sources that are there, each document at most once."""
    plans = {}
    for split in SPLITS:
        available = {source: words for (source, where), words in counted.words.items() if where == split}
        if not available:
            continue
        some = weights if split == "train" else {name: weights[name] for name in available if name in weights}
        total = sum(some.values())
        some = {name: weight / total for name, weight in some.items()}
        plans[split] = make_plan(
            available, some, settings.words if split == "train" else None, settings.repeat if split == "train" else 1
        )
    return plans


def _take(reader, settings, plans, counted, folder):
    """Writes what is taken, in a seeded random order; dict (source, split) -> Counter of documents, words, bytes."""
    total = sum(counted.characters[key] * plans[key[1]].rates[key[0]] for key in counted.characters)
    heaps = max(int(total // SHUFFLED_CHARACTERS) + 1, 1)
    taken, writers, waiting = collections.defaultdict(collections.Counter), {}, collections.defaultdict(list)
    rng, done = np.random.default_rng(settings.seed), 0
    try:
        for document, split, words, number in reader.again():
            chance = uniform(settings.seed, document.source, [number])
            for copy in range(int(times_taken(plans[split].rates[document.source], chance)[0])):
                tally = taken[(document.source, split)]
                tally.update(documents=1, words=words, bytes=len(document.text.encode()), repeats=int(copy > 0))
                heap = (split, int(rng.integers(heaps)))
                waiting[heap].append(document)
                if len(waiting[heap]) >= _HEAP_ROWS:
                    _spill(writers, waiting, heap, folder)
            done += 1
            reader.progress("documents taken", done)
        for heap in list(waiting):
            _spill(writers, waiting, heap, folder)
    finally:
        for writer, _ in writers.values():
            writer.close()
    for split in plans:
        name = staging.made_path(folder, f"notes.{split}.parquet")
        with pq.ParquetWriter(name, SCHEMA, compression="zstd") as writer:
            for heap in range(heaps):
                if (split, heap) in writers:
                    path = writers[(split, heap)][1]
                    rows = pq.read_table(path).cast(SCHEMA)  # Parquet has no whole seconds
                    writer.write_table(rows.take(pa.array(rng.permutation(len(rows)))), row_group_size=4096)
                    path.unlink()
    return taken


_HEAP_ROWS = 256


def _spill(writers, waiting, heap, folder):
    if heap not in writers:
        path = folder / f"heap.{heap[0]}.{heap[1]}.parquet"
        writers[heap] = pq.ParquetWriter(path, SCHEMA), path
    if rows := waiting.pop(heap, []):
        writers[heap][0].write_table(to_arrow(rows))


def _manifest(settings, plans, counted, taken):
    rows = []
    for (source, split), tally in sorted(
        counted.filtered.items(), key=lambda item: (SPLITS.index(item[0][1]), item[0])
    ):
        got = taken[(source, split)]
        rows.append(
            {
                "source": source,
                "split": split,
                "documents_in": tally["documents"],
                "filtered": {reason: tally[reason] for reason in FILTERS if tally[reason]},
                "words_in": counted.words[(source, split)],
                "rate": plans[split].rates.get(source, 0.0) if split in plans else 0.0,
                **{name: got[name] for name in ("documents", "repeats", "words", "bytes")},
            }
        )
    for row in rows:
        whole = sum(other["words"] for other in rows if other["split"] == row["split"])
        row["share_of_words"] = row["words"] / whole if whole else 0.0
    return {
        "left_out": {name: dict(reasons) for name, reasons in counted.left_out.items()},
        "cleaned": {name: dict(rules) for name, rules in counted.cleaned.items()},
        "dry": {split: plan.dry for split, plan in plans.items() if plan.dry},
        "rows": rows,
    }
