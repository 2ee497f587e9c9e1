"""A whole study of similarity: vectors, baseline beside them, neighbours, correlation or agreement, map, files."""

import csv
import dataclasses
import logging
import re
from pathlib import Path

import numpy as np

from medtop.cohort.code_tree import hierarchy_of
from medtop.data import ppmi
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.files.formulas import quote_option, quoting
from medtop.files.options import REQUIRED, SEED, at_least, option
from medtop.notes.texts import read_texts
from medtop.reporting.similarity_page import write_similarity_page
from medtop.similarity import codes, measures
from medtop.similarity.pairs import TITLES, read_pairs, read_terms, title_pairs
from medtop.text.sentences import sentence_spans
from medtop.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

MAIN_FILE = "similarity.json"
MODEL, BASELINE = "model", "PPMI-SVD"
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimilaritySettings:
    """What `run_term_similarity.py` is asked to do: one of `terms`, `pairs` and `codes`."""

    model: str = option(REQUIRED, "Run directory, or (terms) a HuggingFace folder.")
    output_dir: str = option(REQUIRED, "New folder for the results.")
    terms: str = option("", "Text file, one term a line: their nearest neighbours.")
    pairs: str = option(
        "", f"CSV of term1, term2, mean (UMNSRS, MayoSRS, or any such), or {TITLES}: made from titles of codes."
    )
    codes: bool = option(False, "The codes of a run on codes: neighbours, agreement with the hierarchy of ICD.")
    corpus: str = option("", "Texts (.parquet, .csv), with --codes <prefix>.bencs.train: the baseline, and contexts.")
    context: str = option("alone", "Terms alone, or averaged over --corpus' sentences.", choices=("alone", "sentences"))
    max_contexts: int = option(20, "Sentences of a term.", rule=at_least(1))
    layer: int = option(-1, "0: embeddings, 1 to the number of blocks; -1 the last.")
    pooling: str = option("mean", "Of a term's pieces.", choices=("mean", "first", "cls"))
    neighbours: int = option(10, "Nearest neighbours listed and judged.", rule=at_least(1))
    num_pairs: int = option(300, f"Pairs of --pairs={TITLES}.", rule=at_least(9))
    max_codes: int = option(2000, "Codes that take part: those that stand first in the vocabulary.", rule=at_least(3))
    min_count: int = option(1, "With --corpus: codes of fewer occurrences there are left out.", rule=at_least(1))
    projection: str = option("tsne", "Two dimensions of the map.", choices=("tsne", "pca"))
    baseline_width: int = option(100, "Width of the baseline's vectors.", rule=at_least(2))
    baseline_window: int = option(5, "How far the baseline's neighbours may stand.", rule=at_least(1))
    num_bootstrap: int = option(1000, "Resamples for intervals.", rule=at_least(0))
    seed: int = option(0, "Of resamples, pairs and map.", rule=SEED)
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace earlier results in --output_dir.")


def check_settings(settings):
    """Refuses what cannot be, before a framework is loaded.

    Raises:
        DataError: naming the flag.
    """
    asked = [name for name in ("terms", "pairs", "codes") if getattr(settings, name)]
    if len(asked) != 1:
        given = ", ".join(f"--{name}" for name in asked) or "none"
        raise DataError(f"flags: expected one of --terms, --pairs and --codes, received {given}")
    if settings.context == "sentences" and (settings.codes or not settings.corpus):
        raise DataError("--context=sentences needs --corpus with texts, and terms")
    if settings.codes and (settings.layer not in (0, -1) or settings.pooling != "mean"):
        raise DataError("--layer and --pooling have no effect with --codes, whose vectors are the embeddings' rows")
    check_target(settings.output_dir, has_json_key(MAIN_FILE, "ways"), settings.overwrite)
    for name in ("terms", "pairs", "corpus"):
        path = getattr(settings, name)
        if path and path != TITLES and not Path(path).is_file():
            raise DataError(f"--{name}: expected a file, found none: {path}")


@dataclasses.dataclass
class Study:
    """What was compared.

    Attributes:
        names: N terms or codes.
        vectors: dict way -> float [N, W]; the first way is the model's.
        about: dict of facts for the page and the JSON file.
        results: dict of what was measured.
        groups: N group keys (chapters of codes), or None.
    """

    names: list
    vectors: dict
    about: dict
    results: dict
    groups: list | None = None


def run_study(settings, import_folder=None):
    """Makes the study and writes similarity.json, neighbours.csv, pairs.csv where pairs were given, similarity.html.

    Args:
        settings: `SimilaritySettings`.
        import_folder: function (HuggingFace folder, run directory to make), for models that are no run of ours.

    Returns:
        `Study`.
    """
    check_settings(settings)
    with whole_folder(settings.output_dir, has_json_key(MAIN_FILE, "ways"), settings.overwrite) as folder:
        if settings.codes:
            study, pairs = _codes(settings), None
        else:
            study, pairs = _terms(settings, folder, import_folder)
        most = min(settings.neighbours, len(study.names) - 1)
        near = {way: measures.neighbours(vectors, most) for way, vectors in study.vectors.items()}
        if study.groups is not None:
            _judge_groups(study, near, settings)
        _write_neighbours(folder / "neighbours.csv", study, near, settings.quote_formulas)
        if pairs is not None:
            _write_pairs(folder / "pairs.csv", study, pairs, settings.quote_formulas)
        write_json(folder / MAIN_FILE, {"ways": list(study.vectors), "about": study.about, "results": study.results})
        flat = measures.project(study.vectors[MODEL], settings.projection, settings.seed)
        write_similarity_page(folder / "similarity.html", study, near, flat)
    return study


def _codes(settings):
    run = RunDirectory(settings.model)
    tokens, vectors, ids = codes.code_vectors(run)
    kept = np.arange(min(len(tokens), settings.max_codes))
    about = {"model": str(run.path), "codes in the vocabulary": len(tokens)}
    ways = {}
    if settings.corpus:
        size = int(ids.max()) + 1
        counts = codes.code_counts(settings.corpus, ids, size)
        kept = np.flatnonzero(counts >= settings.min_count)[: settings.max_codes]
        about |= {
            "corpus": settings.corpus,
            "codes left out (rarer there, or beyond --max_codes)": len(tokens) - len(kept),
        }
        if len(kept) < 3:
            raise DataError(f"{settings.corpus}: expected at least three codes of the run, received {len(kept)}")
        together = ppmi.count_neighbours(
            codes.histories(settings.corpus, ids, size), len(tokens), settings.baseline_window
        )
        ways[BASELINE] = ppmi.ppmi_svd(together, settings.baseline_width, settings.seed)[kept]
    names = [tokens[place] for place in kept]
    if len(names) < 3:
        raise DataError(f"{run.path}: expected at least three codes, received {len(names)}")
    about["codes compared"] = len(names)
    return Study(names, {MODEL: vectors[kept], **ways}, about, {}, [hierarchy_of(name)[1] for name in names])


def _judge_groups(study, near, settings):
    """Agreement of neighbours with categories and chapters of ICD."""
    for place, level in enumerate(("category", "chapter")):
        groups = [hierarchy_of(name)[place] for name in study.names]
        study.results[f"neighbours of the same {level}"] = {
            way: measures.group_agreement(places, groups, settings.num_bootstrap, settings.seed)
            for way, (places, _) in near.items()
        }


def _terms(settings, folder, import_folder):
    """(`Study`, pairs or None) of terms."""
    pairs = None
    if settings.pairs:
        pairs = (
            title_pairs(settings.num_pairs, settings.seed) if settings.pairs == TITLES else read_pairs(settings.pairs)
        )
        terms = list(dict.fromkeys([*pairs.first, *pairs.second]))
    else:
        terms = read_terms(settings.terms)
    run, imported = RunDirectory(settings.model), None
    if not run.exists():
        if import_folder is None or not Path(settings.model).is_dir():
            raise DataError(f"--model: expected a run directory or a HuggingFace folder, received {settings.model!r}")
        imported = folder / "imported"
        import_folder(settings.model, imported)
        run = RunDirectory(imported)
    from medtop.similarity.terms import TermEncoder, find_contexts  # loads TensorFlow

    encoder = TermEncoder(run, settings.layer, settings.pooling)
    contexts = None
    about = {"model": settings.model, "terms": len(terms), "layer": settings.layer, "pooling": settings.pooling}
    if settings.context == "sentences":
        contexts = find_contexts(terms, _sentences(settings.corpus), settings.max_contexts)
        without = sum(not held for held in contexts)
        about["terms without a sentence in the corpus, read alone"] = without
    ways = {MODEL: encoder.encode(terms, contexts)}
    if settings.corpus:
        ways[BASELINE], unseen = _counted(terms, settings)
        about |= {"corpus": settings.corpus, "terms of which the baseline knows no word": unseen}
    study = Study(terms, ways, about, {})
    if pairs is not None:
        about |= {
            "pairs": f"{len(pairs.scores)} ({pairs.origin})",
            **{f"left out: {why}": n for why, n in pairs.left_out.items()},
        }
        cosines = {way: _cosines(study, vectors, pairs) for way, vectors in ways.items()}
        study.results["Spearman correlation with the scores"] = measures.correlations(
            cosines, pairs.scores, settings.num_bootstrap, settings.seed
        )
    if imported is not None:
        import shutil

        shutil.rmtree(imported)
    return study, pairs


def _cosines(study, vectors, pairs):
    rows, place = measures.unit(vectors), {name: number for number, name in enumerate(study.names)}
    first, second = ([place[name] for name in names] for names in (pairs.first, pairs.second))
    return (rows[first] * rows[second]).sum(axis=1)


def _sentences(path):
    for batch in read_texts(path):
        for text in batch.texts:
            yield from (text[start:end] for start, end in sentence_spans(text))


def _counted(terms, settings):
    """(baseline vectors of terms: the mean of their words', how many terms have no known word)."""
    places = {}
    for batch in read_texts(settings.corpus):
        for text in batch.texts:
            for word in _WORD.findall(text.lower()):
                places.setdefault(word, len(places))
    sequences = (
        np.array([places[word] for word in _WORD.findall(text.lower())], np.int64)
        for batch in read_texts(settings.corpus)
        for text in batch.texts
    )
    together = ppmi.count_neighbours(sequences, len(places), settings.baseline_window)
    table = ppmi.ppmi_svd(together, settings.baseline_width, settings.seed)
    vectors, unseen = np.zeros((len(terms), table.shape[1])), 0
    for number, term in enumerate(terms):
        known = [places[word] for word in _WORD.findall(term.lower()) if word in places]
        unseen += not known
        if known:
            vectors[number] = table[known].mean(axis=0)
    return vectors, unseen


def _write_neighbours(path, study, near, quote_formulas):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
        writer.writerow(("way", "name", "rank", "neighbour", "cosine"))
        for way, (places, cosines) in near.items():
            for number, name in enumerate(study.names):
                writer.writerows(
                    (way, name, rank, study.names[place], f"{cosine:.6f}")
                    for rank, (place, cosine) in enumerate(zip(places[number], cosines[number], strict=True), 1)
                )


def _write_pairs(path, study, pairs, quote_formulas):
    cosines = {way: _cosines(study, vectors, pairs) for way, vectors in study.vectors.items()}
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
        writer.writerow(("term1", "term2", "score", *cosines))
        for number, (first, second) in enumerate(zip(pairs.first, pairs.second, strict=True)):
            writer.writerow((first, second, pairs.scores[number], *(f"{way[number]:.6f}" for way in cosines.values())))
