"""The vocabulary's map of codes (`medtop.cohort.vocabulary_map`) in TensorFlow operations only, inside the export.

Letters: C codes of all patients laid end to end, M targets of all of them.
"""

import tensorflow as tf

from medtop.cohort.codes import CATEGORY
from medtop.cohort.prefixes import MARKED

_MARK = f"(?is)({'|'.join(MARKED)})_.+"
LENGTHS = {"ICD9PROC_": 2, "HCPCS_": 5}
"""Characters of a category where they are not three; ICD-9's external causes have four."""


class CodeMapLayer(tf.Module):
    """`CodeMap.targets` of many codes at once.

    Args:
        code_map: `CodeMap`.
    """

    def __init__(self, code_map):
        super().__init__()
        self.kind, self.keep = code_map.kind, code_map.missing == "keep"
        if self.kind == CATEGORY:
            return
        entries = code_map.entries or {"": ("",)}  # no constant without values; "" is padding, never a code
        keys = list(entries)
        counts = [len(entries[key]) for key in keys]
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.range(len(keys), dtype=tf.int64)),
            default_value=-1,
        )
        targets = [target for key in keys for target in entries[key]]
        self.targets = tf.constant(targets, tf.string)
        self.counts = tf.constant(counts, tf.int64)
        self.starts = tf.cumsum(self.counts, exclusive=True)

    def __call__(self, codes):
        """Maps codes.

        Args:
            codes: string [C].

        Returns:
            (targets string [M], places int64 [M]: the code that each stands for, rising).
        """
        marks, rests = _split(codes)
        if self.kind == CATEGORY:
            return _categories(marks, rests), tf.range(tf.size(codes, out_type=tf.int64))
        entry = self.table.lookup(marks + rests)
        known = entry >= 0
        place = tf.maximum(entry, 0)
        counts = tf.where(known, tf.gather(self.counts, place), tf.constant(int(self.keep), tf.int64))
        places = tf.repeat(tf.range(tf.size(codes, out_type=tf.int64)), counts)
        within = tf.ragged.range(counts).flat_values
        # a code without an entry keeps its own name: its place there is not used
        mapped = tf.gather(self.targets, tf.gather(tf.gather(self.starts, place), places) + within)
        return tf.where(tf.gather(known, places), mapped, tf.gather(codes, places)), places


def _split(codes):
    """`map_key` in two: marks such as "ICD10_", "" where there is none, and what follows."""
    marked = tf.strings.regex_full_match(codes, _MARK)
    mark = tf.strings.upper(tf.strings.regex_replace(codes, r"(?s)_.*", "", replace_global=False))
    rest = tf.strings.regex_replace(codes, r"(?s)^[^_]*_", "", replace_global=False)
    rest = tf.strings.upper(tf.strings.regex_replace(rest, r"\.", ""), encoding="utf-8")
    return tf.where(marked, mark + "_", ""), tf.where(marked, rest, codes)


def _categories(marks, rests):
    """`medtop.cohort.codes.category`."""

    def begin(count):
        return tf.strings.substr(rests, 0, count, unit="UTF8_CHAR")

    short = begin(3)
    external = (marks == "ICD9_") & tf.strings.regex_full_match(rests, "(?s)E.*")
    short = tf.where(external, begin(4), short)
    for mark, length in LENGTHS.items():
        short = tf.where(marks == mark, begin(length), short)
    return marks + short
