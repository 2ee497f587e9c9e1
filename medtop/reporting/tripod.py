"""tripod.md: the reporting items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) that a machine can fill, and the
names of those that people must write.
"""

from medtop.files.atomic import write_text
from medtop.reporting.cohort_parts import matched_codes
from medtop.reporting.elements import WITHHELD
from medtop.reporting.markdown import text
from medtop.reporting.methods import HEADS

ITEMS = (
    ("1", "Title"),
    ("2", "Abstract"),
    ("3", "Background: healthcare context, target population, known inequalities"),
    ("4", "Objectives: development or evaluation"),
    ("5", "Data: sources and dates"),
    ("6", "Participants: setting, eligibility, treatments"),
    ("7", "Data preparation"),
    ("8", "Outcome: definition, time horizon, how assessed"),
    ("9", "Predictors: choice and definition"),
    ("10", "Sample size"),
    ("11", "Missing data"),
    ("12", "Analytical methods"),
    ("13", "Class imbalance"),
    ("14", "Fairness"),
    ("15", "Model output: form, classes, thresholds"),
    ("16", "Training versus evaluation: differences between the data"),
    ("17", "Ethical approval"),
    ("18", "Open science: funding, conflicts, protocol, registration, data, code"),
    ("19", "Patient and public involvement"),
    ("20", "Participants: flow, characteristics, differences between splits"),
    ("21", "Model development: numbers of participants and events"),
    ("22", "Model specification"),
    ("23", "Model performance, overall and in key subgroups"),
    ("24", "Model updating"),
    ("25", "Interpretation"),
    ("26", "Limitations"),
    ("27", "Usability: input quality, user interaction, next steps"),
)
"""Number and short name of each item."""

PEOPLE = "**For the authors.** A machine cannot know this."


def write_tripod(path, facts):
    """Writes the checklist, whole or not at all.

    Args:
        path: the file.
        facts: dict of what is known; a missing key leaves its item to the authors:
            `manifest` (preprocessing manifest), `settings` (of the training), `config` (dict), `metrics`
            ({split: {task: {label: entry}}}), `split` (the reported one), `calibrations` (task -> dict as in
            calibration.json), `baselines` (names), `commands` (list of str), `version` (of medtop), `versions` (dict
            package -> version), `date`, `parts` ("encoder", "wide" or "both").
    """
    lines = [
        "# TRIPOD+AI",
        "",
        "What this run can say of the 27 items (Collins et al., BMJ 2024;385:e078378). The others are marked.",
        "",
    ]
    for number, name in ITEMS:
        sentences = [sentence for sentence in _FILLED.get(number, lambda facts: [])(facts) if sentence]
        lines += [
            f"## {number}. {name}",
            "",
            *([f"- {text(sentence)}" for sentence in sentences] or [f"- {PEOPLE}"]),
            "",
        ]
    write_text(path, "\n".join(lines), shared=True)


def _plain(count):
    return WITHHELD if count is None else count


def _of(entry, name):
    return _plain(entry.get(name))


def _data(facts):
    manifest = facts.get("manifest") or {}
    source, dates = manifest.get("source") or {}, manifest.get("dates") or {}
    if not source:
        return
    yield f"Source: {source.get('name')}."
    if dates.get("first_admission"):
        yield f"Admissions and discharges from {dates['first_admission']} to {dates.get('last_discharge')}."
    if dates.get("prediction_times"):
        yield f"Prediction times from {' to '.join(map(str, dates['prediction_times']))}."


def _participants(facts):
    manifest = facts.get("manifest") or {}
    settings, times = manifest.get("settings") or {}, manifest.get("prediction_times") or {}
    if not settings:
        return
    if settings.get("min_visits") is not None:
        yield f"Eligible: patients with at least {settings['min_visits']} visits up to the prediction time."
    looks = "chosen by a rule that looks at outcomes" if times.get("index") == "lineage" else "not chosen by outcomes"
    yield f"Prediction time: {times.get('index')}, {looks}."
    for reason, count in (manifest.get("patients_dropped") or {}).items():
        yield f"{_plain(count)} patients left out: {reason}."
    yield "The setting, and treatments that the participants received, are for the authors to say."


def _preparation(facts):
    manifest = facts.get("manifest") or {}
    for reason, count in (manifest.get("rows_dropped") or {}).items():
        yield f"{_plain(count)} rows left out: {reason}."
    if manifest.get("rows_merged"):
        yield f"{manifest['rows_merged']} rows merged with others of the same visit."
    yield from manifest.get("statements") or ()


def _outcome(facts):
    settings = (facts.get("manifest") or {}).get("settings") or {}
    for task, labels in ((facts.get("manifest") or {}).get("tasks") or {}).items():
        yield f"{task}: {', '.join(labels)}."
    if settings.get("endpoints"):
        yield f"Endpoint definitions: {settings['endpoints']}, horizons of {settings.get('horizons')} days."
        yield from matched_codes((facts.get("manifest") or {}).get("endpoints"))
    if settings.get("long_stay_label") == "next":
        within = settings.get("long_stay_within_days")
        yield f"Prolonged stay: the first admission within {within} days after the prediction time lasts over 7 days."
    if settings:
        yield "Outcomes come from recorded codes; nobody assessed them anew."


def _predictors(facts):
    vocabulary, config = (facts.get("manifest") or {}).get("vocabulary") or {}, facts.get("config") or {}
    if vocabulary:
        yield f"Diagnosis codes up to the prediction time: {vocabulary.get('size')} tokens, from the training split."
    if config.get("embeddings"):
        yield f"Inputs of the model: {', '.join(config['embeddings'])}."


def _sample_size(facts):
    for split, tasks in ((facts.get("manifest") or {}).get("labels") or {}).items():
        for task, labels in tasks.items():
            parts = [f"{name} {_of(entry, 'positives')} of {_of(entry, 'known')}" for name, entry in labels.items()]
            yield f"{split}, {task}: events of known: {', '.join(parts)}."
    if (facts.get("manifest") or {}).get("labels"):
        yield "Why this size, and whether it suffices, is for the authors to say."


def _missing(facts):
    for split, tasks in ((facts.get("manifest") or {}).get("labels") or {}).items():
        for labels in tasks.values():
            for name, entry in labels.items():
                reasons = ", ".join(
                    f"{reason} {_plain(count)}" for reason, count in (entry.get("unknown") or {}).items()
                )
                if reasons:
                    yield f"{split}, {name}: unknown outcomes (they take no part): {reasons}."


def _methods(facts):
    settings, config = facts.get("settings") or {}, facts.get("config") or {}
    if not settings:
        return
    layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
    parts = facts.get("parts", "encoder")
    if parts in ("wide", "both"):
        yield "Penalised logistic regressions on codes within time windows, age, sex, visits and stays (the wide part)."
    if parts == "wide":
        yield from _judged(facts)
        return
    body = f"A BERT encoder ({layers} layers, width {width})"
    if config.get("body") == "embeddings":
        body = f"Vectors of width {width} without a transformer"
    head = HEADS[config.get("head") or "linear"]
    yield f"{body}{head}; tasks trained together ({settings.get('loss_balancing')})."
    rates = f"learning rate {settings.get('learning_rate')}, weight decay {settings.get('weight_decay')}"
    sizes = f"batches of {settings.get('train_batch_size')}, seed {settings.get('seed')}"
    yield f"AdamW, {rates}, {sizes}; the weights best on validation are kept."
    yield from _judged(facts)


def _judged(facts):
    by = ((facts.get("manifest") or {}).get("split_by") or {}).get("by", "patient")
    how = {"time": "Splits over time, each patient in one", "site": "Splits by site"}.get(by, "Splits by patient")
    yield f"{how}; vocabulary fitted on training, calibration and thresholds on validation; test seen once."
    yield "Intervals: 95% bootstrap intervals over patients. Definitions: docs/evaluation.md."
    if facts.get("baselines"):
        yield f"Compared with {', '.join(facts['baselines'])} on the same patients, by paired bootstrap."


def _imbalance(facts):
    settings = facts.get("settings") or {}
    if not settings:
        return
    yield f"Class weights: {settings.get('class_weights') or 'none'}."
    yield f"Balanced sampling in training: {settings.get('balanced_sampling') or 'none'}."
    yield "Probabilities are corrected for class weights and calibrated on validation."


def _output(facts):
    for task, calibration in (facts.get("calibrations") or {}).items():
        labels = calibration.get("labels") or {}
        chosen = ", ".join(f"{name} {entry['threshold']:.3f}" for name, entry in labels.items())
        yield f"{task}: a probability per label ({calibration.get('method')} calibration)."
        yield f"{task}: thresholds of highest F1 on validation: {chosen}."
        for name, entry in labels.items():
            if entry.get("reason"):
                yield f"{task} {name}: {entry['reason']}."


def _flow(facts):
    manifest = facts.get("manifest") or {}
    if "patients_in" not in manifest:
        return
    yield f"Patients: {_of(manifest, 'patients_in')} in, {_of(manifest, 'patients_out')} out."
    rows = [_of(manifest, f"rows_{name}") for name in ("in", "out", "merged")]
    yield "Rows: {} in, {} out, {} merged.".format(*rows)
    yield "Characteristics by split and outcome: table_one.csv."


def _development(facts):
    for split, entry in ((facts.get("manifest") or {}).get("splits") or {}).items():
        yield f"{split}: {_of(entry, 'patients')} patients, {_of(entry, 'examples')} examples."


def _specification(facts):
    if facts.get("config"):
        yield "config.json, vocab.txt, tasks.json and calibration.json of the run directory; weights in best/."
    if facts.get("version"):
        yield f"medtop {facts['version']}."
    if facts.get("versions"):
        yield f"Versions: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."
    if facts.get("date"):
        yield f"Evaluated on {facts['date']}."
    for command in facts.get("commands") or ():
        yield f"Command: {command}"


def _performance(facts):
    for task, labels in ((facts.get("metrics") or {}).get(facts.get("split")) or {}).items():
        for name, entry in labels.items():
            value = entry.get("roc_auc") or {}
            if value.get("value") is not None:
                interval = "" if value.get("low") is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
                auroc = f"AUROC {value['value']:.3f}{interval}, Brier {_number(entry.get('brier'))}"
                yield f"{facts['split']}, {task} {name}: {auroc}."
    if facts.get("metrics"):
        yield "Calibration slope and intercept, net benefit and subgroups: run_scripts/run_evaluation.py."


def _number(entry):
    return "-" if not entry or entry.get("value") is None else f"{entry['value']:.3f}"


def _science(facts):
    if facts.get("version"):
        yield f"Code: medtop {facts['version']}, Apache License 2.0."
        yield "Funding, conflicts of interest, protocol, registration and data availability are for the authors to say."


def _fairness(facts):
    if facts.get("metrics"):
        yield "Every measure by sex, age band, year and site: run_scripts/run_evaluation.py --subgroups=..."


_FILLED = {
    "5": _data,
    "6": _participants,
    "7": _preparation,
    "8": _outcome,
    "9": _predictors,
    "10": _sample_size,
    "11": _missing,
    "12": _methods,
    "13": _imbalance,
    "14": _fairness,
    "15": _output,
    "18": _science,
    "20": _flow,
    "21": _development,
    "22": _specification,
    "23": _performance,
}
