"""The true effect of a code equals the risk of a patient written without it."""

import dataclasses

import numpy as np
import pytest

from medtop.synthetic import blocks, risk
from medtop.synthetic.code_effects import effects_of_codes
from medtop.synthetic.codes import CODES


def test_an_effect_is_the_risk_computed_anew():
    (block,) = blocks.generate(40, seed=3)
    history = blocks.observed_history(block)
    risks = risk.true_risks(risk.observed_components(history))
    moved = 0
    for patient in (0, 7, 39):
        effects = effects_of_codes(history, patient)
        mine = np.isin(history.code_visits, np.flatnonzero(history.visit_patients == patient))
        assert set(effects) == {f"ICD10_{CODES[code]}" for code in history.codes[mine]}
        for code, effect in list(effects.items())[:5]:
            kept = ~(mine & (np.array(CODES, object)[history.codes] == code.removeprefix("ICD10_")))
            without = dataclasses.replace(history, code_visits=history.code_visits[kept], codes=history.codes[kept])
            again = risk.true_risks(risk.observed_components(without))[patient]
            expected = np.log(risks[patient] / (1 - risks[patient])) - np.log(again / (1 - again))
            assert effect == pytest.approx(expected, abs=1e-9)
            moved += np.abs(effect).max() > 1e-6
    assert moved, "some of these codes matter"
