"""Med-BERT's own way of preprocessing: one pandas group per patient, Python loops inside. The yardstick for ours.

Written from the published rules (ZhiGroup/Med-BERT, preprocess_pretrain_data.py), not copied: a patient's rows are
sorted by discharge, present on admission, third party and priority; what ends on one day is a visit; codes repeated in
a visit count once; ids are numbered by first appearance; stay days, days to the next admission, ids and visit numbers
are lists; each 100,000 patients are permuted with NumPy's seed 0 and split 20% test, 10% validation, the rest training.
Unlike the original it keeps every visit in .ptencs and writes each file anew.

Example:

  python benchmarks/medbert_preprocessing.py data/cohort.tsv /tmp/cohort
"""

import pickle
import sys
from datetime import date

import numpy as np
import pandas as pd

COLUMNS = ["patient", "admit", "discharge", "code", "poa", "priority", "third_party"]
ORDER = ["discharge", "poa", "third_party", "priority"]
PATIENTS_PER_SPLIT = 100_000


def patient_lists(patient, rows, types):
    """One patient's row of .bencs and of .ptencs; unseen codes are added to `types`."""
    stays, begins, ends, ids, numbers, visits = [], [], [], [], [], []
    # sort_values with several keys is stable, as the original relies on
    for number, (discharge, visit) in enumerate(rows.sort_values(ORDER).groupby("discharge", sort=False), 1):
        codes = visit["code"].unique().tolist()
        for code in codes:
            if code not in types:
                types[code] = len(types)
        visit_ids = [types[code] for code in codes]
        ids.extend(visit_ids)
        numbers.extend([number] * len(codes))
        begins.append(date.fromisoformat(min(visit["admit"].tolist())))
        ends.append(date.fromisoformat(discharge))
        stays.append((ends[-1] - begins[-1]).days)
        visits.append([stays[-1], 0, codes, visit_ids])
    gaps = [(begin - end).days for begin, end in zip(begins[1:], ends, strict=False)] + [0]
    for visit, gap in zip(visits, gaps, strict=True):
        visit[1] = gap
    return [patient, stays, gaps, ids, numbers], [visits]


def _append(prefix, rows, visits, mode):
    order = np.random.RandomState(0).permutation(len(rows))
    tests, valids = int(0.2 * len(rows)), int(0.1 * len(rows))
    places = {"test": order[:tests], "valid": order[tests : tests + valids], "train": order[tests + valids :]}
    for split, part in places.items():
        for kind, values in (("bencs", rows), ("ptencs", visits)):
            with open(f"{prefix}.{kind}.{split}", mode) as file:
                pickle.dump([values[place] for place in part], file, -1)


def preprocess(data_file, prefix, report=None):
    """Writes `<prefix>.{bencs,ptencs}.{train,valid,test}` and `<prefix>.types`; returns the number of patients."""
    # the strings as Python objects, as when the original was written; today's default string type halves its pace
    table = pd.read_csv(
        data_file, sep="\t", header=0, names=COLUMNS, dtype=dict.fromkeys(["admit", "discharge", "code"], object)
    )
    types, rows, visits, count = {"empty_pad": 0}, [], [], 0
    mode = "wb"
    for patient, group in table.groupby("patient"):
        row, full = patient_lists(patient, group, types)
        rows.append(row)
        visits.append(full)
        count += 1
        if report and count % 1000 == 0:
            report(count)
        if count % PATIENTS_PER_SPLIT == 0:
            _append(prefix, rows, visits, mode)
            rows, visits, mode = [], [], "ab"
    if rows:
        _append(prefix, rows, visits, mode)
    with open(f"{prefix}.types", "wb") as file:
        pickle.dump(types, file, -1)
    return count


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} <data_File> <output_Prefix>")
    print(f"{preprocess(sys.argv[1], sys.argv[2])} patients")
