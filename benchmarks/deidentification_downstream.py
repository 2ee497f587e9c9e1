r"""What de-identification costs the models behind it: entities of BC5CDR, readmission from discharge summaries.

Entities (a CRF, open_data: a folder with bc5cdr/pubtator/): each variant is trained on its own training and development
texts and scored on its own test texts; true marks are carried over the replacement. BC5CDR's abstracts hold hardly an
identifier, so a second set holds a passage of generated identifiers in each of them, at a random sentence's end:

  python benchmarks/deidentification_downstream.py --data_dir=open_data --output_file=entities.json

Readmission (two prefixes of preprocess_notes.py, of the notes as they are and without identifiers):

  python benchmarks/deidentification_downstream.py --original=notes/texts --deidentified=safe/texts

Differences are paired: the same resamples of documents (entities) or patients (readmission) for both.
"""

import dataclasses
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.deidentification.detect import Detector
from medtop.deidentification.generated import make_patient
from medtop.deidentification.policy import POLICIES
from medtop.deidentification.removal import Remover, carried
from medtop.deidentification.roster import Roster
from medtop.deidentification.surrogates import Surrogates
from medtop.entities import scores
from medtop.entities.documents import Document, Tally
from medtop.entities.formats import find_format
from medtop.entities.reading import input_files
from medtop.entities.tagging import predict, training_sentences
from medtop.evaluation.bootstrap import interval
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.keys import make_key, read_key
from medtop.files.options import at_least, option
from medtop.synthetic.identifier_texts import Writer, joined
from medtop.synthetic.identifier_values import Values

PLANTED_EACH, RESAMPLES = 6, 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared."""

    data_dir: str = option("", "Folder with bc5cdr/: entities before and after.")
    original: str = option("", "Prefix of preprocess_notes.py, of the notes as they are.")
    deidentified: str = option("", "The same of the notes without identifiers.")
    documents: int = option(0, "Entities: how many documents of each split; 0: all.", rule=at_least(0))
    output_file: str = option("", "JSON with all numbers.")


flags.define(Options)


def read_bc5cdr(folder, limit):
    """dict "train" (with the development set), "test" -> documents."""
    files = {"train": ("Training", "Development"), "test": ("Test",)}
    found = {}
    for split, names in files.items():
        paths = [Path(folder) / f"bc5cdr/pubtator/CDR_{name}Set.PubTator.txt.gz" for name in names]
        documents = [d for path in paths for d in find_format("pubtator").read(input_files(path, ("",)), Tally())]
        found[split] = documents[: limit or None]
    return found


def planted(documents, seed):
    """Documents with a passage of generated identifiers at a sentence's end, marks moved with the text."""
    values = Values(np.random.default_rng(seed), "test")
    writer = Writer(values, [(values.pick(values.names["F"]), values.pick(values.names["last"])) for _ in range(20)])
    for number, document in enumerate(documents):
        passage, _ = joined(writer.note(make_patient(values, str(number)), PLANTED_EACH)[0])
        ends = [found.end() for found in re.finditer(r"\. ", document.text)]
        ends = [end for end in ends if not any(span.start < end < span.end for span in document.spans)]
        cut = ends[int(values.rng.integers(len(ends)))] if ends else len(document.text)
        put = f"\n{passage}\n"

        def moved(place, cut=cut, put=put):
            return place + (len(put) if place >= cut else 0)

        spans = [
            dataclasses.replace(
                span, fragments=tuple((moved(start), moved(end - 1) + 1) for start, end in span.fragments)
            )
            for span in document.spans
        ]
        text = document.text[:cut] + put + document.text[cut:]
        yield Document(document.document_id, text, spans)


def deidentified(documents, remover):
    """(documents without identifiers, marks that touch what was removed, what was removed)."""
    detector, new, touched, number = Detector(), [], 0, 0
    for document in documents:
        removed = remover.remove(document.text, detector.find(document.text), document.document_id)
        spans, hit = carried(document.spans, removed)
        new.append(Document(document.document_id, removed.text, spans))
        touched, number = touched + hit, number + len(removed.findings)
    return new, touched, number


def entity_counts(splits):
    """`scores.Counts` of a CRF trained and scored on documents of one kind."""
    from medtop.entities.crf_tagger import CrfTagger

    with tempfile.TemporaryDirectory(prefix="medtop-") as folder:
        sentences = list(training_sentences(splits["train"], Tally()))
        tagger = CrfTagger.learn(sentences, Path(folder) / "crf.bin")
        found = [predict(document, tagger.tag) for document in splits["test"]]
    return scores.count(scores.paired(splits["test"], found), types=("Chemical", "Disease"))


def entities(options):
    """dict variant -> F1, difference to its own original, marks touched."""
    plain, results = read_bc5cdr(options.data_dir, options.documents), {}
    sets = {
        "as they are": plain,
        "with identifiers": {split: list(planted(documents, 7 + len(split))) for split, documents in plain.items()},
    }
    with tempfile.TemporaryDirectory(prefix="medtop-") as folder:
        key_file = Path(folder) / "key"
        make_key(key_file)
        surrogates = Surrogates(read_key(key_file, []), Roster())
        removers = {name: Remover(POLICIES["safe_harbor"], name, surrogates) for name in ("tag", "surrogate")}
        for title, original in sets.items():
            first = entity_counts(original)
            point = scores.scores(first, num_bootstrap=RESAMPLES)["strict"]["micro"]["f1"]
            results[f"{title}, original"] = {"f1": point}
            show(f"{title}, original", results[f"{title}, original"])
            for name, remover in removers.items():
                made = {split: deidentified(documents, remover) for split, documents in original.items()}
                second = entity_counts({split: each[0] for split, each in made.items()})
                entry = {
                    "f1": scores.scores(second, num_bootstrap=RESAMPLES)["strict"]["micro"]["f1"],
                    "difference": scores.compare(second, first, num_bootstrap=RESAMPLES)["strict"]["micro"],
                    "marks": sum(len(document.spans) for each in original.values() for document in each),
                    "marks_touched": sum(each[1] for each in made.values()),
                    "identifiers_removed": sum(each[2] for each in made.values()),
                }
                results[f"{title}, {name}"] = entry
                show(f"{title}, {name}", entry)
    return results


def show(title, entry):
    """One line."""
    f1 = entry["f1"]
    text = f"{title:<32} {f1['value']:.4f} [{f1['low']:.4f}, {f1['high']:.4f}]"
    if "difference" in entry:
        change = entry["difference"]
        text += (
            f"  {change['difference']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]  removed "
            f"{entry['identifiers_removed']:,}, marks touched {entry['marks_touched']:,} of {entry['marks']:,}"
        )
    print(text, flush=True)


def read_notes(prefix):
    """dict split -> (texts, labels, patients) of `readmission`-labelled notes."""
    import pyarrow.parquet as pq

    found = {}
    for split in ("train", "test"):
        table = pq.read_table(f"{prefix}.notes.{split}.parquet").to_pylist()
        rows = [row for row in table if row["readmission"] is not None]
        found[split] = ([row["text"] for row in rows], np.array([int(row["readmission"]) for row in rows]),
                        [row["patient_id"] for row in rows])  # fmt: skip
    return found


def logits(splits):
    """Test logits of TF-IDF and logistic regression: float64 [N]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(min_df=2, max_features=20_000)
    model = LogisticRegression(max_iter=2000, C=10).fit(
        vectorizer.fit_transform(splits["train"][0]), splits["train"][1]
    )
    return model.decision_function(vectorizer.transform(splits["test"][0]))


def readmission(options):
    """AUROC before and after, and their difference, over the same resamples of patients."""
    from sklearn.metrics import roc_auc_score

    first, second = read_notes(options.original), read_notes(options.deidentified)
    if not np.array_equal(first["test"][1], second["test"][1]):
        raise DataError("--deidentified: expected the test notes and labels of --original, received others")
    _, labels, patients = first["test"]
    pair, groups = [logits(first), logits(second)], np.unique(patients, return_inverse=True)[1]
    members = [np.flatnonzero(groups == number) for number in range(groups.max() + 1)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
        drawn.append([roc_auc_score(labels[rows], each[rows]) for each in pair])
    drawn, points = np.array(drawn), [float(roc_auc_score(labels, each)) for each in pair]
    result = {"test_notes": len(labels), "test_patients": len(members)}
    columns = {"original": (points[0], drawn[:, 0]), "deidentified": (points[1], drawn[:, 1]),
               "difference": (points[1] - points[0], drawn[:, 1] - drawn[:, 0])}  # fmt: skip
    for name, (point, sample) in columns.items():
        low, high = interval(point, sample)
        result[name] = {"value": point, "low": low, "high": high}
        print(f"readmission AUROC, {name:<13} {point:+.4f} [{low:+.4f}, {high:+.4f}]")
    return result


def main(_):
    """What was asked for."""
    options, results = flags.read(Options), {}
    if bool(options.original) != bool(options.deidentified):
        raise DataError("--original and --deidentified: expected both or none")
    if not options.data_dir and not options.original:
        raise DataError("expected --data_dir, or --original and --deidentified, received neither")
    if options.data_dir:
        results["entities"] = entities(options)
    if options.original:
        results["readmission"] = readmission(options)
    if options.output_file:
        write_json(options.output_file, results)


if __name__ == "__main__":
    commands.run(main)
