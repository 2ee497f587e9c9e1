"""Small data sets of notes: a planted word says the label, the rest is filler; what tests of the notes start from."""

import json

import numpy as np
from shared import shared_folder

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.notes.records import describe, examples_of, records_of
from medtop.text.windows import make_windows
from medtop.text.wordpiece import WordPiece

FILLER = ("patient", "stable", "fever", "cough", "lungs", "clear", "heart", "rate", "normal", "pain", "chest", "oral")
NOTE_VOCABULARY = Vocabulary(
    (*SPECIAL_TOKENS, ".", ",", "a", "##a", "b", "##b", *FILLER, "un", "##able", "##ing", "relapse", "##d", "discharge")
)
NOTE_DEFAULTS = {"max_seq_length": 32, "max_predictions_per_seq": 8, "masked_lm_prob": 0.15, "random_seed": 1}


def tokenizer():
    """A `WordPiece` of the small vocabulary, uncased."""
    return WordPiece(NOTE_VOCABULARY, lower_case=True)


def planted_notes(count, seed=0, words=60, window=None):
    """Texts of `words` words of whom `relapsed` says the label.

    Args:
        window: None: the word stands anywhere; else (place, of): only in that part of the text.

    Returns:
        dict of lists of `count`: patient_ids (two texts each), admission_ids, prediction_times, texts, labels.
    """
    rng = np.random.default_rng(seed)
    texts, labels = [], rng.integers(0, 2, count)
    for label in labels:
        drawn = list(rng.choice(FILLER, words))
        part, of = (0, 1) if window is None else window
        low, high = part * words // of, (part + 1) * words // of
        if label:
            drawn[int(rng.integers(low, high))] = "relapsed"
        texts.append(" ".join(drawn) + ".")
    return {
        "patient_ids": [f"P{seed}-{number // 2}" for number in range(count)],
        "admission_ids": [f"A{seed}-{number}" for number in range(count)],
        "prediction_times": [1_000_000 + 86_400 * number for number in range(count)],
        "texts": texts,
        "labels": [float(label) for label in labels],
    }


def write_note_dataset(path, notes, max_seq_length=32, split="train", overlap=0):
    """Writes TFRecord files of notes and their description; the `DatasetInfo`."""
    from medtop.data import tfrecord

    pieces, wordpiece = tokenizer().tokenize(notes["texts"]), tokenizer()
    windows = make_windows(pieces, max_seq_length, wordpiece.cls_id, wordpiece.sep_id, overlap)
    about = describe(wordpiece, NOTE_DEFAULTS | {"max_seq_length": max_seq_length}, split=split)
    with tfrecord.DatasetWriter(path, 1, about) as writer:
        names = ("patient_ids", "admission_ids", "prediction_times", "labels")
        records = records_of(windows, *(notes[name] for name in names))
        writer.write(examples_of(records, about["tasks"], examples_in=len(notes["texts"])))
    return tfrecord.read_dataset(path)


def note_config(**changes):
    """JSON values of a narrow encoder for notes."""
    defaults = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        activation="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
        initializer_range=0.1,
        embeddings=["code", "position", "segment"],
        segment="sentence",
    )
    return defaults | changes


def write_note_splits(folder, sizes=(120, 40, 40), **changes):
    """Train, valid and test, patients apart, and config.json; dict of option -> path, as `TrainingOptions` takes it."""
    names, paths = ("input_file", "valid_file", "test_file"), {}
    for seed, (name, size) in enumerate(zip(names, sizes, strict=True), 1):
        paths[name] = str(folder / f"{name}.tfrecord")
        write_note_dataset(paths[name], planted_notes(size, seed, **changes), split=name.removesuffix("_file"))
    (folder / "config.json").write_text(json.dumps(note_config()))
    return paths | {"bert_config_file": str(folder / "config.json")}


def generated_texts(folder, patients=40, seed=3):
    """Generated notes as a user has them: tables in `raw`, texts at the prefix `n`, `vocab.txt`, `config.json`."""
    from medtop.notes.learn_vocabulary import VocabularySettings, learn
    from medtop.notes.options import NotesOptions
    from medtop.notes.preprocess import NotesInput, preprocess_notes
    from medtop.synthetic.notes import GeneratorSettings, write_notes

    settings = GeneratorSettings(num_patients=patients, seed=seed, min_words=20, max_words=80)
    write_notes(folder / "raw", settings)
    names = [line.split(",")[1] for line in (folder / "raw/PATIENTS.csv").read_text().splitlines()[1:]]
    splits = [f"{name},{('train', 'train', 'valid', 'test')[place % 4]}" for place, name in enumerate(names)]
    (folder / "given.csv").write_text("\n".join(["patient_id,split", *splits]) + "\n")
    preprocess_notes(NotesInput(str(folder / "raw")), NotesOptions(splits=str(folder / "given.csv")), folder / "n")
    texts = str(folder / "n.notes.train.parquet")
    learn(VocabularySettings(texts, str(folder / "vocab.txt"), 600, min_word_patients=1))  # a handful of patients
    (folder / "config.json").write_text(json.dumps(note_config()))


def train_readmission(folder, output="run", *, data_dir="n", import_folder=None, texts=None, **changes):
    """Trains a run on `generated_texts` in this process, as run_readmission.py does; gives its directory."""
    from medtop.readmission import prepare
    from medtop.readmission.evaluation import AdmissionEvaluation
    from medtop.runs import execute
    from medtop.training.options import TrainingOptions
    from medtop.training.run_directory import RunDirectory

    defaults = dict(
        output_dir=str(folder / output),
        do_train=True,
        do_eval=True,
        tasks=("readmission",),
        train_batch_size=16,
        learning_rate=5e-3,
        num_train_epochs=2,
        num_bootstrap=20,
        aggregation="max_mean",
        max_seq_length=32,
        row_lengths="32",
        bert_config_file=str(folder / "config.json"),
    )
    given = prepare.TextInput(str(folder / data_dir), **(texts or {"vocab_file": str(folder / "vocab.txt")}))
    options = prepare.prepare(TrainingOptions(**defaults | changes), given, import_folder)
    execute.execute(options, evaluation=AdmissionEvaluation)
    run = RunDirectory(options.output_dir)
    prepare.write_text_settings(run, prepare.text_settings(options))
    return run


READMISSION_FLAGS = (
    "--data_dir=n",
    "--max_seq_length=32",
    "--num_bootstrap=50",
    "--train_batch_size=16",
    "--row_lengths=32",
    "--output_dir=run",
)
TRAIN_READMISSION = (
    *READMISSION_FLAGS,
    "--readmission_mode=discharge",
    "--vocab_file=vocab.txt",
    "--bert_config_file=config.json",
    "--learning_rate=5e-3",
    "--num_train_epochs=2",
    "--true_risk_file=raw/true_risk.csv",
    "--do_train",
    "--do_eval",
    "--task_name=readmission",
)
"""A command line of run_readmission.py, in the folder of `generated_texts`."""


def finished_readmission(run_script):
    """(folder, what the script said) of one run of run_readmission.py for all workers; its readers leave it as it is.

    Args:
        run_script: the fixture.
    """

    def fill(folder):
        generated_texts(folder, 80)
        process = run_script("run_scripts/run_readmission.py", *TRAIN_READMISSION, cwd=folder, timeout=1200)
        assert process.returncode == 0, process.stderr
        (folder / "said.txt").write_text(process.stdout)

    folder = shared_folder("finished_readmission", fill)
    return folder, (folder / "said.txt").read_text()
