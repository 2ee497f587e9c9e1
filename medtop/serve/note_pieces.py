"""`medtop.text.wordpiece` and `medtop.text.windows` inside a TensorFlow graph: texts in, windows of word pieces out.

Letters: N texts, C characters of all of them, W words, Z pieces, S windows, T tokens of the longest one.
"""

import tensorflow as tf
import tensorflow_text

from medtop.cohort.vocabulary import UNK
from medtop.serve.characters import Forms, Kinds, every_character
from medtop.text.wordpiece import LONGEST_WORD
from medtop.text.words import ALONE, DROP, KEEP, kind_of, normal_form


class NotePieces:
    """Cuts texts into the pieces of a `medtop.text.wordpiece.WordPiece`.

    Args:
        tokenizer: the `WordPiece`.
    """

    def __init__(self, tokenizer):
        lower_case = tokenizer.lower_case
        letters = every_character()
        self.unk_id = tokenizer.unk_id
        self._kinds = Kinds([kind_of(letter, lower_case) if letter else DROP for letter in letters])
        forms = {letter: normal_form(letter, lower_case) for letter in letters if letter}
        self._forms = Forms({letter: form for letter, form in forms.items() if form not in (letter, "", " ")})
        self._matcher = tensorflow_text.FastWordpieceTokenizer(
            list(tokenizer.vocabulary.tokens),
            max_bytes_per_word=4 * LONGEST_WORD,
            unknown_token=UNK,
            no_pretokenization=True,
        )

    def __call__(self, texts):
        """(ids int64 [Z], the text of each int64 [Z], rising) of string [N]."""
        words, owners = self.words(texts)
        pieces = tf.cast(self._matcher.tokenize(words), tf.int64)
        lost = tf.cast(tf.equal(pieces.row_lengths(), 0), tf.int64)  # too long, given as ""
        unknown = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.reduce_sum(lost)], tf.constant(self.unk_id, tf.int64)), lost
        )
        pieces = tf.concat([pieces, unknown], axis=1)
        return pieces.flat_values, tf.gather(owners, pieces.value_rowids())

    def words(self, texts):
        """(words string [W], "" for those that are too long; the text of each int64 [W])."""
        decoded = tf.strings.unicode_decode(texts, "UTF-8", errors="strict")
        kinds = self._kinds(decoded.flat_values)
        seen = tf.not_equal(kinds, DROP)
        codes, rows, kinds = (
            tf.boolean_mask(values, seen) for values in (decoded.flat_values, decoded.value_rowids(), kinds)
        )
        kept, alone = tf.equal(kinds, KEEP), tf.equal(kinds, ALONE)
        goes_on = kept[1:] & kept[:-1] & tf.equal(rows[1:], rows[:-1])
        goes_on = tf.concat([tf.zeros([tf.minimum(tf.size(kept), 1)], tf.bool), goes_on], axis=0)
        begins = alone | (kept & ~goes_on)
        numbers = tf.cumsum(tf.cast(begins, tf.int64)) - 1  # the word of each character
        owners = tf.boolean_mask(rows, begins)
        inside = kept | alone
        codes, numbers = self._forms(tf.boolean_mask(codes, inside), tf.boolean_mask(numbers, inside))
        letters = tf.RaggedTensor.from_value_rowids(codes, numbers, tf.size(owners, out_type=tf.int64))
        words = tf.strings.unicode_encode(letters, "UTF-8", errors="strict")
        return tf.where(letters.row_lengths() > LONGEST_WORD, "", words), owners


def windows_of(counts, max_seq_length, overlap, legacy):
    """Where windows begin and end: `medtop.text.windows.window_edges`, or the first window alone.

    Args:
        counts: int64 [N], pieces of each text.
        max_seq_length: most tokens, [CLS] and [SEP] included.
        overlap: pieces that neighbours share.
        legacy: ClinicalBERT's way: one window, what does not fit is lost.

    Returns:
        int64 [S] each: the text, the first piece among all pieces, pieces.
    """
    size = max_seq_length - 2
    base = tf.cumsum(counts, exclusive=True)
    counts = tf.minimum(counts, size) if legacy else counts
    own = tf.maximum(counts - overlap, 0)  # what windows do not share
    most = tf.maximum((own + size - overlap - 1) // (size - overlap), 1)
    windows = tf.where(counts > 0, most, 0)
    texts = tf.repeat(tf.range(tf.size(counts, out_type=tf.int64)), windows)
    numbers = tf.range(tf.size(texts, out_type=tf.int64)) - tf.gather(tf.cumsum(windows, exclusive=True), texts)
    total, among = tf.gather(own, texts), tf.gather(windows, texts)
    first = numbers * total // among
    last = tf.minimum((numbers + 1) * total // among + overlap, tf.gather(counts, texts))
    return texts, tf.gather(base, texts) + first, last - first
