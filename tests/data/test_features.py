"""Tokens, truncation and masks: hand-worked cases, a plain-Python oracle, and binomial bounds. No TensorFlow."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sequence_cases import NO_CODES, TWO_VISITS, VOCABULARY, chunk_of, random_patients

from medtop.cohort.vocabulary import CLS_ID, MASK_ID, MEDBERT_PAD, PAD_ID, SEP_ID, UNK_ID, Vocabulary
from medtop.data.tokens import (
    TOKEN_COLUMNS,
    medbert_rows,
    pieces,
    select_masked,
    select_masked_rows,
    tokens_of,
    truncate,
)
from medtop.files.errors import DataError

FIRST, SIZE = VOCABULARY.first_code_id, 1000


def test_tokens_of_two_visits_by_hand():
    tokens = tokens_of(chunk_of([TWO_VISITS]), VOCABULARY)
    assert {name: values.tolist() for name, values in tokens[0].items()} == {
        "token_ids": [CLS_ID, 7, 5, 9, UNK_ID, 6],
        "visits": [0, 1, 1, 2, 2, 2],
        "visit_positions": [0, 0, 1, 0, 1, 2],
        "age_days": [20_000, 19_942, 19_942, 19_990, 19_990, 19_990],
        "gap_days": [0, 0, 0, 35, 35, 35],
        "stay_days": [0, 3, 3, 10, 10, 10],
        "recency_days": [0, 55, 55, 0, 0, 0],
    }


def test_visit_separator_ends_each_visit_and_carries_its_numbers():
    tokens = tokens_of(chunk_of([NO_CODES, TWO_VISITS]), VOCABULARY, visit_separator=True)
    assert tokens.counts.tolist() == [1, 8]
    assert tokens[0]["token_ids"].tolist() == [CLS_ID]
    assert {name: values.tolist() for name, values in tokens[1].items()} == {
        "token_ids": [CLS_ID, 7, 5, SEP_ID, 9, UNK_ID, 6, SEP_ID],
        "visits": [0, 1, 1, 1, 2, 2, 2, 2],
        "visit_positions": [0, 0, 1, 2, 0, 1, 2, 3],
        "age_days": [20_000, 19_942, 19_942, 19_942, 19_990, 19_990, 19_990, 19_990],
        "gap_days": [0, 0, 0, 0, 35, 35, 35, 35],
        "stay_days": [0, 3, 3, 3, 10, 10, 10, 10],
        "recency_days": [0, 55, 55, 55, 0, 0, 0, 0],
    }


def test_gap_after_is_the_next_visits_gap_and_zero_for_the_last():
    tokens = tokens_of(chunk_of([TWO_VISITS, NO_CODES, TWO_VISITS]), VOCABULARY, time_gap="after")
    assert tokens.gap_days.tolist() == [0, 35, 35, 0, 0, 0] + [0] + [0, 35, 35, 0, 0, 0]


def tokens_by_loop(patient, visit_separator, time_gap):
    """The oracle: the rule of docs/contract.md, "TFRecord", as a plain loop over one patient."""
    rows = [(CLS_ID, 0, 0, patient["age"], 0, 0, 0)]
    for number, (codes, stay, gap, recency, age) in enumerate(patient["visits"], 1):
        if time_gap == "after":
            gap = patient["visits"][number][2] if number < len(patient["visits"]) else 0
        rows += [
            (code, number, place, age, gap, stay, recency)
            for place, code in enumerate(codes + [SEP_ID] * visit_separator)
        ]
    return dict(zip(TOKEN_COLUMNS, np.array(rows).T.tolist(), strict=True))


@pytest.mark.parametrize("time_gap", ["before", "after"])
@pytest.mark.parametrize("visit_separator", [False, True])
def test_tokens_equal_a_loop_over_patients(visit_separator, time_gap):
    patients = [*random_patients(60, seed=1), NO_CODES]
    tokens = tokens_of(chunk_of(patients), VOCABULARY, visit_separator, time_gap)
    assert len(tokens) == len(patients)
    for number, patient in enumerate(patients):
        assert {name: values.tolist() for name, values in tokens[number].items()} == tokens_by_loop(
            patient, visit_separator, time_gap
        )
    assert tokens.offsets[-1] == len(tokens.token_ids)
    assert (tokens.token_ids != PAD_ID).all()


def test_pieces_laid_end_to_end_are_the_chunk():
    chunk = chunk_of(random_patients(23, seed=2))
    parts = list(pieces(chunk, 5))
    assert [len(part) for part in parts] == [5, 5, 5, 5, 3]
    assert sum((part.patient_ids for part in parts), []) == chunk.patient_ids
    for field in dataclasses.fields(chunk):
        values = getattr(chunk, field.name)
        if isinstance(values, dict):
            for task, matrix in values.items():
                np.testing.assert_array_equal(
                    np.concatenate([getattr(part, field.name)[task] for part in parts]), matrix
                )
        elif field.name != "patient_ids":
            np.testing.assert_array_equal(np.concatenate([getattr(part, field.name) for part in parts]), values)


@pytest.mark.parametrize("bad", [len(VOCABULARY), PAD_ID, CLS_ID, SEP_ID, MASK_ID, -1])
def test_a_code_outside_the_vocabulary_is_refused(bad):
    chunk = chunk_of([TWO_VISITS])
    chunk.codes[2] = bad
    with pytest.raises(
        DataError, match=rf"expected codes from 5 to 9 \(or 1\), received {bad}: another run's vocabulary"
    ):
        tokens_of(chunk, VOCABULARY)


@pytest.mark.parametrize("visits", [[0, 0, 1, 1, 1], [1, 1, 3, 3, 3], [2, 2, 1, 1, 1]])
def test_visits_that_are_not_numbered_upwards_are_refused(visits):
    chunk = chunk_of([TWO_VISITS])
    chunk.visits = np.array(visits)
    with pytest.raises(DataError, match="visits numbered upwards from 1"):
        tokens_of(chunk, VOCABULARY)


def test_medberts_vocabulary_is_refused_in_our_layout():
    with pytest.raises(DataError, match="received Med-BERT's layout"):
        tokens_of(chunk_of([TWO_VISITS]), Vocabulary([MEDBERT_PAD, "I10"]))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 100])
def test_truncation_keeps_cls_and_the_latest(limit):
    sequence = tokens_of(chunk_of([TWO_VISITS]), VOCABULARY)[0]
    cut = truncate(sequence, limit)
    full = sequence["token_ids"].tolist()
    assert cut["token_ids"].tolist() == ([CLS_ID] + full[1:][len(full) - min(limit, len(full)) :])
    assert len(cut["token_ids"]) == min(limit, len(full))
    assert {len(values) for values in cut.values()} == {len(cut["token_ids"])}
    if limit > 1:
        assert cut["token_ids"][-1] == 6 and cut["visits"][-1] == 2


def test_truncation_to_nothing_is_refused():
    with pytest.raises(ValueError, match="expected at least 1, received 0"):
        truncate(np.array([2, 7]), 0)


@pytest.mark.parametrize(
    ("codes", "expected"), [(1, 1), (3, 1), (10, 2), (30, 4), (50, 8), (70, 10), (100, 12), (500, 12)]
)
def test_number_of_masked_codes(codes, expected):
    """max(1, round(codes * 0.15)), at most 12; halves to the even number, as Python's round that BERT uses."""
    ids = np.concatenate([[CLS_ID], np.full(codes, 7)])
    positions, labels, hidden = select_masked(ids, FIRST, MASK_ID, SIZE, 0.15, 12, np.random.default_rng(0))
    assert len(positions) == len(labels) == len(set(positions)) == expected
    assert len(hidden) == codes + 1


def masked_batch(rows=4000, seed=3):
    """Rows of [CLS], 50 codes with some [UNK] and [SEP] between, padding; 8 of 50 codes are chosen in each."""
    rng = np.random.default_rng(seed)
    ids = np.full((rows, 60), PAD_ID)
    ids[:, 0] = CLS_ID
    ids[:, 1:55] = rng.integers(FIRST, SIZE, (rows, 54))
    ids[:, [10, 20]], ids[:, [30, 54]] = UNK_ID, SEP_ID
    return ids, select_masked_rows(ids, FIRST, MASK_ID, SIZE, 0.15, 12, rng)


def test_masks_choose_only_codes_and_labels_are_the_originals():
    ids, (positions, labels, weights, hidden) = masked_batch()
    real = weights > 0
    assert (real.sum(axis=1) == 8).all()
    assert (np.diff(positions, axis=1)[real[:, 1:]] > 0).all()
    originals = np.take_along_axis(ids, positions, axis=1)
    np.testing.assert_array_equal(labels[real], originals[real])
    assert (labels[real] >= FIRST).all()
    assert (positions[~real] == 0).all() and (labels[~real] == 0).all()
    chosen = np.zeros(ids.shape, bool)
    chosen[np.nonzero(real)[0], positions[real]] = True
    assert not chosen[ids < FIRST].any()  # padding, [UNK], [CLS], [SEP]
    np.testing.assert_array_equal(hidden[~chosen], ids[~chosen])
    shown = hidden[chosen]
    assert ((shown >= FIRST) | (shown == MASK_ID)).all() and (shown < SIZE).all()


def test_eighty_ten_ten_within_binomial_bounds():
    ids, (positions, labels, weights, hidden) = masked_batch()
    real = weights > 0
    shown, labels = np.take_along_axis(hidden, positions, axis=1)[real], labels[real]
    trials, codes = len(labels), SIZE - FIRST
    same = 0.1 + 0.1 / codes  # a random code is now and then the original
    for count, chance in [
        ((shown == MASK_ID).sum(), 0.8),
        ((shown == labels).sum(), same),
        (((shown != MASK_ID) & (shown != labels)).sum(), 0.1 - 0.1 / codes),
    ]:
        assert abs(count - trials * chance) < 5 * np.sqrt(trials * chance * (1 - chance)), (count, trials * chance)
    random_codes = shown[(shown != MASK_ID) & (shown != labels)]
    assert random_codes.min() < FIRST + 10 and random_codes.max() > SIZE - 10  # the whole range of codes


def test_every_code_is_chosen_equally_often():
    ids, (positions, _, weights, _) = masked_batch()
    chosen = np.bincount(positions[weights > 0], minlength=60)
    codes = ids[0] >= FIRST
    expected, chance = 4000 * 8 / 50, 8 / 50
    assert (np.abs(chosen[codes] - expected) < 5 * np.sqrt(4000 * chance * (1 - chance))).all()


def test_masking_is_repeatable_and_leaves_its_input_alone():
    ids = np.arange(60)
    first, second = (select_masked(ids, FIRST, MASK_ID, SIZE, 0.3, 20, np.random.default_rng(9)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ids, np.arange(60))


def test_a_sequence_without_codes_gets_no_positions():
    positions, labels, hidden = select_masked(
        [CLS_ID, UNK_ID, SEP_ID, PAD_ID], FIRST, MASK_ID, SIZE, 0.15, 5, np.random.default_rng(0)
    )
    assert positions.tolist() == labels.tolist() == []
    assert hidden.tolist() == [CLS_ID, UNK_ID, SEP_ID, PAD_ID]


@pytest.mark.parametrize(("chance", "most"), [(0.0, 5), (1.5, 5), (0.15, 0)])
def test_masking_numbers_out_of_range_are_refused(chance, most):
    with pytest.raises(ValueError, match="expected"):
        select_masked([CLS_ID, 7], FIRST, MASK_ID, SIZE, chance, most, np.random.default_rng(0))


def test_padding_and_mask_differ():
    assert VOCABULARY.mask_id != PAD_ID
    assert len({PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID}) == 5 and VOCABULARY.first_code_id == 5


def test_medbert_rows_by_hand():
    rows = [
        ["p1", [3, 9], [0, 40], [4, 2, 7], [1, 1, 2]],
        ["p2", [7], [0], [1], [1]],
        ["long", [1], [0], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1]],
        ["none", [], [], [], []],
        ["pad", [9], [0], [0, 1], [1, 1]],
    ]
    columns, patients, dropped = medbert_rows(rows, 4)
    assert {name: values.tolist() for name, values in columns.items()} == {
        "input_ids": [[4, 2, 7, 0], [1, 0, 0, 0]],
        "input_mask": [[1, 1, 1, 0], [1, 0, 0, 0]],
        "segment_ids": [[1, 1, 2, 0], [1, 0, 0, 0]],
        "next_sentence_labels": [[1], [0]],  # 9 days are more than 7; 7 are not
    }
    assert patients == ["p1", "p2"]
    assert dropped == {"longer_than_max_seq_length": 1, "no_codes": 1, "first_code_is_padding": 1}
    assert len(patients) + sum(dropped.values()) == len(rows)


def test_no_tensorflow_is_needed():
    code = "import sys; sys.modules['tensorflow'] = None; import medtop.data.create, medtop.data.description"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
