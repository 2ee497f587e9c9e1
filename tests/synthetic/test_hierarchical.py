"""The second generated cohort: its two parts by plain loops from the file, the tree, the order that no window sees, and
the first cohort byte for byte as it was."""

import csv
import dataclasses
import hashlib
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtop.files.errors import DataError
from medtop.synthetic import cohort, risk, tree
from medtop.synthetic.blocks import LABEL_TASKS, generate, observed_history
from medtop.synthetic.code_effects import effects_of_codes
from medtop.synthetic.codes import ENDPOINTS, FIRST_BACKGROUND, is_endpoint_code

NAMES = [label for _, label in LABEL_TASKS]


@pytest.fixture(scope="module")
def blocks():
    """20,000 patients of a seed that no constant was fixed by."""
    return list(generate(20_000, 77, hierarchical=True))


@pytest.fixture(scope="module")
def known(blocks):
    """Risks and realised labels, float [N, K] and int [N, K]."""
    return np.concatenate([block.risks for block in blocks]), np.concatenate([block.targets for block in blocks])


def test_the_first_cohort_is_byte_for_byte_what_it_was(tmp_path):
    """SHA-256 of its files as they were written before there was a second one (mean risks of 9 decimals since)."""
    cohort.write_cohort(tmp_path / "c", 400, 3)
    before = {
        "c.csv": "6403d617a533abf0",
        "c.generator.json": "291778a4cee6ff1d",
        "c.prediction_times.csv": "73105b84fe781a21",
        "c.true_risk.csv": "f6a393948b4cbc4f",
    }
    for name, digest in before.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest().startswith(digest), name


def test_codes_follow_the_tree():
    """Categories lie in their chapters, ten codes each; none is an endpoint's code."""
    assert len(set(tree.NAMES)) == len(tree.NAMES) == FIRST_BACKGROUND + 10 * tree.NUM_CATEGORIES
    for place, name in enumerate(tree.CATEGORIES):
        first, last = tree.CHAPTERS[tree.CHAPTER_OF[place]]
        assert first <= name <= last and len(name) == 3
    background = tree.NAMES[FIRST_BACKGROUND:]
    assert not any(is_endpoint_code(code) for code in background)
    codes = np.arange(len(tree.NAMES))
    assert [tree.CATEGORIES[place] for place in tree.category_of(codes)[FIRST_BACKGROUND:]] == [
        c[:3] for c in background
    ]
    assert (tree.category_of(codes)[:FIRST_BACKGROUND] == -1).all()
    assert set(np.bincount(tree.CHAPTER_OF)) <= {19, 20, 21} and len(np.unique(tree.CHAPTER_OF)) == len(tree.CHAPTERS)


@pytest.mark.slow
def test_neighbours_share_meaning_and_risk(blocks):
    """Chapters explain most of the categories' weights; codes of a category stand together in histories."""
    weights, chapters = tree.CATEGORY_WEIGHTS, tree.CHAPTER_OF
    within = np.stack([weights[chapters == c].var(axis=0) for c in np.unique(chapters)]).mean()
    assert within / weights.var(axis=0).mean() < 0.45
    block = blocks[0]
    rows = block.codes >= FIRST_BACKGROUND
    people, codes = block.visit_patients[block.code_visits[rows]], block.codes[rows]
    cells = np.unique(people * len(tree.NAMES) + codes)
    people, category = cells // len(tree.NAMES), tree.category_of(cells % len(tree.NAMES))
    pairs = sum((np.bincount(category[people == who]) ** 2).sum() - (people == who).sum() for who in range(300))
    mixed = np.random.default_rng(1).permutation(category)
    chance = sum((np.bincount(mixed[people == who]) ** 2).sum() - (people == who).sum() for who in range(300))
    assert pairs > 4 * chance > 0


def by_hand(stays):
    """(families, early order) of one patient from its stays, a list of lists of undotted codes, oldest first."""
    place = {name: number for number, name in enumerate(tree.CATEGORIES)}
    first = {}
    for number, codes in enumerate(stays):
        for code in codes:
            if code in tree.NAMES[FIRST_BACKGROUND:]:
                first.setdefault(place[code[:3]], number)
    total = [sum(tree.CATEGORY_WEIGHTS[category][o] for category in first) for o in range(5)]
    order = []
    for sides in tree.SIDES:
        one, other = ([number for c, number in first.items() if sides[c] == side] for side in (0, 1))
        gap = min(other) - min(one) if one and other else 0
        order.append((gap > 0) - (gap < 0))
    return [value / (len(first) + 6.0) for value in total], order


@pytest.mark.slow
def test_the_two_parts_follow_from_the_written_table(tmp_path):
    cohort.write_cohort(tmp_path / "h", 120, 5, codes="hierarchical")
    (block,) = generate(120, 5, hierarchical=True)
    with open(tmp_path / "h.prediction_times.csv", encoding="utf-8", newline="") as file:
        until = {row["patient_id"]: row["prediction_time"] for row in csv.DictReader(file)}
    stays = {}
    with open(tmp_path / "h.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["discharge"] <= until[row["patient_id"]]:
                of_patient = stays.setdefault(row["patient_id"], {})
                of_patient.setdefault(row["admit"], []).append(row["code"].removeprefix("ICD10_"))
    assert len(stays) == 120
    predictors = risk.linear_predictors(block.components)
    plain = (risk.raw_parts(block.components) - risk.PART_MEANS) / risk.PART_SCALES
    for number, of_patient in enumerate(stays.values()):
        families, order = by_hand([of_patient[admit] for admit in sorted(of_patient)])
        np.testing.assert_allclose(block.components["families"][number], families, rtol=0, atol=1e-9)
        assert block.components["early_order"][number].tolist() == order
        for o in range(5):
            early = sum(sign * weights[o] for sign, weights in zip(order, tree.ORDER_WEIGHTS, strict=True))
            total = risk.INTERCEPTS[o]
            for loading, (value, mean, scale) in zip((0.70, 0.75), zip((families[o], early), tree.PART_MEANS[:, o],
                                                     tree.PART_SCALES[:, o], strict=True), strict=True):  # fmt: skip
                total += loading * (value - mean) / scale
            shared = sum(a * b for a, b in zip((0.5, 0.8, 0.4, 0.25, 0.15), plain[number, :, o], strict=True))
            assert math.isclose(predictors[number, o], total + shared, abs_tol=1e-9)


def test_no_window_sees_the_early_order():
    """Two histories whose codes were last seen on the same days, in the same visits: only what came first differs, and
    so does the risk."""
    one, other = (int(np.flatnonzero(tree.SIDES[0] == side)[0]) for side in (0, 1))
    a, b = (FIRST_BACKGROUND + 10 * category for category in (one, other))

    def risk_of(first, second):
        history = risk.RiskHistory(
            ages=np.array([66.0]),
            visit_patients=np.zeros(4, np.int64),
            stay_days=np.full(4, 3),
            gaps_before=np.array([0, 300, 300, 300]),
            recencies=np.array([900, 600, 300, 0]),
            code_visits=np.array([0, 1, 3, 3]),
            codes=np.array([first, second, a, b]),
            hierarchical=True,
        )
        return risk.true_risks(risk.observed_components(history))[0]

    assert (np.log(risk_of(a, b) / risk_of(b, a)) > 0.3).all()


@pytest.mark.slow
def test_realised_labels_follow_the_stated_risks(known):
    """In fifths of the risk, within four standard errors; as many fifths are beyond two as chance allows."""
    risks, targets = known
    beyond = 0
    for place in range(len(NAMES)):
        seen = targets[:, place] >= 0
        stated, realised = risks[seen, place], targets[seen, place]
        for part in np.array_split(np.argsort(stated), 5):
            error = (realised[part].mean() - stated[part].mean()) / np.sqrt(
                np.mean(stated[part] * (1 - stated[part])) / len(part)
            )
            assert abs(error) < 4, NAMES[place]
            beyond += abs(error) > 2
    assert beyond <= 9  # of 65; 3.3 expected


def test_the_best_reachable_auroc_is_that_of_the_stated_risk(blocks, known):
    tally = cohort.CohortTally()
    for block in blocks:
        tally.add(block)
    labels, (risks, targets) = tally.labels(), known
    for place, name in enumerate(NAMES):
        seen = targets[:, place] >= 0
        expected = roc_auc_score(targets[seen, place], risks[seen, place])
        assert labels[name]["best_roc_auc"] == pytest.approx(expected, abs=2e-4)
        assert 0.80 < expected < 0.87 and 0.05 < labels[name]["prevalence"] < 0.30
    assert labels["macro"]["best_roc_auc"] == pytest.approx(0.834, abs=0.008)


def test_each_part_counts(blocks):
    """Without the tree's two parts the true risk loses much of its AUROC."""
    risks, targets = (
        np.concatenate([getattr(block, name)[:, -1] for block in blocks]) for name in ("risks", "targets")
    )
    without = []
    for block in blocks:
        found = block.components | {name: 0 * block.components[name] for name in ("families", "early_order")}
        without.append(risk.long_stay_probability(found))
    seen = targets >= 0
    best, rest = (roc_auc_score(targets[seen], values[seen]) for values in (risks, np.concatenate(without)))
    assert best - rest > 0.05


def test_effects_of_codes_are_named_by_the_tree():
    (block,) = generate(30, 4, hierarchical=True)
    history = observed_history(block)
    assert history.hierarchical and dataclasses.replace(history, hierarchical=False).hierarchical is False
    effects = effects_of_codes(history, 0)
    mine = history.visit_patients[history.code_visits] == 0
    assert set(effects) == {f"ICD10_{tree.NAMES[code]}" for code in history.codes[mine]}
    families = [value for code, value in effects.items() if code.removeprefix("ICD10_")[:3] in tree.CATEGORIES]
    assert np.abs(families).max() > 0.01


def test_script_and_refusals(tmp_path, run_script):
    script, prefix = "preprocessing/make_synthetic_cohort.py", f"--output_prefix={tmp_path / 'h'}"
    done = run_script(script, prefix, "--num_patients=50", "--codes=hierarchical")
    assert done.returncode == 0, done.stderr
    again = run_script(script, prefix, "--num_patients=50")
    assert again.returncode == 1 and "codes 'hierarchical' -> None" in again.stderr
    with pytest.raises(
        DataError, match="--codes=hierarchical: expected --layout=stays, medbert or topbert, received omop"
    ):
        cohort.write_cohort(tmp_path / "o", 10, 1, layout="omop", codes="hierarchical")
    with pytest.raises(DataError, match="--codes: expected one of plain, hierarchical, received 'tree'"):
        cohort.write_cohort(tmp_path / "o", 10, 1, codes="tree")
    assert not list(tmp_path.glob("o*")) and len(ENDPOINTS) == 4
