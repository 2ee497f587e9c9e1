"""Exact bounds, thresholds by the lower bound of recall with their price, and a CRF united with the rules."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from medtop.deidentification import scores, thresholds
from medtop.deidentification.detect import Detector
from medtop.deidentification.policy import POLICIES
from medtop.deidentification.removal import Remover
from medtop.deidentification.roster import Roster
from medtop.entities.documents import Document, Span

SCRIPT = "run_scripts/deidentify_notes.py"


@pytest.mark.parametrize(("hits", "number"), [(0, 5), (5, 5), (3, 7), (299, 300), (1, 500)])
def test_bounds_are_those_of_the_binomial(hits, number):
    """At its lower bound a result as good as this has probability 5%, at its upper bound one as bad."""
    found = scores.proportion(hits, number)
    if hits:
        assert binom.sf(hits - 1, number, found["lower"]) == pytest.approx(0.05)
        assert binom.sf(hits - 1, number, found["low"]) == pytest.approx(0.025)
    else:
        assert found["lower"] == found["low"] == 0
    if hits < number:
        assert binom.cdf(hits, number, found["upper"]) == pytest.approx(0.05)
    else:
        assert found["upper"] == found["high"] == 1


def test_examples_needed_is_the_fewest():
    for misses in range(4):
        number = scores.examples_needed(0.99, misses)
        assert scores.proportion(number - misses, number)["lower"] >= 0.99
        assert scores.proportion(number - misses - 1, number - 1)["lower"] < 0.99


def test_coverage_of_the_bound():
    """The lower bound lies above the truth in at most 5% of samples."""
    draws = np.random.default_rng(0).binomial(300, 0.985, 2000)
    above = np.mean([scores.proportion(int(hits), 300)["lower"] > 0.985 for hits in draws])
    assert above <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_thresholds_against_trying_all():
    """Random scores: the chosen threshold is the highest of all that reach the bound."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        needed = [math.inf] * 280 + rng.choice(
            [0.1, 0.3, 0.5, 0.7, -math.inf], 40, p=[0.3, 0.3, 0.2, 0.19, 0.01]
        ).tolist()
        chosen, misses, reached = thresholds.best_threshold(needed, 0.97)
        good = [
            t
            for t in (0.1, 0.3, 0.5, 0.7, thresholds.OFF)
            if scores.proportion(sum(score >= t for score in needed), 320)["lower"] >= 0.97
        ]
        assert reached == bool(good) and (not good or chosen == max(good))
        assert misses == sum(score < chosen for score in needed)


def test_compare_counts_letters_left():
    """A true span counts as left for one letter of it; what lies outside is counted too."""
    text = "Ann Lee has MS on 3/4/2014, says Bo"
    gold = [Span("1", "NAME", ((0, 7),)), Span("2", "DATE", ((18, 26),)), Span("3", "NAME", ((33, 35),)),
            Span("4", "TERM", ((12, 14),))]  # fmt: skip
    found = Detector(roster=Roster([{"first_name": "Ann", "last_name": "Lee"}])).find(text)
    result = scores.compare(text, gold, found, POLICIES["safe_harbor"], "tag", {"TERM"})
    assert result["types"] == {"NAME": [2, 1], "DATE": [1, 0]} and result["terms"] == [1, 0] and result["leaked"]
    assert result["characters"][1] == 0
    removed = Remover(POLICIES["safe_harbor"], "tag").remove(text, found, "p")
    assert removed.text == "[NAME] [NAME] has MS on [DATE], says Bo"


def test_choice_and_price():
    """A model that scores 0.6 on what rules miss and 0.8 on a term: the price is told."""
    text = "seen with Bo today for MS"
    documents = [
        Document(f"d{number}", text, [Span("1", "NAME", ((10, 12),)), Span("2", "TERM", ((23, 25),))])
        for number in range(300)
    ]

    def model(documents):
        spans = [Span("", "NAME", ((10, 12),), {}, 0.6), Span("", "NAME", ((23, 25),), {}, 0.8)]
        return [spans for _ in documents]

    chosen = thresholds.choose(documents, Detector(), model, 0.99, {"TERM"}, "m")
    assert chosen["types"]["NAME"] == {
        "threshold": 0.6, "examples": 300, "missed_by_rules": 300, "missed": 0, "reached": True,
        "lower": pytest.approx(0.05 ** (1 / 300)), "examples_needed": None,
    }  # fmt: skip
    assert chosen["price"] == {"words_removed_too_much": 300, "words": 1800, "terms_lost": 300, "terms": 300}
    few = thresholds.choose(documents[:50], Detector(), model, 0.99, {"TERM"}, "m")["types"]["NAME"]
    assert not few["reached"] and few["examples_needed"] == 299


def test_a_crf_finds_what_rules_cannot(tmp_path, run_script):
    """Trained on marked notes, chosen on others, used on a third set: a name that no rule knows is removed."""
    pytest.importorskip("pycrfsuite")
    from medtop.entities import run as entities
    from medtop.entities.tables import TableWriter, table_paths

    names = "Quorra Zibby Wexa Jorvo Krella Tamsy Bryndo Fexi Yulma Ondri Pelka Vossa".split()
    for split, chosen in (("train", names[:8]), ("valid", names[4:]), ("test", names[8:])):
        with TableWriter(*table_paths(tmp_path / "t", split)) as writer:
            for number in range(60):
                name = chosen[number % len(chosen)]
                text = f"Visited today by {name} the volunteer, who brought tea. Lungs clear number {number}."
                document = Document(f"{split}{number}", text, [Span("T1", "NAME", ((17, 17 + len(name)),))])
                writer.add(document)
    entities.train(entities.EntityOptions(output_dir=f"{tmp_path}/crf", do_train=True, input_prefix=f"{tmp_path}/t"))
    shared = [f"--model={tmp_path}/crf", f"--gold={tmp_path}/t"]
    done = run_script(SCRIPT, *shared, "--gold_split=valid", f"--choose_thresholds={tmp_path}/t.json", "--recall=0.9")
    assert done.returncode == 0 and "NAME" in done.stdout, done.stderr
    assert json.loads((tmp_path / "t.json").read_text())["types"]["NAME"]["missed_by_rules"] == 60
    done = run_script(
        SCRIPT, *shared, f"--model_thresholds={tmp_path}/t.json", f"--input={tmp_path}/t.documents.test.parquet",
        f"--output={tmp_path}/out", "--verify",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "out/deidentification.json").read_text())
    assert about["measured"]["types"]["NAME"]["left"] == 0 and "NAME: model" in about["removed_by"]
    assert '"score"' in (tmp_path / "out/audit.jsonl").read_text()
    other = json.loads((tmp_path / "t.json").read_text()) | {"model": "another"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = run_script(
        SCRIPT, *shared, f"--model_thresholds={tmp_path}/other.json", f"--input={tmp_path}/t.documents.test.parquet",
        f"--output={tmp_path}/out2",
    )  # fmt: skip
    assert done.returncode == 1 and "received another run's" in done.stderr
