"""Two folders of entities scored against each other."""

import dataclasses
from pathlib import Path

from medtop.entities import misses, scores
from medtop.entities.documents import Tally
from medtop.entities.formats import find_format
from medtop.entities.reading import input_files, read_text
from medtop.entities.tables import read_tables, splits_of
from medtop.files.errors import DataError

_ENDS = {
    ".ann": "brat",
    ".con": "i2b2_2010",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".pubtator": "pubtator",
    ".PubTator": "pubtator",
    ".conll": "conll",
    ".tsv": "conll",
    ".bio": "conll",
    ".iob": "conll",
}
_ROOTS = {"<collection": "bioc", "<deIdi2b2": "i2b2_2014", "<ClinicalNarrativeTemporalAnnotation": "i2b2_2012"}
_HEAD = 4096


def detect_format(path):
    """The format of a file or folder, from its files' names and, of XML and `.txt`, from their beginnings.

    Raises:
        DataError: where none is recognised.
    """
    path = Path(path)
    if not path.exists():
        if list(path.parent.glob(f"{path.name}.documents.*.parquet")):
            return "parquet"
        raise DataError(f"{path}: expected a file, a folder or the prefix of tables, found no such thing")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    plain = [(file, Path(file.name.removesuffix(".gz"))) for file in files]
    for end, name in _ENDS.items():
        if any(
            file.suffix == end or file.name.endswith(f"{end}.txt")
            for _, file in plain
            if file.name != "conversion.json"
        ):
            return name
    for file, name in plain:
        if name.suffix in (".xml", ".txt"):
            head = read_text(file)[:_HEAD]
            for root, name_of_format in _ROOTS.items():
                if root in head:
                    return name_of_format
            if name.suffix == ".txt" and "|t|" in head:
                return "pubtator"
    raise DataError(f"{path}: expected one of the formats of docs/entities.md, found none; name it with a flag")


def load(path, name, split, side, allow_rejects):
    """The documents of one side.

    Args:
        path: file, folder, or prefix of tables.
        name: format, or None: detected.
        split: of tables, which one.
        side: "gold" or "system", for messages.
        allow_rejects: score without what cannot be used, instead of refusing.

    Returns:
        (list of `Document`, `Tally`).

    Raises:
        DataError: where spans or documents cannot be used, or one document stands twice with different content.
    """
    name, tally = name or detect_format(path), Tally()
    if name == "parquet":
        if split not in splits_of(path):
            raise DataError(f"--split: expected one of {', '.join(splits_of(path))}, received {split!r}")
        read = read_tables(path, split, tally)
    else:
        source = find_format(name)
        read = source.read(input_files(path, source.suffixes), tally)
    documents = {}
    for document in read:
        known = documents.setdefault(document.document_id, document)
        if known is document:
            continue
        if (known.text, known.spans) != (document.text, document.spans):
            tally.reject(path, "", "document", "a second document with this id", "documents")
        else:
            tally.count("documents_merged")
    lost = {
        what: tally.counts[f"{what}_left_out"] for what in ("documents", "spans") if tally.counts[f"{what}_left_out"]
    }
    if lost and not allow_rejects:
        _, line, column, reason = tally.rejects[0]
        numbers = " and ".join(f"{n} {what}" for what, n in lost.items())
        raise DataError(
            f"{path}: expected {side} without errors, received {numbers} that cannot be used (first: line "
            f"{line or '-'}, {column}: {reason}); --allow_rejects scores without them"
        )
    return list(documents.values()), tally


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` gives.

    Attributes:
        pairs: list of (gold `Document`, list of the system's spans).
        result: dict for JSON: "flavour", "unit", "documents", "scores", "confusion", "misses", "comparison" (or None),
            "left_out".
        counts: `scores.Counts`.
    """

    pairs: list
    result: dict
    counts: scores.Counts


def evaluate(gold, system, second=None, *, flavour="conll", missing="refuse", num_bootstrap=1000, seed=0):
    """Scores a system, and compares it with a second one.

    Args:
        gold, system, second: lists of `Document`; `second` may be None.
        flavour, missing, num_bootstrap, seed: see `scores`.
    """
    pairs = scores.paired(gold, system, missing=missing)
    types = {span.type for document in (*gold, *system, *(second or ())) for span in document.spans}
    counts = scores.count(pairs, flavour, sorted(types))
    table, kinds = misses.errors(pairs)
    result = {
        "flavour": flavour,
        "unit": counts.unit,
        "documents": len(pairs),
        "scores": scores.scores(counts, num_bootstrap=num_bootstrap, seed=seed),
        "confusion": [[*pair, number] for pair, number in sorted(table.items())],
        "misses": [[*kind, number] for kind, number in kinds.most_common()],
        "comparison": None,
    }
    if second is not None:
        other = scores.count(scores.paired(gold, second, missing=missing), flavour, sorted(types))
        result["comparison"] = scores.compare(counts, other, num_bootstrap=num_bootstrap, seed=seed)
    return Evaluation(pairs, result, counts)


def report_lines(evaluation):
    """The evaluation as text."""
    result = evaluation.result
    lines = [
        f"{result['documents']:,} documents, flavour {result['flavour']}; 95% intervals by bootstrap over "
        f"{result['unit']}"
    ]
    lines += scores.score_lines(result["scores"])
    if result["comparison"]:
        lines.append("F1 minus the second system's [95%], p:")
        for measure, labels in result["comparison"].items():
            entry = labels["micro"]
            if entry["low"] is not None:
                edges = f"[{entry['low']:+.3f}, {entry['high']:+.3f}]"
                lines.append(f"  {measure} micro {entry['difference']:+.3f} {edges} p {entry['p_value']:.3f}")
    table, kinds = misses.errors(evaluation.pairs)
    lines += ["types, gold by system:", *misses.confusion_lines(table)]
    return lines + ["commonest misses:", *(misses.miss_lines(kinds) or ["none"])]
