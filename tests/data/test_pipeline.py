"""Batches, against a plain Python route from the patients: what is in them, once each, masked by the rules, repeatable.

Letters: B rows in a batch, T tokens in a row, M masked positions in a row.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from sequence_cases import NO_CODES

tf = pytest.importorskip("tensorflow", reason="the pipeline is tf.data")

from small_data import (  # noqa: E402
    ALL_EMBEDDINGS,
    SEQUENCE_KEYS,
    VOCABULARY,
    all_tasks,
    patients,
    small_config,
    tokens_of_patient,
    with_labels,
    write_dataset,
    write_medbert_dataset,
)

from medtop.cohort.vocabulary import CLS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID, Vocabulary  # noqa: E402
from medtop.data import batches as pipeline  # noqa: E402
from medtop.data.batches import BatchOptions, TrainBatches, eval_batches, steps_per_epoch  # noqa: E402
from medtop.data.masking import draw_masks  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.tasks import Task, choose_tasks  # noqa: E402

PEOPLE = patients(61, seed=1)
BY_AGE = {patient["age"]: patient for patient in PEOPLE}
CONFIG = small_config(embeddings=ALL_EMBEDDINGS, segment="alternating")
TASKS = all_tasks()
OPTIONS = BatchOptions(batch_size=8, max_seq_length=24, masked_lm_prob=0.3, max_predictions=5, windows_of=2)
BATCHES = 8  # 61 patients: 7 whole ones and one of 5


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("pipeline") / "train", PEOPLE, num_shards=3)


@pytest.fixture(scope="module")
def batches(info):
    """`TrainBatches`; their graph is traced once for this file."""
    return TrainBatches(info, CONFIG, TASKS, OPTIONS, seed=5)


def taken(dataset):
    return [tuple({key: np.asarray(value) for key, value in part.items()} for part in batch) for batch in dataset]


@pytest.fixture(scope="module")
def epochs(batches):
    return [taken(batches.epoch(epoch)) for epoch in range(2)]


LIGHT = small_config(embeddings=("code", "age"))
"""Iterating costs about a second each time, whatever the data: where order and masks matter, fewer inputs will do."""


@pytest.fixture(scope="module")
def light(info):
    """(`TrainBatches`, epoch 1 of theirs)."""
    batches = TrainBatches(info, LIGHT, all_tasks(["masked_lm", "long_stay"]), OPTIONS, seed=5)
    return batches, taken(batches.epoch(1))


def ages_in(batch):
    """Age of each patient, who is known by it; rows without a patient are left out."""
    x = batch[0]
    return x["ages"][x["patient_slots"][:, 0] > 0, 0].tolist()


def assert_equal_batches(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        for mine, theirs in zip(first, second, strict=True):
            assert mine.keys() == theirs.keys()
            for key, values in mine.items():
                np.testing.assert_array_equal(values, theirs[key], err_msg=key)


def check_row(x, row, patient, options, segment):
    """Everything but the masked tokens of a row, against docs/contract.md by hand."""
    tokens = tokens_of_patient(patient, options.max_seq_length)
    n, width = len(tokens), x["token_ids"].shape[1]
    filled = [1] * n + [0] * (width - n)
    assert x["patient_slots"][row].tolist() == filled
    for place, key in enumerate(SEQUENCE_KEYS):
        if key != "token_ids":
            assert x[key][row].tolist() == [token[place] for token in tokens] + [0] * (width - n), key
    visits = [token[1] for token in tokens]
    wanted = {"zero": [0] * n, "alternating": [visit % 2 for visit in visits], "visit": visits}[segment]
    assert x["segments"][row].tolist() == wanted + [0] * (width - n)
    assert x["positions"][row].tolist() == list(range(n)) + [0] * (width - n)
    assert x["sexes"][row].tolist() == [patient["sex"]] * n + [0] * (width - n)
    assert x["cls_positions"][row].tolist() == [0]
    return [token[0] for token in tokens] + [PAD_ID] * (width - n)


def check_masks(hidden, positions, labels, weights, original, options):
    """Fault 1: only selected positions carry loss, and their labels are the codes that stood there."""
    codes = sum(token >= VOCABULARY.first_code_id for token in original)
    count = int(weights.sum())
    expected = min(max(1, round(codes * options.masked_lm_prob)), options.max_predictions) if codes else 0
    assert count == expected
    assert set(weights.tolist()) <= {0.0, 1.0}
    chosen = positions[weights > 0].tolist()
    assert chosen == sorted(set(chosen))
    assert not positions[weights == 0].any() and not labels[weights == 0].any()
    for place, label in zip(chosen, labels[weights > 0], strict=True):
        assert label == original[place] >= VOCABULARY.first_code_id  # never [CLS], [UNK] or padding
        assert hidden[place] == MASK_ID or hidden[place] >= VOCABULARY.first_code_id
    others = [place for place in range(len(original)) if place not in chosen]
    assert [hidden[place] for place in others] == [original[place] for place in others]


def test_every_row_of_an_epoch_by_hand(epochs):
    """Features, truncation (fault 2), masks (fault 1), labels; another length than the features' default (fault 8)."""
    long, shown = 0, []
    for x, y, w in itertools.chain(*epochs):
        for row in range(8):
            if not x["patient_slots"][row].any():
                assert not any(x[key][row].any() for key in x) and not any(w[task][row].any() for task in w)
                continue
            patient = BY_AGE[x["ages"][row, 0]]
            long += len(tokens_of_patient(patient)) > 24
            original = check_row(x, row, patient, OPTIONS, "alternating")
            assert original[0] == CLS_ID == x["token_ids"][row, 0]
            weights = (w["masked_lm"][row] > 0).astype(float)
            check_masks(
                x["token_ids"][row].tolist(), x["mask_positions"][row], y["masked_lm"][row], weights, original, OPTIONS
            )
            shown += [(x["token_ids"][row, place], original[place]) for place in x["mask_positions"][row][weights > 0]]
            for task in ("long_stay", "complications"):
                assert y[task][row].tolist() == [patient["labels"][task]]
                assert (w[task][row] > 0).tolist() == [[weight > 0 for weight in patient["weights"][task]]]
    assert long > 2 * 20  # many patients were longer than their rows
    assert within(
        sum(token == MASK_ID for token, _ in shown), len(shown), 0.8
    )  # the model does not see what it must guess
    assert within(sum(token == code for token, code in shown), len(shown), 0.1)


def test_shapes_types_and_keys_are_the_contracts(epochs):
    for x, y, w in itertools.chain(*epochs):
        assert set(x) == {*CONFIG.inputs, "patient_slots", "cls_positions", "mask_positions"}
        tokens, masked = x["token_ids"].shape[1], x["mask_positions"].shape[1]
        longest = x["patient_slots"].sum(axis=1).max()
        assert tokens == min(max(-(-longest // 4) * 4, 8), 24)  # as long as the batch needs, no longer than asked for
        assert all(values.dtype == np.int32 for values in x.values())
        assert all(x[key].shape == (8, tokens) for key in (*CONFIG.inputs, "patient_slots"))
        assert x["cls_positions"].shape == (8, 1) and masked == (w["masked_lm"] > 0).sum(axis=1).max()
        for part in (y, w):
            assert {task: values.shape for task, values in part.items()} == {
                "masked_lm": (8, masked),
                "long_stay": (8, 1, 1),
                "complications": (8, 1, 2),
            }
        assert all(values.dtype == np.float32 for values in w.values())


@pytest.mark.slow
def test_few_shapes_are_multiples_of_4_and_the_same_masks(info, epochs):
    """Only places without weight come in addition: what a step compiled for each shape pays for fewer of them."""
    options = dataclasses.replace(OPTIONS, few_shapes=True)
    found = taken(TrainBatches(info, CONFIG, TASKS, options, seed=5).epoch(0))
    more = 0
    for (x, y, w), (few_x, few_y, few_w) in zip(epochs[0], found, strict=True):
        masked, width = x["mask_positions"].shape[1], few_x["mask_positions"].shape[1]
        assert width == -(-masked // 4) * 4
        more += width > masked
        few_x["mask_positions"], few_y["masked_lm"], few_w["masked_lm"], rest = (
            few_x["mask_positions"][:, :masked],
            few_y["masked_lm"][:, :masked],
            few_w["masked_lm"][:, :masked],
            few_w["masked_lm"][:, masked:],
        )
        assert not rest.any()
        for part, few in ((x, few_x), (y, few_y), (w, few_w)):
            assert part.keys() == few.keys()
            assert all(np.array_equal(part[key], few[key]) for key in part)
    assert more > 3


def test_weights_of_a_task_sum_to_one_over_the_batch(epochs):
    for _, _, w in itertools.chain(*epochs):
        for task, weights in w.items():
            np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6, err_msg=task)
            known = weights[weights > 0]
            assert np.ptp(known) < 1e-7  # all alike


def test_each_patient_is_in_an_epoch_once_and_epochs_are_ordered_anew(epochs):
    orders = [sum(map(ages_in, batches), []) for batches in epochs]
    for batches, order in zip(epochs, orders, strict=True):
        assert sorted(order) == sorted(BY_AGE) and len(batches) == BATCHES == steps_per_epoch(61, OPTIONS)
        assert [len(ages_in(batch)) for batch in batches] == [8] * 7 + [5]
    assert orders[0] != orders[1]
    # mates change as well: batches are not the same sets in another order
    mates = [{frozenset(ages_in(batch)) for batch in batches} for batches in epochs]
    assert not mates[0] & mates[1]


def masks_of(batches):
    """dict age -> (places and replaced tokens) of an epoch."""
    found = {}
    for x, _, w in batches:
        for row, count in enumerate((w["masked_lm"] > 0).sum(axis=1)):
            if x["patient_slots"][row, 0]:
                places = x["mask_positions"][row, :count]
                found[x["ages"][row, 0]] = (*places.tolist(), *x["token_ids"][row, places].tolist())
    return found


@pytest.mark.slow
def test_masks_are_new_in_every_epoch_and_depend_on_the_seed(info, epochs, light):
    one, other = masks_of(epochs[0]), masks_of(epochs[1])
    long = [age for age in one if len(tokens_of_patient(BY_AGE[age])) > 10]
    assert len(long) > 30
    assert np.mean([one[age] == other[age] for age in long]) < 0.1
    seeded = masks_of(taken(TrainBatches(info, LIGHT, all_tasks(["masked_lm"]), OPTIONS, seed=6).epoch(1)))
    assert np.mean([other[age] == seeded[age] for age in long]) < 0.1
    assert other == masks_of(light[1])  # another `TrainBatches` with the same seed; what else is read has no part in it


@pytest.mark.quick("5")
@pytest.mark.parametrize("first", [1, 2, 5, 7, BATCHES])
def test_an_epochs_tail_is_the_same_wherever_a_run_begins(light, first):
    """Resuming: from batch k on, at the beginning and in the middle of windows of two batches, and at the end."""
    batches, epoch = light
    assert_equal_batches(taken(batches.epoch(1, first_batch=first)), epoch[first:])


@pytest.mark.slow
def test_epochs_follow_each_other(light):
    """Out of one iterator, whatever else is asked for meanwhile; the first one's beginning is left out, no other's."""
    batches, epoch = light
    expected = [*epoch[3:], *taken(batches.epoch(2)), *taken(batches.epoch(3))]
    ahead = batches.epochs(1, 4, first_batch=3).as_numpy_iterator()
    found = [next(ahead)]
    taken(batches.epoch(7, first_batch=1))
    assert_equal_batches([*found, *ahead], expected)
    assert taken(batches.epochs(2, 2)) == []


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("batch_size, windows_of, block", [(7, 3, 20), (200, 64, 100_000)])
def test_each_patient_once_in_windows_and_blocks_of_any_size(info, monkeypatch, batch_size, windows_of, block):
    monkeypatch.setattr(pipeline, "SHUFFLE_BLOCK", block)
    options = dataclasses.replace(OPTIONS, batch_size=batch_size, windows_of=windows_of)
    batches = TrainBatches(info, LIGHT, all_tasks(["long_stay"]), options, seed=1)
    found = taken(batches.epoch(0))
    assert sorted(sum(map(ages_in, found), [])) == sorted(BY_AGE)
    assert [len(ages_in(batch)) for batch in found] == [batch_size] * (61 // batch_size) + (
        [61 % batch_size] if 61 % batch_size else []
    )
    assert set(found[0][0]) == {"token_ids", "ages", "patient_slots", "cls_positions"}  # nothing that no one reads
    assert_equal_batches(taken(batches.epoch(0, len(found) // 2)), found[len(found) // 2 :])


@pytest.mark.quick("True")
@pytest.mark.parametrize("masking", [False, True])
def test_evaluation_sees_each_example_once_and_knows_its_place(info, masking):
    config = dataclasses.replace(CONFIG, segment="visit")
    options = dataclasses.replace(OPTIONS, max_seq_length=64)
    dataset = eval_batches(info, config, TASKS, options, seed=3, masking=masking)
    seen, found = {}, list(dataset.as_numpy_iterator())
    assert len(found) == steps_per_epoch(61, options)
    for x, y, w, examples in found:
        assert examples.shape == (8, 1)
        for row, place in enumerate(examples[:, 0]):
            if place < 0:
                assert not x["patient_slots"][row].any() and not any(weights[row].any() for weights in w.values())
                continue
            assert place not in seen
            seen[place] = x["ages"][row, 0]
            patient = BY_AGE[seen[place]]
            original = check_row(x, row, patient, options, "visit")
            if masking:
                check_masks(
                    x["token_ids"][row].tolist(),
                    x["mask_positions"][row],
                    y["masked_lm"][row],
                    w["masked_lm"][row],
                    original,
                    options,
                )
            else:
                assert x["token_ids"][row].tolist() == original
                assert "mask_positions" not in x and "masked_lm" not in y
            assert w["complications"][row].tolist() == [patient["weights"]["complications"]]  # as recorded
    # records went round robin over three files, and the files are read one after another
    in_file_order = [patient["age"] for first in range(3) for patient in PEOPLE[first::3]]
    assert [seen[place] for place in range(61)] == in_file_order
    if masking:  # the same masks every time: a validation loss can be compared between epochs
        assert_equal_batches([batch[:3] for batch in dataset.as_numpy_iterator()], [batch[:3] for batch in found])


@pytest.mark.slow
def test_no_iterator_waits_for_a_tuner(info, light):
    """The end of an epoch, or of a scoring, waited up to a minute for tf.data's tuner, now and then."""
    scored = eval_batches(info, CONFIG, TASKS, OPTIONS, seed=0, masking=False)
    batches = light[0]
    for dataset in (batches.epoch(0), batches.epoch(0).take(2), batches._examples, scored, scored.repeat()):
        assert dataset.options().autotune.enabled is False


@pytest.mark.slow
def test_rows_may_be_longer_than_the_features_default(tmp_path):
    """Fault 8: features made with length 64, training at 512; nothing of the 200 codes is lost, nor refused."""
    long = PEOPLE[0] | {"visits": [(list(range(5, 55)), 3, 40, 400 - 100 * n, 9_000 + 100 * n) for n in range(4)]}
    info = write_dataset(tmp_path / "long", [long, PEOPLE[1]])
    assert info.defaults["max_seq_length"] == 64
    options = dataclasses.replace(OPTIONS, max_seq_length=512)
    for dataset in (
        TrainBatches(info, CONFIG, all_tasks(["long_stay"]), options, seed=0).epoch(0),
        eval_batches(info, CONFIG, TASKS, options, seed=0, masking=False),
    ):
        ((x, *_),) = dataset.as_numpy_iterator()
        row = np.flatnonzero(x["ages"][:, 0] == long["age"]).item()
        assert x["patient_slots"][row].sum() == 201
        assert x["token_ids"][row].tolist() == check_row(x, row, long, options, "alternating")


def test_new_patients_records_have_no_labels_and_gaps_are_those_that_the_records_hold(tmp_path):
    info = write_dataset(tmp_path / "new", PEOPLE[:20], tasks={}, time_gap="after")
    config = small_config(embeddings=("code", "gap", "age"))
    dataset = eval_batches(info, config, all_tasks(["complications"]), OPTIONS, seed=0, masking=False)
    for x, y, w, _ in dataset.as_numpy_iterator():
        assert set(y) == {"complications"} and y["complications"].shape == (8, 1, 2)
        assert not y["complications"].any() and not w["complications"].any()  # unknown
        for row in np.flatnonzero(x["patient_slots"][:, 0]):
            tokens = tokens_of_patient(BY_AGE[x["ages"][row, 0]], 24, time_gap="after")
            assert x["gaps"][row, : len(tokens)].tolist() == [token[4] for token in tokens]


@pytest.mark.slow
def test_patients_without_codes_have_nothing_to_guess(tmp_path):
    people = [NO_CODES | {"age": number} for number in range(1, 4)]
    info = write_dataset(tmp_path / "none", people)
    ((x, y, w),) = taken(TrainBatches(info, LIGHT, all_tasks(["masked_lm"]), OPTIONS, seed=0).epoch(0))
    assert x["patient_slots"].sum() == 3 and x["token_ids"][:3, 0].tolist() == [CLS_ID] * 3
    assert not w["masked_lm"].any() and not y["masked_lm"].any()  # weights stay 0, no NaN


def draws(patients_count, codes, options, seed=0):
    """Masks of patients that all hold `codes`; (original, replaced, selected), each [patients, len(codes)]."""
    rows = tf.constant(np.tile(codes, (patients_count, 1)), tf.int64)
    hidden, selected = draw_masks(tf.RaggedTensor.from_tensor(rows), tf.constant([seed, 1]), VOCABULARY, options)
    shape = rows.shape
    return rows.numpy(), tf.reshape(hidden.flat_values, shape).numpy(), tf.reshape(selected, shape).numpy()


def within(count, total, share, deviations=5):
    """Whether a binomial count lies within so many standard deviations: of a million right ones, about one does not."""
    return abs(count - total * share) <= deviations * np.sqrt(total * share * (1 - share)) + 1


def test_masks_are_drawn_80_10_10_and_evenly():
    codes = np.concatenate([[CLS_ID, UNK_ID, SEP_ID], np.arange(5, 45)])  # 40 codes: 6 selected
    options = BatchOptions(masked_lm_prob=0.15, max_predictions=77)
    original, hidden, selected = draws(4000, codes, options)
    assert (selected.sum(axis=1) == 6).all() and not selected[:, :3].any()
    np.testing.assert_array_equal(hidden[~selected], original[~selected])
    total = selected.sum()
    masked, kept = (hidden == MASK_ID) & selected, (hidden == original) & selected
    size = len(VOCABULARY) - 5
    assert within(masked.sum(), total, 0.8)
    assert within(kept.sum(), total, 0.1 + 0.1 / size)  # a random code may be the code itself
    replaced = hidden[selected & ~masked & ~kept]
    assert within(len(replaced), total, 0.1 - 0.1 / size)
    assert replaced.min() >= 5 and replaced.max() < len(VOCABULARY)  # no special token
    # each place is as likely as any other, and each other code as likely as any other
    assert all(within(count, 4000, 6 / 40) for count in selected[:, 3:].sum(axis=0))
    assert all(within(count, len(replaced), 1 / size, 6) for count in np.bincount(replaced, minlength=60)[5:])
    # places of a patient are drawn without regard to each other: neighbours as often as chance has it
    pairs = (selected[:, 3:-1] & selected[:, 4:]).sum()
    assert within(pairs, 4000 * 39, 6 / 40 * 5 / 39)


@pytest.mark.parametrize(
    "codes, share, most, expected",
    [
        (0, 0.15, 5, 0),
        (1, 0.15, 5, 1),
        (3, 0.15, 5, 1),
        (10, 0.15, 5, 2),
        (30, 0.15, 5, 4),
        (50, 0.15, 5, 5),
        (10, 0.25, 5, 2),
        (14, 0.25, 5, 4),
        (2, 0.9, 5, 2),
        (40, 0.999, 100, 40),
    ],
)
def test_number_of_selected_codes(codes, share, most, expected):
    """min(max(1, round(c p)), M); halves go to the even number, as in NumPy and in medtop.data.tokens."""
    options = BatchOptions(masked_lm_prob=share, max_predictions=most)
    _, _, selected = draws(7, np.concatenate([[CLS_ID], np.arange(5, 5 + codes)]), options)
    assert selected.sum(axis=1).tolist() == [expected] * 7


def test_counts_equal_those_of_the_features_room():
    """The rule stands twice, in NumPy for Med-BERT's static masks and here: the same counts for every length."""
    from medtop.data.tokens import select_masked

    for share, most in ((0.15, 20), (0.35, 2)):
        for codes in (*range(0, 60, 3), 55):
            tokens = np.concatenate([[CLS_ID], np.resize(np.arange(5, 60), codes)]).astype(int)
            _, _, selected = draws(1, tokens, BatchOptions(masked_lm_prob=share, max_predictions=most))
            positions, *_ = select_masked(tokens, 5, MASK_ID, 60, share, most, np.random.default_rng(0))
            assert selected.sum() == len(positions), (share, most, codes)


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(batch_size=0), "expected batch_size of at least 1, received batch_size=0"),
        (dict(max_seq_length=1), "expected max_seq_length of at least 2"),
        (dict(max_predictions=0), "expected max_predictions of at least 1"),
        (dict(windows_of=0), "expected windows_of of at least 1"),
        (dict(masked_lm_prob=1.0), "expected masked_lm_prob between 0 and 1, received 1.0"),
    ],
)
def test_impossible_options_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        BatchOptions(**values)


def test_row_lengths_end_at_the_longest_row():
    assert BatchOptions(max_seq_length=20).row_lengths == (8, 12, 16, 20)
    assert BatchOptions(max_seq_length=8).row_lengths == (8,)
    assert BatchOptions(max_seq_length=5000).row_lengths[-1] == 5000


# Balanced sampling. Windows of 600 patients, so that a window holds enough of each kind.
def kinds(count, positives, unknown):
    """Patients with `positives` known ones, `unknown` unknown, the rest known negatives, mixed."""
    values = [1] * positives + [None] * unknown + [0] * (count - positives - unknown)
    order = np.random.default_rng(2).permutation(count)
    people = patients(count, seed=4)
    return [with_labels(person, "long_stay", values[place]) for person, place in zip(people, order, strict=True)]


@pytest.mark.slow
def test_balanced_sampling_shows_positives_and_negatives_alike(tmp_path):
    people = kinds(1800, positives=90, unknown=450)
    info = write_dataset(tmp_path / "balanced", people)
    options = BatchOptions(batch_size=60, max_seq_length=16, windows_of=10)
    tasks = all_tasks(["complications", "long_stay"])
    found = taken(TrainBatches(info, LIGHT, tasks, options, seed=0, balanced=("long_stay", 0)).epoch(0))
    assert len(found) == steps_per_epoch(len(people), options)
    counts, ages = np.zeros(3, int), []
    for x, y, w in found:
        known, positive = w["long_stay"][:, 0, 0] > 0, y["long_stay"][:, 0, 0] > 0.5
        real = x["patient_slots"][:, 0] > 0
        counts += [(known & positive).sum(), (known & ~positive).sum(), (real & ~known).sum()]
        ages += x["ages"][real, 0].tolist()
    total = counts.sum()
    assert total == 1800
    assert within(counts[0], total, 0.375) and within(counts[1], total, 0.375) and within(counts[2], total, 0.25)
    truth = {
        patient["age"]: (patient["weights"]["long_stay"][0], patient["labels"]["long_stay"][0]) for patient in people
    }
    seen = [truth[age] for age in ages]
    assert [seen.count(kind) for kind in ((1, 1), (1, 0))] == counts[
        :2
    ].tolist()  # rows carry their patients' own labels


@pytest.mark.quick(first=1)
@pytest.mark.parametrize(
    "positives, unknown, expected",
    [
        (10, 300, (0.375, 0.375, 0.25)),
        (0, 300, (0, 0.75, 0.25)),
        (0, 1200, (0, 0, 1)),
        (900, 300, (0.75, 0, 0.25)),
    ],
)
def test_balanced_window_of_one_class_keeps_the_unknown_share(positives, unknown, expected):
    people = kinds(1200, positives, unknown)
    parsed = {
        f"t_{kind}": tf.constant([[0.0, *person[kind]["long_stay"]] for person in people], tf.float32)
        for kind in ("labels", "weights")
    }
    drawn = pipeline._balance(parsed, "t", 1, tf.constant([3, 4]))
    label, known = drawn["t_labels"].numpy()[:, 1] > 0.5, drawn["t_weights"].numpy()[:, 1] > 0
    counts = [(known & label).sum(), (known & ~label).sum(), (~known).sum()]
    assert all(within(count, 1200, share) for count, share in zip(counts, expected, strict=True)), counts


@pytest.mark.slow
# Med-BERT's layout: padded records, masks in the file.
def test_medberts_batches_carry_the_files_masks(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(19):
        visits = np.sort(rng.integers(1, 4, rng.integers(1, 14)))
        codes = rng.integers(1, 31, len(visits)).tolist()
        rows.append([f"p{number}", [int(rng.integers(0, 12))], [0], codes, visits.tolist()])
    defaults = {"max_seq_length": 12, "max_predictions_per_seq": 2, "masked_lm_prob": 0.35, "random_seed": 1}
    info = write_medbert_dataset(tmp_path / "medbert", rows, 30, defaults=defaults)
    kept = [row for row in rows if len(row[3]) <= 12]
    assert 10 < len(kept) < 19 == info.counts["examples_in"] and info.num_examples == len(kept)

    features = []  # the records once more, parsed by protobuf itself
    for record in tf.data.TFRecordDataset(str(info.files[0])).as_numpy_iterator():
        example = tf.train.Example.FromString(record).features.feature
        features.append({key: list(getattr(value, value.WhichOneof("kind")).value) for key, value in example.items()})
    tasks = choose_tasks(None, info.tasks)
    config = small_config(vocab_size=31, embeddings=("code", "position", "segment"), segment="visit")
    options = BatchOptions(batch_size=4, max_seq_length=12, row_lengths=(12,))
    for masking in (True, False):
        for x, y, w, examples in eval_batches(info, config, tasks, options, 0, masking).as_numpy_iterator():
            for row, place in enumerate(examples[:, 0]):
                if place < 0:
                    continue
                _, stays, _, codes, visits = kept[place]
                record, n = features[place], len(codes)
                assert x["patient_slots"][row].tolist() == [1] * n + [0] * (12 - n)
                assert x["segments"][row].tolist() == visits + [0] * (12 - n)
                assert x["positions"][row].tolist() == list(range(n)) + [0] * (12 - n)
                assert y["long_stay"][row].tolist() == [[float(max(stays) > 7)]] and w["long_stay"][row].tolist() == [
                    [1.0]
                ]
                if not masking:
                    assert x["token_ids"][row].tolist() == codes + [0] * (12 - n)
                    continue
                assert x["token_ids"][row].tolist() == record["input_ids"]
                count = int(sum(record["masked_lm_weights"]))
                assert w["masked_lm"][row].tolist() == [1.0] * count + [0.0] * (w["masked_lm"].shape[1] - count)
                places = record["masked_lm_positions"][:count]
                assert x["mask_positions"][row, :count].tolist() == places
                assert y["masked_lm"][row, :count].tolist() == [
                    codes[place] for place in places
                ]  # the codes before masking
    found = taken(TrainBatches(info, config, tasks, options, seed=0).epoch(0))
    assert sum((x["patient_slots"][:, 0] > 0).sum() for x, _, _ in found) == len(kept)


def test_medberts_layout_cannot_serve_embeddings_that_it_lacks(tmp_path):
    info = write_medbert_dataset(
        tmp_path / "m",
        [["p", [1], [0], [1, 2], [1, 1]]],
        3,
        defaults={"max_seq_length": 8, "max_predictions_per_seq": 2, "masked_lm_prob": 0.3, "random_seed": 1},
    )
    config = small_config(vocab_size=4, embeddings=("code", "gap", "sex"))
    with pytest.raises(DataError, match="expected records with gap, sex .*received Med-BERT's layout"):
        eval_batches(info, config, [Task("long_stay", "patient", ("long_stay",))], OPTIONS, 0, masking=False)


def test_a_code_may_have_the_highest_id_of_a_vocabulary_of_one(tmp_path):
    """The smallest vocabulary: one code; its random replacement is itself."""
    vocabulary = Vocabulary((*VOCABULARY.tokens[:5], "A"))
    tokens = tf.RaggedTensor.from_tensor(tf.constant([[CLS_ID, 5, 5, 5]] * 50, tf.int64))
    hidden, _ = draw_masks(tokens, tf.constant([1, 2]), vocabulary, BatchOptions(masked_lm_prob=0.9))
    assert set(hidden.flat_values.numpy().tolist()) == {CLS_ID, MASK_ID, 5}
