r"""Our rules beside Presidio's pattern recognisers and philter-lite, on the same texts in one interleaved run.

Example (pip install presidio-analyzer philter-lite; without one of them it is left out, and the table says so):

  python preprocessing/make_synthetic_notes.py --identifiers --num_patients=600 --output_dir=data/identifiers
  python benchmarks/deidentification_peers.py --input_prefix=data/identifiers/identifiers --documents=200

Recall: share of true identifiers of which every letter and digit is removed, whatever the type. F2 weighs recall twice;
its precision is the share of removed stretches that touch an identifier. Time is CPU time, blocks of documents in turn.
Presidio runs without its language model (which needs a download): patterns and phone numbers, every match counts
whatever its score; once its recognisers alone, and once within its AnalyzerEngine on spaCy's words, as people run it.
All find, none replaces: ours makes its views of the text, rules and the union of spans, Presidio's engine its context
words and the union. philter-lite wants NLTK's part-of-speech tagger (a download, too): where it is missing a stand-in
says "name" of each capitalised word and "number" of digits, which favours its recall. Ours runs without a roster and
without a model, so that all three see the text alone.
"""

import collections
import dataclasses
import importlib.resources
import importlib.util
import itertools
import logging
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.deidentification import scores
from medtop.deidentification.detect import TYPES, Detector, Finding
from medtop.deidentification.policy import POLICIES
from medtop.entities.documents import Tally
from medtop.entities.tables import read_tables
from medtop.files.atomic import write_json
from medtop.files.options import REQUIRED, at_least, option

TERMS = frozenset({"CLINICAL_TERM"})
BLOCK = 10
FOREIGN = re.compile("(?:Au|Ca|In|Ng|Ph|Sg|Uk|Za)[A-Z]")
"""Presidio's recognisers of other countries' numbers, which US notes do not have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured on what."""

    input_prefix: str = option(REQUIRED, "Prefix of tables with true spans; the split test is used.")
    documents: int = option(200, "How many documents.", rule=at_least(1))
    output_file: str = option("", "JSON with all numbers.")


flags.define(Options)


def ours():
    """Function text -> list of (start, end)."""
    detector = Detector()
    return lambda text: [(item.start, item.end) for item in detector.find(text)]


def recognisers():
    """All of Presidio's English pattern recognisers and the one for phone numbers."""
    from presidio_analyzer import PatternRecognizer, predefined_recognizers
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    names = [name for name in dir(predefined_recognizers) if name.endswith("Recognizer")]
    kinds = [getattr(predefined_recognizers, name) for name in names]
    kinds = [kind for kind in kinds if issubclass(kind, PatternRecognizer) and kind is not PatternRecognizer]
    found = [kind() for kind in kinds]
    found = [one for one in found if one.supported_language == "en"]
    found = [one for one in found if not FOREIGN.match(type(one).__name__)]
    return [*found, PhoneRecognizer(supported_regions=("US", "GB"))]


def presidio():
    """The recognisers one after the other, and nothing else of Presidio."""
    found = recognisers()

    def find(text):
        results = (result for one in found for result in one.analyze(text, one.supported_entities, None) or ())
        return [(result.start, result.end) for result in results]

    return find


def presidio_engine():
    """The same recognisers within Presidio's AnalyzerEngine, with an empty English spaCy pipeline (words only)."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Words(SpacyNlpEngine):
        """spaCy's English words without a trained model."""

        def __init__(self):
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

    registry = RecognizerRegistry(recognizers=recognisers())
    engine = AnalyzerEngine(
        registry=registry, nlp_engine=Words(), supported_languages=["en"], default_score_threshold=0
    )
    return lambda text: [(result.start, result.end) for result in engine.analyze(text, language="en")]


def philter():
    """Its filters as shipped; what it does not keep is removed."""
    import nltk
    import philter_lite
    from philter_lite.asterisk import transform_text_asterisk

    filters = philter_lite.load_filters(importlib.resources.files(philter_lite).joinpath("configs/philter_delta.toml"))
    try:
        nltk.pos_tag(["word"])
    except LookupError:
        print("philter-lite: NLTK's tagger is not there, a stand-in is used")
        nltk.pos_tag = lambda words: [
            (word, "CD" if word.isdigit() else "NNP" if word[:1].isupper() else "NN") for word in words
        ]

    def find(text):
        kept, _, _ = philter_lite.detect_phi(text, filters)
        new = transform_text_asterisk(text, kept)
        changed = [a != b for a, b in zip(text, new, strict=True)]
        edges = [place for place, (a, b) in enumerate(zip([False, *changed], [*changed, False], strict=True)) if a != b]
        return list(zip(edges[::2], edges[1::2], strict=True))

    return find


SYSTEMS = {
    "medtop": (ours, None),
    "presidio": (presidio, "presidio_analyzer"),
    "presidio engine": (presidio_engine, "presidio_analyzer"),
    "philter-lite": (philter, "philter_lite"),
}


def measure(documents, find, sums):
    """Adds documents to the sums of one system."""
    policy = POLICIES["safe_harbor"]
    for document in documents:
        begin = time.process_time()
        edges = find(document.text)
        sums["seconds"] += time.process_time() - begin
        findings = [Finding(start, end, "OTHER_ID", "") for start, end in sorted(edges) if start < end]
        result = scores.compare(document.text, document.spans, findings, policy, "surrogate", TERMS)
        for kind, (number, left) in result["types"].items():
            sums["types"][kind][0] += number
            sums["types"][kind][1] += left
        for name in ("terms", "characters"):
            sums[name] = [a + b for a, b in zip(sums[name], result[name], strict=True)]
        for number, wrong in result["found"].values():
            sums["found"] = [sums["found"][0] + number, sums["found"][1] + wrong]
        sums["leaks"] += bool(result["leaked"])
        sums["documents"] += 1


def f2(precision, recall):
    """F with recall twice as heavy."""
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def summary(sums):
    """Plain numbers of one system."""
    precision = 1 - sums["found"][1] / max(sums["found"][0], 1)
    types = {}
    for kind, (number, left) in sorted(sums["types"].items()):
        recall = scores.proportion(number - left, number)
        types[kind] = {"examples": number, "recall": recall, "f2": f2(precision, recall["value"])}
    return {
        "types": types,
        "precision": precision,
        "document_leak": scores.proportion(sums["leaks"], sums["documents"]),
        "terms_lost": scores.proportion(sums["terms"][1], sums["terms"][0]),
        "characters_removed_too_much": sums["characters"][1] / max(sums["characters"][0], 1),
        "documents_per_second": sums["documents"] / sums["seconds"],
    }


def main(_):
    """One interleaved run, a table out."""
    options = flags.read(Options)
    logging.disable(logging.CRITICAL)  # one peer asks for a list on the internet, and goes on without it
    documents = list(itertools.islice(read_tables(options.input_prefix, "test", Tally()), options.documents))
    systems, sums = {}, {}
    for name, (make, package) in SYSTEMS.items():
        if package and importlib.util.find_spec(package) is None:
            print(f"{name}: not installed, left out")
            continue
        systems[name] = make()
        systems[name](documents[0].text)  # what is loaded at the first call is no part of the time
        sums[name] = {"seconds": 0.0, "types": collections.defaultdict(lambda: [0, 0]), "terms": [0, 0],
                      "characters": [0, 0], "found": [0, 0], "leaks": 0, "documents": 0}  # fmt: skip
    for start in range(0, len(documents), BLOCK):
        for name, find in systems.items():
            measure(documents[start : start + BLOCK], find, sums[name])
    results = {name: summary(each) for name, each in sums.items()}
    print(f"{len(documents)} documents")
    print(f"{'recall (F2)':<14}" + "".join(f"{name:>22}" for name in results))
    for kind in [kind for kind in TYPES if kind in results["medtop"]["types"]]:
        cells = [results[name]["types"][kind] for name in results]
        print(f"{kind:<14}" + "".join(f"{cell['recall']['value']:>14.4f} ({cell['f2']:.3f})" for cell in cells))
    for line in ("precision", "characters_removed_too_much", "documents_per_second"):
        print(f"{line:<28}" + "".join(f"{results[name][line]:>14.4f}" for name in results))
    for line in ("document_leak", "terms_lost"):
        print(f"{line:<28}" + "".join(f"{results[name][line]['value'] or 0:>14.4f}" for name in results))
    if options.output_file:
        write_json(options.output_file, results)


if __name__ == "__main__":
    commands.run(main)
