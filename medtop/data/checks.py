"""One pass over the records before training: whose they are, and which ids lie beyond the config's tables."""

import dataclasses

import numpy as np

from medtop.data import tfrecord
from medtop.data.layouts import record_field
from medtop.files.errors import DataError
from medtop.model.config import CHANNELS


@dataclasses.dataclass
class FirstLook:
    """What a pass over some data sets found.

    Attributes:
        patients: dict split -> sorted patient ids; not for layouts whose records do not say whose they are.
        clipped: dict embedding -> (tokens beyond its table, largest value, last row); only where there are any.
    """

    patients: dict
    clipped: dict


def first_look(infos, config):
    """Reads the records of data sets once.

    Args:
        infos: dict split -> `DatasetInfo` or None.
        config: `BertConfig`.
    """
    patients, clipped = {}, {}
    for split, info in infos.items():
        if info is None or not info.layout.has_patients:
            continue
        ids = set()
        for columns in tfrecord.read_and_keep(info) if split != "train" else tfrecord.read_examples(info):
            ids.update(columns["patient_id"])
            for name in config.embeddings:
                _count(columns, name, info, config, clipped)
        patients[split] = sorted(ids)
    return FirstLook(patients, clipped)


def patients_of(infos):
    """dict split -> sorted patient ids of data sets; not of layouts whose records do not say whose they are.

    Args:
        infos: dict split -> `DatasetInfo` or None.
    """
    return {
        split: sorted(set(tfrecord.record_columns(info)["patient_id"].tolist()))
        for split, info in infos.items()
        if info is not None and info.layout.has_patients and info.num_examples
    }


def _count(columns, name, info, config, clipped):
    """Adds the tokens whose id is clipped to the last row of an embedding's table."""
    key, size, kind = CHANNELS[name]
    fields = info.layout.inputs
    if key == "segments" and key not in fields:
        if config.segment != "visit":
            return
        key = "visits"  # segments are the visit numbers
    exact = kind == "identity" or (kind == "days" and config.day_scale == "days")
    if key not in fields or not exact:  # ages and log days: the last row is meant to hold all that is beyond
        return
    field = record_field(fields[key], info.time_gap)
    last = getattr(config, size) - 1
    beyond = columns[field] > last
    if beyond.any():
        count, largest, _ = clipped.get(name, (0, 0, last))
        clipped[name] = (count + int(np.count_nonzero(beyond)), max(largest, int(columns[field].max())), last)


def check_splits(patients):
    """Refuses a patient in two splits.

    Args:
        patients: dict split -> patient ids.

    Raises:
        DataError: with the number of such patients, for the first two splits that share one.
    """
    names = list(patients)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = set(patients[first]) & set(patients[second])
            if shared:
                raise DataError(
                    f"splits: expected each patient in one split, received {len(shared)} patients in both "
                    f"{first} and {second}"
                )
