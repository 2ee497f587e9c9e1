"""A paragraph on methods, ready to paste into a paper: what was done, out of the manifest and the run's facts.

Sentences whose facts are missing are left out. What people decided (why this question, why this size) is not here;
`tripod.md` names it.
"""

from medtop.reporting.elements import count_text

_INDEX = {
    "random_visit": "the discharge of one visit for each patient, drawn at random without looking at outcomes",
    "prediction_times_file": "times given for each patient",
    "lineage": "the last visit before the first endpoint, or the last visit, which looks at outcomes",
    "none": "the end of each patient's record",
}

HEADS = {
    "linear": "",
    "gru": " under a GRU",
    "bigru": " under a GRU in both directions",
    "lstm": " under an LSTM",
    "bilstm": " under an LSTM in both directions",
    "retain": " under RETAIN's two attentions over visits",
}
"""The config's `head` -> what stands behind the encoder, in words."""


def methods_text(manifest, model):
    """The paragraph; "" where nothing is known.

    Args:
        manifest: the preprocessing manifest (dict), or empty.
        model: dict of what the run knows: version, parts ("encoder", "wide" or "both"), wide_days, layers, width,
            embeddings, tasks (list), seed, num_bootstrap, calibration (list of methods), baselines (list of names),
            split; any may be missing.
    """
    sentences = [*_data(manifest), *_outcomes(manifest), *_model(model), *_evaluation(model)]
    return " ".join(sentences)


def _data(manifest):
    source, dates = manifest.get("source") or {}, manifest.get("dates") or {}
    if "patients_in" in manifest:
        span = f" from {dates['first_admission']} to {dates['last_discharge']}" if dates.get("last_discharge") else ""
        dropped = manifest.get("patients_dropped") or {}
        left_out = None if None in dropped.values() else sum(dropped.values())
        reasons = ", ".join(f"{name.replace('_', ' ')} {count_text(n)}" for name, n in dropped.items())
        yield f"The source ({source.get('name')}) held {_people(manifest['patients_in'])}{span}."
        out = f"{count_text(left_out)} were left out ({reasons})" if left_out != 0 else "none was left out"
        yield f"Of these, {count_text(manifest.get('patients_out', 0))} were analysed; {out}."
    index = (manifest.get("prediction_times") or {}).get("index")
    if index in _INDEX:
        yield f"Risks were predicted at {_INDEX[index]}, from diagnoses recorded by then."
    splits = manifest.get("splits") or {}
    if splits:
        counts = ", ".join(f"{split} {count_text(entry.get('patients', 0))}" for split, entry in splits.items())
        by = manifest.get("split_by") or {"by": "patient"}
        how = {"patient": "by patient", "site": f"by site (test: {', '.join(by.get('test_sites') or ())})"}
        over_time = f"over time (validation from {by.get('valid_from')}, test from {by.get('test_from')}), "
        over_time += "with training and validation patients' follow-up cut at the end of their period"
        yield f"Patients were split {how.get(by['by'], over_time)} ({counts})."


def _people(count):
    return "patients (their number is withheld)" if count is None else f"{count:,} patients"


def _outcomes(manifest):
    settings, tasks = manifest.get("settings") or {}, manifest.get("tasks") or {}
    if "complications" in tasks and settings.get("horizons"):
        days = ", ".join(map(str, settings["horizons"]))
        yield (
            f"Outcomes were first diagnoses of {settings.get('endpoints')} within {days} days after the prediction; "
            "patients with an earlier diagnosis took no part in that outcome, deaths without it counted as no event, "
            "and "
            + (
                "only patients followed through the horizon were used."
                if settings.get("labels") == "complete_followup"
                else "patients whose observation ended before the horizon without an event took no part."
            )
        )
    if "long_stay" in tasks and settings.get("long_stay_label") == "next":
        within = settings.get("long_stay_within_days")
        yield (
            f"A prolonged stay was a next admission, within {within} days, of more than 7 days; patients without an "
            "admission by then took no part in that outcome."
        )


def _body(model):
    if model.get("layers"):
        return f"A transformer encoder of {model['layers']} layers and width {model.get('width')}"
    return f"A model of vectors of width {model.get('width')} without transformer blocks"


def _model(model):
    parts, version = model.get("parts"), f" (medtop {model.get('version')}, seed {model.get('seed')})"
    tasks = model.get("tasks") or ()
    if parts in ("encoder", "both"):
        trained = f"trained on {', '.join(tasks)}" + (" together" if len(tasks) > 1 else "")
        inputs, head = ", ".join(model.get("embeddings") or ()), HEADS[model.get("head") or "linear"]
        yield (
            f"{_body(model)} (inputs: {inputs}){head} was {trained}{version}; the weights best on the validation split "
            "were kept."
        )
        if model.get("frozen"):
            yield "The encoder came from an earlier training and was not trained further."
    if parts in ("wide", "both"):
        days, end = ", ".join(map(str, model.get("wide_days") or ())), "" if parts == "both" else version
        yield (
            f"Penalised logistic regressions on codes seen within {days} days or ever, age, sex, visits and stays were "
            f"fitted to all labels at once, their penalties chosen by cross-validation{end}."
        )
    if parts == "both":
        yield "The two were added in logits, weighted on the validation split; the encoder counts where that gained."
    methods = list(dict.fromkeys(model.get("calibration") or ()))
    if methods:
        yield f"Probabilities were calibrated on the validation split ({', '.join(methods)})."


def _evaluation(model):
    if model.get("num_bootstrap"):
        yield (
            f"Measures are of the {model.get('split')} split, which was used once, with 95% percentile intervals over "
            f"{model['num_bootstrap']:,} bootstrap samples of patients."
        )
    if model.get("baselines"):
        names = ", ".join(name.replace("_", " ") for name in model["baselines"])
        yield f"The model was compared with {names} on the same patients, by paired bootstrap."
