"""The texts of chosen notes, in the order of their examples, in bounded memory.

A table of notes has its own order. Texts are copied, in that order, into a few files ("buckets") of some examples each;
then each bucket is read whole.
"""

import numpy as np

from medtop.sources.text_files import is_gzipped, stream_bytes

BUCKET_BYTES = 1 << 25
MOST_BUCKETS = 256
"""Buckets are open all at once; where there would be more, they get larger."""


def read_spans(path, starts, sizes):
    """Yields the bytes at `starts` of a file, of `sizes`, in rising order; of a gzip file, of its unpacked content."""
    spans = zip(starts.tolist(), sizes.tolist(), strict=True)
    if not is_gzipped(path):
        with open(path, "rb", buffering=1 << 18) as file:
            for start, size in spans:
                file.seek(start)
                yield file.read(size)
        return
    blocks, held, begin = stream_bytes(path), b"", 0
    for start, size in spans:
        while begin + len(held) <= start:
            begin, held = begin + len(held), next(blocks)
        parts = [held]
        length = begin + len(held) - start
        while length < size:
            parts.append(next(blocks))
            length += len(parts[-1])
        if len(parts) > 1:
            begin, held = start, b"".join([held[start - begin :], *parts[1:]])
        yield held[start - begin : start - begin + size]


def cut_buckets(examples, sizes):
    """Cuts notes, sorted by example, into buckets of whole examples: int64 [buckets + 1], places of the cuts."""
    if not len(examples):
        return np.zeros(1, np.int64)
    firsts = np.flatnonzero(np.diff(examples, prepend=examples[0] - 1))
    before = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    size = max(BUCKET_BYTES, int(before[-1]) // MOST_BUCKETS + 1)
    buckets = before[firsts] // size  # by the bytes that stand before an example
    cuts = firsts[np.flatnonzero(np.diff(buckets, prepend=-1))]
    return np.append(cuts, len(examples))


def iterate_texts(folder, paths, chosen, encoding="utf-8", progress=None):
    """Yields (slice of `chosen`, list of str) for some whole examples at a time, in order.

    Args:
        folder: existing folder for the buckets; they are removed.
        paths: files by number.
        chosen: `ChosenNotes`.
        encoding: of the texts.
        progress: None, or a function called with (what is counted, how many so far).
    """
    cuts = cut_buckets(chosen.examples, chosen.sizes)
    bucket_of = np.searchsorted(cuts, np.arange(len(chosen)), side="right") - 1
    places, sizes = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    filled = [0] * (len(cuts) - 1)
    names = [folder / f"texts.{number}" for number in range(len(cuts) - 1)]
    files = [open(name, "wb", buffering=1 << 16) for name in names]
    try:
        done = 0
        for number, path in enumerate(paths):
            order = np.flatnonzero(chosen.files == number)
            order = order[np.argsort(chosen.starts[order], kind="stable")]
            texts = read_spans(path, chosen.starts[order], chosen.sizes[order])
            for note, text in zip(order.tolist(), texts, strict=True):
                text = text.replace(b'""', b'"') if chosen.quoted[note] else text
                bucket = bucket_of[note]
                files[bucket].write(text)
                places[note], sizes[note] = filled[bucket], len(text)
                filled[bucket] += len(text)
                done += 1
                if progress and done % 10_000 == 0:
                    progress("texts sorted", done)
    finally:
        for file in files:
            file.close()
    for number, name in enumerate(names):
        part = slice(int(cuts[number]), int(cuts[number + 1]))
        content = name.read_bytes()
        name.unlink()
        spans = zip(places[part].tolist(), sizes[part].tolist(), strict=True)
        yield part, [content[start : start + size].decode(encoding) for start, size in spans]
