"""Model cards: facts in card.json, one text rendered from them, and nothing that a user's words can run."""

import html.parser
import json

import pytest

from medtop.files.errors import DataError
from medtop.reporting.card import Card, read_card, render, write_card
from medtop.reporting.markdown import code, code_block, inline, table, text

markdown_it = pytest.importorskip("markdown_it", reason="the reader of Markdown comes with Keras")

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://tracker/p.png)",
    "[a]: http://evil 'title'",
    "`<b>` `` ` <script>alert(1)</script>",
    "`a``<script>alert(1)</script>",
    "\\`<script>`",
    "\\<script>alert(1)</script>",
    "a | b | c",
    "**bold** __bold__ _it_ ~~gone~~ *it*",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "=== rule",
    "line\n\n# second\n```\n<script>alert(1)</script>",
    "```\n<script>alert(1)</script>\n```",
    "&lt;script&gt; &#60; &amp;",
    "--- <!-- gone -->",
)
ENTRY = {"value": 0.5, "low": 0.4, "high": 0.6}
OWN_TAGS = {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong", "code", "pre"}


class Reader(html.parser.HTMLParser):
    """Collects tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [value for _, value in attrs if value and not value.startswith("language-")]))

    def handle_data(self, data):
        self.words.append(data)


def read(markdown):
    """What a reader of GitHub's Markdown that also takes raw HTML makes of it."""
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return Reader(reader.render(markdown))


def words(value):
    return " ".join(str(value).split())


@pytest.mark.parametrize("value", HOSTILE)
def test_a_text_shows_what_it_was_given_and_is_nothing_else(value):
    for page in (read(f"- {text(value)}"), read(text(value)), read("\n".join(table(["x", "y"], [[value, 1]])))):
        assert {tag for tag, _ in page.tags} <= {"p", "ul", "li", "code", "table", "thead", "tbody", "tr", "th", "td"}
        shown = words("".join(page.words)).removeprefix("x y ").removesuffix(" 1")
        plain = words(value).replace("`", "")
        assert shown.replace("`", "").replace(" ", "") == plain.replace(" ", "")


@pytest.mark.parametrize("value", HOSTILE)
def test_code_shows_what_it_was_given(value):
    page = read(f"- {text(code(value))}")
    assert [tag for tag, _ in page.tags] == ["ul", "li", "code"]
    assert words("".join(page.words)) == words(value).replace("`", "'")
    page = read("\n".join(code_block(value, "python")))
    assert [tag for tag, _ in page.tags] == ["pre", "code"]
    assert "".join(page.words).rstrip("\n") == value.rstrip("\n")


def test_the_check_checks():
    """Unescaped, the words do what they say."""
    assert ("script", []) in read(HOSTILE[0]).tags and "em" in dict(read(HOSTILE[10]).tags)
    assert ("a", ["http://x"]) in read("[a](http://x)").tags


def test_ordinary_words_stay_readable():
    sentence = "left out (head of long_stay): long_stay_logits/kernel; 0.812 [0.790, 0.834]; [CLS] and 5% - fine"
    assert text(sentence) == inline(sentence) == sentence
    assert text("`bert.embeddings.weight` is all zeros") == "`bert.embeddings.weight` is all zeros"


def card_of(label):
    masked = {"accuracy": ENTRY, "top10_accuracy": ENTRY, "perplexity": ENTRY, "n": 7, "positives": None}
    entry = dict.fromkeys(("roc_auc", "average_precision", "brier", "calibration_error"), ENTRY)
    return Card(
        title=label,
        summary=[f"A model of {label}.", label],
        restrictions=label,
        usage=[label, {"language": "python", "code": f"print({label!r})"}, {"header": ["name"], "rows": [[label]]}],
        tasks={label: [label, "ordinary"], "masked_lm": []},
        data=[label],
        split=label,
        metrics={label: {label: entry | {"n": 10, "positives": 4}}, "masked_lm": {label: masked}},
        notes=[label],
        configuration={"name": label},
        commands={label: f"python x.py --labels={label}"},
    )


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_is_inert_everywhere_in_a_card(label, tmp_path):
    write_card(tmp_path, card_of(label))
    page = read((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} <= OWN_TAGS, "only what the card itself is made of"
    assert not [values for _, values in page.tags if values]
    assert [tag for tag, _ in page.tags].count("h1") == 1
    ordinary = read("\n".join(render(card_of("ordinary"))))
    assert [tag for tag, _ in page.tags if tag != "code"] == [tag for tag, _ in ordinary.tags if tag != "code"]


def test_cards_are_read_back_from_json_not_from_text(tmp_path):
    card = card_of(HOSTILE[0])
    write_card(tmp_path, card)
    (tmp_path / "README.md").write_text("**Restrictions.** none\n")
    assert read_card(tmp_path) == card
    assert read_card(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', "null", '{"version": 1, "data": "x"}'])
def test_another_file_is_no_card(content, tmp_path):
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(DataError, match="card.json: expected a model card"):
        read_card(tmp_path)


def test_a_card_of_a_run_by_hand(tmp_path):
    entry = dict.fromkeys(("roc_auc", "average_precision"), ENTRY) | {"brier": {"value": None}, "n": 9, "positives": 3}
    card = Card(tasks={"stay": ["stay"]}, split="test", metrics={"stay": {"stay": entry, "micro": entry}}, data=["a"])
    write_card(tmp_path, card)
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[0] == "# Model card"
    assert "| stay | stay | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] | undefined | undefined | 9 | 3 |" in lines
    assert not [line for line in lines if "micro" in line], "the only label's average would repeat it"
    assert json.loads((tmp_path / "card.json").read_text())["metrics"]["stay"]["micro"]["n"] == 9
