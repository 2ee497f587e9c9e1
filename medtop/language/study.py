"""Several models on the same held-out notes: one table of hidden words and of runs that follow each other.

Letters: G groups (patients), R resamples.
"""

import collections
import csv
import dataclasses
import io
import logging
from pathlib import Path

import numpy as np

from medtop.cohort.splits import read_split_file
from medtop.corpus.table_texts import NoteTableTexts, parse_note_columns
from medtop.evaluation.bootstrap import interval, resample_counts
from medtop.files.atomic import write_json, write_text
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.files.formulas import quote_option, quoting
from medtop.files.options import REQUIRED, SEED, Rule, at_least, option
from medtop.files.temporary import temporary_folder
from medtop.language.examples import make_pairs, make_windows, read_words
from medtop.notes.options import ENCODINGS
from medtop.notes.texts import check_texts, read_texts
from medtop.reporting.language_page import columns, write_language_page
from medtop.reporting.markdown import table
from medtop.text.cleaning import CLEANINGS
from medtop.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

MAIN_FILE = "language.json"
FREQUENCIES = "word frequencies"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """What `run_language_comparison.py` is asked to do."""

    models: tuple = option(
        REQUIRED, "Run directories or HuggingFace folders; the others are set against the first one."
    )
    input_file: str = option(
        REQUIRED, "Held-out texts: .notes.<split>.parquet, ClinicalBERT's CSV, or a table of notes."
    )
    output_dir: str = option(REQUIRED, "New folder for the results.")
    splits: str = option("", "Split file: only notes of the patients of --split are read.")
    split: str = option("test", "With --splits: whose notes.", choices=("valid", "test"))
    max_texts: int = option(500, "Texts that are read, the first ones; 0: all.", rule=at_least(0))
    max_seq_length: int = option(128, "Most tokens of a window or pair, in each model.", rule=at_least(16))
    share: float = option(
        0.15, "Share of the words hidden.", rule=Rule("a share above 0, below 1", lambda v: 0 < v < 1)
    )
    pairs_per_text: int = option(4, "Most pairs of a text.", rule=at_least(1))
    columns: str = option("", "Columns of a table with names of its own: text=NOTE,patient_id=MRN,...")
    cleaning: str = option("careful", "Of notes of a table.", choices=(*CLEANINGS, "none"))
    encoding: str = option("utf-8", "Encoding of a CSV.", choices=ENCODINGS)
    num_bootstrap: int = option(1000, "Resamples of patients for intervals.", rule=at_least(0))
    seed: int = option(0, "Of hidden words, pairs and resamples.", rule=SEED)
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace earlier results in --output_dir.")


def run_study(settings, import_folder):
    """Compares, and writes language.json, language.csv, language.md and language.html.

    Args:
        settings: `LanguageSettings`.
        import_folder: function (HuggingFace folder, run directory to make).

    Returns:
        dict, the content of language.json.

    Raises:
        DataError: for what cannot be compared, and for texts of patients that a model was trained on.
    """
    names = check_settings(settings)
    texts = read_held_out(settings)
    with whole_folder(settings.output_dir, has_json_key(MAIN_FILE, "models"), settings.overwrite) as folder:
        with temporary_folder() as imported:
            content = _compare(settings, names, texts, import_folder, imported)
        write_json(folder / MAIN_FILE, content)
        stream = io.StringIO()
        quoting(csv.writer(stream, lineterminator="\n"), settings.quote_formulas).writerows(_csv_rows(content))
        write_text(folder / "language.csv", stream.getvalue())
        write_text(folder / "language.md", "\n".join(table(*columns(content["models"]))) + "\n")
        write_language_page(folder / "language.html", content)
    return content


def check_settings(settings):
    """Names of the models, their paths' last distinct parts; refuses what cannot be, before a framework is loaded."""
    if len(settings.models) != len(set(settings.models)) or not settings.models:
        raise DataError("--models: expected different folders, received one twice, or none")
    for path in settings.models:
        if not Path(path).is_dir():
            raise DataError(f"--models: expected run directories or HuggingFace folders, found no folder {path}")
    if not Path(settings.input_file).is_file():
        raise DataError(f"--input_file: expected a file, found none: {settings.input_file}")
    check_target(settings.output_dir, has_json_key(MAIN_FILE, "models"), settings.overwrite)
    return list(settings.models)


def read_held_out(settings):
    """list of `Text` that may be read."""
    tables = NoteTableTexts(parse_note_columns(settings.columns), settings.cleaning, settings.encoding)
    path, splits = settings.input_file, read_split_file(settings.splits) if settings.splits else None
    if tables.reads(path):
        tables.check(path)
        batches = tables.batches(path)
    else:
        check_texts(path)
        batches = read_texts(path)
    texts, groups = [], []
    for batch in batches:
        for text, patient in zip(batch.texts, batch.patient_ids, strict=True):
            if splits is None or splits.get(patient) == settings.split:
                texts.append(text)
                groups.append(patient)
        if settings.max_texts and len(texts) >= settings.max_texts:
            break
    most = settings.max_texts or len(texts)
    held_out = read_words(texts[:most], groups[:most])
    if not held_out:
        whose = f" of patients of the {settings.split} split" if splits else ""
        raise DataError(f"{path}: expected texts with words{whose}, received none")
    return held_out


def _compare(settings, names, texts, import_folder, imported):
    from medtop.language.scores import NEXT, ORDER, LanguageModel

    models, notes = [], []
    patients = {text.group for text in texts}
    for number, name in enumerate(names):
        run = RunDirectory(name)
        if not run.exists():
            run = RunDirectory(Path(imported) / str(number))
            import_folder(name, str(run.path))
        notes.append(_trained_on(name, run, patients))
        models.append(LanguageModel(name, run))
    room = min(settings.max_seq_length, *(model.longest for model in models))
    words = {word for text in texts for word in text.words}
    for model in models:
        model.words.learn(words)
    cutters = [model.words for model in models]
    windows = make_windows(texts, cutters, room - 2, settings.share, settings.seed)
    if not windows:
        raise DataError(f"{settings.input_file}: expected words that all models know, received none")
    tasks = {task for model in models for task in model.tasks}
    pairs = {
        task: make_pairs(texts, cutters, room - 3, settings.pairs_per_text, settings.seed, swapped=task == ORDER)
        for task in (NEXT, ORDER)
        if task in tasks
    }
    measured = {model.name: _sums(model, windows, pairs, texts) for model in models}
    measured[FREQUENCIES] = {"word": _frequencies(windows, texts)}
    hidden = sum(len(window.hidden) for window in windows)
    about = {
        "texts": len(texts),
        "patients": len(patients),
        "windows": len(windows),
        "hidden words": hidden,
        "words that some model cannot read, never hidden": _never_hidden(texts, cutters),
        **{f"pairs, {task.replace('_', ' ')}": len(made) for task, made in pairs.items()},
        "tokens of a window, at most": room,
    }
    entries = _measures(measured, texts, settings)
    hashes = {model.name: model.vocabulary_hash for model in models}
    for entry in entries:
        entry["vocabulary"] = hashes.get(entry["name"])
        entry["same_vocabulary"] = entry["vocabulary"] == entries[0]["vocabulary"]
        if not entry["same_vocabulary"]:
            for measure in ("piece_loss", "piece_accuracy"):  # of other pieces: no difference means anything
                if entry["measures"].get(measure):
                    entry["measures"][measure].pop("difference", None)
    return {"about": about, "notes": [note for note in notes if note], "models": entries}


def _trained_on(name, run, patients):
    """A sentence where it is not known what a model was trained on; refuses texts of patients that it is known by."""
    if not run.has_splits():
        return f"{name}: which patients it was trained on is not known here; its figures may be too good."
    splits = run.read_splits()
    if known := patients & {patient for split in ("train", "valid") for patient in splits.get(split, ())}:
        raise DataError(
            f"--input_file: expected texts of patients that no model was trained or chosen on, received {len(known)} "
            f"patients of {name}'s own (--splits and --split choose others)"
        )
    return None


def _never_hidden(texts, cutters):
    counted = collections.Counter(word for text in texts for word in text.words)
    return sum(count for word, count in counted.items() if not all(cutter.may_hide(word) for cutter in cutters))


def _sums(model, windows, pairs, texts):
    """dict part -> float [G', columns]: sums over each text, columns as `_RATIOS` reads them."""
    owners = np.repeat([window.text for window in windows], [len(window.hidden) for window in windows])
    answers = model.hidden_words(windows)
    columns = [np.ones(len(owners)), *(answers[name] for name in ("loss", "right", "pieces", "pieces_right"))]
    sums = {"word": np.stack([np.bincount(owners, column, len(texts)) for column in columns], 1)}
    for task, made in pairs.items():
        if task in model.tasks and made:
            right = (model.follows(made, task) > 0) == np.array([pair.follows for pair in made], bool)
            of = [pair.text for pair in made]
            sums[task] = np.stack([np.bincount(of, column, len(texts)) for column in (np.ones(len(of)), right)], 1)
    return sums


def _frequencies(windows, texts):
    """The simple rival: each word as likely as it is frequent in the texts of the other groups (add one half)."""
    total, own = collections.Counter(), {}
    for text in texts:
        total.update(text.words)
        own.setdefault(text.group, collections.Counter()).update(text.words)
    commonest = [word for word, _ in total.most_common()]
    best = {}
    for group, counts in own.items():
        best[group] = max(commonest[:50], key=lambda word: total[word] - counts[word])
    size, everything = len(total) + 1, total.total()
    sums = np.zeros((len(texts), 5))
    for window in windows:
        counts, group = own[texts[window.text].group], texts[window.text].group
        for place in window.hidden:
            word = window.words[place]
            chance = (total[word] - counts[word] + 0.5) / (everything - counts.total() + 0.5 * size)
            sums[window.text] += (1, -np.log(chance), word == best[group], 0, 0)
    return sums


_RATIOS = {
    # measure: (part, column above, column below)
    "word_loss": ("word", 1, 0),
    "word_accuracy": ("word", 2, 0),
    "piece_loss": ("word", 1, 3),
    "piece_accuracy": ("word", 4, 3),
    "pieces_per_word": ("word", 3, 0),
    "next_sentence_accuracy": ("next_sentence", 1, 0),
    "sentence_order_accuracy": ("sentence_order", 1, 0),
}


def _measures(measured, texts, settings):
    """list of dicts `name`, `measures` (dict measure -> value, low, high, n and, but for the first, difference)."""
    groups = np.unique([text.group for text in texts], return_inverse=True)[1].reshape(-1)
    size = int(groups.max()) + 1
    per_group = {
        name: {
            part: np.stack([np.bincount(groups, column, size) for column in sums.T], 1) for part, sums in parts.items()
        }
        for name, parts in measured.items()
    }
    drawn = list(resample_counts(size, settings.num_bootstrap, settings.seed))
    drawn = np.concatenate(drawn, 1) if drawn else np.zeros((size, 0))
    replicates = {
        name: {part: np.einsum("gr,gc->rc", drawn, sums) for part, sums in parts.items()}
        for name, parts in per_group.items()
    }
    first, entries = next(iter(measured)), []
    for name, parts in per_group.items():
        entry = {}
        for measure, (part, above, below) in _RATIOS.items():
            if part not in parts or not parts[part][:, below].sum():
                continue
            if measure == "pieces_per_word" and not parts[part][:, above].sum():
                continue
            value, draws = _ratio(parts[part].sum(0), above, below), _ratio(replicates[name][part], above, below)
            low, high = interval(value, draws)
            entry[measure] = {"value": value, "low": low, "high": high, "n": int(parts[part][:, below].sum())}
            if name != first and part in per_group[first]:
                other = _ratio(per_group[first][part].sum(0), above, below)
                spread = draws - _ratio(replicates[first][part], above, below)
                ends = interval(value - other, spread)
                entry[measure]["difference"] = {"value": value - other, "low": ends[0], "high": ends[1]}
        entries.append({"name": name, "measures": entry})
    return entries


def _ratio(sums, above, below):
    with np.errstate(divide="ignore", invalid="ignore"):
        values = sums[..., above] / sums[..., below]
    return float(values) if np.ndim(values) == 0 else values


def _csv_rows(content):
    yield ("model", "measure", "n", "value", "low", "high", "difference", "difference_low", "difference_high")
    for entry in content["models"]:
        for measure, numbers in entry["measures"].items():
            difference = numbers.get("difference") or {}
            keys = ("value", "low", "high")
            values = [*(numbers[key] for key in keys), *(difference.get(key) for key in keys)]
            yield (entry["name"], measure, numbers["n"], *("" if value is None else f"{value:.6g}" for value in values))
