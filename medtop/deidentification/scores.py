"""What was left and what was taken too much, where the truth is known, with bounds that hold for few examples.

A true identifier is *left* where any letter or digit of it stands outside of all that was removed, whatever type the
removal gave it. Bounds are those of Clopper and Pearson: exact for independent examples, on the safe side of nominal.
Examples of one patient are not quite independent; the leak rates per document and per patient are given for that.
"""

import math

from scipy.stats import beta

from medtop.entities import evaluate
from medtop.files.errors import DataError

CONFIDENCE = 0.95


def proportion(hits, number, confidence=CONFIDENCE):
    """A proportion with its exact bounds.

    Args:
        hits, number: int.
        confidence: of the two-sided interval and, each for itself, of the one-sided bounds.

    Returns:
        dict value, low, high (two-sided), lower, upper (one-sided); all None for `number` 0.

    >>> round(proportion(299, 299)["lower"], 4)
    0.99
    """
    if not number:
        return dict.fromkeys(("value", "low", "high", "lower", "upper"))

    def below(tail):
        return 0.0 if hits == 0 else float(beta.ppf(tail, hits, number - hits + 1))

    def above(tail):
        return 1.0 if hits == number else float(beta.ppf(1 - tail, hits + 1, number - hits))

    tail = 1 - confidence
    return {
        "value": hits / number,
        "low": below(tail / 2),
        "high": above(tail / 2),
        "lower": below(tail),
        "upper": above(tail),
    }


def examples_needed(recall, misses=0, confidence=CONFIDENCE):
    """The fewest examples of which so many may be missed for the one-sided lower bound of recall to reach `recall`.

    >>> examples_needed(0.99), examples_needed(0.99, 1)
    (299, 473)
    """
    low, high = misses + 1, math.ceil(20 * (misses + 1) / (1 - recall))
    while low < high:
        middle = (low + high) // 2
        if proportion(middle - misses, middle, confidence)["lower"] >= recall:
            high = middle
        else:
            low = middle + 1
    return low


class Truth:
    """True spans of documents.

    Args:
        path: in any format of docs/entities.md, or a prefix of tables.
        term_types: types that are no identifiers.
        split: of tables, which one.
    """

    def __init__(self, path, term_types, split="test"):
        documents, _ = evaluate.load(path, None, split, "gold", False)
        self.path, self.term_types = path, frozenset(term_types)
        self.documents = {document.document_id: document for document in documents}

    def of(self, document):
        """The true spans of a document, None where it has no truth.

        Raises:
            DataError: for another text.
        """
        gold = self.documents.get(document.document_id)
        if gold is None:
            return None
        if gold.text != document.text:
            raise DataError(f"--gold: {self.path}: expected the texts of --input, received another for one document")
        return gold.spans


def compare(text, gold, findings, policy, replace, term_types):
    """One document.

    Args:
        text: str.
        gold: list of `Span`.
        findings: list of `Finding` that were removed.
        policy: `Policy`; true spans of types that it keeps are not counted.
        replace: see `Policy.removes`.
        term_types: set of types that are no identifiers.

    Returns:
        dict: types (type -> [examples, left]), found (type -> [removed, those that touch no true identifier]), terms
        [clinical terms, lost], characters [letters and digits outside of identifiers, those removed], leaked (whether
        an identifier is left, None where there is none).
    """
    covered, true = bytearray(len(text)), bytearray(len(text))
    for item in findings:
        covered[item.start : item.end] = b"\1" * (item.end - item.start)
    types, terms, leaked = {}, [0, 0], None
    for span in gold:
        places = [place for start, end in span.fragments for place in range(start, end)]
        if span.type in term_types:
            terms[0] += 1
            terms[1] += any(covered[place] for place in places)
            continue
        for place in places:
            true[place] = 1
        if not policy.removes(span.type, replace):
            continue
        left = any(text[place].isalnum() and not covered[place] for place in places)
        counts = types.setdefault(span.type, [0, 0])
        counts[0] += 1
        counts[1] += left
        leaked = left or bool(leaked)
    removed = {}
    for item in findings:
        counts = removed.setdefault(item.type, [0, 0])
        counts[0] += 1
        counts[1] += not any(true[item.start : item.end])
    plain = [place for place, letter in enumerate(text) if letter.isalnum() and not true[place]]
    characters = [len(plain), sum(covered[place] for place in plain)]
    return {"types": types, "found": removed, "terms": terms, "characters": characters, "leaked": leaked}
