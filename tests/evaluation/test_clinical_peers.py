"""Clinical measures against statsmodels and dcurves, which `make test-extras` installs."""

import numpy as np
import pandas as pd
import pytest

from medtop.evaluation.calibration_measures import CalibrationStatistics
from medtop.evaluation.clinical import DECISION_GRID
from medtop.evaluation.decisions import DecisionStatistics
from medtop.evaluation.predictions import logit, sigmoid


def sample(seed):
    generator = np.random.default_rng(seed)
    z = generator.normal(-1.5, 1.2, 700)
    return sigmoid(z), generator.random(700) < sigmoid(0.6 * z - 0.4)


@pytest.mark.parametrize("seed", range(3))
def test_slope_and_intercept_are_statsmodels(seed):
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    p, y = sample(seed)
    ours = CalibrationStatistics(p, y, np.arange(700), 700).point()
    x, family = logit(p), api.families.Binomial()
    slope = api.GLM(y.astype(float), api.add_constant(x), family=family).fit(tol=1e-12).params[1]
    intercept = api.GLM(y.astype(float), np.ones(700), family=family, offset=x).fit(tol=1e-12).params[0]
    assert ours["calibration_slope"] == pytest.approx(slope, abs=1e-6)
    assert ours["calibration_intercept"] == pytest.approx(intercept, abs=1e-6)


def test_net_benefit_is_dcurves():
    dcurves = pytest.importorskip("dcurves", reason="dcurves is not installed")
    p, y = sample(4)
    ours = DecisionStatistics(p, y, np.arange(700), 700, DECISION_GRID).point()
    frame = pd.DataFrame({"y": y.astype(int), "model": p})
    theirs = dcurves.dca(data=frame, outcome="y", modelnames=["model"], thresholds=list(DECISION_GRID))
    for name, measure in (("model", "net_benefit"), ("all", "treat_all")):
        rows = theirs[theirs["model"] == name].set_index("threshold")["net_benefit"]
        for place, threshold in enumerate(DECISION_GRID):
            assert ours[measure, place] == pytest.approx(rows.loc[threshold], abs=1e-9), (name, threshold)
