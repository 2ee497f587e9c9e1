"""Scores against seqeval's strict mode and nervaluate, by hand, and in the i2b2 tools' ways."""

import numpy as np
import pytest
from entity_cases import TYPES

from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS
from medtop.entities.misses import confusion_lines, errors, kind_of, miss_lines
from medtop.entities.reading import input_files
from medtop.entities.scores import compare, count, paired, score_lines, scores
from medtop.files.errors import DataError
from medtop.text.tags import decode, tag_set


def spans(*items):
    return [Span(f"T{n}", kind, tuple(edges)) for n, (kind, *edges) in enumerate(items)]


def document(name, *items, patient=""):
    return Document(name, "x" * 100, spans(*items), patient_id=patient)


def from_tags(tags, scheme):
    """Words as characters: a document of tags."""
    ranges, _ = decode(tags, scheme)
    return Document("", "x" * len(tags), spans(*((kind, (a, b)) for a, b, kind in ranges)))


def point(pairs, flavour="conll", **options):
    return scores(count(pairs, flavour), num_bootstrap=0, **options)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_equals_seqeval_in_strict_mode(scheme):
    """1,000 random taggings, legal or not: per type, micro and macro."""
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: make test-extras")
    from seqeval.scheme import IOB2, IOBES

    random, tags = np.random.default_rng(8), tag_set(TYPES, scheme)
    for _ in range(1000):
        lengths = random.integers(1, 12, random.integers(1, 4))
        gold, system = ([random.choice(tags, n).tolist() for n in lengths] for _ in range(2))
        if not any(from_tags(row, scheme).spans for row in (*gold, *system)):
            continue  # seqeval raises where neither side holds an entity
        pairs = [(from_tags(a, scheme), from_tags(b, scheme).spans) for a, b in zip(gold, system, strict=True)]
        for number, (doc, _) in enumerate(pairs):
            doc.document_id = str(number)
        ours = point(pairs)["strict"]
        theirs = seqeval.classification_report(
            gold, system, mode="strict", scheme={"bio": IOB2, "bioes": IOBES}[scheme], output_dict=True, zero_division=0
        )
        for label, entry in ours.items():
            other = theirs[f"{label} avg" if label in ("micro", "macro") else label]
            values = [entry[name]["value"] for name in ("precision", "recall", "f1")]
            assert np.allclose(values, [other[name] for name in ("precision", "recall", "f1-score")], rtol=0, atol=1e-9)


def test_inside_without_beginning_is_no_entity():
    """seqeval's default counts `I I` against `B I` as right."""
    gold, system = from_tags(["B-x", "I-x"], "bio"), from_tags(["I-x", "I-x"], "bio")
    assert point([(gold, system.spans)])["strict"]["micro"]["f1"]["value"] == 0.0


def against_nervaluate(pairs):
    module = pytest.importorskip("nervaluate", reason="nervaluate is not installed: make test-extras")

    def entities(items):
        return [
            {"label": s.type, "start": s.start, "end": s.end - 1}
            for s in sorted(items, key=lambda s: (s.fragments, s.type))
        ]

    kinds = sorted({s.type for doc, items in pairs for s in (*doc.spans, *items)})
    theirs = module.Evaluator(
        [entities(doc.spans) for doc, _ in pairs], [entities(items) for _, items in pairs], tags=kinds, loader="dict"
    ).evaluate()
    ours = point(pairs, "nervaluate")
    for measure, name in {"strict": "strict", "exact": "exact", "overlap": "partial", "type": "ent_type"}.items():
        for label, entry in ours[measure].items():
            if label != "macro":
                other = (theirs["overall"] if label == "micro" else theirs["entities"][label])[name]
                values = [entry[ratio]["value"] for ratio in ("precision", "recall", "f1")]
                assert np.allclose(values, [other.precision, other.recall, other.f1], rtol=0, atol=1e-9), (
                    measure,
                    label,
                )
    return ours


def test_equals_nervaluate_on_random_taggings():
    random, tags = np.random.default_rng(9), tag_set(TYPES)
    for _ in range(1000):
        pairs = []
        for number, length in enumerate(random.integers(1, 14, 3)):
            gold, system = (from_tags(random.choice(tags, length).tolist(), "bio") for _ in range(2))
            gold.document_id = str(number)
            pairs.append((gold, system.spans))
        if any(doc.spans or items for doc, items in pairs):
            against_nervaluate(pairs)


def test_equals_both_on_an_open_set(test_data):
    """NCBI disease and BC5CDR, gold against a system made of it by dropping, moving and renaming."""
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: make test-extras")
    from seqeval.scheme import IOB2

    from medtop.text.tags import encode

    random = np.random.default_rng(10)
    for name in ("ncbi_disease/conll/test.tsv.gz", "bc5cdr/bio/test.tsv.gz"):
        pairs, rows = [], []
        for doc in FORMATS["conll"].read(input_files(test_data / name, ()), Tally()):
            words = doc.text.count(" ") + 1
            starts = np.cumsum([0] + [len(word) + 1 for word in doc.text.split(" ")])
            gold = [
                (int(np.searchsorted(starts, s.start)), int(np.searchsorted(starts, s.end + 1)), s.type)
                for s in doc.spans
            ]
            system, after = [], 0
            for a, b, kind in gold:
                a, b = max(after, a - int(random.random() < 0.1)), min(words, b + int(random.random() < 0.1))
                if random.random() < 0.85 and a < b:
                    system.append((a, b, "Disease" if random.random() < 0.1 else kind))
                    after = b
            pairs.append(
                (
                    Document(doc.document_id, "", spans(*((k, (a, b)) for a, b, k in gold))),
                    spans(*((k, (a, b)) for a, b, k in system)),
                )
            )
            rows.append((encode(words, gold), encode(words, system)))
        ours = point(pairs)["strict"]
        theirs = seqeval.classification_report(*zip(*rows, strict=True), mode="strict", scheme=IOB2, output_dict=True)
        for label, entry in ours.items():
            other = theirs[f"{label} avg" if label in ("micro", "macro") else label]
            assert abs(entry["f1"]["value"] - other["f1-score"]) < 1e-9
        assert 0.5 < against_nervaluate(pairs)["strict"]["micro"]["f1"]["value"] < 0.95


def values(entry):
    return entry["precision"]["value"], entry["recall"]["value"]


def test_conll_by_hand():
    gold = document("a", ("A", (0, 4)), ("A", (10, 14)), ("B", (20, 24)), ("B", (30, 34), (40, 44)))
    system = spans(("A", (0, 4)), ("A", (12, 16)), ("A", (20, 24)), ("B", (30, 34)), ("B", (50, 54)), ("B", (50, 54)))
    found = point([(gold, system)])
    assert values(found["strict"]["micro"]) == (1 / 5, 1 / 4), "a repeated span counts once"
    assert values(found["exact"]["micro"]) == (2 / 5, 2 / 4)
    assert values(found["overlap"]["micro"]) == (4 / 5, 4 / 4)
    assert values(found["type"]["micro"]) == (3 / 5, 3 / 4)
    assert values(found["strict"]["A"]) == (1 / 3, 1 / 2)


def test_i2b2_2010_by_hand():
    """Exact: class and boundaries; inexact: class the same and boundaries overlap."""
    gold = document("a", ("problem", (0, 10)), ("test", (20, 30)), ("problem", (40, 50)))
    system = spans(("problem", (0, 10)), ("problem", (20, 30)), ("problem", (38, 45)), ("problem", (46, 52)))
    found = point([(gold, system)], "i2b2_2010")
    assert values(found["strict"]["micro"]) == (1 / 4, 1 / 3)
    assert values(found["overlap"]["micro"]) == (3 / 4, 2 / 3)


def test_i2b2_2012_by_hand():
    """Overlap whatever the type; the type's and the attributes' accuracy among overlapped gold events."""
    gold = document("a", ("PROBLEM", (0, 10)), ("TEST", (20, 30)), ("DATE", (40, 50)), ("TEST", (60, 65)))
    for span, polarity in zip(gold.spans, ("POS", "NEG", None, "POS"), strict=True):
        span.attributes.update({"polarity": polarity} if polarity else {})
    system = spans(("PROBLEM", (1, 3)), ("TEST", (4, 10)), ("TEST", (25, 35)), ("TIME", (40, 50)), ("TEST", (90, 95)))
    for span, polarity in zip(system, ("NEG", "pos", "pos", "pos", "pos"), strict=True):
        span.attributes["polarity"] = polarity
    found = point([(gold, system)], "i2b2_2012")
    assert values(found["overlap"]["micro"]) == (4 / 5, 3 / 4)
    assert values(found["type"]["micro"]) == (1 / 3, 1 / 3), "the partner of PROBLEM is the TEST that shares more"
    assert values(found["polarity"]["micro"]) == (1 / 2, 1 / 2)


def test_intervals_and_comparison():
    """Resampling patients by hand gives the same replicates; equal systems do not differ."""
    random = np.random.default_rng(11)
    pairs, worse = [], []
    for number in range(30):
        gold = [("A" if random.random() < 0.5 else "B", (n * 10, n * 10 + 5)) for n in range(4)]
        right = [item for item in gold if random.random() < 0.8]
        doc = document(f"d{number}", *gold, patient=f"p{number // 3}")
        pairs.append((doc, spans(*right)))
        worse.append((doc, spans(*right[:2])))
    counts, other = count(pairs), count(worse)
    assert counts.unit == "patients" and int(counts.groups.max()) == 9
    found = scores(counts, num_bootstrap=200, seed=3)["strict"]["micro"]["f1"]
    generator, replicates = np.random.default_rng(3), []
    strict = counts.values[:, 0, 0]
    by_patient = np.stack([strict[counts.groups == p].sum(0) for p in range(10)])
    for _ in range(200):
        a, b, c, d = by_patient[generator.integers(10, size=10)].sum(0)
        replicates.append(2 * a / b * c / d / (a / b + c / d))
    assert np.allclose([found["low"], found["high"]], np.quantile(replicates, [0.025, 0.975]), atol=1e-12)
    better = compare(counts, other, num_bootstrap=200)["strict"]["micro"]
    assert better["difference"] > 0 and better["low"] > 0 and better["p_value"] < 0.02
    equal = compare(counts, counts, num_bootstrap=200)["strict"]["macro"]
    assert (equal["difference"], equal["low"], equal["high"], equal["p_value"]) == (0, 0, 0, 1)
    assert any("micro" in line for line in score_lines(scores(counts, num_bootstrap=10)))


def test_kinds_of_misses_and_confusion():
    gold = document("a", ("A", (0, 4)), ("A", (10, 14)), ("B", (20, 24)), ("B", (30, 34)))
    system = spans(("A", (0, 4)), ("A", (9, 15)), ("A", (20, 24)), ("B", (50, 54)))
    types, kinds = errors([(gold, system)])
    assert types == {("A", "A"): 2, ("B", "A"): 1, ("B", "-"): 1, ("-", "B"): 1}
    assert kinds == {
        ("begins too early and ends too late", "A", "A"): 1, ("wrong type", "B", "A"): 1, ("missed", "B", "-"): 1,
        ("spurious", "-", "B"): 1,
    }  # fmt: skip
    assert kind_of(*spans(("A", (0, 4)), ("B", (0, 3)))) == "ends too early, wrong type"
    assert "     1  wrong type: B -> A" in miss_lines(kinds) and len(confusion_lines(types)) == 4


def test_documents_that_do_not_fit():
    one, other = document("a"), document("b")
    with pytest.raises(DataError, match="expected document 1 of gold, found none"):
        paired([one], [])
    assert paired([one], [], missing="empty") == [(one, [])]
    with pytest.raises(DataError, match="received 1 more"):
        paired([one], [one, other])
    with pytest.raises(DataError, match="expected the gold document's text"):
        paired([one], [Document("a", "other")])
    with pytest.raises(DataError, match="gold: expected documents, found none"):
        paired([], [])
