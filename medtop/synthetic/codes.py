"""The codes of the generated cohort: chronic conditions with stages, acute groups, endpoint diseases, background.

All are written `ICD10_<undotted>`. A code's id is its place in `CODES`. Letters: V codes, D conditions (with endpoint
diseases), E endpoints, G acute groups.
"""

import numpy as np

ENDPOINT_PREFIXES = {
    "MACE": ("I21", "I22", "I23", "I50", "I61", "I62", "I63"),
    "CKD": ("N18", "E102", "E112"),
    "RET": ("E1031", "E1032", "E1033", "E1034", "E1035", "E1131", "E1132", "E1133", "E1134", "E1135"),
    "NEUR": ("E104", "E114", "E124", "E134", "E144", "G632", "G629"),
}
"""ICD-10 prefixes (undotted) of top-BERT's four complications of diabetes (`diabetes_complications`)."""

ENDPOINTS = tuple(ENDPOINT_PREFIXES)

# Each stage is a pair of codes: the usual one and an alternative.
CHRONIC_CONDITIONS = {
    "diabetes": (("E119", "E118"),),
    "hypertension": (("I10", "I159"), ("I119", "I129")),
    "dyslipidaemia": (("E785", "E780"), ("E782", "E781")),
    "obesity": (("E669", "E660"), ("E668", "E662")),
    "coronary_disease": (("I251", "I209"), ("I255", "I200"), ("Z951", "Z955")),
    "atrial_fibrillation": (("I480", "I489"), ("I482", "I481")),
    "pulmonary_disease": (("J449", "J410"), ("J440", "J439"), ("J961", "Z998")),
    "depression": (("F329", "F320"), ("F332", "F331")),
    "anaemia": (("D649", "D509"), ("D631", "D638")),
    "liver_disease": (("K760", "K769"), ("K740", "K758"), ("K746", "K766")),
    "arterial_disease": (("I739", "I709"), ("I702", "E115"), ("Z895", "L984")),
    "proteinuria": (("R809", "N289"), ("N079", "N049")),
    "sleep_apnoea": (("G473", "R065"), ("G472", "E678")),
}
"""Chronic condition -> its stages, mild to severe."""

ENDPOINT_DISEASES = {
    "MACE": (("I509", "I501"), ("I639", "I214"), ("I500", "I219")),
    "CKD": (("N183", "E1121"), ("N184", "E1122"), ("N185", "N186")),
    "RET": (("E11319", "E11329"), ("E11339", "E11349"), ("E11359", "E11351")),
    "NEUR": (("E1142", "G629"), ("E1143", "E1149"), ("G632", "E1140")),
}
"""Endpoint -> stages of the disease, all of its endpoint's prefixes."""

ACUTE_GROUPS = {
    "glycaemic": ("E1165", "E1100", "E1110", "E1164"),
    "infection": ("J189", "N390", "A419", "L031"),
    "cardiopulmonary": ("R060", "J81", "J960", "R570"),
}
"""Acute events, dated by the stay that carries them."""

CONDITIONS = tuple(CHRONIC_CONDITIONS) + ENDPOINTS
NUM_CHRONIC = len(CHRONIC_CONDITIONS)
MAX_STAGES = 3
NUM_BACKGROUND = 3880
ZIPF_OFFSET, ZIPF_EXPONENT = 8.0, 1.05


def is_endpoint_code(code):
    """Whether an undotted ICD-10 code begins with a prefix of any endpoint.

    >>> is_endpoint_code("E1142"), is_endpoint_code("E119")
    (True, False)
    """
    return any(code.startswith(prefixes) for prefixes in ENDPOINT_PREFIXES.values())


def _background(taken):
    """`NUM_BACKGROUND` distinct ICD-10-like codes in a fixed random order; none is an endpoint code or `taken`."""
    letters = "ABCDEFGHIJKLMNOPQRSTZ"
    every = [f"{letter}{number:03d}" for letter in letters for number in range(1000)]
    order = np.random.default_rng(10).permutation(len(every))
    free = (every[place] for place in order if every[place] not in taken and not is_endpoint_code(every[place]))
    return [next(free) for _ in range(NUM_BACKGROUND)]


def _tables():
    """Codes, ids of each stage's codes [D, MAX_STAGES, 2] and acute codes [G, 4], condition/stage/group of a code."""
    diseases = list(CHRONIC_CONDITIONS.values()) + list(ENDPOINT_DISEASES.values())
    codes, stage_codes = [], np.zeros((len(diseases), MAX_STAGES, 2), np.int32)
    condition_of, stage_of, group_of = [], [], []
    for condition, stages in enumerate(diseases):
        for stage in range(MAX_STAGES):
            if stage < len(stages):
                stage_codes[condition, stage] = len(codes), len(codes) + 1
                codes += stages[stage]
                condition_of += [condition] * 2
                stage_of += [stage + 1] * 2
    group_of = [-1] * len(codes)
    acute_codes = np.zeros((len(ACUTE_GROUPS), 4), np.int32)
    for group, names in enumerate(ACUTE_GROUPS.values()):
        acute_codes[group] = np.arange(len(codes), len(codes) + 4)
        codes += names
        group_of += [group] * 4
    first_background = len(codes)
    codes += _background(set(codes))
    missing = [-1] * (len(codes) - len(condition_of))
    condition_of, stage_of = condition_of + missing, stage_of + [0] * len(missing)
    group_of += [-1] * (len(codes) - len(group_of))
    return (
        tuple(codes),
        stage_codes,
        acute_codes,
        first_background,
        np.array(condition_of),
        np.array(stage_of),
        np.array(group_of),
    )


CODES, STAGE_CODES, ACUTE_CODES, FIRST_BACKGROUND, CONDITION_OF, STAGE_OF, GROUP_OF = _tables()
NUM_STAGES = np.array([len(stages) for stages in [*CHRONIC_CONDITIONS.values(), *ENDPOINT_DISEASES.values()]])
_weights = 1 / (np.arange(NUM_BACKGROUND) + ZIPF_OFFSET) ** ZIPF_EXPONENT
BACKGROUND_CUMULATIVE = np.cumsum(_weights) / _weights.sum()
