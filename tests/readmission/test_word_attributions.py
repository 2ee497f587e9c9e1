"""Which words a note's risk rests on: values add up over pieces and windows and stand at their words; an inert page."""

import numpy as np
import pytest
from notes_data import finished_readmission

from medtop.files.errors import DataError
from medtop.readmission.explain import WordExplainer
from medtop.readmission.input import read_stays
from medtop.readmission.score import NoteScorer, Stay


@pytest.fixture(scope="module")
def folder(run_script):
    return finished_readmission(run_script)[0]


@pytest.fixture(scope="module")
def scorer(folder):
    return NoteScorer(folder / "run", batch_size=4)


@pytest.fixture(scope="module")
def texts(folder):
    stays = [stay.text for stay in read_stays(folder / "n.notes.test.parquet", Stay)]
    return sorted(stays, key=len)[:: max(1, len(stays) // 6)]


@pytest.mark.slow
def test_values_add_up_and_stand_at_their_words(scorer, texts):
    explainer, residuals, windows = WordExplainer(scorer, steps=32), [], []
    for text in texts:
        words = explainer.explain(text)
        scored = scorer.score([text])
        windows.append(len(scored.texts))
        change = words.logits - words.baselines
        residuals.append(np.abs(words.values.sum(0) - change)[0] / max(np.abs(change)[0], 1e-6))
        logits = np.log(scored.window_probabilities / (1 - scored.window_probabilities))
        assert words.logits[0] == pytest.approx((scored.shares * logits).sum(), abs=1e-4)
        shown = [text[start:end] for start, end in zip(words.starts, words.ends, strict=True)]
        assert "".join("".join(shown).split()) == "".join(text.split()), "every letter belongs to a word"
        assert (words.starts[1:] >= words.ends[:-1]).all()
    assert max(windows) > 1 and min(windows) >= 1
    assert np.median(residuals) < 0.01 and max(residuals) < 0.05, residuals


@pytest.mark.slow
def test_a_word_is_the_sum_of_its_pieces_in_each_window(scorer, texts):
    """By hand, window by window: pieces are laid along the text from the window's first letter on."""
    text = texts[-1]
    words = WordExplainer(scorer, steps=8).explain(text)
    attributor = WordExplainer(scorer, steps=8)._attributor
    scored, windows = scorer.score_windows([text])
    first = np.cumsum(windows.counts) - windows.counts
    expected = dict.fromkeys(words.starts.tolist(), 0.0)
    for rows, x in scorer.batches(windows.token_ids, windows.counts):
        values = attributor(x)[0]["code"]
        for place, row in enumerate(rows):
            begins = [start for start in words.starts.tolist() if start >= scored.starts[row]]
            opens = windows.word_starts[first[row] + 1 : first[row] + windows.counts[row] - 1]
            number = -1 + (1 - opens[0])  # a window may begin within a word
            for spot, is_first in enumerate(opens, 1):
                number += int(is_first)
                expected[begins[number]] += scored.shares[row, 0] * values[place, spot, 0]
    assert words.values[:, 0] == pytest.approx(np.array(list(expected.values())), abs=1e-6)
    assert np.abs(words.values).max() > 0


@pytest.mark.slow
def test_the_page_of_the_script(folder, run_script, tmp_path):
    note = "Pt with <script>alert(1)</script> chest pain & edema. " * 3
    (tmp_path / "note.txt").write_text(note)
    page = tmp_path / "note.html"
    basic = ["run_scripts/score_notes.py", f"--run_dir={folder / 'run'}"]
    asked = [f"--text_file={tmp_path / 'note.txt'}", f"--explain={page}", "--explain_steps=4"]
    done = run_script(*basic, *asked)
    assert done.returncode == 0 and f"words of 1 note: {page}" in done.stdout, done.stderr
    html = page.read_text()
    assert "<script" not in html and "&lt;" in html and "edema" in html and 'class="note"' in html
    assert "This page holds the notes" in html and html.count("<span style=") > 2
    again = run_script(*basic, *asked)
    assert again.returncode == 1 and "expected a new file" in again.stderr
    done = run_script(
        *basic,
        f"--input_file={folder / 'n.notes.test.parquet'}",
        f"--output_file={tmp_path / 'risks.csv'}",
        f"--explain={tmp_path / 'all.html'}",
        "--explain_steps=2",
    )
    assert done.returncode == 0 and (tmp_path / "risks.csv").is_file(), done.stderr
    rows = (tmp_path / "risks.csv").read_text().splitlines()
    assert (tmp_path / "all.html").read_text().count('class="note"') == min(50, len(rows) - 1)


def test_a_text_without_words_and_a_timeline_are_refused(scorer, folder, run_script, tmp_path):
    with pytest.raises(DataError, match="expected texts with words"):
        WordExplainer(scorer, steps=2).explain(" \n ")
    flags = ["--input_file=x.csv", "--output_file=y.csv", "--timeline", f"--explain={tmp_path / 'p.html'}"]
    done = run_script("run_scripts/score_notes.py", f"--run_dir={folder / 'run'}", *flags)
    assert done.returncode == 1 and "--explain has no effect with --timeline" in done.stderr
