"""Rows that look like a hemodialysis unit's prescriptions: 36 inputs, 10 targets; no patient is behind them.

Every patient has a few hidden traits (size, frailty, potassium, clotting, clearance need); measured values and the
prescription follow from them with noise, so that targets are related to the inputs and to each other.

Letters: N rows.
"""

import csv

import numpy as np

from medtop.files.atomic import atomic_path

NUMERIC = {  # column -> (mean, standard deviation, decimals, loadings on the traits)
    "age": (62, 13, 0, {"frailty": 0.6}),
    "height_cm": (167, 9, 0, {"size": 0.6}),
    "dry_weight_kg": (66, 13, 1, {"size": 0.8}),
    "vintage_months": (48, 30, 0, {"frailty": 0.3}),
    "sessions_per_week": (3, 0.5, 0, {"need": 0.4}),
    "systolic_mmhg": (142, 20, 0, {"frailty": -0.4}),
    "diastolic_mmhg": (78, 12, 0, {"frailty": -0.5}),
    "heart_rate": (76, 11, 0, {"frailty": 0.3}),
    "weight_gain_kg": (2.4, 0.9, 1, {"size": 0.3, "need": 0.5}),
    "hemoglobin_g_dl": (11.2, 1.4, 1, {"frailty": -0.4}),
    "albumin_g_dl": (3.8, 0.4, 1, {"frailty": -0.6}),
    "urea_mg_dl": (130, 35, 0, {"need": 0.7}),
    "creatinine_mg_dl": (8.9, 2.4, 1, {"need": 0.6, "size": 0.4}),
    "potassium_mmol_l": (5.0, 0.7, 1, {"potassium": 0.9}),
    "sodium_mmol_l": (138, 3, 0, {}),
    "calcium_mg_dl": (9.1, 0.7, 1, {"mineral": 0.8}),
    "phosphate_mg_dl": (5.3, 1.5, 1, {"mineral": -0.4, "need": 0.4}),
    "bicarbonate_mmol_l": (22, 3, 0, {"need": -0.4}),
    "pth_pg_ml": (350, 220, 0, {"mineral": -0.6}),
    "ferritin_ng_ml": (450, 250, 0, {"frailty": 0.3}),
    "crp_mg_l": (9, 9, 1, {"frailty": 0.5}),
    "platelets_10e9_l": (205, 60, 0, {"clotting": 0.5}),
    "inr": (1.1, 0.2, 2, {"clotting": -0.6}),
    "aptt_s": (32, 6, 1, {"clotting": -0.6}),
}
CATEGORICAL = {  # column -> (categories in the order of a trait, trait)
    "sex": (("F", "M"), "size"),
    "access": (("fistula", "graft", "catheter"), "frailty"),
    "residual_urine": (("normal", "low", "none"), "need"),
    "bleeding_risk": (("high", "medium", "low"), "clotting"),
}
COMORBIDITIES = (
    "diabetes",
    "hypertension",
    "heart_failure",
    "coronary_disease",
    "stroke",
    "malignancy",
    "copd",
    "liver_disease",
)
CLASSES = {  # target -> (classes in the order of a score, the score's loadings)
    "mode": (("HD", "HDF", "HF", "HD+HP"), {"need": 0.7, "mineral": -0.5}),
    "anticoagulant": (("none", "low_molecular", "heparin"), {"clotting": 0.9}),
    "initial_dose": (tuple(str(500 * step) for step in range(10)), {"clotting": 0.7, "size": 0.5}),
    "maintenance_dose": (tuple(str(100 * step) for step in range(10)), {"clotting": 0.8, "size": 0.3}),
    "duration_h": (("3.0", "3.5", "4.0", "4.5", "5.0", "5.5"), {"need": 0.6, "size": 0.5, "frailty": -0.2}),
    "membrane_area_m2": (("1.0", "1.2", "1.4", "1.6", "1.8", "2.0", "2.2"), {"size": 0.8, "need": 0.3}),
    "dialysate_calcium": (("1.75", "1.5", "1.25"), {"mineral": 0.8}),
    "dialysate_potassium": (("3.0", "2.0"), {"potassium": 0.9}),
}
FLOWS = {  # target -> (mean, standard deviation, loadings), mL/min
    "blood_flow": (250, 40, {"size": 0.5, "frailty": -0.5, "need": 0.3}),
    "dialysate_flow": (520, 60, {"need": 0.7, "size": 0.3}),
}
TRAITS = ("size", "frailty", "need", "potassium", "clotting", "mineral")


def make_rows(num_rows, seed):
    """dict column -> object [num_rows], text; empty = missing.

    Columns: `patient_id` (one to five rows each), `kt_v` (clearance reached; the schema keeps rows above 1.2), the 36
    inputs and the 10 targets of medtop/configs/hemodialysis_schema.json.

    Args:
        num_rows: N.
        seed: the same rows for the same seed.
    """
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(num_rows), generator.integers(1, 6, num_rows))[:num_rows]
    own = generator.normal(size=(patients.max() + 1, len(TRAITS)))
    sessions = 0.9 * own[patients] + np.sqrt(1 - 0.9**2) * generator.normal(size=(num_rows, len(TRAITS)))
    traits = dict(zip(TRAITS, sessions.T, strict=True))

    def score(loadings):
        """The weighted traits and what no trait explains, variance 1."""
        loud = sum(value**2 for value in loadings.values())
        rest = np.sqrt(max(1 - loud, 0.05)) * generator.normal(size=num_rows)
        return sum((value * traits[name] for name, value in loadings.items()), rest)

    columns = {"patient_id": np.array([f"H{number:06d}" for number in patients], object)}
    columns["kt_v"] = _texts(1.45 + 0.2 * score({"size": -0.4, "need": -0.3}), 2)
    for name, (mean, spread, decimals, loadings) in NUMERIC.items():
        values = np.maximum(mean + spread * score(loadings), mean / 20)
        columns[name] = _texts(values, decimals)
        columns[name][generator.random(num_rows) < (0.15 if name in ("pth_pg_ml", "ferritin_ng_ml") else 0.03)] = ""
    for name, (classes, trait) in CATEGORICAL.items():
        columns[name] = _binned(score({trait: 0.7}), classes)
    for name in COMORBIDITIES:
        columns[name] = np.where(score({"frailty": 0.6}) > generator.uniform(0.2, 1.2), "1", "0").astype(object)
    for name, (classes, loadings) in CLASSES.items():
        columns[name] = _binned(score(loadings), classes)
    for name, (mean, spread, loadings) in FLOWS.items():
        columns[name] = _texts(10 * np.round((mean + spread * score(loadings)) / 10), 0)
    return columns


def write_rows(path, num_rows, seed):
    """Writes `make_rows` as CSV, whole or not at all."""
    columns = make_rows(num_rows, seed)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _texts(values, decimals):
    return np.array([f"{value:.{decimals}f}" for value in values], object)


def _binned(score, classes):
    """Classes by where the score lies among the normal distribution's; the middle ones are commoner."""
    edges = np.linspace(-1.3, 1.3, len(classes) - 1) if len(classes) > 2 else np.array([0.0])
    return np.array(classes, object)[np.digitize(score, edges)]
