r"""De-identification on texts that nobody wrote for it: Presidio's synthetic texts, and MTSamples notes with
identifiers planted between their sentences.

Example (open_data: a folder with presidio_synth/ and mtsamples_notes/):

  python benchmarks/deidentification_open_texts.py --data_dir=open_data --output_file=open_texts.json

Presidio's texts are split by template: rules were looked at on half of the 209 templates (`seen`), and are measured on
the other half, once with what safe harbor removes and once with weekdays and times of day, too (policy strict), which
those texts mark as DATE_TIME. Structured are the types with a form of their own (`STRUCTURED`), not names, places,
organisations, nationalities, titles, ages and postcodes; what is missed of them is listed by form
(a for a letter, 0 for a digit). With --crf the rules are united with a CRF: trained on the seen templates, words count
from a probability of 0.5 on; and trained on three quarters of them, thresholds chosen on the fourth as
deidentify_notes.py --choose_thresholds --recall=0.99 does.

MTSamples' own text holds placeholders, dates and places, too; only planted spans are known, so that recall is measured
on them, and what is removed beside them is listed by type as an upper bound of what was taken too much.
"""

import collections
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.deidentification import scores, thresholds
from medtop.deidentification.detect import Detector
from medtop.deidentification.generated import make_patient
from medtop.deidentification.model import probable_words
from medtop.deidentification.policy import POLICIES
from medtop.deidentification.rules import RULES, STRICT_RULES
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.tagging import training_sentences
from medtop.files.atomic import write_json
from medtop.files.options import REQUIRED, option
from medtop.synthetic.identifier_texts import TERM, Writer, joined
from medtop.synthetic.identifier_values import Values

STRUCTURED = (
    "CREDIT_CARD", "DATE_TIME", "DOMAIN_NAME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER",
    "US_DRIVER_LICENSE", "US_SSN",
)  # fmt: skip
PLANTED_EACH, COPIES = 8, 3
RECALL, USUAL = 0.99, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where the texts are."""

    data_dir: str = option(REQUIRED, "Folder with presidio_synth/ and mtsamples_notes/.")
    crf: bool = option(False, "Train a CRF on the seen templates and unite it with the rules.")
    output_file: str = option("", "JSON with all numbers.")


flags.define(Options)


def presidio_documents(folder):
    """dict "seen", "unseen" -> documents."""
    with gzip.open(Path(folder) / "presidio_synth/synth_dataset_v2.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)
    found = {"seen": [], "unseen": []}
    for number, row in enumerate(rows):
        half = "unseen" if hashlib.sha256(str(row["template_id"]).encode()).digest()[0] % 2 else "seen"
        spans = [
            Span(f"T{place}", span["entity_type"], ((span["start_position"], span["end_position"]),))
            for place, span in enumerate(row["spans"])
        ]
        columns = {"template": str(row["template_id"])}
        found[half].append(Document(str(number), row["full_text"], spans, columns=columns))
    return found


def planted_documents(folder, seed=1):
    """MTSamples texts, each `COPIES` times with other identifiers planted between its sentences."""
    path = Path(folder) / "mtsamples_notes/note.csv.gz"
    with gzip.open(path, "rb") as file:
        texts = sorted({row["note_text"] for row in csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))})
    values = Values(np.random.default_rng(seed), "test")
    writer = Writer(values, [(values.pick(values.names["F"]), values.pick(values.names["last"])) for _ in range(20)])
    for number, text in enumerate(texts * COPIES):
        pieces, _ = writer.note(make_patient(values, str(number)), PLANTED_EACH)
        planted, spans = joined(pieces)
        cuts = [found.end() for found in re.finditer(r"\. ", text)] or [len(text)]
        cut = cuts[int(values.rng.integers(len(cuts)))]
        moved = [
            Span(f"T{place}", kind, ((start + cut + 1, end + cut + 1),))
            for place, (start, end, kind) in enumerate(spans)
        ]
        yield Document(str(number), f"{text[:cut]}\n{planted}\n{text[cut:]}", moved)


def measure(documents, detector, mark=None):
    """(summed `scores.compare`, Counter of what was removed beside true spans, Counter of missed structured forms)."""
    sums, beside, forms = collections.defaultdict(lambda: [0, 0]), collections.Counter(), collections.Counter()
    for document in documents:
        findings = detector.find(document.text, "", mark(document) if mark else ())
        for span in document.spans:
            result = scores.compare(document.text, [span], findings, POLICIES["strict"], "surrogate", {TERM})
            if result["leaked"] and span.type in STRUCTURED:
                forms[span.type, form_of(document.text[span.start : span.end])] += 1
        result = scores.compare(document.text, document.spans, findings, POLICIES["strict"], "surrogate", {TERM})
        for kind, (number, left) in result["types"].items():
            sums[kind] = [sums[kind][0] + number, sums[kind][1] + left]
        sums[TERM] = [sums[TERM][0] + result["terms"][0], sums[TERM][1] + result["terms"][1]]
        true = [span for span in document.spans if span.type != TERM]
        for item in findings:
            if not any(item.start < span.end and span.start < item.end for span in true):
                beside[item.type] += 1
    return dict(sums), beside, forms


def form_of(text):
    """A text's form: `a` for a letter, `0` for a digit."""
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "0", text))


def show(title, sums, beside, forms):
    """Prints a table; dict type -> recall, and under "structured" that of all types with a form of their own."""
    print(title)
    found = {}
    for kind, (number, left) in sorted(sums.items()):
        if number and kind != TERM:
            found[kind] = {"examples": number, **scores.proportion(number - left, number)}
            entry = found[kind]
            print(f"  {kind:<18} {number:>6} {left:>5}  {entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]")
    if sums.get(TERM, [0])[0]:
        print(f"  clinical terms lost: {sums[TERM][1]} of {sums[TERM][0]}")
    print(f"  removed beside them: {dict(beside.most_common())}")
    number = sum(sums[kind][0] for kind in STRUCTURED if kind in sums)
    if number:
        left = sum(sums[kind][1] for kind in STRUCTURED if kind in sums)
        found["structured"] = {"examples": number, **scores.proportion(number - left, number)}
        entry = found["structured"]
        print(
            f"  structured: {number - left} of {number}, {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
        )
        print(f"  missed forms: {', '.join(f'{kind} {form!r} {n}' for (kind, form), n in forms.most_common())}")
    return found


def crf(documents, folder):
    """(function document -> each word's types with their probabilities) of a CRF."""
    from medtop.entities.crf_tagger import CrfTagger

    tagger = CrfTagger.learn(list(training_sentences(documents, Tally())), Path(folder) / "crf.bin")
    return lambda document: probable_words(document, tagger)


def chosen_thresholds(documents, folder):
    """(function as of `crf`, dict type -> threshold): trained on three of four templates, chosen on the fourth."""

    def is_fourth(document):
        return hashlib.sha256(f"valid {document.columns['template']}".encode()).digest()[0] % 4 == 0

    mark = crf([document for document in documents if not is_fourth(document)], folder)
    held_out = [document for document in documents if is_fourth(document)]
    rules = Detector(STRICT_RULES)
    chosen = thresholds.choose(held_out, rules, lambda each: [mark(one) for one in each], RECALL, frozenset(), "")
    print("thresholds,", "\n".join(thresholds.lines(chosen)))
    return mark, {kind: entry["threshold"] for kind, entry in chosen["types"].items()}


def main(_):
    """Both sets, a table each."""
    options, results = flags.read(Options), {}
    halves = presidio_documents(options.data_dir)
    for half, documents in halves.items():
        for policy, rules in (("safe harbor", RULES), ("strict", STRICT_RULES)):
            title = f"Presidio's texts, {half} templates, rules, {policy}"
            results[f"{half}, {policy}"] = show(title, *measure(documents, Detector(rules)))
    kinds = {span.type for document in halves["seen"] for span in document.spans} if options.crf else ()
    for name in ("CRF from 0.5 on", "CRF with chosen thresholds") if options.crf else ():
        with tempfile.TemporaryDirectory(prefix="medtop-") as folder:
            if name.startswith("CRF from"):
                mark, least = crf(halves["seen"], folder), {}
            else:
                mark, least = chosen_thresholds(halves["seen"], folder)
            detector = Detector(STRICT_RULES, thresholds={kind: (kind, least.get(kind, USUAL)) for kind in kinds})
            sums = measure(halves["unseen"], detector, mark)
        results[f"unseen, strict, {name}"] = show(
            f"Presidio's texts, unseen templates, strict, rules and {name}", *sums
        )
    results["mtsamples"] = show("MTSamples, planted", *measure(planted_documents(options.data_dir), Detector()))
    if options.output_file:
        write_json(options.output_file, results)


if __name__ == "__main__":
    commands.run(main)
