"""`--train_patients=N`: training on some of the patients, nested subsets of them.

A patient's place in the order is a hash of seed and id: the subset of 100 is part of the subset of 500 of the same
seed, whatever else the data hold, and another seed draws others. The chosen records are copied, bit for bit, into the
run's restricted folder; everything that reads training data (steps, wide part, baselines) then reads these.
"""

import dataclasses
import hashlib

import numpy as np

from medtop.data.description import read_dataset
from medtop.data.record_maker import Examples, description, only_or_all
from medtop.files.errors import DataError


def chosen_patients(ids, count, seed):
    """The subset, sorted.

    >>> people = [str(number) for number in range(1000)]
    >>> some, more = (chosen_patients(people, count, seed=3) for count in (100, 300))
    >>> len(some), set(some) < set(more), some == chosen_patients(people[::-1], 100, seed=3)
    (100, True, True)

    Args:
        ids: patient ids.
        count: how many are wanted; 0 = all.
        seed: of the order.

    Raises:
        DataError: where there are fewer.
    """
    ids = sorted(set(ids))
    if count > len(ids):
        raise DataError(f"--train_patients: expected at most {len(ids)} (patients in --input_file), received {count}")
    place = {name: hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in ids}
    return sorted(sorted(ids, key=place.get)[: count or len(ids)])


def with_subset(plan, run, seed=None):
    """The plan with the training data that `--train_patients` leaves; they are copied unless they are there.

    Args:
        plan: `medtop.training.options.TrainingPlan`.
        run: `RunDirectory`, locked.
        seed: of the run; None = the plan's.
    """
    options = plan.options
    if not options.train_patients or plan.train is None:
        return plan
    if not run.subset_description.is_file():
        _copy(plan.train, run.subset_file, options.train_patients, options.seed if seed is None else seed)
    return dataclasses.replace(plan, train=read_dataset(run.subset_file))


def _copy(info, path, count, seed):
    """Writes the chosen patients' records of a `DatasetInfo` as a data set of its own."""
    from medtop.data.tfrecord import DatasetWriter

    chosen = set(chosen_patients((name for part in _records(info) for name in part[1]), count, seed))
    about = description(
        info.layout.name,
        info.vocabulary,
        info.tasks,
        info.defaults,
        split=info.split,
        flags={"train_patients": count, "seed": seed},
        source_manifest=only_or_all(info.source_manifests),
        levels=info.levels,
        time_gap=info.time_gap,
        visit_separator=info.visit_separator,
        **({} if info.tokenizer is None else {"tokenizer": info.tokenizer}),
    )
    with DatasetWriter(path, 1, about) as writer:
        for serialized, names, parsed in _records(info):
            rows = np.flatnonzero([name in chosen for name in names])
            kinds = [{task: parsed[f"{task}_{kind}"][rows] for task in info.tasks} for kind in ("labels", "weights")]
            examples = Examples([], parsed["lengths"][rows], [names[row] for row in rows], *kinds)
            writer.write(examples, [serialized[row] for row in rows])


def _records(info, size=5000):
    """Yields (serialized records, patient ids, dict of labels, weights and lengths), some thousand at a time.

    Records that do not say whose they are count as a patient each.
    """
    import tensorflow as tf

    from medtop.data import tfrecord
    from medtop.data.framing import check_frames

    check_frames(info)
    layout, first = info.layout, 0
    with tfrecord.reading(info):
        for serialized in tfrecord.without_autotune(tf.data.TFRecordDataset([str(f) for f in info.files]).batch(size)):
            columns = tfrecord.parse_batch(serialized, info)
            numbers = range(first, first + len(serialized))
            first = numbers.stop
            names = [text.decode() for text in columns["patient_id"].numpy()] if layout.has_patients else None
            tokens = columns[layout.inputs["token_ids"]]
            lengths = columns["input_mask"].numpy().sum(axis=1) if layout.static_masks else tokens.row_lengths().numpy()
            parsed = {"lengths": lengths}
            for task, labels in info.tasks.items():
                field = layout.label_fields.get(task)
                for kind in ("labels", "weights"):
                    if info.levels.get(task) == "token":
                        parsed[f"{task}_{kind}"] = np.zeros((len(serialized), len(labels)), np.float32)
                    elif field is None:
                        parsed[f"{task}_{kind}"] = columns[f"{task}_{kind}"].numpy()
                    else:
                        values = columns[field].numpy().astype(np.float32)
                        parsed[f"{task}_{kind}"] = values if kind == "labels" else np.ones_like(values)
            yield serialized.numpy(), names or [str(number) for number in numbers], parsed


def chosen_of(plan, patients):
    """dict split -> patient ids with the training split as `--train_patients` leaves it."""
    if not plan.options.train_patients or "train" not in patients:
        return patients
    return patients | {"train": chosen_patients(patients["train"], plan.options.train_patients, plan.options.seed)}
