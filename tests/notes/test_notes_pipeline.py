"""Records of notes: written, read back, batched; segments from the records; masks by whole words; a run that learns."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from notes_data import (
    NOTE_DEFAULTS,
    NOTE_VOCABULARY,
    note_config,
    planted_notes,
    tokenizer,
    write_note_dataset,
    write_note_splits,
)

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data import tfrecord
from medtop.data.batches import BatchOptions, TrainBatches, eval_batches
from medtop.data.layouts import NOTES
from medtop.data.masking import draw_masks
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.model.tasks import available_tasks
from medtop.notes.records import NoteRecords, describe, examples_of
from medtop.runs import execute
from medtop.training.options import TrainingOptions, make_plan

IDS = NOTE_VOCABULARY.ids
TASKS = {"readmission": ["readmission"]}
CONFIG = BertConfig.from_dict(note_config(vocab_size=len(NOTE_VOCABULARY)))
BATCH = BatchOptions(batch_size=4, max_seq_length=32, windows_of=2, masked_lm_prob=0.3, max_predictions=6)


def tasks(*names):
    offered = available_tasks(TASKS)
    return [offered[name] for name in names]


def ids_of(text):
    return [IDS[token] for token in text.split()]


def test_records_hold_what_was_written(tmp_path):
    notes = {
        "patient_ids": ["p", "q", "r"],
        "admission_ids": ["10", "11", "Ä"],
        "prediction_times": [5, 6, -7],
        "texts": ["Unable, fever. pain chest oral", "", "Relapsed"],
        "labels": [1.0, 0.0, float("nan")],
    }
    info = write_note_dataset(tmp_path / "d", notes, max_seq_length=6)
    assert info.layout is NOTES and info.tokenizer == {"kind": "wordpiece", "lower_case": True}
    assert info.tasks == TASKS and info.num_examples == 3 and info.counts["examples_in"] == 3
    (columns,) = tfrecord.read_examples(info)
    rows = np.split(columns["token_ids"], np.cumsum(columns["counts"])[:-1])
    expected = ["[CLS] un ##able , fever [SEP]", "[CLS] . pain chest oral [SEP]", "[CLS] relapse ##d [SEP]"]
    assert [row.tolist() for row in rows] == [ids_of(text) for text in expected]
    starts = np.split(columns["word_starts"], np.cumsum(columns["counts"])[:-1])
    assert [row.tolist() for row in starts] == [[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 0, 1]]
    assert not columns["segment_ids"].any()
    assert columns["patient_id"] == ["p", "p", "r"] and columns["admission_id"] == ["10", "10", "Ä"]
    assert columns["window"].tolist() == [0, 1, 0] and columns["prediction_time"].tolist() == [5, 5, -7]
    texts = [notes["texts"][number] for number in (0, 0, 2)]
    spans = zip(texts, columns["window_start"], columns["window_end"], strict=True)
    assert [text[start:end] for text, start, end in spans] == ["Unable, fever", ". pain chest oral", "Relapsed"]
    assert columns["readmission_labels"].tolist() == [[1], [1], [0]]
    assert columns["readmission_weights"].tolist() == [[1], [1], [0]]


def pair_dataset(path):
    """Two pairs of texts: [CLS] first [SEP] second [SEP], segments 0 and 1."""
    rows = ["[CLS] fever cough [SEP] pain [SEP]", "[CLS] pain [SEP] oral chest pain [SEP]"]
    counts = np.array([len(row.split()) for row in rows])
    flat = np.concatenate([ids_of(row) for row in rows])
    segments = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1])
    ones, zeros = np.ones(2, np.int64), np.zeros(2, np.int64)
    made = NoteRecords(
        counts,
        flat,
        segments,
        np.ones_like(flat),
        ["p", "q"],
        ["1", "2"],
        zeros,
        zeros,
        ones,
        zeros,
        {"next_sentence": np.array([[1.0], [0.0]], np.float32)},
        {"next_sentence": np.ones((2, 1), np.float32)},
    )
    about = describe(tokenizer(), NOTE_DEFAULTS, tasks={"next_sentence": ["is_next"]})
    with tfrecord.DatasetWriter(path, 1, about) as writer:
        writer.write(examples_of(made, about["tasks"]))
    return tfrecord.read_dataset(path), segments


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("segment", ["sentence", "zero"])
def test_segments_come_from_the_records_or_are_zero(tmp_path, segment):
    info, segments = pair_dataset(tmp_path / "d")
    config = dataclasses.replace(CONFIG, segment=segment)
    chosen = [available_tasks(info.tasks)["next_sentence"]]
    ((x, y, w, examples),) = eval_batches(info, config, chosen, BATCH, seed=0, masking=False)
    assert set(x) == {"token_ids", "positions", "segments", "patient_slots", "cls_positions"}
    order = examples.numpy()[:2, 0].tolist()
    wanted = np.split(segments if segment == "sentence" else 0 * segments, [6])
    for row, example in enumerate(order):
        length = len(wanted[example])
        assert x["segments"][row, :length].numpy().tolist() == wanted[example].tolist()
        assert not x["segments"][row, length:].numpy().any() and not x["patient_slots"][row, length:].numpy().any()
        assert y["next_sentence"].numpy()[row, 0, 0] == (1.0, 0.0)[example]
        assert w["next_sentence"].numpy()[row, 0, 0] == 1


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"embeddings": ("code", "visit", "age")}, ["visit, age", "records of notes"]),
        ({"segment": "visit"}, ["segment zero or sentence", "'visit'"]),
    ],
)
def test_inputs_that_notes_do_not_have_are_refused(tmp_path, changes, names):
    info = write_note_dataset(tmp_path / "d", planted_notes(2))
    with pytest.raises(DataError) as caught:
        eval_batches(info, dataclasses.replace(CONFIG, **changes), tasks("readmission"), BATCH, seed=0, masking=False)
    assert all(name in str(caught.value) for name in names) and "\n" not in str(caught.value)


def test_shorter_rows_than_the_windows_are_refused(tmp_path):
    files = write_note_splits(tmp_path, (4, 4, 4), words=8)
    write_note_dataset(files["test_file"], planted_notes(4, 3, words=25), split="test")  # the last one alone is longer
    options = TrainingOptions(output_dir=str(tmp_path / "run"), do_train=True, max_seq_length=16, **files)
    with pytest.raises(DataError, match="--max_seq_length: expected at least 2[7-9].*test_file"):
        make_plan(options)


def masks(texts, seed=0, whole=True, **changes):
    """(ids before, ids after, selected, word of each token) per text, drawn many times."""
    pieces = tokenizer().tokenize(texts)
    rows = [[IDS["[CLS]"], *row, IDS["[SEP]"]] for row in np.split(pieces.ids, np.cumsum(pieces.counts)[:-1])]
    starts = [[1, *row, 1] for row in np.split(pieces.word_starts, np.cumsum(pieces.counts)[:-1])]
    ids, begins = tf.ragged.constant(rows, tf.int64), tf.ragged.constant(starts, tf.int64)
    options = dataclasses.replace(BATCH, **changes)
    hidden, selected = draw_masks(ids, tf.constant([seed, 1]), NOTE_VOCABULARY, options, begins if whole else None)
    return rows, hidden.to_list(), hidden.with_flat_values(selected).to_list(), [np.cumsum(row) - 1 for row in starts]


TEXTS = ["unable feverish relapsed paining abab baba", "aaaaaaa", "unable", "fever, pain. oral", "€ €", ""] * 5


def test_whole_words_are_masked_whole_and_within_the_budget():
    pieces_of = {}
    for seed in range(20):
        rows, hidden, selected, words = masks(TEXTS, seed)
        for before, after, chosen, word in zip(rows, hidden, selected, words, strict=True):
            chosen, before, after = np.array(chosen), np.array(before), np.array(after)
            for number in set(word):
                assert len(set(chosen[word == number])) == 1, "a word is masked whole or not at all"
            special = np.isin(before, NOTE_VOCABULARY.special_ids)
            assert not chosen[special].any() and (after[~chosen] == before[~chosen]).all()
            wanted = min(max(1, round(0.3 * (~special).sum())), 6)
            taken = {number: int((word == number).sum()) for number in set(word[chosen])}
            assert sum(taken.values()) <= wanted or len(taken) == 1
            assert all(size <= 6 for size in taken.values())
            usable = [n for n in set(word) if not special[word == n].any() and (word == n).sum() <= 6]
            assert bool(taken) == bool(usable)
            pieces_of.setdefault(tuple(before), set()).update(taken)
    first = tuple(rows[0])
    assert len(pieces_of[first]) >= 5, "every word has its turn"
    assert not pieces_of[tuple(rows[1])], "a word of seven pieces is more than max_predictions"


def test_a_word_that_holds_a_special_token_is_never_masked():
    """Records from elsewhere may not mark where [SEP] begins."""
    rows = [[IDS["[CLS]"], IDS["fever"], IDS["un"], IDS["##able"], IDS["[SEP]"]]] * 50
    ids, begins = tf.ragged.constant(rows, tf.int64), tf.ragged.constant([[1, 1, 1, 0, 0]] * 50, tf.int64)
    _, selected = draw_masks(ids, tf.constant([1, 1]), NOTE_VOCABULARY, BATCH, begins)
    assert selected.numpy().reshape(50, 5).sum(axis=0).tolist() == [0, 50, 0, 0, 0]


def test_masked_words_are_drawn_without_regard_to_their_pieces():
    """The first of a random order is taken though it be longer than the number to be masked: each word as often."""
    rows = [[IDS[token] for token in ("[CLS]", "fever", "un", "##able", "pain", "[SEP]")]] * 3000
    ids, begins = tf.ragged.constant(rows, tf.int64), tf.ragged.constant([[1, 1, 1, 0, 1, 1]] * 3000, tf.int64)
    options = dataclasses.replace(BATCH, masked_lm_prob=0.25)  # of four pieces, one
    _, selected = draw_masks(ids, tf.constant([3, 1]), NOTE_VOCABULARY, options, begins)
    selected = selected.numpy().reshape(3000, 6)
    assert (selected[:, 2] == selected[:, 3]).all() and (selected[:, [1, 2, 4]].sum(axis=1) == 1).all()
    for count in selected[:, [1, 2, 4]].sum(axis=0):
        assert abs(count - 1000) < 5 * np.sqrt(3000 * (1 / 3) * (2 / 3))


@pytest.mark.parametrize("seed", range(5))
def test_masked_words_end_with_their_row_though_the_next_begins_within_a_word(seed):
    """A row, of one piece or several, that begins with the rest of a word, behind full and empty ones: as if marked."""
    rows = [["fever", "pain"], [], ["oral"], [], ["##able", "un", "##able"], ["chest"], ["fever", "cough"]]
    marked = [[1, 1], [], [1], [], [1, 1, 0], [1], [1, 1]]
    ids = tf.ragged.constant([[IDS[token] for token in row] for row in rows], tf.int64)
    results = []
    for begins in (marked, [[0, *row[1:]] if row else [] for row in marked]):
        begins = tf.ragged.constant(begins, tf.int64)
        results.append(draw_masks(ids, tf.constant([seed, 1]), NOTE_VOCABULARY, BATCH, begins)[1].numpy().tolist())
    assert results[0] == results[1]
    chosen = np.split(results[1], np.cumsum([len(row) for row in rows])[:-1])
    assert [int(row.any()) for row in chosen] == [1, 0, 1, 0, 1, 1, 1]


def test_single_pieces_are_masked_alone_without_whole_words():
    parts = set()
    for seed in range(10):
        _, _, selected, words = masks(TEXTS[:1], seed, whole=False)
        for number in set(words[0]):
            parts.add(len(set(np.array(selected[0])[words[0] == number])))
    assert parts == {1, 2}


def test_masks_know_special_tokens_by_name():
    """BERT's own order: [UNK] 100, [CLS] 101 and so on, unused ones between."""
    unused = [f"[unused{number}]" for number in range(99)]
    vocabulary = Vocabulary(["[PAD]", *unused, *SPECIAL_TOKENS[1:], "the", "##s", "fever"])
    assert (vocabulary.special_ids, vocabulary.mask_id) == ((0, 100, 101, 102, 103), 103)
    assert vocabulary.ordinary_ids.tolist() == [104, 105, 106] and vocabulary.is_wordpiece
    ids = tf.ragged.constant([[101, *[104, 105, 106, 100] * 50, 103, 102]] * 20, tf.int64)
    options = dataclasses.replace(BATCH, masked_lm_prob=0.5, max_predictions=100)
    hidden, selected = draw_masks(ids, tf.constant([0, 0]), vocabulary, options)
    after, before, chosen = hidden.flat_values.numpy(), ids.flat_values.numpy(), selected.numpy()
    assert not chosen[np.isin(before, vocabulary.special_ids)].any() and (after[~chosen] == before[~chosen]).all()
    assert chosen.sum() == 20 * 75
    share = {name: float((after[chosen] == number).mean()) for name, number in (("mask", 103), ("the", 104))}
    assert abs(share["mask"] - 0.8) < 0.04 and set(after[chosen]) == {103, 104, 105, 106}
    with pytest.raises(DataError, match="first"):
        _ = vocabulary.first_code_id


def test_training_batches_hold_each_window_once_with_masks(tmp_path):
    info = write_note_dataset(tmp_path / "d", planted_notes(9, words=50))
    options = dataclasses.replace(BATCH, whole_words=True)
    batches = TrainBatches(info, CONFIG, tasks("masked_lm", "readmission"), options, seed=3)
    seen = 0
    for x, y, w in batches.epoch(0):
        assert x["segments"].shape == x["token_ids"].shape
        weights = w["masked_lm"].numpy() > 0
        there = np.take_along_axis(x["token_ids"].numpy(), x["mask_positions"].numpy(), axis=1)
        assert (there[weights] == IDS["[MASK]"]).mean() > 0.5
        assert not np.isin(y["masked_lm"].numpy()[weights], NOTE_VOCABULARY.special_ids).any()
        seen += int((x["patient_slots"].numpy()[:, 0] > 0).sum())
    assert seen == info.num_examples


@pytest.mark.slow
def test_a_run_learns_the_planted_word_and_keeps_patients_apart(tmp_path):
    files = write_note_splits(tmp_path, (160, 60, 60), words=20)
    options = TrainingOptions(
        output_dir=str(tmp_path / "run"),
        do_train=True,
        do_eval=True,
        train_batch_size=16,
        learning_rate=5e-3,
        num_train_epochs=4,
        num_bootstrap=10,
        tasks=("readmission",),
        **files,
    )
    results = execute.execute(options)
    assert results.metrics["test"]["readmission"]["readmission"]["roc_auc"]["value"] > 0.9
    splits = (tmp_path / "run" / "restricted" / "splits.csv").read_text().split("\n")[1:-1]
    assert len({line.split(",")[0] for line in splits}) == len(splits) == 80 + 30 + 30
    info = tfrecord.read_dataset(files["test_file"])
    changed = dataclasses.replace(info, tokenizer={"kind": "wordpiece", "lower_case": False})
    from medtop.training.run_directory import RunDirectory

    RunDirectory(tmp_path / "run").check_records(info)
    with pytest.raises(DataError, match="tokenizer"):
        RunDirectory(tmp_path / "run").check_records(changed)
