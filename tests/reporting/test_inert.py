"""Words of users' files do nothing in any page: endpoint names, labels, groups, file names, document ids, texts.

report.html's own test (test_report.py) and the cards' (test_cards.py) stand beside this one.
"""

import numpy as np
import pytest
from test_cards import HOSTILE, Reader, read

from medtop.entities.documents import Document, Span
from medtop.entities.reader_page import write_page
from medtop.evaluation.clinical import clinical_measures
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.reporting.evaluation_page import write_evaluation_page
from medtop.reporting.page import write_training_page
from medtop.reporting.tripod import write_tripod

ACTIVE = {"script", "img", "iframe", "object", "embed", "form", "link", "base", "em", "b"}


def active(path, own=()):
    """Tags of a page that could do something, beside its own; attributes that run."""
    page = Reader(path.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags if tag in ACTIVE]
    for tag in own:
        tags.remove(tag)
    running = [value for _, values in page.tags for value in values if value.lower().startswith("javascript:")]
    return tags + running


def test_the_check_checks(tmp_path):
    (tmp_path / "x.html").write_text(f"<p>{HOSTILE[0]}</p><a href='javascript:alert(1)'>x</a>")
    assert active(tmp_path / "x.html") == ["script", "javascript:alert(1)"]


@pytest.mark.quick(first=4)
@pytest.mark.parametrize("word", HOSTILE)
def test_evaluation_page(word, tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(120, 2))
    targets = (rng.random(logits.shape) < sigmoid(logits)).astype(np.float32)
    ids, labels = np.arange(120).astype(str), (word, "ordinary")
    predictions = Predictions(word, labels, ids, np.zeros(120), targets, np.ones_like(targets), logits)
    groups = {word: np.where(np.arange(120) % 2, word, "other")}
    measures = clinical_measures(predictions, sigmoid(logits), thresholds=(0.3,), groups=groups, num_bootstrap=5)
    difference = {"difference": 0.1, "low": 0.0, "high": 0.2, "p_value": 0.1, "n": 120}
    write_evaluation_page(tmp_path / "x.html", word, {word: measures}, {word: word}, [word], {word: {word: difference}})
    assert active(tmp_path / "x.html") == []


@pytest.mark.parametrize("word", HOSTILE)
def test_training_page(word, tmp_path):
    rows = [{"step": step, f"{word}_loss": 1 / step, f"{word}_weight": 1.0, "loss": 1.0} for step in range(1, 30)]
    write_training_page(tmp_path / "x.html", word, rows)
    assert active(tmp_path / "x.html") == []


@pytest.mark.parametrize("word", HOSTILE)
def test_entities_page(word, tmp_path):
    """Texts travel as JSON in a data block, which ends where the page says."""
    document = Document(word, f"{word} and more", [Span("T1", word, ((0, len(word)),))], patient_id=word)
    write_page(tmp_path / "x.html", [(document, [])], title=word, notes=[word])
    assert active(tmp_path / "x.html", own=("script", "script")) == []


@pytest.mark.parametrize("word", HOSTILE)
def test_tripod(word, tmp_path):
    facts = {"manifest": {"source": {"name": word}, "settings": {"endpoints": word}}, "split": word, "version": word}
    write_tripod(tmp_path / "tripod.md", facts | {"commands": [word], "baselines": [word]})
    page = read((tmp_path / "tripod.md").read_text(encoding="utf-8"))
    assert not {tag for tag, _ in page.tags} & (ACTIVE | {"a"})
    assert [tag for tag, _ in page.tags].count("h2") == 27
