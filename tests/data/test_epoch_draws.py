"""The order of files is another in every epoch, and no two windows share their draws."""

import pytest

tf = pytest.importorskip("tensorflow", reason="the pipeline is tf.data")

from small_data import all_tasks, patients, small_config, write_dataset  # noqa: E402

from medtop.data import batches  # noqa: E402


def test_files_come_in_another_order_in_each_epoch(tmp_path, monkeypatch):
    """Eight files of a record each, shuffled in blocks of one record: what comes is the order of the files."""
    monkeypatch.setattr(batches, "SHUFFLE_BLOCK", 1)
    files = [str(tmp_path / f"{number}") for number in range(8)]
    for file in files:
        with tf.io.TFRecordWriter(file) as writer:
            writer.write(file.encode())
    options = batches.BatchOptions(batch_size=1, windows_of=1)

    def order(seed, epoch):
        windows = batches._shuffled_windows(files, options, seed, tf.constant(epoch, tf.int64))
        return tuple(name.decode() for window in windows.as_numpy_iterator() for name in window)

    orders = [order(3, epoch) for epoch in range(4)] + [order(4, 0)]
    assert all(sorted(names) == files for names in orders)
    assert len(set(orders)) == 5 and order(3, 2) == orders[2]


def test_every_seed_epoch_and_window_has_its_own_pair():
    pairs = [
        tuple(batches._seed_pair(seed, tf.constant(epoch, tf.int64), tf.constant(number, tf.int64)).numpy().tolist())
        for seed in (0, 1, 9)
        for epoch in (0, 1, 7)
        for number in (-3, -2, -1, 0, 1, 2)
    ]
    assert len(set(pairs)) == len(pairs)


def test_two_windows_of_the_same_patients_are_masked_differently(tmp_path):
    """The same twelve patients stand in both windows of a data set: their masks are drawn anew."""
    people = patients(12, seed=2)
    info = write_dataset(tmp_path / "twice", people + people)
    options = batches.BatchOptions(batch_size=12, max_seq_length=64, masked_lm_prob=0.4, windows_of=1)
    config, tasks = small_config(embeddings=("code", "age")), all_tasks(["masked_lm"])
    windows = list(batches.eval_batches(info, config, tasks, options, 5, masking=True).as_numpy_iterator())
    first, second = ({int(x["ages"][row, 0]): x["token_ids"][row].tolist() for row in range(12)} for x, *_ in windows)
    assert first.keys() == second.keys()
    assert sum(first[age] != second[age] for age in first) > 6
