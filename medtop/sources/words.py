"""Words that say that a value is missing, and characters around a value that nobody sees: one rule for every column.

What databases, pandas, R and spreadsheets write for a missing value, and what CHAR columns, copies from web pages and
byte order marks put around one. A value is what is left when they are gone.
"""

import re
import unicodedata

from medtop.files.sql import quote

INVISIBLE = r"[\s\p{Z}\p{C}]"
"""RE2: blanks of every kind (no-break, ideographic), zero-width characters, byte order marks, control characters."""

NULL_WORDS = ("NULL", "(NULL)", "<NULL>", "NA", "N/A", "#N/A", "<NA>", "NAN", "NAT", "NONE", "NIL", r"\N")
NULL_WORDS += ("MISSING", "UNK", "UNKNOWN", "-", "--", ".", "?")
"""Upper case; compared without regard to case."""

_WORDS = "|".join(re.escape(word) for word in NULL_WORDS)
MISSING_PATTERN = rf"(?i){INVISIBLE}*({_WORDS})?{INVISIBLE}*"
"""RE2: a text that says nothing: empty, invisible, or one of `NULL_WORDS`."""

NULL_WORD_PATTERN = rf"(?i){INVISIBLE}*({_WORDS}){INVISIBLE}*"
"""RE2: one of `NULL_WORDS` alone."""


def is_given_sql(value):
    """SQL: whether the text `value` says anything (null, empty and `NULL_WORDS` do not).

    A regular expression, because DuckDB turns `IN` with several words into a hash join over all rows.
    """
    return f"({value} IS NOT NULL AND NOT regexp_full_match({value}, {quote(MISSING_PATTERN)}))"


def is_blank_sql(value):
    """SQL: whether the text `value` is null, empty or made of characters that nobody sees."""
    blanks = quote(INVISIBLE + "*")
    return f"({value} IS NULL OR ({value} < '!' OR {value} > '~~') AND regexp_full_match({value}, {blanks}))"


def is_null_word_sql(value):
    """SQL: whether the text `value` is one of `NULL_WORDS`."""
    return f"coalesce(regexp_full_match({value}, {quote(NULL_WORD_PATTERN)}), false)"


def trimmed_sql(value):
    """SQL: the text `value` without invisible characters at its ends."""
    ends = quote(f"^{INVISIBLE}+|{INVISIBLE}+$")
    return f"regexp_replace({value}, {ends}, '', 'g')"


def trimmed(text):
    """`trimmed_sql` in Python, for small tables.

    >>> trimmed("\\ufeff P001\\xa0\\t\\u200b")
    'P001'
    """
    if text.isascii() and text[:1] > " " and text[-1] > " " and "\x7f" not in text:  # nearly every value
        return text
    start, end = 0, len(text)
    while start < end and not _is_visible(text[start]):
        start += 1
    while end > start and not _is_visible(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_visible(letter):
    return letter > " " and unicodedata.category(letter)[0] not in "ZC"
