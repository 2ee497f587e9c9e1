"""entities.html in a real browser: spans are drawn, filters and keys work, nothing is fetched and nothing injected."""

import numpy as np
import pytest
from browser import browser
from entity_cases import random_spans, random_text

from medtop.entities.documents import Document, Span
from medtop.entities.reader_page import page_spans, segments, write_page

TEXT = "He has \U0001d4d0 chest pain </script><b>bold</b>, took aspirin and\nlisinopril."


def place(words):
    return TEXT.index(words), TEXT.index(words) + len(words)


def pairs():
    gold = [
        Span("1", "problem", (place("chest pain"),)),
        Span("2", "drug", (place("aspirin"),)),
        Span("3", "drug", (place("lisinopril"),)),
    ]
    system = [
        Span("1", "problem", (place("pain"),), {}, 0.8), Span("2", "problem", (place("aspirin"),), {}, 0.6),
        Span("3", "drug", (place("bold"),), {}, 0.4),
    ]  # fmt: skip
    right = Document("<b>two</b>", "fine pain", [Span("1", "problem", ((5, 9),))])
    return [(Document("one", TEXT, gold), system), (right, right.spans)]


def test_segments_hold_the_text():
    random = np.random.default_rng(12)
    for _ in range(100):
        text = random_text(random)
        items = page_spans(random_spans(random, text), random_spans(random, text))
        found = segments(text, items)
        assert "".join(piece for piece, _ in found) == text
        for number, item in enumerate(items):
            marked = "".join(piece for piece, inside in found if number in inside)
            covered = sorted({n for start, end in item["fragments"] for n in range(start, end)})
            assert marked == "".join(text[n] for n in covered)


def test_kinds():
    kinds = {(item["side"], item["type"]): item["kind"] for item in page_spans(pairs()[0][0].spans[:2], pairs()[0][1])}
    assert kinds == {
        ("gold", "problem"): "wrong boundary", ("gold", "drug"): "wrong type", ("system", "problem"): "wrong type",
        ("system", "drug"): "spurious",
    }  # fmt: skip


@pytest.mark.slow
def test_in_a_browser(tmp_path):
    write_page(tmp_path / "entities.html", pairs(), title="A & B")
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "entities.html").as_uri())
        assert (
            page.run("document.querySelector('article').innerText.replace(/[gs]:(problem|drug)/g, '')").split()
            == TEXT.split()
        )
        assert page.run("document.querySelectorAll('article b').length") == 0, "texts are never markup"
        assert page.run("[...document.querySelectorAll('nav button')].map(b => b.textContent)") == [
            "one (4)",
            "<b>two</b> (0)",
        ]
        told = []
        for key in "jjjjjk":
            page.press(key)
            told.append(page.run("document.getElementById('place').textContent"))
        assert told == [
            "one: begins too late (gold problem, system problem, score 0.800)",
            "one: spurious (gold none, system drug, score 0.400)",
            "one: wrong type (gold drug, system problem, score 0.600)",
            "one: missed (gold drug, system none)",
            "one: missed (gold drug, system none)",
            "one: wrong type (gold drug, system problem, score 0.600)",
        ]
        assert page.run("document.querySelector('.current-span').firstChild.textContent") == "aspirin"
        page.run("document.querySelector('[data-kind=missed]').click()")
        assert page.run("document.querySelector('nav button').textContent") == "one (3)"
        assert page.run("document.querySelectorAll('.missed').length") == 0
        page.run("document.querySelector('[data-type=problem]').click()")
        assert page.run("document.querySelector('nav button').textContent") == "one (2)"
        page.run("document.querySelector('[data-kind=right]').click()")
        page.run("document.querySelector('[data-type=problem]').click()")
        page.press("n")
        assert page.run("document.querySelector('nav .current').textContent") == "<b>two</b> (1)"
        page.press("j")
        assert page.run("document.getElementById('place').textContent").startswith("<b>two</b>: right")
        assert page.complaints == []
        assert {
            e["params"]["request"]["url"] for e in page.events if e.get("method") == "Network.requestWillBeSent"
        } == {(tmp_path / "entities.html").as_uri()}
