"""XGBoost (the rival that top-BERT was held against) on counts that fade with time; needs the extra [xgboost].

Four settings are searched by validation log loss, label by label: depth, learning rate, share of rows and least weight
of a leaf; the number of trees by early stopping in each trial.
"""

import importlib.metadata
import itertools

import numpy as np

from medtop.evaluation.tree_baselines import PREDICT_ROWS
from medtop.files.errors import DataError

SEARCH = {
    "max_depth": (3, 6),
    "learning_rate": (0.05, 0.2),
    "subsample": (0.7, 1.0),
    "min_child_weight": (1, 10),
}
_MAX_ROUNDS, _DEFAULT_ROUNDS, _PATIENCE = 300, 50, 10


def require_xgboost():
    """Refuses a machine without the package, before anything is trained.

    Raises:
        DataError: naming the command that installs it.
    """
    try:
        importlib.metadata.version("xgboost")
    except importlib.metadata.PackageNotFoundError:
        raise DataError("--xgboost: expected the package xgboost, received none; pip install '.[xgboost]'") from None


def fit_xgboost(matrices, known, targets, valid, seed):
    """One label, see `linear_baselines`: ({"iterations", and the four settings}, dict split -> logits float32 [N]).

    Args:
        matrices: as `tree_baselines.encode_faded` gives.
        known: bool [N], training rows whose label is known.
        targets: bool, of these.
        valid: (bool [N] of the validation rows, bool of these), or None: the first of each setting, 50 rounds.
        seed: of the shares of rows.
    """
    import xgboost

    train = xgboost.QuantileDMatrix(matrices["fit"][known], targets.astype(np.float32), nthread=1)
    held_out = None
    if valid is not None:
        counts, context, dense = matrices["valid"]
        held_out = xgboost.DMatrix(dense(counts[valid[0]], context[valid[0]]), valid[1].astype(np.float32), nthread=1)
    best = None
    for values in itertools.product(*SEARCH.values()):
        settings = dict(zip(SEARCH, values, strict=True))
        booster, rounds, loss = _trained(xgboost, settings, train, held_out, seed)
        if best is None or loss < best[0]:  # of equal ones the first
            best = (loss, booster, {"iterations": rounds, **settings})
        if held_out is None:
            break
    _, booster, chosen = best
    return chosen, {
        split: _logits(xgboost, booster, chosen, *entry) for split, entry in matrices.items() if split != "fit"
    }


def _trained(xgboost, settings, train, held_out, seed):
    """(booster, number of trees, its log loss on the held-out rows)."""
    parameters = {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1, "seed": seed, **settings}
    if held_out is None:
        return xgboost.train(parameters, train, _DEFAULT_ROUNDS), _DEFAULT_ROUNDS, 0.0
    booster = xgboost.train(
        parameters,
        train,
        _MAX_ROUNDS,
        evals=[(held_out, "valid")],
        early_stopping_rounds=_PATIENCE,
        verbose_eval=False,
    )
    return booster, booster.best_iteration + 1, booster.best_score


def _logits(xgboost, booster, chosen, counts, context, dense):
    logits = np.empty(len(context), np.float32)
    for start in range(0, len(context), PREDICT_ROWS):
        block = slice(start, start + PREDICT_ROWS)
        rows = xgboost.DMatrix(dense(counts[block], context[block]), nthread=1)
        logits[block] = booster.predict(rows, output_margin=True, iteration_range=(0, chosen["iterations"]))
    return logits
