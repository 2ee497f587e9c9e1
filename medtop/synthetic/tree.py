"""The second generated cohort (`--codes=hierarchical`): background codes that follow ICD-10's tree, and what they mean.

A code's relatives share its meaning: patients live in a few categories (three characters) and draw codes within them,
and each category weighs in the risk through its chapter and itself. Which of two groups of categories came first weighs
as well; both come again and again, so that how long ago each was last seen does not tell.

The constants were fixed by the prevalences and the best reachable AUROC, before any model was fitted to this cohort.

Letters: N patients, S visits, C codes, G categories, O outcomes.
"""

import numpy as np

from medtop.synthetic.codes import CODES, FIRST_BACKGROUND, NUM_BACKGROUND, is_endpoint_code

CONSTANTS_VERSION = 1
LEAVES = 10
NUM_CATEGORIES = NUM_BACKGROUND // LEAVES
CHAPTERS = (
    *(("A00", "B99"), ("C00", "D49"), ("D50", "D89"), ("E00", "E89"), ("F01", "F99"), ("G00", "G99"), ("H00", "H59")),
    *(("H60", "H95"), ("I00", "I99"), ("J00", "J99"), ("K00", "K95"), ("L00", "L99"), ("M00", "M99"), ("N00", "N99")),
    *(("O00", "O99"), ("Q00", "Q99"), ("R00", "R99"), ("S00", "T88"), ("Z00", "Z99")),
)
"""First and last category of each chapter that background codes come from (ICD-10-CM)."""
ZIPF_OFFSET, ZIPF_EXPONENT = 12.0, 0.9
LEAF_SHARES = np.array([0.36, 0.2, 0.12, 0.08, 0.06, 0.05, 0.04, 0.04, 0.03, 0.02])
PERSONAL_CATEGORIES, PERSONAL_SHARE = 5, 0.65
"""Categories that a patient lives in, and the share of background codes that come from them."""

CHAPTER_SPREAD, CATEGORY_SPREAD = 1.0, 0.7
"""Standard deviations of a category's weight: what it shares with its chapter, and its own; codes have none."""
MOST_FAMILIES = 6.0
"""A history's categories weigh by their mean times n / (n + this), n their number: few say little."""
PAIRS = 3
"""Pairs of groups of categories whose order weighs; in each pair a category belongs to one, the other or neither."""
ORDER_WEIGHTS = np.array([(0.9, 0.6, 0.4, 0.7, 0.8), (0.5, 1.0, 0.7, 0.4, 0.5), (0.6, 0.4, 1.0, 0.8, 0.6)])

# Mean and standard deviation over 200,000 generated patients, loadings in the linear predictor; columns as
# `risk.OUTCOMES`, rows families and early order; then the loadings of the five parts that both cohorts share.
PART_MEANS = np.array([(0.1800, 0.1104, -0.1706, 0.1343, 0.0654), (-0.0483, -0.0324, -0.0227, -0.0381, -0.0431)])
PART_SCALES = np.array([(0.2118, 0.2527, 0.2432, 0.2101, 0.2691), (0.7356, 0.7536, 0.7872, 0.7047, 0.6889)])
PART_LOADINGS = np.array([[0.70] * 5, [0.75] * 5])
SHARED_LOADINGS = np.array([[0.50] * 5, [0.80] * 5, [0.40] * 5, [0.25] * 5, [0.15] * 5])


def _categories(taken):
    """`NUM_CATEGORIES` categories of three characters, spread evenly over the chapters, and the chapter of each [G]."""
    rng, per, names, chapters = np.random.default_rng(11), -(-NUM_CATEGORIES // len(CHAPTERS)), [], []
    for number, (first, last) in enumerate(CHAPTERS):
        every = [f"{letter}{n:02d}" for letter in "ABCDEFGHIJKLMNOPQRSTZ" for n in range(100)]
        free = [name for name in every if first <= name <= last and not _is_used(name, taken)]
        chosen = rng.permutation(len(free))[:per]
        names += [free[place] for place in sorted(chosen)]
        chapters += [number] * len(chosen)
    keep = np.sort(rng.permutation(len(names))[:NUM_CATEGORIES])
    return [names[place] for place in keep], np.array(chapters)[keep]


def _is_used(name, taken):
    return any(is_endpoint_code(f"{name}{leaf}") or f"{name}{leaf}" in taken for leaf in range(LEAVES))


CATEGORIES, CHAPTER_OF = _categories({*CODES[:FIRST_BACKGROUND]})
NAMES = (*CODES[:FIRST_BACKGROUND], *(f"{name}{leaf}" for name in CATEGORIES for leaf in range(LEAVES)))
"""The codes of this cohort; ids are places, and those of all but the background are the first cohort's."""

_rng = np.random.default_rng(12)
_rank = _rng.permutation(len(CATEGORIES))
_shares = 1 / (_rank + ZIPF_OFFSET) ** ZIPF_EXPONENT
CATEGORY_CUMULATIVE = np.cumsum(_shares) / _shares.sum()
CATEGORY_WEIGHTS = CHAPTER_SPREAD * _rng.normal(size=(len(CHAPTERS), 5))[CHAPTER_OF] + CATEGORY_SPREAD * _rng.normal(
    size=(len(CATEGORIES), 5)
)
"""float64 [G, O]."""
SIDES = np.stack([_rng.permutation(np.arange(len(CATEGORIES)) % 3) for _ in range(PAIRS)])
"""int64 [`PAIRS`, G]: 0 and 1 are the groups of a pair."""
_LEAF_CUMULATIVE = np.cumsum(LEAF_SHARES) / LEAF_SHARES.sum()


def category_of(codes):
    """Category of each code [C], -1 for what is no background."""
    return np.where(codes >= FIRST_BACKGROUND, (codes - FIRST_BACKGROUND) // LEAVES, -1)


def draw_personal(rng, count):
    """Categories that each patient lives in: int64 [N, `PERSONAL_CATEGORIES`]."""
    return _draw(rng, CATEGORY_CUMULATIVE, (count, PERSONAL_CATEGORIES))


def draw_background(rng, personal):
    """Codes: int64 [C].

    Args:
        rng: numpy Generator.
        personal: int64 [C, `PERSONAL_CATEGORIES`], the categories of each code's patient.
    """
    count = len(personal)
    mine = personal[np.arange(count), rng.integers(0, PERSONAL_CATEGORIES, count)]
    category = np.where(rng.random(count) < PERSONAL_SHARE, mine, _draw(rng, CATEGORY_CUMULATIVE, count))
    return FIRST_BACKGROUND + category * LEAVES + _draw(rng, _LEAF_CUMULATIVE, count)


def _draw(rng, cumulative, size):
    return np.searchsorted(cumulative, rng.random(size)).clip(max=len(cumulative) - 1)


def components(history, visit_numbers):
    """What the tree adds to `risk.observed_components`.

    Args:
        history: `risk.History`.
        visit_numbers: int [S], number of the visit within its patient.

    Returns:
        dict: `families` float64 [N, O], the mean weight of the distinct categories, drawn to 0 where they are few;
        `early_order` float64 [N, 3], for three pairs of groups +1 where the first group's first code stands in an
        earlier visit than the second's, -1 where in a later one, 0 in one visit or without one of them.
    """
    count, size = len(history.ages), len(CATEGORIES)
    rows = np.flatnonzero(history.codes >= FIRST_BACKGROUND)
    category, visits = category_of(history.codes[rows]), history.code_visits[rows]
    people = history.visit_patients[visits]
    cells = np.unique(people * size + category)
    who, numbers = cells // size, np.bincount(cells // size, minlength=count)
    sums = np.stack([np.bincount(who, column[cells % size], minlength=count) for column in CATEGORY_WEIGHTS.T], 1)
    families = sums / (numbers + MOST_FAMILIES)[:, None]
    order, never = [], np.iinfo(np.int64).max
    for sides in SIDES:
        first = np.full(count * 3, never)
        np.minimum.at(first, people * 3 + sides[category], visit_numbers[visits])
        first, second, _ = first.reshape(count, 3).T
        both = (first < never) & (second < never)
        order.append(np.where(both, np.sign(second - first), 0))
    return {"families": families, "early_order": np.stack(order, 1).astype(np.float64)}


def raw_parts(parts):
    """The two parts of each outcome's predictor before standardising: float64 [N, 2 parts, O]."""
    return np.stack([parts["families"], parts["early_order"] @ ORDER_WEIGHTS], 1)


def linear_part(parts):
    """What the two parts add to the linear predictors, float64 [N, O]."""
    return ((raw_parts(parts) - PART_MEANS) / PART_SCALES * PART_LOADINGS).sum(1)
