"""Which codes are hidden for prediction, and what stands in their place: drawn inside tf.data, anew in every epoch.

Letters: W patients in a window, T tokens of a patient, U units (tokens, or words of several pieces) in a window.
"""

import numpy as np
import tensorflow as tf


def draw_masks(token_ids, seed_pair, vocabulary, options, word_starts=None):
    """Selects codes for prediction and replaces them: 80% [MASK], 10% a random code, 10% kept (Devlin et al. 2018).

    Special tokens are never selected and never drawn as replacement. A patient with c codes has
    min(max(1, round(c x masked_lm_prob)), max_predictions) selected ones, none when c = 0.
    By whole words: words in random order as long as all their pieces fit into that number, at least one word, though it
    be longer; never one of more than `max_predictions` pieces. Each piece is replaced on its own, as BERT's code does.

    Args:
        token_ids: ragged int64 [W, (T)].
        seed_pair: int32 [2].
        vocabulary: `Vocabulary`.
        options: `BatchOptions`.
        word_starts: ragged int64 [W, (T)], 1 where a word begins; None: every token is a unit of its own.

    Returns:
        (ragged int64 [W, (T)] with replacements, bool [all tokens]: which are selected).
    """
    flat, patients = token_ids.flat_values, token_ids.value_rowids()
    draws = tf.random.stateless_uniform([3, tf.size(flat)], seed_pair, dtype=tf.float64)
    is_code = np.ones(len(vocabulary), bool)
    is_code[list(vocabulary.special_ids)] = False
    codes = tf.gather(tf.constant(is_code), flat)
    count = tf.math.segment_sum(tf.cast(codes, tf.float64), patients)
    wanted = tf.clip_by_value(tf.round(count * options.masked_lm_prob), 1.0, float(options.max_predictions))
    wanted = tf.cast(wanted, tf.int64)
    if word_starts is None:
        selected = _choose(patients, tf.cast(codes, tf.int64), draws[0], wanted)
    else:
        begins = (word_starts.flat_values > 0) | _first_of_row(token_ids)
        words = tf.cumsum(tf.cast(begins, tf.int64)) - 1
        pieces = tf.math.segment_sum(tf.ones_like(words), words)
        fits = tf.math.segment_min(tf.cast(codes, tf.int64), words) * tf.cast(
            pieces <= options.max_predictions, tf.int64
        )
        chosen = _choose(tf.boolean_mask(patients, begins), pieces * fits, tf.boolean_mask(draws[0], begins), wanted)
        selected = tf.gather(chosen, words)
    ordinary = vocabulary.ordinary_ids
    drawn = tf.cast(tf.floor(draws[2] * len(ordinary)), tf.int64)
    random_code = tf.cast(tf.gather(tf.constant(ordinary), drawn), flat.dtype)
    replaced = tf.where(
        draws[1] < 0.8, tf.cast(vocabulary.mask_id, flat.dtype), tf.where(draws[1] < 0.9, random_code, flat)
    )
    return token_ids.with_flat_values(tf.where(selected, replaced, flat)), selected


def _choose(patients, sizes, draws, wanted):
    """Takes units of each patient in random order while their sizes sum to no more than wanted, but at least one.

    Args:
        patients: int64 [U], rising.
        sizes: int64 [U]; 0: not to be taken.
        draws: float64 [U] in [0, 1).
        wanted: int64 [W].

    Returns:
        bool [U].
    """
    candidates = sizes > 0
    order = tf.argsort(tf.cast(patients, tf.float64) + tf.where(candidates, draws * 0.5, 0.5 + draws * 0.5))
    mine, size = tf.gather(patients, order), tf.gather(sizes, order)
    total = tf.cumsum(size)
    before = tf.gather(tf.math.segment_min(total - size, mine), mine)  # the sum over all earlier patients
    chosen = (size > 0) & ((total - before <= tf.gather(wanted, mine)) | (total - before == size))
    return tf.gather(chosen, tf.math.invert_permutation(order))


def _first_of_row(ragged):
    """bool [all tokens]: which are the first of their row."""
    starts = tf.boolean_mask(ragged.row_starts(), ragged.row_lengths() > 0)
    size = tf.size(ragged.flat_values, out_type=tf.int64)
    return tf.scatter_nd(starts[:, None], tf.ones_like(starts), size[None]) > 0
