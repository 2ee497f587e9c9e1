"""Made-up notes: templates filled with made-up facts, and the phrases that alone say something about readmission.

Nothing here is taken from a patient: every sentence stands in this file. What de-identified notes look like is imitated
(`[** **]`, numbered lists, headings, rules), so that cleaning has something to do.
"""

import numpy as np

SIGNALS = ("everywhere", "one_window", "mixed", "none")
"""Where a note's phrase stands: in each stretch of text; in one place only; the strong one in one place of a note that
holds in each stretch what other people's notes hold there; or in each stretch without a bearing on the label."""

LEVELS = ("none", "protective", "weak", "strong")
SHARES = np.array([[0.57, 0.30, 0.10, 0.03], [0.40, 0.05, 0.15, 0.40]])
"""How often each level occurs among admissions without (row 0) and with (row 1) readmission."""

BACKGROUND = SHARES[0, :3] / SHARES[0, :3].sum()
"""What stands in each stretch of a "mixed" note beside the strong phrase, none, protective or weak: as often as in the
notes of those who are not readmitted. It does not look at the label, so the risk is that of the strong phrase."""

PHRASES = {
    "protective": ("daughter will stay with her and manage all pills", "visiting nurse is arranged for every morning"),
    "weak": ("appetite remains poor at the time of transfer", "ambulates with a walker and tires quickly"),
    "strong": ("patient has repeatedly stopped taking his water pills", "left against advice twice in the last year"),
}
"""Two wordings of each level; their words occur nowhere else."""

STRETCH = 25
"""Words between two occurrences of the phrase where it stands everywhere."""

_TEMPLATES = (
    "the lungs were {finding} on auscultation.",
    "{organ} examination was {finding}.",
    "{drug} {dose} mg po {often} was {change}.",
    "a {test} on [**2101-{month}-{day}**] showed {result}.",
    "dr. [**Last Name (STitle) {number}**] was called and agreed with the plan.",
    "temperature {temp}, heart rate {rate}, oxygen saturation {sat}% on room air.",
    "the {organ} was {finding} and no further study was ordered.",
    "{number}. {drug} {dose} mg tablet sig: one tablet po {often}.",
    "labs were notable for a {lab} of {value}.",
    "seen by {service}, who recommended a {test}.",
    "the {lab} rose to {value} and then came down.",
    "denied {symptom} and {symptom2}.",
    "presented with {symptom} for {number} days.",
)
_SLOTS = {
    "finding": ("clear", "normal", "unremarkable", "slightly tender", "without change", "within limits"),
    "organ": ("abdominal", "cardiac", "neurologic", "skin", "liver", "kidney", "thyroid", "spine"),
    "drug": ("aspirin", "metoprolol", "furosemide", "lisinopril", "insulin", "warfarin", "heparin", "ceftriaxone"),
    "often": ("daily", "b.i.d.", "t.i.d.", "at bedtime", "as needed"),
    "change": ("continued", "started", "held", "increased", "restarted"),
    "test": ("chest film", "ct scan", "echocardiogram", "ultrasound", "biopsy", "ekg"),
    "result": ("no acute process", "mild edema", "an old infarct", "a small effusion", "stable disease"),
    "lab": ("creatinine", "sodium", "potassium", "hematocrit", "white count", "glucose", "lactate"),
    "service": ("cardiology", "surgery", "renal", "neurology", "infectious disease", "m.d. [**First Name (Titles)**]"),
    "symptom": ("fever", "chest pain", "cough", "nausea", "dizziness", "headache"),
    "symptom2": ("chills", "vomiting", "dyspnea", "rash", "palpitations"),
}
_NUMBERS = {
    "dose": (1, 500),
    "month": (1, 13),
    "day": (1, 29),
    "number": (1, 30),
    "rate": (55, 120),
    "sat": (88, 101),
    "value": (1, 150),
}
_HEADINGS = ("HISTORY OF PRESENT ILLNESS:", "HOSPITAL COURSE:", "PHYSICAL EXAM:", "MEDICATIONS:", "--------", "LABS:")


class NoteWriter:
    """Writes notes of made-up sentences.

    Args:
        rng: NumPy generator.
        sentences: how many different sentences there are.
    """

    def __init__(self, rng, sentences=3000):
        self.bank = [self._sentence(rng) for _ in range(sentences)]
        self.words = np.array([len(sentence.split()) for sentence in self.bank])

    @staticmethod
    def _sentence(rng):
        values = {name: choices[rng.integers(len(choices))] for name, choices in _SLOTS.items()}
        values |= {name: int(rng.integers(*limits)) for name, limits in _NUMBERS.items()}
        values["temp"] = f"{rng.uniform(96, 103):.1f}"
        return _TEMPLATES[rng.integers(len(_TEMPLATES))].format(**values)

    def note(self, words, rng, once="", throughout=""):
        """One note of about `words` words (at least one sentence).

        Args:
            words: int.
            rng: NumPy generator.
            once: sentence to plant in one place, anywhere, or "".
            throughout: sentence to plant in every `STRETCH` words, or "".
        """
        drawn = rng.integers(len(self.bank), size=max(1, round(words / float(self.words.mean()))))
        lines = [self.bank[number] for number in drawn]
        sizes, planted = np.cumsum(self.words[drawn]), []
        if throughout:
            wanted = np.arange(0, sizes[-1], STRETCH)
            planted += [(place, throughout) for place in np.searchsorted(sizes, wanted).tolist()]
        if once:
            planted.append((int(np.searchsorted(sizes, rng.integers(0, sizes[-1] + 1))), once))
        for place, phrase in sorted(planted, reverse=True):  # from the end: earlier places stay
            lines.insert(place, f"{phrase}.")
        for place in range(len(lines) - len(lines) % 12, -1, -12):
            lines.insert(place, f"\n{_HEADINGS[rng.integers(len(_HEADINGS))]}\n")
        return " ".join(lines)


def draw_levels(labels, rng, random_labels=False):
    """Which phrase each admission's notes hold, drawn after its label.

    Args:
        labels: int [N], 1 or 0.
        rng: NumPy generator.
        random_labels: draw without looking at the label, in the same total shares.

    Returns:
        int64 [N], places in `LEVELS`.
    """
    labels = np.asarray(labels)
    rows = SHARES[labels]
    if random_labels:
        rows = np.broadcast_to(_marginal(labels), rows.shape)
    return (np.cumsum(rows, axis=1) < rng.random(len(labels))[:, None]).sum(axis=1).clip(max=len(LEVELS) - 1)


def _marginal(labels):
    share = float(np.mean(labels)) if len(labels) else 0.5
    return SHARES[0] * (1 - share) + SHARES[1] * share


def risk_of_levels(prevalence, random_labels=False):
    """P(readmission | phrase) by Bayes: float64 [levels], in the order of `LEVELS`.

    >>> risk_of_levels(0.25).round(3).tolist()
    [0.19, 0.053, 0.333, 0.816]
    """
    if random_labels:
        return np.full(len(LEVELS), float(prevalence))
    joint = SHARES * np.array([[1 - prevalence], [prevalence]])
    return joint[1] / joint.sum(axis=0)


def best_roc_auc(random_labels=False):
    """The expected ROC AUC of someone who knows each note's phrase and its risk: the best that any model can reach.

    P(risk of a readmitted one is higher) + half P(equal), over independent draws from both rows of `SHARES`. It does
    not depend on the prevalence.

    >>> round(best_roc_auc(), 4)
    0.7735
    """
    if random_labels:
        return 0.5
    order = np.argsort(SHARES[1] / SHARES[0])
    negative, positive = SHARES[0][order], SHARES[1][order]
    return float((positive * (np.cumsum(negative) - negative / 2)).sum())
