"""A note with its words shaded by what the model used of them, one note after another. It holds the notes' texts."""

import numpy as np

from medtop.reporting.elements import Markup, escape, html_table, write_page

WARNING = (
    "What the model used, not what causes anything: a word may stand for a disease, for a habit of writing, or for "
    "care that was given. Attention weights are not shown, because they say where a layer looked, not what changed the "
    "risk."
)
MOST_WORDS = 12
"""Rows of the table under each note."""


def write_words_page(path, notes, labels, title="Words that the risk rests on"):
    """Writes the page, whole or not at all.

    Args:
        path: the file.
        notes: list of (name, text, probabilities float [K], `medtop.readmission.explain.WeighedWords`).
        labels: K names; words are shaded for each label in turn.
        title: its heading.
    """
    sections = [
        (f"note{number}-{place}", escape(f"{name}: {label}"), _note(text, risks[place], words, place))
        for number, (name, text, risks, words) in enumerate(notes)
        for place, label in enumerate(labels)
    ]
    sentences = [
        WARNING,
        "Red words raised the logit, blue ones lowered it; the darker, the more. A word's title gives its value, "
        "summed over its pieces and over the windows that hold it, weighted by each window's share of the risk.",
        "This page holds the notes' texts: keep it as you keep them.",
    ]
    write_page(path, title, sections, {}, sentences)


def _note(text, risk, words, place):
    values = words.values[:, place]
    largest = max(float(np.abs(values).max(initial=0)), 1e-9)
    parts, end = [], 0
    for start, stop, value in zip(words.starts.tolist(), words.ends.tolist(), values.tolist(), strict=True):
        parts.append(escape(text[end:start]))
        parts.append(_word(text[start:stop], value, largest))
        end = stop
    parts.append(escape(text[end:]))
    change = f"{words.logits[place]:+.2f} with its words, {words.baselines[place]:+.2f} without"
    order = np.argsort(-np.abs(values), kind="stable")[:MOST_WORDS]
    rows = [[text[words.starts[row] : words.ends[row]], f"{values[row]:+.3f}"] for row in order]
    head = f"<p>Risk {risk:.4f}; logit of the windows {change}; the words add up to {values.sum():+.2f}.</p>"
    return f'{head}<p class="note">{"".join(parts)}</p>{html_table(["word", "attribution"], rows)}'


def _word(text, value, largest):
    share = round(70 * min(abs(value) / largest, 1))
    if share < 3:  # not worth a colour; the table and most of the page stay light
        return escape(text)
    colour = "--series-1" if value > 0 else "--series-0"
    style = f"background:color-mix(in srgb, var({colour}) {share}%, transparent)"
    return Markup(f'<span style="{style}" title="{value:+.3f}">{escape(text)}</span>')
