"""The page of language models: which columns stand there, and what may break into lines."""

from medtop.reporting.language_page import HEADER, columns, write_language_page

LOSS = {"value": 4.75, "low": 4.692, "high": 4.815}


def entry(name, **measures):
    return {"name": name, "measures": {"word_loss": LOSS, **measures}}


def test_columns_that_no_model_fills_are_left_out():
    header, rows = columns([entry("a"), entry("b", next_sentence_accuracy={"value": 0.5, "low": None, "high": None})])
    assert header == ["model", "hidden words: loss, nats [95%]", "next sentence: right [95%]"]
    assert rows == [["a", "4.750 [4.692, 4.815]", ""], ["b", "4.750 [4.692, 4.815]", "0.500"]]
    assert set(header) < set(HEADER)


def test_paths_break_at_slashes_and_intervals_nowhere(tmp_path):
    content = {"models": [entry("runs/<b>/model")], "about": {"texts": 3}, "notes": []}
    write_language_page(tmp_path / "language.html", content)
    page = (tmp_path / "language.html").read_text(encoding="utf-8")
    assert "runs/<wbr>&lt;b&gt;/<wbr>model" in page and "4.750 [4.692,\N{NO-BREAK SPACE}4.815]" in page
