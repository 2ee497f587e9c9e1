"""The true effect of each code of a generated patient: the risk function computed anew without it.

Letters: C distinct codes of a patient, K labels.
"""

import dataclasses

import numpy as np

from medtop.synthetic import risk, tree
from medtop.synthetic.codes import CODES


def effects_of_codes(history, patient):
    """Change of each label's true logit when all occurrences of a code are taken out of the table.

    The code's visits stay, as they do when a code of a patient is taken out of a model's input.

    Args:
        history: `risk.RiskHistory` of some patients (`blocks.observed_history`).
        patient: place of one of them.

    Returns:
        dict code, as the written table has it (str) -> float64 [K], logit of the true risk with the code minus
        without it; K as `blocks.LABEL_TASKS`.
    """
    visits = np.flatnonzero(history.visit_patients == patient)
    rows = np.isin(history.code_visits, visits)
    codes, places = history.codes[rows], history.code_visits[rows] - visits[0]
    distinct = np.unique(codes)
    kept = [np.ones(len(codes), bool), *(codes != code for code in distinct)]
    count, length = len(kept), len(visits)
    stacked = dataclasses.replace(
        history,
        ages=np.repeat(history.ages[patient], count),
        visit_patients=np.repeat(np.arange(count), length),
        **{name: np.tile(getattr(history, name)[visits], count) for name in ("stay_days", "gaps_before", "recencies")},
        code_visits=np.concatenate([places[chosen] + number * length for number, chosen in enumerate(kept)]),
        codes=np.concatenate([codes[chosen] for chosen in kept]),
    )
    risks = risk.true_risks(risk.observed_components(stacked))
    names = tree.NAMES if history.hierarchical else CODES
    logits = np.log(risks) - np.log1p(-risks)
    return {f"ICD10_{names[code]}": logits[0] - logits[number + 1] for number, code in enumerate(distinct)}
