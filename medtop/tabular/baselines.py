"""Models for one target at a time from scikit-learn, on the same encoded inputs as the networks.

Letters: N rows, F inputs, K classes.
"""

import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

BASELINES = ("constant", "linear", "gradient_boosting")
"""constant: the classes' shares or the mean; linear: logistic or ridge regression (L2, scikit-learn's defaults);
gradient_boosting: histogram gradient boosting, 100 trees, no early stopping."""


def predict(name, x, target, train, test, seed):
    """Fits a baseline on the known rows of `train`, predicts the rows `test`; on one thread, as threads mostly wait for
    each other over tables this small.

    Args:
        name: one of `BASELINES`.
        x: float32 [N, F].
        target: `TargetValues`.
        train, test: row numbers.
        seed: of gradient boosting.

    Returns:
        probabilities float64 [len(test), K], or values float64 [len(test)].
    """
    rows = np.asarray(train)[target.known[train]]
    y = target.values[rows]
    constant = target.constant(train)
    alone = len(rows) == 0 or len(np.unique(y)) == 1  # nothing to learn in these rows
    if name == "constant" or alone:
        return np.tile(
            constant if target.is_classification else constant[0],
            (len(test), 1) if target.is_classification else len(test),
        )
    with threadpool_limits(1):
        return _fitted(name, x, target, rows, y, constant, test, seed)


def _fitted(name, x, target, rows, y, constant, test, seed):
    """What scikit-learn's model of the rows says on the rows `test`."""
    if not target.is_classification:
        model = Ridge() if name == "linear" else HistGradientBoostingRegressor(early_stopping=False, random_state=seed)
        scaled = (y - constant[0]) / constant[1]
        return constant[0] + constant[1] * model.fit(x[rows], scaled).predict(x[test])
    model = (
        LogisticRegression(max_iter=1000)
        if name == "linear"
        else HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 1,000 steps are enough for a comparison
        model.fit(x[rows], y.astype(int))
    probabilities = np.zeros((len(test), len(target.classes)))
    probabilities[:, model.classes_] = model.predict_proba(x[test])  # a class that the fold lacks has probability 0
    return probabilities
