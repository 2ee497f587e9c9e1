"""What a run of de-duplication counted: for the manifest, and as lines for a reader."""

import collections

import numpy as np

from medtop.cohort.splits import SPLITS
from medtop.corpus.minhash import chance_to_meet


def manifest_of(settings, table, copies, left_out, shingles, lines, lines_removed):
    """What the manifest says of a run, beside its settings, inputs and outputs.

    Args:
        settings: `medtop.corpus.deduplicate.DedupSettings`.
        table: `medtop.corpus.parts.PartTable`; copies: `medtop.corpus.near_copies.Copies`.
        left_out: dict source -> dict reason -> documents.
        shingles, lines: how many are boilerplate; lines_removed: how often.
    """
    is_exact, is_near = np.zeros((2, len(table)))
    is_exact[copies.dropped[copies.exact]] = 1
    is_near[copies.dropped[~copies.exact]] = 1
    cells = table.groups * len(SPLITS) + table.splits
    numbers = {
        "documents": np.bincount(cells),
        "exact": np.bincount(cells, is_exact),
        "near": np.bincount(cells, is_near),
    }
    entries = []
    for cell in np.flatnonzero(numbers["documents"]).tolist():
        source, kind = table.names[cell // len(SPLITS)]
        about = {"source": source, "kind": kind, "split": SPLITS[cell % len(SPLITS)]}
        entries.append(about | {name: int(number[cell]) for name, number in numbers.items()})
    clusters = np.bincount(copies.kept, minlength=1)
    train = SPLITS.index("train")
    leaks = (table.splits[copies.dropped] == train) & (table.splits[copies.kept] != train)
    bands, rows = copies.counts["bands"], copies.counts["rows"]
    return {
        "documents": len(table),
        "words": int(table.words.sum(dtype=np.int64)),
        "left_out": left_out,
        "kept": len(table) - len(copies.dropped),
        "exact": int(is_exact.sum()),
        "near": int(is_near.sum()),
        "training_copies_of_held_out": int(leaks.sum()),
        "largest_cluster": int(clusters.max(initial=0)),
        "boilerplate_shingles": shingles,
        "boilerplate_lines": lines,
        "lines_removed": lines_removed,
        "hashes": {**copies.counts, "chance_to_meet_at_near": chance_to_meet(settings.near, bands, rows)},
        "groups": entries,
    }


def summary_lines(manifest):
    """The manifest as lines for a reader."""
    total = manifest["documents"]
    lines = [
        f"documents: {total:,} in = {manifest['kept']:,} kept + {manifest['exact']:,} exact copies "
        f"+ {manifest['near']:,} near copies (similarity {manifest['settings']['near']} or more)"
    ]
    for source, reasons in manifest["left_out"].items():
        lines += [f"  {source}: left out while reading: {reason} {number:,}" for reason, number in reasons.items()]
    by_kind = collections.defaultdict(collections.Counter)
    for entry in manifest["groups"]:
        by_kind[(entry["source"], entry["kind"])].update({n: entry[n] for n in ("documents", "exact", "near")})
    for (source, kind), counts in sorted(by_kind.items(), key=lambda item: -item[1]["documents"])[:_MOST_KINDS]:
        gone = counts["exact"] + counts["near"]
        lines.append(
            f"  {source}{f' / {kind}' if kind else ''}: {gone / counts['documents']:.1%} of {counts['documents']:,} "
            f"dropped (exact {counts['exact']:,}, near {counts['near']:,})"
        )
    if len(by_kind) > _MOST_KINDS:
        lines.append(f"  and {len(by_kind) - _MOST_KINDS} more kinds in the manifest")
    lines.append(
        f"training copies of validation and test notes removed: {manifest['training_copies_of_held_out']:,}"
        + ("" if manifest["settings"]["splits"] else " (no --splits: all is training but what file names say)")
    )
    hashes = manifest["hashes"]
    lines.append(
        f"compared: {hashes['compared']:,} pairs exactly, of {hashes['candidates']:,} candidates "
        f"({hashes['bands']} bands of {hashes['rows']}; a pair at the threshold is a candidate with probability "
        f"{hashes['chance_to_meet_at_near']:.4f}); largest cluster {manifest['largest_cluster']:,}"
    )
    lines.append(f"weigh nothing: {manifest['boilerplate_shingles']:,} shingles of boilerplate")
    for name, said in (
        (
            "all_boilerplate",
            "documents that are boilerplate throughout, of which only exact copies went (--boilerplate)",
        ),
        ("cluster_full", "near copies kept because their cluster was full (--largest_cluster)"),
        ("buckets_capped", "places in crowded buckets, compared with the first 32 of the bucket only"),
    ):
        lines += [f"{said}: {hashes[name]:,}"] if hashes[name] else []
    if manifest["boilerplate_lines"]:
        lines.append(f"lines removed: {manifest['lines_removed']:,} ({manifest['boilerplate_lines']:,} different ones)")
    return lines


_MOST_KINDS = 12
