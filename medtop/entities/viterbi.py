"""The best tags that a scheme allows: Viterbi's algorithm on scores of words.

Letters: W words, K tags.
"""

import numpy as np

_NEVER = -np.inf


def allowed_transitions(tags, scheme="bio"):
    """Which tag may follow which.

    Args:
        tags: list of K str, see `medtop.text.tags.tag_set`.
        scheme: "bio" or "bioes".

    Returns:
        bool [K, K] (from, to), bool [K] (may begin), bool [K] (may end).

    >>> allowed_transitions(["O", "B-x", "I-x"])[0].astype(int).tolist()
    [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    """
    parts = [tag.partition("-")[::2] for tag in tags]
    opening = ("B", "I") if scheme == "bioes" else ()  # after these an entity must go on

    def may_follow(before, after):
        goes_on = after[0] in ("I", "E")
        if before[0] in opening or goes_on:
            return goes_on and before[0] in ("B", "I") and before[1] == after[1]
        return True

    follows = np.array([[may_follow(before, after) for after in parts] for before in parts])
    begins = np.array([letter not in ("I", "E") for letter, _ in parts])
    ends = np.array([letter not in opening for letter, _ in parts])
    return follows, begins, ends


def viterbi(scores, follows, begins, ends, weights=None):
    """The allowed sequence of tags with the highest sum of scores; of equal ones the first tag counted from the end.

    Args:
        scores: float [W, K], such as logits or log-probabilities.
        follows, begins, ends: as `allowed_transitions` gives.
        weights: None, or float [K, K] added for each step from tag to tag.

    Returns:
        int64 [W].
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores):
        return np.zeros(0, np.int64)
    steps = np.where(follows, 0.0 if weights is None else weights, _NEVER)
    best = scores[0] + np.where(begins, 0.0, _NEVER)
    back = np.empty(scores.shape, np.int64)
    columns = np.arange(scores.shape[1])
    for word in range(1, len(scores)):
        ways = best[:, None] + steps
        back[word] = ways.argmax(0)
        best = ways[back[word], columns] + scores[word]
    path = np.empty(len(scores), np.int64)
    path[-1] = (best + np.where(ends, 0.0, _NEVER)).argmax()
    for word in range(len(scores) - 1, 0, -1):
        path[word - 1] = back[word, path[word]]
    return path


def viterbi_of_all(scores, counts, follows, begins, ends):
    """`viterbi` of several sequences at once, word by word of all of them: the same paths, to the bit.

    Args:
        scores: float64 [W, K], the words of N sequences end to end.
        counts: int [N], words of each, 0 allowed; their sum is W.
        follows, begins, ends: as `allowed_transitions` gives.

    Returns:
        int64 [W].
    """
    path = np.empty(len(scores), np.int64)
    counts = np.asarray(counts, np.int64)
    order = np.argsort(-counts, kind="stable")
    counts, first = counts[order], (np.cumsum(counts) - counts)[order]
    first, counts = first[counts > 0], counts[counts > 0]
    if not len(counts):
        return path
    steps = np.where(follows, 0.0, _NEVER).T  # [to, from]: the largest of a row that lies in memory side by side
    going = np.searchsorted(-counts, -np.arange(1, counts[0] + 1), side="right")  # sequences that have a word at n
    best = scores[first] + np.where(begins, 0.0, _NEVER)
    back = np.empty(scores.shape, np.int64)
    for word in range(1, counts[0]):
        here = first[: going[word]] + word
        ways = best[: len(here), None, :] + steps
        back[here] = chosen = ways.argmax(-1)
        best[: len(here)] = np.take_along_axis(ways, chosen[:, :, None], -1)[:, :, 0] + scores[here]
    last = first + counts - 1
    path[last] = (best + np.where(ends, 0.0, _NEVER)).argmax(-1)
    for word in range(counts[0] - 1, 0, -1):
        here = first[: going[word]] + word
        path[here - 1] = back[here, path[here]]
    return path
