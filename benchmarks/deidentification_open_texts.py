r"""De-identification on texts that nobody wrote for it: Presidio's synthetic texts, and MTSamples notes with
identifiers planted between their sentences.

Example (open_data: a folder with presidio_synth/ and mtsamples_notes/):

  python benchmarks/deidentification_open_texts.py --data_dir=open_data --output_file=open_texts.json

Presidio's texts are split by template: rules were looked at on half of the 209 templates (`seen`), and are measured on
the other half; with --crf a CRF is trained on the first half and united with the rules. MTSamples' own text holds
placeholders, dates and places, too; only planted spans are known, so that recall is measured on them, and what is
removed beside them is listed by type as an upper bound of what was taken too much.
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
from medtop.deidentification import scores
from medtop.deidentification.detect import Detector
from medtop.deidentification.generated import make_patient
from medtop.deidentification.policy import POLICIES
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.tagging import predict, training_sentences
from medtop.files.atomic import write_json
from medtop.files.options import REQUIRED, option
from medtop.synthetic.identifier_texts import TERM, Writer, joined
from medtop.synthetic.identifier_values import Values

STRUCTURED = (
    "CREDIT_CARD", "DATE_TIME", "DOMAIN_NAME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER",
    "US_DRIVER_LICENSE", "US_SSN",
)  # fmt: skip
PLANTED_EACH, COPIES = 8, 3


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
        found[half].append(Document(str(number), row["full_text"], spans))
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
    """(summed `scores.compare`, Counter of what was removed beside true spans)."""
    sums, beside = collections.defaultdict(lambda: [0, 0]), collections.Counter()
    for document in documents:
        findings = detector.find(document.text, "", mark(document) if mark else ())
        result = scores.compare(document.text, document.spans, findings, POLICIES["safe_harbor"], "surrogate", {TERM})
        for kind, (number, left) in result["types"].items():
            sums[kind] = [sums[kind][0] + number, sums[kind][1] + left]
        sums[TERM] = [sums[TERM][0] + result["terms"][0], sums[TERM][1] + result["terms"][1]]
        true = [span for span in document.spans if span.type != TERM]
        for item in findings:
            if not any(item.start < span.end and span.start < item.end for span in true):
                beside[item.type] += 1
    return dict(sums), beside


def show(title, sums, beside):
    """Prints a table; dict type -> recall."""
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
    return found


def crf_marks(documents, folder):
    """Function document -> spans of a CRF trained on documents."""
    from medtop.entities.crf_tagger import CrfTagger

    tagger = CrfTagger.learn(list(training_sentences(documents, Tally())), Path(folder) / "crf.bin")
    return lambda document: predict(document, tagger.tag).spans


def main(_):
    """Both sets, a table each."""
    options, results = flags.read(Options), {}
    halves = presidio_documents(options.data_dir)
    for half, documents in halves.items():
        results[half] = show(f"Presidio's texts, {half} templates, rules", *measure(documents, Detector()))
    pooled = [results["unseen"][kind] for kind in STRUCTURED if kind in results["unseen"]]
    number = sum(entry["examples"] for entry in pooled)
    hits = round(sum(entry["examples"] * entry["value"] for entry in pooled))
    print(f"structured types, unseen templates: {hits} of {number}, {scores.proportion(hits, number)}")
    if options.crf:
        with tempfile.TemporaryDirectory(prefix="medtop-") as folder:
            mark = crf_marks(halves["seen"], folder)
            kinds = {span.type for document in halves["seen"] for span in document.spans}
            detector = Detector(thresholds={kind: (kind, 0.0) for kind in kinds})
            sums, beside = measure(halves["unseen"], detector, mark)
        results["unseen_with_crf"] = show("Presidio's texts, unseen templates, rules and CRF", sums, beside)
    results["mtsamples"] = show("MTSamples, planted", *measure(planted_documents(options.data_dir), Detector()))
    if options.output_file:
        write_json(options.output_file, results)


if __name__ == "__main__":
    commands.run(main)
