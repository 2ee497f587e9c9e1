"""Packing: nobody is lost, nobody overlaps, and a row's other patients change nothing but rounding."""

import itertools

import numpy as np
import pytest

from medtop.data.packing import ROWS_MULTIPLE, best_row_lengths, filled, pack, plan_window

LENGTHS = np.clip(np.random.default_rng(5).lognormal(3.4, 0.8, 333), 1, 128).astype(int)


def batches_of(plan, *values):
    cuts = np.cumsum(plan.batch_sizes)[:-1]
    return zip(*(np.split(value, cuts) for value in values), strict=True)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 333])
def test_every_patient_has_a_place_of_its_own(packing, size):
    lengths = LENGTHS[:size]
    plan = plan_window(lengths, 8, (32, 128), packing, np.random.default_rng(1))
    assert sorted(plan.order) == list(range(size))
    assert plan.batch_sizes.tolist() == [8] * (size // 8) + ([size % 8] if size % 8 else [])
    for number, (order, rows, starts, slots) in enumerate(
        batches_of(plan, plan.order, plan.rows, plan.starts, plan.slots)
    ):
        width, taken = plan.row_lengths[number], set()
        assert width == (32 if lengths[order].max() <= 32 else 128)
        for patient, row, start in zip(order, rows, starts, strict=True):
            places = {(row, place) for place in range(start, start + lengths[patient])}
            assert not taken & places and start + lengths[patient] <= width and row < plan.num_rows[number]
            taken |= places
        seats = set(zip(rows.tolist(), slots.tolist(), strict=True))
        assert len(seats) == len(order) and slots.max() + 1 == plan.num_slots[number]
        if packing:
            assert plan.num_rows[number] % ROWS_MULTIPLE == 0
        else:
            assert rows.tolist() == list(range(len(order))) and not starts.any() and not slots.any()


def test_unpacked_batches_hold_like_lengths_and_are_mixed():
    plan = plan_window(LENGTHS, 8, (32, 128), False, np.random.default_rng(1))
    batches = [LENGTHS[order] for (order,) in batches_of(plan, plan.order)]
    spans = sorted((batch.min(), batch.max()) for batch in batches)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    assert [batch.max() for batch in batches] != sorted(batch.max() for batch in batches)
    still = plan_window(np.array([3, 1, 2, 2]), 2, (16, 24), False, None)
    assert still.order.tolist() == [1, 2, 3, 0]  # evaluation: by length, ties in order


def test_packed_batches_are_a_random_choice_among_those_of_a_row_length():
    plan = plan_window(LENGTHS, 8, (32, 128), True, np.random.default_rng(1))
    orders = [order for (order,) in batches_of(plan, plan.order)]
    short = [LENGTHS[order] for order, width in zip(orders, plan.row_lengths, strict=True) if width == 32]
    means = np.array([batch.mean() for batch in short])
    everyone = LENGTHS[LENGTHS <= 32]
    assert means.std() < 2 * everyone.std() / np.sqrt(8)  # sorted by length they would differ by far more
    assert abs(means.mean() - everyone.mean()) < 2


def test_first_fit_decreasing_uses_few_rows():
    """Never more than 11/9 of the least possible and one; here rows of large batches are almost full."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        lengths = rng.integers(1, 65, 100)
        rows, _, _ = pack(lengths, 128)
        assert rows.max() + 1 <= 11 / 9 * np.ceil(lengths.sum() / 128) + 1
    plan = plan_window(np.tile(LENGTHS, 8), 256, (128,), True, np.random.default_rng(0))
    assert filled(plan, np.tile(LENGTHS, 8)) > 0.95


def test_best_row_lengths_weigh_attention_against_padding():
    short = np.random.default_rng(0).integers(20, 60, 2000)
    assert best_row_lengths(short, 512, 32, linear=1, quadratic=0)[-1] == 512  # rows of any length cost the same
    first, last = best_row_lengths(short, 512, 32, linear=1, quadratic=1)  # nothing but attention
    assert first <= 96 and last == 512
    assert best_row_lengths(short, 64, 32, linear=1, quadratic=1)[-1] == 64


# In batches, with TensorFlow.
def whole_window(packing, row_lengths, tasks, info, config, seed=4):
    """The one batch of a data set of 40 patients."""
    from medtop.data.batches import BatchOptions, TrainBatches

    options = BatchOptions(batch_size=40, max_seq_length=24, row_lengths=row_lengths, packing=packing)
    (batch,) = list(TrainBatches(info, config, tasks, options, seed).epoch(0))
    return batch


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    pytest.importorskip("tensorflow", reason="batches are TensorFlow's")
    from small_data import patients, write_dataset

    return write_dataset(tmp_path_factory.mktemp("packing") / "train", patients(40, seed=3))


@pytest.mark.parametrize("poolings", [("mean",), pytest.param(("cls", "sum"), marks=pytest.mark.slow)])
def test_padded_bucketed_and_packed_give_the_same_losses_and_gradients(info, poolings):
    """The same patients with the same masks, under each pooling; in all row lengths under one of them."""
    import keras
    import tensorflow as tf
    from small_data import ALL_EMBEDDINGS, all_tasks, small_config

    from medtop.model.multitask import build_model, compile_arguments
    from medtop.training.distribution import Distribution
    from medtop.training.driver import Driver
    from medtop.training.step import TensorFlowModel

    class Keep(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables):
            self.gradients = [gradient.numpy() for gradient in grads]

    tf.config.run_functions_eagerly(True)
    try:
        for pooling in poolings:
            config = small_config(
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pooling=pooling,
                embeddings=ALL_EMBEDDINGS,
                segment="alternating",
                type_vocab_size=64,  # as the other tables: nothing is clipped
                initializer_range=0.2,
            )
            keras.utils.set_random_seed(1)
            tasks = all_tasks()
            model, kept = build_model(config, tasks, TensorFlowModel), []
            layouts = [(False, (24,)), (True, (64,)), (False, (8, 16, 24)), (True, (24,))]
            for packing, row_lengths in layouts if pooling == "cls" else layouts[:2]:
                batch = whole_window(packing, row_lengths, tasks, info, config)
                keep = Keep()
                model.compile(keep, **compile_arguments(tasks), balancer="gradnorm", clip_norm=None)
                logs, _ = Driver(model, Distribution(tf.distribute.get_strategy()))(batch, telemetry=True)
                kept.append((batch, logs, keep.gradients))
            assert kept[0][0][0]["cls_positions"].shape == (40, 1)
            rows, slots = kept[1][0][0]["cls_positions"].shape
            assert rows < 40 and slots > 1
            for _, logs, gradients in kept[1:]:
                for name, value in kept[0][1].items():
                    np.testing.assert_allclose(logs[name], value, rtol=1e-5, err_msg=name)
                for mine, theirs in zip(gradients, kept[0][2], strict=True):
                    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    finally:
        tf.config.run_functions_eagerly(False)


def by_record(info, config, packing):
    """dict of record number -> dict of key -> values of its tokens, out of the batches of an evaluation."""
    from small_data import all_tasks

    from medtop.data.batches import BatchOptions, eval_batches, steps_per_epoch

    options = BatchOptions(batch_size=8, max_seq_length=64, row_lengths=(64,), packing=packing)
    seen, together, tasks = {}, 0, all_tasks(["long_stay"])
    batches = list(eval_batches(info, config, tasks, options, 0, masking=False).as_numpy_iterator())
    assert len(batches) == steps_per_epoch(info.num_examples, options)
    for x, _, _, examples in batches:
        x.pop("cls_positions")
        for row, slot in zip(*np.nonzero(examples >= 0), strict=True):
            places = x["patient_slots"][row] == slot + 1
            seen[int(examples[row, slot])] = {key: x[key][row, places].tolist() for key in x if key != "patient_slots"}
            together = max(together, slot + 1)
        assert not any(values[x["patient_slots"] == 0].any() for values in x.values())  # padding
    assert together > 2 if packing else together == 1
    return seen


LAYOUTS = [*itertools.product(("default", "medbert"), ("zero", "alternating", "visit")), ("notes", "sentence")]


@pytest.mark.quick("default-alternating")
@pytest.mark.parametrize("layout, segment", LAYOUTS)
def test_a_packed_patient_has_every_input_of_an_unpacked_one(tmp_path, layout, segment):
    """Number by number, before a table clips anything: `alternating` once gave the third patient of a row segment 3."""
    pytest.importorskip("tensorflow", reason="batches are TensorFlow's")
    from notes_data import planted_notes, write_note_dataset
    from small_data import ALL_EMBEDDINGS, patients, small_config, write_dataset, write_medbert_dataset

    from medtop.data.layouts import LAYOUTS

    if layout == "default":
        info = write_dataset(tmp_path / "a", patients(40, seed=3))
    elif layout == "medbert":
        rows = [[f"p{n}", [3] * 4, [0, 5, 6, 7], [1, 2, 3, 4 + n % 3], [1, 2, 2 + n % 2, 4]] for n in range(40)]
        info = write_medbert_dataset(tmp_path / "a", rows, codes=9)
    else:
        info = write_note_dataset(tmp_path / "a", planted_notes(30, words=40), max_seq_length=16)
    embeddings = [name for name in ALL_EMBEDDINGS if name in LAYOUTS[layout].embeddings]
    config = small_config(embeddings=embeddings, segment=segment, type_vocab_size=64)
    alone, packed = by_record(info, config, False), by_record(info, config, True)
    assert len(alone) == info.num_examples and alone == packed
    assert {*config.inputs} <= alone[0].keys()
    if segment == "alternating":
        assert {value for one in packed.values() for value in one["segments"]} == {0, 1}


@pytest.mark.slow
def test_packed_epochs_hold_each_patient_once_and_resume_in_the_middle(info):
    from small_data import all_tasks, small_config

    from medtop.data.batches import BatchOptions, TrainBatches

    options = BatchOptions(batch_size=6, max_seq_length=24, row_lengths=(12, 24), packing=True, windows_of=3)
    made = TrainBatches(info, small_config(), all_tasks(), options, seed=8)
    for epoch in (0, 1):
        whole = list(made.epoch(epoch).as_numpy_iterator())
        assert len(whole) == made.steps_per_epoch == 7
        ages = [
            int(x["ages"][row, x["cls_positions"][row, slot]])
            for x, _, _ in whole
            for row, slots in enumerate(x["patient_slots"])
            for slot in range(slots.max())
        ]
        assert len(ages) == len(set(ages)) == 40  # each patient's own age stands at its [CLS]
        tail = list(made.epoch(epoch, 5).as_numpy_iterator())
        for mine, theirs in zip(tail, whole[5:], strict=True):
            for part, other in zip(mine, theirs, strict=True):
                for name in part:
                    np.testing.assert_array_equal(part[name], other[name])


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_the_order_of_patients_on_disk_changes_nothing_of_the_work(tmp_path, packing):
    """By length, the short ones first, last, or mixed: an epoch has as many steps, and as many places in its rows."""
    from small_data import all_tasks, patients, small_config, tokens_of_patient, write_dataset

    from medtop.data.batches import BatchOptions, TrainBatches

    people = patients(400, seed=6)
    by_length = sorted(people, key=lambda one: len(tokens_of_patient(one)))
    places, least = {}, sum(min(len(tokens_of_patient(one)), 64) for one in people)
    for name, some in {"mixed": people, "short": by_length, "long": by_length[::-1]}.items():
        info = write_dataset(tmp_path / name, some, num_shards=4)
        options = BatchOptions(batch_size=8, max_seq_length=64, packing=packing, windows_of=8)
        rows = [x["patient_slots"] for x, *_ in TrainBatches(info, small_config(), all_tasks(), options, 1).epoch(0)]
        assert len(rows) == 50 and sum(int((part > 0).numpy().sum()) for part in rows) == least
        places[name] = sum(part.shape[0] * part.shape[1] for part in rows)
    assert max(places.values()) < 1.04 * min(places.values())
    assert least < min(places.values()) < 1.5 * least


@pytest.mark.slow
def test_positions_restart_and_slots_tell_patients_apart(info):
    from small_data import all_tasks, small_config

    config = small_config(embeddings=("code", "position"))
    x, y, w = whole_window(True, (24,), all_tasks(), info, config)
    slots, positions, tokens = (x[key].numpy() for key in ("patient_slots", "positions", "token_ids"))
    several = 0
    for row in range(len(slots)):
        for slot in range(1, slots[row].max() + 1):
            places = np.flatnonzero(slots[row] == slot)
            assert places.tolist() == list(range(places[0], places[-1] + 1))
            assert positions[row, places].tolist() == list(range(len(places)))
            assert tokens[row, places[0]] == 2 and places[0] == x["cls_positions"].numpy()[row, slot - 1]
        several += slots[row].max() > 1
    assert several > 3 and w["long_stay"].shape == (*x["cls_positions"].shape, 1) == y["long_stay"].shape


def test_trainer_flags_reach_the_batches(tmp_path):
    from small_data import training_options, write_splits

    from medtop.data.batch_options import sample_lengths, training_batch_options
    from medtop.training.options import make_plan

    files = write_splits(tmp_path, (40, 4, 4))
    plan = make_plan(training_options(tmp_path, files, packing=True, row_lengths="32,64"))
    made = training_batch_options(plan)
    assert made.packing and made.row_lengths == (32, 64) and made.batch_size == 8
    auto = training_batch_options(make_plan(training_options(tmp_path, files, packing=True)))
    assert auto.packing and 1 <= len(auto.row_lengths) <= 2 and auto.row_lengths[-1] == 64
    plain = training_batch_options(make_plan(training_options(tmp_path, files)))
    assert not plain.packing and not plain.few_shapes
    assert plain.row_lengths == (*range(8, 64, 4), 64)  # max_seq_length: 64
    few = training_batch_options(make_plan(training_options(tmp_path, files)), few_shapes=True)
    assert few.few_shapes and few.row_lengths == (*range(16, 64, 8), 64)
    lengths = sample_lengths(plan.train.lengths)
    assert abs(lengths.mean() - plan.train.lengths["mean"]) < 8 and len(lengths) > 3000


def test_best_row_lengths_by_hand():
    """Ninety-six patients of 64 tokens, 32 in a batch: 8 share a row of 512, so that rows cost the same either way
    where work is linear (the first candidate stays), and an eighth in short rows where it is quadratic."""
    whole = np.full(96, 64)
    assert best_row_lengths(whole, 512, 32, linear=1, quadratic=0) == (512,)
    assert best_row_lengths(whole, 512, 32, linear=1, quadratic=1) == (64, 512)
    assert best_row_lengths(np.full(96, 30), 512, 32, linear=0, quadratic=1) == (32, 512)
    assert best_row_lengths(np.full(96, 380), 512, 32, linear=0, quadratic=1) == (384, 512)
    assert best_row_lengths(np.full(96, 400), 512, 32, linear=0, quadratic=1) == (512,)
