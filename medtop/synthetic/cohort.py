"""A generated cohort of diabetic patients whose true risk is known, written as files.

`generate` (of `synthetic_blocks`) draws patients block by block; `write_cohort` writes the raw table in one of three
layouts, prediction times, true risks and a summary. `synthetic_risk` holds the written risk function,
`synthetic_patients` how patients live, `synthetic_codes` the codes. docs/synthetic_cohort.md describes the whole.

The layouts: `stays` has the columns of the stays table (docs/contract.md, "Stays table") as headers and times to the
second; `pcornet`, `omop`, `meds` and `fhir_ndjson` are folders of tables (`data_models`); `medbert` is Med-BERT's
seven-column TSV and `topbert` top-BERT's ten-column CSV, both with dates only and without deaths and ends of
observation, so that their labels follow what the source can show.
"""

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medtop.files.atomic import write_json
from medtop.files.begun import begun, was_begun
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.synthetic import data_models, risk, tree
from medtop.synthetic.block_columns import (
    CODE_NAMES,
    TREE_NAMES,
    BlockWriter,
    dates,
    patient_ids,
    presence,
    stay_numbers,
    times,
)
from medtop.synthetic.blocks import LABEL_TASKS, SECONDS_PER_DAY, generate
from medtop.synthetic.codes import ENDPOINTS, NUM_CHRONIC

CODES_KINDS = ("plain", "hierarchical")
LAYOUTS = ("stays", "medbert", "topbert", *data_models.LAYOUTS)
RISK_DIGITS = 8
_BINS = 1 << 16


class CohortTally:
    """Counts over blocks in bounded memory: prevalence, share known, best reachable AUROC.

    AUROC comes from histograms of the true risk (65,536 bins of equal width); ties within a bin count half, which moves
    it by less than 1e-4.
    """

    def __init__(self):
        size = len(LABEL_TASKS)
        self.patients = self.stays = self.rows = self.history_stays = self.history_codes = self.deaths = 0
        self.prevalent = np.zeros(len(ENDPOINTS), np.int64)
        self.negatives, self.positives = (np.zeros((size, _BINS), np.int64) for _ in range(2))
        self.risk_sums = np.zeros(size)

    def add(self, block):
        """Counts a `synthetic_blocks.Block`."""
        past = block.discharges <= block.prediction_times[block.visit_patients]
        self.patients += len(block)
        self.stays += len(block.admits)
        self.rows += len(block.codes)
        self.history_stays += int(past.sum())
        self.history_codes += int(past[block.code_visits].sum())
        self.deaths += int((block.death_days >= 0).sum())
        self.prevalent += (block.components["stages"][:, NUM_CHRONIC:] > 0).sum(0)
        bins = np.minimum((block.risks * _BINS).astype(np.int64), _BINS - 1)
        for place in range(len(LABEL_TASKS)):
            for value, counts in ((0, self.negatives), (1, self.positives)):
                counts[place] += np.bincount(bins[block.targets[:, place] == value, place], minlength=_BINS)
            known = block.targets[:, place] >= 0
            self.risk_sums[place] += block.risks[known, place].sum()

    @staticmethod
    def _auroc(negatives, positives):
        ones, zeros = positives.sum(), negatives.sum()
        if not (ones and zeros):
            return None
        below = np.cumsum(negatives) - negatives / 2
        return float((positives * below).sum() / (float(ones) * float(zeros)))

    def labels(self):
        """Dict label -> known (share), prevalence and mean_risk (among known), best_roc_auc; with micro and macro of
        the complications. A value is None where no label is known."""
        result = {}
        for place, (_, label) in enumerate(LABEL_TASKS):
            ones, zeros = int(self.positives[place].sum()), int(self.negatives[place].sum())
            known = ones + zeros
            result[label] = {
                "known": known / self.patients,
                "prevalence": ones / known if known else None,
                # processors differ in the last digits of exp and log, and so would the file
                "mean_risk": round(float(self.risk_sums[place] / known), 9) if known else None,
                "best_roc_auc": self._auroc(self.negatives[place], self.positives[place]),
            }
        best = [result[label]["best_roc_auc"] for label in risk.LABELS]
        several = slice(0, len(risk.LABELS))
        micro = self._auroc(self.negatives[several].sum(0), self.positives[several].sum(0))
        result["micro"] = {"best_roc_auc": micro}
        result["macro"] = {"best_roc_auc": None if None in best else float(np.mean(best))}
        return result

    def summary(self):
        """Counts and labels as one dict."""
        return {
            "patients": self.patients,
            "stays": self.stays,
            "rows": self.rows,
            "mean_history_stays": self.history_stays / self.patients,
            "mean_history_codes": self.history_codes / self.patients,
            "observed_deaths": self.deaths / self.patients,
            "prevalent_before": dict(zip(ENDPOINTS, (self.prevalent / self.patients).tolist(), strict=True)),
            "labels": self.labels(),
        }


def stays_table(block, layout):
    """The block's rows as an Arrow table with the layout's headers."""
    visits, patients = block.code_visits, block.visit_patients[block.code_visits]
    people = pa.array(patients)
    ids, sexes = patient_ids(block).take(people), pa.array(block.sexes.tolist()).take(people)
    names = TREE_NAMES if block.hierarchical else CODE_NAMES
    codes, (present, order) = names.take(pa.array(block.codes)), presence(block)
    nothing = np.zeros(len(visits), np.int8)
    admit_days, discharge_days = block.admits // SECONDS_PER_DAY, block.discharges // SECONDS_PER_DAY
    if layout == "stays":
        death = dates(np.maximum(block.death_days, 0))
        death = pc.if_else(pa.array(block.death_days >= 0), death, pa.scalar(None, pa.date32()))
        columns = {
            "patient_id": ids,
            "stay_id": pa.array(stay_numbers(block)[visits]),
            "admit": times(block.admits[visits]),
            "discharge": times(block.discharges[visits]),
            "code": codes,
            "order_1": pa.array(order),
            "order_2": pa.array(nothing),
            "order_3": pa.array(block.priorities),
            "present_on_admission": present,
            "birth": dates(block.births[patients]),
            "sex": sexes,
            "death": death.take(people),
            "observation_end": dates(block.observation_days[patients]),
        }
    elif layout == "medbert":
        columns = {
            "patient_id": ids,
            "vadate": dates(admit_days[visits]),
            "vddate": dates(discharge_days[visits]),
            "diag": codes,
            "poa": pa.array(order),
            "diagnosis_priority": pa.array(block.priorities),
            "third_party_ind": pa.array(nothing),
        }
    else:
        age = np.floor((admit_days[visits] - block.births[patients]) / risk.DAYS_PER_YEAR).astype(np.int64)
        columns = {
            "patient": ids,
            "admit": dates(admit_days[visits]),
            "discharge": dates(discharge_days[visits]),
            "diagnosis": codes,
            "poa": pa.array(order),
            "third_party": pa.array(nothing),
            "priority": pa.array(block.priorities),
            "dob": dates(block.births[patients]),
            "age_at_enc": pa.array(age),
            "sex": sexes,
        }
    return pa.table(columns)


def _prediction_times(block, layout):
    seconds = block.prediction_times
    if layout in ("medbert", "topbert"):  # dates only: the stay that ends on that day has its discharge at midnight
        seconds = seconds // SECONDS_PER_DAY * SECONDS_PER_DAY
    return times(seconds)


def times_table(block, layout):
    """patient_id, prediction_time: one row per patient."""
    return pa.table({"patient_id": patient_ids(block, layout), "prediction_time": _prediction_times(block, layout)})


def risk_table(block, layout):
    """patient_id, prediction_time, task, label, risk: one row per patient and label."""
    size = len(LABEL_TASKS)
    people = pa.array(np.repeat(np.arange(len(block)), size))
    place = pa.array(np.tile(np.arange(size), len(block)))
    return pa.table(
        {
            "patient_id": patient_ids(block, layout).take(people),
            "prediction_time": _prediction_times(block, layout).take(people),
            "task": pa.array([task for task, _ in LABEL_TASKS]).take(place),
            "label": pa.array([label for _, label in LABEL_TASKS]).take(place),
            "risk": pa.array(np.round(block.risks.ravel(), RISK_DIGITS)),
        }
    )


def cohort_paths(prefix, layout="stays", gzip=False):
    """Dict of the files that `write_cohort` writes: `stays`, `prediction_times`, `true_risk`, `generator`."""
    suffix = (".tsv" if layout == "medbert" else ".csv") + (".gz" if gzip else "")
    suffix = f".{layout}" if layout in data_models.LAYOUTS else suffix  # a folder
    names = {
        "stays": suffix,
        "prediction_times": ".prediction_times.csv",
        "true_risk": ".true_risk.csv",
        "generator": ".generator.json",
    }
    return {name: Path(f"{prefix}{end}") for name, end in names.items()}


def settings_of(num_patients, seed, layout, gzip, codes="plain"):
    """What determines a cohort's files, as `<prefix>.generator.json` keeps it; `codes` where they are not plain."""
    return {
        **({} if codes == "plain" else {"codes": codes, "tree_version": tree.CONSTANTS_VERSION}),
        "constants_version": risk.CONSTANTS_VERSION,
        "num_patients": num_patients,
        "seed": seed,
        "layout": layout,
        "gzip": gzip,
    }


def read_summary(prefix, settings):
    """The summary of an earlier run with the same settings, or None when nothing stands there.

    Raises:
        DataError: when files stand there that another run, or something else, has made.
    """
    paths = cohort_paths(prefix, settings["layout"], settings["gzip"])
    standing = [path for path in paths.values() if path.exists()]
    if paths["generator"] in standing:
        summary = _read_settings(paths["generator"])
        before = summary["settings"]
        names = dict.fromkeys([*settings, *before])
        pairs = [(name, before.get(name), settings.get(name)) for name in names]
        differences = [f"{name} {old!r} -> {new!r}" for name, old, new in pairs if old != new]
        if differences:
            raise DataError(
                f"{paths['generator']}: expected the settings of the earlier run, received others "
                f"({', '.join(differences)}); use --overwrite or another --output_prefix"
            )
        if len(standing) == len(paths):
            return summary
    if standing and not was_begun(paths["generator"], settings):
        raise DataError(
            f"{standing[0]}: expected no such file or all four of a generated cohort, "
            f"received {len(standing)} of them; use --overwrite or another --output_prefix"
        )
    return None


def _read_settings(path):
    try:
        summary = read_json(path)
        if isinstance(summary["settings"], dict) and isinstance(summary["labels"], dict):
            return summary
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a generated cohort's summary, received another content") from error
    raise DataError(f"{path}: expected a generated cohort's summary, received another content")


def write_cohort(prefix, num_patients, seed, layout="stays", gzip=False, overwrite=False, progress=None, codes="plain"):
    """Generates a cohort and writes its four files, each whole or not at all; a finished cohort is left as it is.

    Args:
        prefix: files are `<prefix>.csv[.gz]` (`.tsv` for medbert), `<prefix>.prediction_times.csv`,
            `<prefix>.true_risk.csv`, `<prefix>.generator.json`.
        num_patients: at least 1.
        seed: 0 or more.
        layout: one of `LAYOUTS`.
        gzip: whether the raw table is compressed.
        overwrite: replace files that other settings made, instead of refusing.
        progress: function called with the number of patients written so far, or None.
        codes: one of `CODES_KINDS`: background codes at random, or along ICD-10's tree (`tree`).

    Returns:
        dict, the content of `<prefix>.generator.json`.

    Raises:
        DataError: for an unknown layout, number of patients or seed, or files of another run without `overwrite`.
    """
    if layout not in LAYOUTS:
        raise DataError(f"layout: expected one of {', '.join(LAYOUTS)}, received {layout!r}")
    if codes not in CODES_KINDS:
        raise DataError(f"--codes: expected one of {', '.join(CODES_KINDS)}, received {codes!r}")
    if codes != "plain" and layout in data_models.LAYOUTS:
        raise DataError(f"--codes={codes}: expected --layout=stays, medbert or topbert, received {layout}")
    settings = settings_of(num_patients, seed, layout, gzip, codes)
    earlier = None if overwrite else read_summary(prefix, settings)
    if earlier:
        return earlier
    paths, tally = cohort_paths(prefix, layout, gzip), CohortTally()
    blocks = generate(num_patients, seed, hierarchical=codes == "hierarchical")
    with begun(paths["generator"], settings):
        with contextlib.ExitStack() as stack:
            if layout in data_models.LAYOUTS:
                write = data_models.open_folder(
                    stack, paths["stays"], layout, gzip, overwrite or paths["stays"].exists()
                )
            else:
                rows = BlockWriter(stack, paths["stays"], delimiter="\t" if layout == "medbert" else ",", gzip=gzip)

                def write(block):
                    rows.write(stays_table(block, layout))

            when = BlockWriter(stack, paths["prediction_times"])
            risks = BlockWriter(stack, paths["true_risk"])
            for block in blocks:
                write(block)
                when.write(times_table(block, layout))
                risks.write(risk_table(block, layout))
                tally.add(block)
                if progress:
                    progress(tally.patients)
            paths["generator"].unlink(missing_ok=True)  # it vouches for the other three, which are renamed next
        summary = {"generator": "medtop synthetic cohort", "settings": settings, **tally.summary()}
        write_json(paths["generator"], summary)
    return summary
