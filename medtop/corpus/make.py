"""A whole run: sources -> one corpus of cleaned, filtered, mixed and shuffled texts, with its card."""

import collections
import contextlib
import dataclasses
import itertools
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.corpus.card import card_lines
from medtop.corpus.corpus_files import SCHEMA, SplitFiles, to_arrow
from medtop.corpus.filters import FILTERS, FilterSettings, clean_text, why_not
from medtop.corpus.mixture import make_plan, parse_mixture, times_taken, uniform
from medtop.corpus.resumable import PartWriter, SourceSettings, part_paths, run_over_sources, store
from medtop.files import staging
from medtop.files.arrow import numbers_column
from medtop.files.atomic import atomic_path, write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.locks import PRIVATE_FOLDER
from medtop.files.options import SEED, at_least, option
from medtop.files.sql import numbers

OUTPUTS = (*(f"notes.{split}.parquet" for split in SPLITS), "card.md", "manifest.json")

SHUFFLED_CHARACTERS = 1 << 26
"""Characters that are held in memory to be shuffled."""

MOST_HEAPS = 250
"""Files of a split that are open together while texts are shuffled: a corpus beyond 16 GB takes more memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusSettings(SourceSettings, FilterSettings):
    """What is read, and how much of each source is taken."""

    mixture: str = option("", "source:weight, a comma list: shares of the words. Default: all there is, once.")
    words: int | None = option(
        None, "Words of the training split. Default: until the first source runs dry.", rule=at_least(1)
    )
    repeat: float = option(
        1.0, "How often a training document may be taken at most, to use up every source.", rule=at_least(1)
    )
    seed: int = option(0, "Seed of the choice and of the order.", rule=SEED)


_PARTS_DEPEND_ON = tuple(field.name for field in dataclasses.fields(FilterSettings))


def make_corpus(settings, prefix, overwrite=False, progress=None):
    """Sources -> `<prefix>.notes.{train,valid,test}.parquet`, `.card.md`, `.manifest.json`.

    The input is read once, cleaned and counted; what takes part waits in parts on the disk until shares can be
    computed. A killed run goes on behind its last part. Nothing but counts, a part and `SHUFFLED_CHARACTERS` is held in
    memory.

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
    weights, show = parse_mixture(settings.mixture), progress or (lambda *_: None)

    def make(sources, parts, folder):
        writer = PartWriter(parts, CleanedPart(settings))
        left_out = store(sources, settings, writer, show)
        counted = read_counts(parts, left_out)
        plans = _plans(settings, weights, counted)
        taken = _take(settings, plans, counted, parts, folder, show)
        manifest = _manifest(plans, counted, taken)
        card = card_lines({"settings": dataclasses.asdict(settings), **manifest})
        staging.made_path(folder, "card.md").write_text("\n".join(card) + "\n", encoding="utf-8")
        return manifest

    return run_over_sources(settings, prefix, OUTPUTS, make, _PARTS_DEPEND_ON, overwrite)


@dataclasses.dataclass
class Counted:
    """What reading counted.

    Attributes:
        left_out: dict source of the flag -> dict reason -> documents that could not be read.
        filtered: dict (source, split) -> Counter of `documents`, and of `FILTERS`.
        cleaned: dict source -> Counter rule -> documents that it changed.
        words, characters: dict (source, split) -> int, of what takes part.
    """

    left_out: dict
    filtered: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    cleaned: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))
    words: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    characters: collections.Counter = dataclasses.field(default_factory=collections.Counter)


class CleanedPart:
    """Cleans and filters a part's documents: the `make` of a `PartWriter`.

    The part is `<number>.parquet`: what takes part, `SCHEMA` and its split and words.
    """

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, path, documents, splits):
        """What was counted: dict of `rows` (list of [source, split, counts]) and `cleaned` (source -> counts)."""
        settings, kept, counts, cleaned = self.settings, [], {}, {}
        for document, split in zip(documents, splits, strict=True):
            rules = cleaned.setdefault(document.source, collections.Counter())
            text = clean_text(document.text, rules) if settings.clean else document.text
            words = len(text.split())
            tally = counts.setdefault((document.source, split), collections.Counter())
            tally["documents"] += 1
            if (reason := why_not(text, words, settings)) is not None:
                tally[reason] += 1
                continue
            tally.update(words=words, characters=len(text))
            kept.append((dataclasses.replace(document, text=text), SPLITS.index(split), words))
        table = to_arrow([document for document, _, _ in kept])
        table = table.append_column("split", numbers_column(np.array([split for _, split, _ in kept], np.int8)))
        table = table.append_column("words", numbers_column(np.array([words for _, _, words in kept], np.int64)))
        with atomic_path(path.with_suffix(".parquet")) as name:
            pq.write_table(table, name, compression="zstd")
        return {"rows": [[*key, dict(tally)] for key, tally in counts.items()], "cleaned": cleaned}


def read_counts(parts, left_out):
    """The `Counted` of all parts.

    Raises:
        DataError: for a source of which nothing takes part.
    """
    counted = Counted(left_out)
    for path in part_paths(parts):
        about = read_json(path.with_suffix(".json"))
        for source, split, tally in about["rows"]:
            counted.words[(source, split)] += tally.pop("words", 0)
            counted.characters[(source, split)] += tally.pop("characters", 0)
            counted.filtered[(source, split)].update(tally)
        for source, rules in about["cleaned"].items():
            counted.cleaned[source].update(rules)
    for source in counted.cleaned:
        if not sum(words for (name, _), words in counted.words.items() if name == source):
            reasons = sum((tally for (name, _), tally in counted.filtered.items() if name == source), _NOTHING)
            said = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if reason != "documents")
            raise DataError(f"--input: expected documents ({source}), received none that takes part ({said})")
    return counted


_NOTHING = collections.Counter()


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


def _take(settings, plans, counted, parts, folder, show):
    """Writes what is taken, in a seeded random order; dict (source, split) -> Counter of documents, words, bytes."""
    heaps, taken = _heaps(settings, plans, counted, parts, show)
    done = 0
    with SplitFiles(folder) as files:
        for split in plans:
            for path in sorted(heaps.glob(f"{split}.*")):
                rows = pq.ParquetFile(path).read().cast(SCHEMA)  # Parquet has no whole seconds
                rng = np.random.default_rng([settings.seed, SPLITS.index(split), int(path.name.rpartition(".")[2])])
                files.write_table(rows.take(numbers_column(rng.permutation(len(rows)))), split)
                done += len(rows)
                show("documents written", done)
    return taken


def _heaps(settings, plans, counted, parts, show):
    """(folder of files `<split>.<number>` with what is taken, dict (source, split) -> Counter); made once."""
    about = {name: getattr(settings, name) for name in ("mixture", "words", "repeat", "seed")}
    folder, mark = parts / "heaps", parts / "heaps.json"
    if mark.is_file() and (known := read_json(mark))["settings"] == about:
        return folder, {(source, split): collections.Counter(tally) for source, split, tally in known["taken"]}
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(PRIVATE_FOLDER)
    total = sum(counted.characters[key] * plans[key[1]].rates[key[0]] for key in counted.characters)
    number = min(int(total // SHUFFLED_CHARACTERS) + 1, MOST_HEAPS)
    taken, places = collections.defaultdict(collections.Counter), collections.Counter()
    rng = np.random.default_rng(settings.seed)
    with _HeapFiles(folder) as files:
        for path in part_paths(parts):
            rows = pq.ParquetFile(path.with_suffix(".parquet")).read()
            splits = numbers(rows["split"], np.int8)
            times = _times(settings, plans, rows, splits, places, taken)
            chosen = np.repeat(np.arange(len(rows)), times)
            heaps = rng.integers(number, size=len(chosen))
            for split, heap in sorted(set(zip(splits[chosen].tolist(), heaps.tolist(), strict=True))):
                mine = chosen[(splits[chosen] == split) & (heaps == heap)]
                some = rows.select(SCHEMA.names).take(numbers_column(mine)).cast(SCHEMA)
                files.add(f"{SPLITS[split]}.{heap:06d}", some)
            show("documents taken", sum(tally["documents"] for tally in taken.values()))
    write_json(mark, {"settings": about, "taken": [[*key, dict(tally)] for key, tally in taken.items()]})
    return folder, taken


class _HeapFiles:
    """Tables of a few rows -> files, some hundred rows at a time; a context."""

    def __init__(self, folder):
        self._folder, self._writers = folder, {}
        self._waiting, self._sizes = collections.defaultdict(list), collections.Counter()

    def add(self, name, table):
        """Adds rows to a file."""
        self._waiting[name].append(table)
        self._sizes[name] += len(table)
        if self._sizes[name] >= _HEAP_ROWS:
            self._write(name)

    def _write(self, name):
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._folder / name, SCHEMA)
        self._writers[name].write_table(pa.concat_tables(self._waiting.pop(name)))
        del self._sizes[name]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with contextlib.ExitStack() as stack:
            for name in [] if kind else list(self._waiting):
                self._write(name)
            for writer in self._writers.values():
                stack.callback(writer.close)


_HEAP_ROWS = 256


def _times(settings, plans, rows, splits, places, taken):
    """How often each document of a part is taken: int64; counts them, and goes on with the numbers within sources."""
    times = np.zeros(len(rows), np.int64)
    sources, words = rows["source"].to_pylist(), numbers(rows["words"], np.int64)
    sizes = np.array([len(text.encode()) for text in rows["text"].to_pylist()], np.int64)
    for source, split in itertools.product(dict.fromkeys(sources), range(len(SPLITS))):
        of_source = np.flatnonzero(np.array([name == source for name in sources]))
        mine = of_source[splits[of_source] == split]
        if not len(mine):
            continue
        within = places[source] + 1 + np.searchsorted(of_source, mine)
        chances = uniform(settings.seed, source, within)
        times[mine] = times_taken(plans[SPLITS[split]].rates[source], chances)
        taken[(source, SPLITS[split])].update(
            documents=int(times[mine].sum()),
            repeats=int(np.maximum(times[mine] - 1, 0).sum()),
            words=int((times[mine] * words[mine]).sum()),
            bytes=int((times[mine] * sizes[mine]).sum()),
        )
    places.update(sources)
    return times


def _manifest(plans, counted, taken):
    rows = []
    for (source, split), tally in sorted(
        counted.filtered.items(), key=lambda item: (SPLITS.index(item[0][1]), item[0])
    ):
        got = taken.get((source, split), collections.Counter())
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
