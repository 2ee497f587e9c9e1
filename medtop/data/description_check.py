"""What a `dataset.json` must hold, type by type: a damaged one ends in one line, before a file is opened or sized."""

from medtop.files.errors import DataError, shown

MOST_RECORDS = 1 << 40
MOST_TOKENS = 1 << 20
"""Longest row that a description may ask for."""


def check_content(content, path, bins):
    """Refuses a description whose entries have other types or sizes than a feature script writes.

    Args:
        content: dict with all keys.
        path: the file, for errors.
        bins: number of bins of the lengths' histogram.

    Raises:
        DataError: naming the entry.
    """

    def expect(good, name, what, value):
        if not good:
            raise DataError(f"{path}: {name}: expected {what}, received {shown(value)}")

    def word(name, value, choices=None):
        good = isinstance(value, str) and (choices is None or value in choices)
        expect(good, name, "a word" if choices is None else " or ".join(choices), value)

    def count(name, value, most=MOST_RECORDS):
        expect(type(value) is int and 0 <= value <= most, name, f"a whole number up to {most:,}", value)

    def words(name, value):
        expect(isinstance(value, list) and all(isinstance(item, str) for item in value), name, "a list of words", value)

    def named(name, value):
        expect(isinstance(value, dict), name, "named entries", value)
        return value.items()

    words("vocabulary", content["vocabulary"])
    for name in ("layout", "vocabulary_hash"):
        word(name, content[name])
    word("time_gap", content["time_gap"], ("before", "after"))
    expect(isinstance(content["split"], str | None), "split", "a word", content["split"])
    expect(isinstance(content["visit_separator"], bool), "visit_separator", "true or false", content["visit_separator"])
    expect(isinstance(content["source_manifest"], dict | list | None), "source_manifest", "named entries", "another")
    expect(isinstance(content.get("tokenizer"), dict | None), "tokenizer", "named entries", content.get("tokenizer"))
    named("flags", content["flags"])
    for task, entry in named("tasks", content["tasks"]):
        expect(
            isinstance(entry, dict) and {"labels", "level"} <= entry.keys(), f"tasks: {task}", "labels, level", entry
        )
        words(f"tasks: {task}: labels", entry["labels"])
        word(f"tasks: {task}: level", entry["level"])
    for name, value in named("defaults", content["defaults"]):
        expect(isinstance(value, int | float | str | None), f"defaults: {name}", "a plain value", value)
    for name in ("max_seq_length", "max_predictions_per_seq"):
        if name in content["defaults"]:
            count(f"defaults: {name}", content["defaults"][name], MOST_TOKENS)
    _check_counts(content, expect, count, named)
    _check_lengths(content["lengths"], bins, expect, count)
    _check_shards(content, expect, count)


def _check_counts(content, expect, count, named):
    for name, value in named("counts", content["counts"]):
        for inner, number in named(f"counts: {name}", value) if isinstance(value, dict) else ((name, value),):
            count(f"counts: {inner}", number, MOST_RECORDS * MOST_TOKENS)
    for name in ("examples_in", "examples", "patients", "tokens"):
        expect(type(content["counts"].get(name)) is int, f"counts: {name}", "a number", content["counts"].get(name))
    for task, labels in named("labels", content["labels"]):
        for label, entry in named(f"labels: {task}", labels):
            for name, number in named(f"labels: {task}: {label}", entry):
                count(f"labels: {task}: {label}: {name}", number)


def _check_lengths(lengths, bins, expect, count):
    expect(isinstance(lengths, dict) and {"counts", "max", "mean"} <= lengths.keys(), "lengths", "a histogram", lengths)
    expect(isinstance(lengths["counts"], list) and len(lengths["counts"]) <= bins, "lengths: counts", "bins", lengths)
    for number in lengths["counts"]:
        count("lengths: counts", number)
    count("lengths: max", lengths["max"])
    mean = lengths["mean"]
    expect(isinstance(mean, int | float) and 0 <= mean <= MOST_RECORDS, "lengths: mean", "a number", mean)


def _check_shards(content, expect, count):
    shards = content["shards"]
    expect(isinstance(shards, list) and shards, "shards", "a list of files", shards)
    for shard in shards:
        good = isinstance(shard, dict) and {"file", "records", "bytes"} <= shard.keys()
        expect(good, "shards", "file, records and bytes of each", shard)
        name = shard["file"]
        plain = isinstance(name, str) and name not in ("", ".", "..") and not {*name} & {"/", "\\", "\0"}
        expect(plain, "shards: file", "the name of a file beside this one, without a folder", name)
        count("shards: records", shard["records"])
        count("shards: bytes", shard["bytes"], 1 << 60)
    names = [shard["file"] for shard in shards]
    expect(len({*names}) == len(names), "shards: file", "each file once", names)
    total = sum(shard["records"] for shard in shards)
    expect(
        total == content["counts"]["examples"], "counts: examples", f"{total}, the files' records", content["counts"]
    )
