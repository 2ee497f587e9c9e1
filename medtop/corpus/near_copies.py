"""Which documents are copies of a document that is kept: exact copies, and near ones whose similarity is verified.

Documents come in the order of their worth (held-out splits first, then `keep`). One after the other, each is compared
with the *kept* documents that share a bucket with it, by the exact Jaccard similarity of their sets of shingles; it
goes when one of them reaches the threshold. What has gone takes nobody with it, so that a chain of small changes keeps
every document that is far from all that are kept.
"""

import dataclasses
import functools

import numpy as np

from medtop.corpus.buckets import Buckets, parse_size
from medtop.corpus.minhash import MinHash, choose_bands
from medtop.corpus.parts import is_among


@dataclasses.dataclass(frozen=True)
class Copies:
    """What was found.

    Attributes:
        dropped: int64 [D], document that goes; kept: int64 [D], the one whose copy it is.
        similarities: float64 [D]; exact: bool [D], whether the normal forms are equal.
        counts: dict of `candidates`, `compared`, `buckets_capped`, `cluster_full`, `all_boilerplate`, `bands`, `rows`.
    """

    dropped: np.ndarray
    kept: np.ndarray
    similarities: np.ndarray
    exact: np.ndarray
    counts: dict


def order_of(table, keep, held_out_first=True):
    """Documents by their worth: int64 [N], the worthiest first.

    Args:
        table: `medtop.corpus.parts.PartTable`.
        keep: "first", "longest" or "newest"; equals in the order of the input.
        held_out_first: test, then validation, then training.
    """
    worth = {"first": np.zeros(len(table), np.int64), "longest": -table.words, "newest": -table.times}[keep]
    split = -table.splits.astype(np.int8) if held_out_first else np.zeros(len(table), np.int64)
    return np.lexsort((np.arange(len(table)), worth, split))


def exact_copies(table, order):
    """(dropped, kept) of documents whose normal form is that of a worthier one: int64 [E] each."""
    digests = table.digests[order]
    by_digest = np.lexsort((np.arange(len(order)), digests[:, 1], digests[:, 0]))
    same = np.zeros(len(order), bool)
    same[1:] = (digests[by_digest][1:] == digests[by_digest][:-1]).all(1)
    heads = by_digest[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))]
    return order[by_digest[same]], order[heads[same]]


def near_copies(table, sets, boilerplate, order, exact, settings, folder):
    """The `Copies` among all documents.

    Args:
        exact: see `exact_copies`.
        table: `Table`; sets: `medtop.corpus.parts.Sets` of shingles.
        boilerplate: sorted uint64, shingles that weigh nothing.
        order: see `order_of`.
        settings: has `near`, `seed`, `largest_cluster`, `memory_limit`.
        folder: for what waits on the disk.
    """
    gone, of = exact
    alone = np.ones(len(table), bool)
    alone[gone] = False
    rank = np.empty(len(table), np.int64)
    rank[order] = np.arange(len(table))
    bands, rows = choose_bands(settings.near)
    buckets = Buckets(folder, len(table), bands, parse_size(settings.memory_limit))
    nothing_left = _fill(buckets, sets, boilerplate, alone, rank, MinHash(bands, rows, settings.seed))
    capped = buckets.meet()
    verified, counts = _verify(buckets, sets, boilerplate, order, settings, np.bincount(of, minlength=len(table)))
    near = np.array(verified, np.float64).reshape(-1, 3)
    dropped = np.concatenate([gone, near[:, 0].astype(np.int64)])
    final = np.arange(len(table))  # an exact copy of a note that is a near copy itself: the one that is kept in the end
    final[near[:, 0].astype(np.int64)] = near[:, 1].astype(np.int64)
    kept = np.concatenate([final[of], near[:, 1].astype(np.int64)])
    similarities = np.concatenate([_through(gone, of, near), near[:, 2]])
    return Copies(
        dropped,
        kept,
        similarities,
        np.append(final[of] == of, np.zeros(len(near), bool)),
        {"bands": bands, "rows": rows, "all_boilerplate": nothing_left, "buckets_capped": capped, **counts},
    )


def _through(gone, of, near):
    """Similarity of each exact copy to the document that is kept: 1, or that of the near copy it equals."""
    to = dict(zip(near[:, 0].astype(np.int64).tolist(), near[:, 2].tolist(), strict=True))
    return np.array([to.get(document, 1.0) for document in of.tolist()], np.float64)


def _fill(buckets, sets, boilerplate, alone, rank, minhash):
    """Puts the documents into their buckets; returns how many are boilerplate only."""
    nothing_left = 0
    for first, sizes, values in sets.parts():
        weighs = ~is_among(values, boilerplate)
        weighs &= np.repeat(alone[first : first + len(sizes)], sizes)
        counts = np.bincount(np.repeat(np.arange(len(sizes)), sizes)[weighs], minlength=len(sizes))
        filled = np.flatnonzero(counts)
        nothing_left += int(((counts == 0) & (sizes > 0) & alone[first : first + len(sizes)]).sum())
        if len(filled):
            buckets.add(minhash.buckets(values[weighs], counts[filled]), rank[first + filled])
    return nothing_left


def _verify(buckets, sets, boilerplate, order, settings, clusters):
    """(list of (dropped, kept, similarity), counts); `clusters`: copies that each document has so far."""

    @functools.lru_cache(maxsize=1 << 10)
    def shingles_of(document):
        values = sets[document]
        return values[~is_among(values, boilerplate)]

    is_kept = np.ones(len(order), bool)
    copies, counts = [], {"candidates": 0, "compared": 0, "cluster_full": 0}
    for later, earlier in buckets.candidates():
        counts["candidates"] += len(earlier)
        document, best = int(order[later]), (0.0, -1)
        own = shingles_of(document)
        for rank in earlier[is_kept[earlier]].tolist():
            other = int(order[rank])
            theirs = shingles_of(other)
            if min(len(own), len(theirs)) < settings.near * max(len(own), len(theirs)):
                continue  # no overlap can reach the threshold
            counts["compared"] += 1
            similarity = jaccard(own, theirs)
            if similarity >= settings.near and similarity > best[0]:
                best = (similarity, rank)
        if best[1] < 0:
            continue
        kept = int(order[best[1]])
        if clusters[kept] >= settings.largest_cluster:
            counts["cluster_full"] += 1
            continue
        clusters[kept] += 1
        is_kept[later] = False
        copies.append((document, kept, best[0]))
    sets.close()
    return copies, counts


def jaccard(first, second):
    """|A and B| / |A or B| of two sorted arrays without doubles."""
    both = np.concatenate([first, second])
    both.sort(kind="stable")
    common = int((both[1:] == both[:-1]).sum())
    return common / (len(both) - common) if len(both) else 0.0
