r"""Whether pretraining on raw text of one's own helps a tagger of entities: where it can be known, and on open data.

A generated language (medtop/synthetic/hidden_classes.py): labels for a fifth of its nouns, raw text with all of them,
the best reachable F1 known, with raw text and without:

    python benchmarks/entities_pretraining.py --part=language --work_dir=checkpoints/language --seeds=0,1,2

NCBI disease or BC5CDR with 5, 25 and 100% of the labelled training documents; pretrained on MTSamples' notes and the
training split's raw texts, near copies of validation and test documents removed:

    python benchmarks/entities_pretraining.py --part=open --work_dir=checkpoints/open --data_dir=open_data \
        --set=ncbi_disease --shares=0.05,0.25,1

Every step is one of the project's scripts, as in docs/corpus.md; the arms have the same encoder, word pieces and
training and differ by the weights that they start from: "pretrained" by masked pieces, whose table of pieces started
from neighbours in the raw text (--code_start=ppmi); "neighbours" that start alone; "scratch" random weights. The latter
two are pretrainings of one step whose learning rate is 1e-12. Steps that are done are kept in --work_dir and not done
again.
"""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medtop.cli import commands, flags  # noqa: E402
from medtop.data.ppmi import count_neighbours, ppmi_svd  # noqa: E402
from medtop.entities import evaluate, scores  # noqa: E402
from medtop.entities.documents import Document, Span, Tally  # noqa: E402
from medtop.entities.tables import read_tables  # noqa: E402
from medtop.entities.viterbi import allowed_transitions, viterbi  # noqa: E402
from medtop.entities.words import document_words  # noqa: E402
from medtop.files.atomic import write_json  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option, share  # noqa: E402
from medtop.synthetic import hidden_classes  # noqa: E402
from medtop.text.sentences import sentence_spans  # noqa: E402
from medtop.text.tags import decode, encode, tag_set  # noqa: E402

PARTS, SETS = ("language", "open"), ("ncbi_disease", "bc5cdr")
CONFIG = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "activation": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.0,
    "neighbour_layers": 2,
    "max_position_embeddings": 128,
    "embeddings": ["code", "position"],
}
WIDTHS = {
    "language": {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.1},
    "open": {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.07},
}
ARMS = {"pretrained": (True, True), "neighbours": (False, True), "scratch": (False, False)}
"""Arm -> whether it is trained on masked pieces, whether its table starts from neighbours."""
MASKED = 0.25
"""Share of the pieces that pretraining hides; BERT's 0.15 makes less of little text (Wettig et al. 2023)."""
RAW_DOCUMENTS, DOCUMENTS = 6000, {"train": 150, "valid": 50, "test": 300}
"""Of the language."""
VECTOR, REACH = 50, 2
"""Of the simple rival: columns of a word's vector; words on each side that count as neighbours."""
FILES = {
    "ncbi_disease": "NCBI{train,develop,test}set_corpus.txt.gz",
    "bc5cdr": "CDR_{Training,Development,Test}Set.PubTator.txt.gz",
}
"""A set's three files: training, validation, test."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is trained."""

    part: str = option(REQUIRED, "The generated language, or open data.", choices=PARTS)
    work_dir: str = option(REQUIRED, "Folder that keeps every step.")
    seeds: tuple[int, ...] = option((0,), "Seeds of the language, of the labelled documents, and of the trainings.")
    data_dir: str = option("", "Open data: folder with mtsamples_notes and the set.")
    set: str = option("ncbi_disease", "Open data: which set.", choices=SETS)
    shares: tuple[float, ...] = option((0.05, 0.25, 1.0), "Open data: shares of the labelled training documents.")
    vocab_size: int = option(0, "Word pieces; 0: 1000 (language), 4000 (open data).", rule=at_least(0))
    pretraining_steps: int = option(2000, "Steps of pretraining.", rule=at_least(1))
    steps: int = option(150, "Steps of each tagger; the weights of the highest validation F1 stay.", rule=at_least(1))
    pretraining_rate: float = option(2e-3, "Learning rate of pretraining.", rule=share())
    learning_rate: float = option(1e-3, "Of each tagger.", rule=share())


flags.define(Options)


def run(folder, name, script, *arguments):
    """Runs a script of the repository once; its output is `<name>.log`."""
    command, done = [script, *map(str, arguments)], folder / f"{name}.done.json"
    if done.exists():
        if json.loads(done.read_text(encoding="utf-8")) != command:
            raise DataError(f"{done}: expected the command of this run, received another one's; use a new --work_dir")
        return
    with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
        code = subprocess.run([sys.executable, ROOT / script, *command[1:]], stdout=log, stderr=log).returncode
    if code:
        raise DataError(f"{script}: ended with {code}: see {folder / name}.log")
    write_json(done, command)


def write_lines(path, items):
    """Writes JSON lines."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)


def write_splits(path, owners):
    """Writes a split file: owners are (patient_id, split)."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("patient_id", "split"), *owners])
    return path


def pretrain(folder, sources, splits, options, seed, vocab_size, deduplicate, length):
    """Raw texts to a vocabulary and a run that each arm starts from; dict arm -> run directory."""
    mixed = sources
    if deduplicate:
        run(
            *(folder, "deduplicate", "preprocessing/deduplicate_notes.py", f"--input={sources}", f"--splits={splits}"),
            *(f"--output_prefix={folder / 'dedup'}", "--unlisted_patients=use"),
        )
        mixed = folder / "dedup.notes.train.parquet"
    corpus, vocabulary = folder / "corpus.notes.train.parquet", folder / "vocab.txt"
    run(
        *(folder, "corpus", "preprocessing/make_corpus.py", f"--input={mixed}", f"--output_prefix={folder / 'corpus'}"),
        *([] if deduplicate else [f"--splits={splits}"]),
    )
    run(
        *(folder, "vocabulary", "preprocessing/learn_wordpiece_vocab.py", f"--input_file={corpus}"),
        *(f"--output_file={vocabulary}", f"--vocab_size={vocab_size}"),
    )
    run(
        *(folder, "records", "preprocessing/create_notes_pretraining_data.py", f"--input_file={corpus}"),
        *(f"--output_file={folder / 'train.tfrecord'}", f"--vocab_file={vocabulary}", f"--splits={splits}"),
        *("--split=train", "--unlisted_patients=use", "--pairs=none", f"--max_seq_length={length}"),
    )
    write_json(folder / "model.json", CONFIG | WIDTHS[options.part])
    runs = {}
    for arm, (trained, neighbours) in ARMS.items():
        steps, rate = (options.pretraining_steps, options.pretraining_rate) if trained else (1, 1e-12)
        runs[arm] = folder / f"run_{arm}"
        run(
            *(folder, f"pretraining_{arm}", "run_scripts/run_EHRpretraining.py", "--do_train", "--tasks=masked_lm"),
            *("--whole_word_masking", "--packing", "--nobaselines", f"--input_file={folder / 'train.tfrecord'}"),
            *(f"--bert_config_file={folder / 'model.json'}", f"--output_dir={runs[arm]}", f"--seed={seed}"),
            *(f"--num_train_steps={steps}", f"--learning_rate={rate}", "--train_batch_size=32"),
            *(f"--masked_lm_prob={MASKED}", f"--code_start={'ppmi' if neighbours else 'random'}"),
        )
    return runs


def tag(folder, name, prefix, options, seed, length, start=None, documents=0):
    """Trains a tagger and scores it; dict system -> its test `Document`s."""
    output = folder / name
    run(
        *(folder, name, "run_scripts/run_entities.py", "--do_train", "--do_eval", "--model=encoder"),
        *(f"--input_prefix={prefix}", f"--output_dir={output}", f"--num_train_steps={options.steps}"),
        *(f"--learning_rate={options.learning_rate}", "--train_batch_size=16", f"--max_seq_length={length}"),
        *(f"--seed={seed}", f"--train_documents={documents}", "--noplot"),
        *([f"--init_checkpoint={start}"] if start else []),
    )
    return {
        system: evaluate.load(output / f"predictions.{system}.jsonl", "jsonl", None, "system", False)[0]
        for system in ("encoder", "crf", "dictionary")
    }


def write_language(folder, language, seed):
    """Raw texts and labelled documents; file names by split."""
    rng = np.random.default_rng([seed, 1])
    writer = hidden_classes.Writer(language, hidden_classes.RAW)
    raw = [writer.document(rng)[0] for _ in range(RAW_DOCUMENTS)]
    write_lines(folder / "raw.jsonl", ({"patient_id": f"r{n}", "text": text} for n, text in enumerate(raw)))
    chosen, owners = {"train": language.trained, "valid": language.labelled, "test": None}, []
    for split, number in DOCUMENTS.items():
        items, writer = [], hidden_classes.Writer(language, hidden_classes.NOTES, chosen[split])
        for n in range(number):
            text, spans = writer.document(rng)
            owners.append((f"{split}{n}", split))
            items.append({"document_id": f"{split}{n}", "patient_id": f"{split}{n}", "text": text, "spans": spans})
        write_lines(folder / f"{split}.jsonl", items)
    write_splits(folder / "splits.csv", [*((f"r{n}", "train") for n in range(len(raw))), *owners])


def word_vectors(texts):
    """A vector for each word of raw texts out of its neighbours: dict word -> float64 [VECTOR].

    Positive pointwise mutual information of words within REACH, by an SVD (`medtop.data.ppmi`).
    """
    lines = [[word.lower() for word in document_words(Document("", text)).words] for text in texts]
    ids = {word: number for number, word in enumerate(sorted({word for line in lines for word in line}))}
    counts = count_neighbours(([ids[word] for word in line] for line in lines), len(ids), REACH)
    return dict(zip(ids, ppmi_svd(counts, VECTOR), strict=True))


def neighbour_counts(texts, train, test):
    """The simple rival that reads raw text: logistic regression on vectors of a word and its neighbours, Viterbi."""
    from sklearn.linear_model import LogisticRegression

    vectors = word_vectors(texts)
    types = sorted({span.type for document in train for span in document.spans})
    tags = tag_set(types, "bio")

    def features(split):
        one = np.array([vectors.get(word.lower(), np.zeros(VECTOR)) for word in split.words])
        padded = np.pad(one, ((REACH, REACH), (0, 0)))
        return np.hstack([padded[n : n + len(one)] for n in range(2 * REACH + 1)])

    def labels(document, split):
        starts = {start: number for number, start in enumerate(split.starts)}
        ends = {end: number + 1 for number, end in enumerate(split.ends)}
        ranges = [(starts[span.start], ends[span.end], span.type) for span in document.spans]
        return encode(len(split.words), ranges, "bio")

    splits = [document_words(document) for document in train]
    model = LogisticRegression(max_iter=1000).fit(
        np.vstack([features(split) for split in splits]),
        [label for document, split in zip(train, splits, strict=True) for label in labels(document, split)],
    )
    order = [list(model.classes_).index(tag) for tag in tags]
    rules, made = allowed_transitions(tags, "bio"), []
    for document in test:
        split = document_words(document)
        path = viterbi(model.predict_log_proba(features(split))[:, order], *rules)
        ranges, _ = decode([tags[number] for number in path], "bio")
        spans = [
            Span(f"T{n}", kind, ((split.starts[first], split.ends[after - 1]),))
            for n, (first, after, kind) in enumerate(ranges)
        ]
        made.append(dataclasses.replace(document, spans=spans))
    return made


def oracle(language, test, known=None):
    """(expected F1, the test documents with what the best tagger of some known nouns finds)."""
    best = hidden_classes.Oracle(language, hidden_classes.NOTES, known)
    made = []
    for document in test:
        spans = [Span(f"T{n}", kind, ((start, end),)) for n, (start, end, kind) in enumerate(best.tag(document.text))]
        made.append(dataclasses.replace(document, spans=spans))
    return best.f1, made


def score(gold, system, other=None):
    """Strict micro F1 with its interval, and the paired difference from another system: dict."""
    types = sorted({span.type for document in (*gold, *system, *(other or ())) for span in document.spans})
    counts = scores.count(scores.paired(gold, system), types=types)
    result = {"f1": scores.scores(counts)["strict"]["micro"]["f1"]}
    if other is not None:
        second = scores.count(scores.paired(gold, other), types=types)
        result["difference"] = scores.compare(counts, second)["strict"]["micro"]
    return result


def show(title, entry):
    """One line."""
    f1 = entry["f1"]
    text = f"{title:<52} {f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
    if "difference" in entry:
        change = entry["difference"]
        text += f"  {change['difference']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
    print(text, flush=True)


def language_part(folder, options, seed):
    """One seed of the generated language: dict system -> its scores."""
    folder, length = folder / f"seed_{seed}", 64
    folder.mkdir(parents=True, exist_ok=True)
    language = hidden_classes.make_language(seed)
    if not (folder / "splits.csv").exists():
        write_language(folder, language, seed)
    prefix = folder / "labelled"
    inputs = ",".join(f"{split}={folder / split}.jsonl" for split in DOCUMENTS)
    run(
        *(folder, "convert", "preprocessing/convert_entities.py", "--from=jsonl", f"--input={inputs}"),
        f"--output_prefix={prefix}",
    )
    splits, raw = folder / "splits.csv", folder / "raw.jsonl"
    starts = pretrain(folder, f"raw={raw}", splits, options, seed, options.vocab_size or 1000, False, length)
    train, gold = (list(read_tables(prefix, split, Tally())) for split in ("train", "test"))
    best, limit = (oracle(language, gold, known) for known in (None, language.labelled))
    systems = {arm: tag(folder, f"tagger_{arm}", prefix, options, seed, length, start) for arm, start in starts.items()}
    texts = [json.loads(line)["text"] for line in raw.read_text(encoding="utf-8").splitlines()]
    words = tag(folder, "tagger_words", prefix, options, seed, length)
    rows = {
        "best reachable": best[1],
        "encoder, pretrained on the raw text": systems["pretrained"]["encoder"],
        "neighbour counts of the raw text, logistic regression": neighbour_counts(texts, train, gold),
        "encoder, the start from neighbours alone": systems["neighbours"]["encoder"],
        "best reachable without raw text": limit[1],
        "encoder, the same from random weights": systems["scratch"]["encoder"],
        "encoder of words and channels, random weights": words["encoder"],
        "CRF": words["crf"],
        "dictionary": words["dictionary"],
    }
    print(f"language, seed {seed}: strict F1 [95%], difference from the best reachable [95%]; expected are")
    print(f"{best[0]:.4f} for the best reachable, {limit[0]:.4f} without raw text", flush=True)
    result = {"expected": {"best reachable": best[0], "best reachable without raw text": limit[0]}}
    for title, found in rows.items():
        result[title] = score(gold, found, best[1])
        show(title, result[title])
    return result


def held_out_sentences(documents):
    """The sentences of 60 characters or more of documents, white space as blanks: a set."""
    return {
        " ".join(document.text[start:end].split())
        for document in documents
        for start, end in sentence_spans(document.text)
        if end - start >= 60
    }


def without_held_out(documents):
    """Training documents in which no such sentence of the other splits stands; what goes is said."""
    held_out = held_out_sentences([*documents["valid"], *documents["test"]])
    texts = [" ".join(document.text.split()) for document in documents["train"]]
    kept = [
        document
        for document, text in zip(documents["train"], texts, strict=True)
        if not any(sentence in text for sentence in held_out)
    ]
    print(f"raw text: {len(kept):,} training documents; {len(texts) - len(kept)} left out, with a sentence of others")
    return kept


def check_corpus(corpus, documents):
    """Refuses a corpus that holds a sentence of validation or test documents."""
    import pyarrow.parquet as pq

    texts = "\n".join(" ".join(text.split()) for text in pq.read_table(corpus)["text"].to_pylist())
    for split in ("valid", "test"):
        sentences = held_out_sentences(documents[split])
        if inside := sum(sentence in texts for sentence in sentences):
            raise DataError(f"{corpus}: expected no sentence of the {split} split, found {inside}")
        print(f"{split}: none of {len(sentences):,} sentences of 60 characters or more is in the corpus", flush=True)


def open_part(folder, options):
    """The open set: list of rows."""
    name, length = options.set, 128
    folder.mkdir(parents=True, exist_ok=True)
    begin, words, end = re.split("[{}]", FILES[name])
    here = Path(options.data_dir) / name / "pubtator"
    files = dict(zip(DOCUMENTS, (here / f"{begin}{word}{end}" for word in words.split(",")), strict=True))
    prefix = folder / "labelled"
    inputs = ",".join(f"{split}={path}" for split, path in files.items())
    run(
        *(folder, "convert", "preprocessing/convert_entities.py", "--from=pubtator", f"--input={inputs}"),
        f"--output_prefix={prefix}",
    )
    documents = {split: list(read_tables(prefix, split, Tally())) for split in files}
    raw = documents | {"train": without_held_out(documents)}
    owned = [(f"{split}-{each.document_id}", split, each) for split, some in raw.items() for each in some]
    write_lines(folder / "texts.jsonl", ({"patient_id": owner, "text": each.text} for owner, _, each in owned))
    splits = write_splits(folder / "splits.csv", [(owner, split) for owner, split, _ in owned])
    notes = Path(options.data_dir) / "mtsamples_notes" / "note.csv.gz"
    sources = f"set={folder / 'texts.jsonl'},notes={notes}"
    starts = pretrain(folder, sources, splits, options, 0, options.vocab_size or 4000, True, length)
    check_corpus(folder / "corpus.notes.train.parquet", documents)
    rows = []
    for part in options.shares:
        for seed in options.seeds:
            number = 0 if part >= 1 else round(part * len(documents["train"]))
            found = {
                arm: tag(folder, f"{arm}_{part:g}_{seed}", prefix, options, seed, length, start, number)
                for arm, start in starts.items()
            }
            scratch = found["scratch"]
            rivals = {"encoder, pretrained": "pretrained", "encoder, the start from neighbours alone": "neighbours"}
            gold = documents["test"]
            made = {title: score(gold, found[arm]["encoder"], scratch["encoder"]) for title, arm in rivals.items()}
            names = {"encoder, random weights": "encoder", "CRF": "crf", "dictionary": "dictionary"}
            made |= {title: score(gold, scratch[system]) for title, system in names.items()}
            documents_used = number or len(documents["train"])
            print(f"{name}, {part:.0%} of the labels ({documents_used} documents), seed {seed}", flush=True)
            for title, entry in made.items():
                show(title, entry)
            rows.append({"share": part, "documents": documents_used, "seed": seed, "systems": made})
    return rows


def main(_):
    """What was asked for."""
    options = flags.read(Options)
    folder = Path(options.work_dir)
    if options.part == "open":
        if not options.data_dir:
            raise DataError("--data_dir: expected the folder of the open data, received ''")
        write_json(folder / "results.json", open_part(folder, options))
        return
    write_json(folder / "results.json", {seed: language_part(folder, options, seed) for seed in options.seeds})


if __name__ == "__main__":
    commands.run(main)
