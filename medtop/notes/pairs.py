"""Pairs of runs of sentences: "does the second follow the first?" (Devlin et al. 2018) and "are they swapped?" (Lan et
al. 2020: ALBERT; GatorTron), without truncation.

Letters: Z pieces of a text.
"""

import dataclasses

import numpy as np

from medtop.text.sentences import join_short, sentence_spans


@dataclasses.dataclass(frozen=True)
class SentencePieces:
    """A text as word pieces, cut into sentences.

    Attributes:
        ids, word_starts, starts, ends: int64 [Z], as in `medtop.text.wordpiece.Pieces`.
        edges: int64 [sentences + 1], the piece at which each sentence begins, and the end.
    """

    ids: np.ndarray
    word_starts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    edges: np.ndarray


@dataclasses.dataclass(frozen=True)
class Pair:
    """First and second run of a record, as ranges of pieces.

    Attributes:
        text: whose record it is; first: (begin, end) of its pieces.
        other: the text of the second run; second: (begin, end) of its pieces, or None: a record of one run.
        is_next: whether the second run follows the first one in the same text.
        swapped: whether the first run follows the second one in the same text.
    """

    text: int
    first: tuple
    other: int
    second: tuple | None
    is_next: bool
    swapped: bool = False


def sentence_pieces(texts, tokenizer, unit, short, longest):
    """Cuts texts into sentences of word pieces.

    Args:
        texts: list of str.
        tokenizer: `medtop.text.wordpiece.WordPiece`.
        unit, short: as for `join_short`.
        longest: most pieces of a sentence; longer ones (lists, tables without full stops) are cut, lengths equal to
            within one.

    Returns:
        list of `SentencePieces`, one per text; texts without a word have none.
    """
    spans = [join_short(text, sentence_spans(text), unit, short) for text in texts]
    pieces = tokenizer.tokenize([text[a:b] for text, sentences in zip(texts, spans, strict=True) for a, b in sentences])
    begins = np.concatenate([[0], np.cumsum(pieces.counts)])
    result, sentence = [], 0
    for sentences in spans:
        counts = pieces.counts[sentence : sentence + len(sentences)]
        part = slice(begins[sentence], begins[sentence + len(sentences)])
        shift = np.repeat(np.array([start for start, _ in sentences], np.int64), counts)
        result.append(
            SentencePieces(
                pieces.ids[part],
                pieces.word_starts[part],
                pieces.starts[part] + shift,
                pieces.ends[part] + shift,
                _edges(counts, longest),
            )
        )
        sentence += len(sentences)
    return result


def _edges(counts, longest):
    """Ends of sentences of `counts` pieces, those longer than `longest` cut into parts."""
    parts = -(-counts[counts > 0] // longest)
    whole = np.repeat(counts[counts > 0], parts)
    number = np.arange(len(whole)) - np.repeat(np.cumsum(parts) - parts, parts)
    of = np.repeat(parts, parts)
    return np.concatenate([[0], np.cumsum((number + 1) * whole // of - number * whole // of)]).astype(np.int64)


def make_pairs(texts, others, most, short_prob, rng):
    """Draws the pairs of some texts.

    Sentences are gathered up to a length (`most`, or with probability `short_prob` a random shorter one) and cut in two
    at a random sentence. Half of the second runs are replaced by a run from another text, and what they were goes into
    the next pair: each piece of a text is in exactly one of its pairs.

    Args:
        texts: list of `SentencePieces`, none of whose sentences is longer than `most // 2`.
        others: list of `SentencePieces` with pieces: where wrong continuations come from; `texts` may be among them.
        most: most pieces of both runs together.
        short_prob: see above.
        rng: NumPy generator.

    Returns:
        list of `Pair`; `other` is a place in `others`, or `text` where `is_next`.
    """
    pairs = []
    for number, text in enumerate(texts):
        edges, place = text.edges.tolist(), 0
        while place < len(edges) - 1:
            wanted = _wanted(most, short_prob, rng)
            stop, middle = _cut(edges, place, wanted, rng)
            first = (edges[place], edges[middle])
            if stop == place + 1 or rng.random() < 0.5:
                other = _another(text, others, rng)
                room = max(min(wanted, most) - (first[1] - first[0]), 1)
                pairs.append(Pair(number, first, other, _run(others[other].edges, room, rng), False))
                place = middle
            else:
                pairs.append(Pair(number, first, number, (edges[middle], edges[stop]), True))
                place = stop
    return pairs


def make_ordered_pairs(texts, most, short_prob, rng):
    """Draws pairs that are in order or, every other one, swapped; the arguments are those of `make_pairs`.

    Each piece of a text is in exactly one of its pairs. Where one sentence is left, or fills the room alone, the pair
    has a first run only.

    Returns:
        list of `Pair`.
    """
    pairs = []
    for number, text in enumerate(texts):
        edges, place = text.edges.tolist(), 0
        while place < len(edges) - 1:
            stop, middle = _cut(edges, place, _wanted(most, short_prob, rng), rng)
            runs = (edges[place], edges[middle]), (edges[middle], edges[stop])
            if stop == place + 1:
                pairs.append(Pair(number, runs[0], number, None, False))
            elif rng.random() < 0.5:
                pairs.append(Pair(number, runs[1], number, runs[0], False, swapped=True))
            else:
                pairs.append(Pair(number, runs[0], number, runs[1], True))
            place = stop
    return pairs


def _wanted(most, short_prob, rng):
    """How many pieces a pair is meant to have."""
    return int(rng.integers(2, most + 1)) if rng.random() < short_prob else most


def _cut(edges, place, wanted, rng):
    """(sentence at which a pair that begins at `place` ends, sentence at which it is cut in two)."""
    stop = place + 1
    while stop < len(edges) - 1 and edges[stop + 1] - edges[place] <= wanted:
        stop += 1
    return stop, place + (1 if stop == place + 1 else int(rng.integers(1, stop - place)))


def _another(text, others, rng):
    """A random place in `others` that does not hold `text`."""
    place = int(rng.integers(len(others)))
    return (place + 1) % len(others) if others[place] is text else place


def _run(edges, room, rng):
    """(begin, end) of sentences from a random one on, at most `room` pieces: the first of them may be cut."""
    start = int(rng.integers(len(edges) - 1))
    stop = max(int(np.searchsorted(edges, edges[start] + room, side="right")) - 1, start)
    return int(edges[start]), int(edges[stop]) if stop > start else int(min(edges[start] + room, edges[-1]))
