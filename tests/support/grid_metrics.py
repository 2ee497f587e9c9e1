"""What `grid_script` 'finds': worked out from its flags, so that tests can work it out too. It defines no flag."""


def metrics(flags):
    """What the script 'finds': worked out from its flags, so that tests can work it out too."""
    value = 0.5 + 0.01 * int(flags["seed"]) + 0.1 * float(flags.get("lr", 0))
    value = round(value + 0.0001 * int(flags.get("train_patients", 0)) + 0.02 * (flags.get("wide") == "only"), 6)
    entry = {
        "roc_auc": {"value": value, "low": value - 0.1, "high": value + 0.1},
        "average_precision": {"value": 0.3, "low": None, "high": None},
        "brier": {"value": 0.2, "low": 0.1, "high": 0.3},
        "calibration_error": {"value": 0.05},
        "n": 100,
        "positives": 20,
        "unknown": 5,
        "reason": None,
    }
    masked = {"loss": {"value": 2.5}, "accuracy": {"value": 0.25}, "n": 50, "positives": None, "unknown": None}
    labels = {name: entry for name in ("MACE", "CKD", "micro", "macro")}
    tasks = {"long_stay": {"long_stay": entry}, "complications": labels, "masked_lm": {"masked_lm": masked}}
    return {"valid": {"long_stay": {"long_stay": entry}}, "test": tasks}
