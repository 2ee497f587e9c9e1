"""Which codes are hidden for prediction, and what stands in their place: drawn inside tf.data, anew in every epoch.

Letters: W patients in a window, T tokens of a patient.
"""

import tensorflow as tf


def draw_masks(token_ids, seed_pair, vocabulary, options):
    """Selects codes for prediction and replaces them: 80% [MASK], 10% a random code, 10% kept (Devlin et al. 2018).

    Special tokens are never selected and never drawn as replacement. A patient with c codes has
    min(max(1, round(c x masked_lm_prob)), max_predictions) selected ones, none when c = 0.

    Args:
        token_ids: ragged int64 [W, (T)].
        seed_pair: int32 [2].

    Returns:
        (ragged int64 [W, (T)] with replacements, bool [all tokens]: which are selected).
    """
    flat, lengths = token_ids.flat_values, token_ids.row_lengths()
    patients = tf.cast(token_ids.value_rowids(), tf.float64)
    draws = tf.random.stateless_uniform([3, tf.size(flat)], seed_pair, dtype=tf.float64)
    codes = flat >= vocabulary.first_code_id
    order = tf.cast(tf.argsort(patients + tf.where(codes, draws[0] * 0.5, 0.5 + draws[0] * 0.5)), tf.int64)
    # rank of each token among its patient's tokens, codes in random order first
    starts = tf.repeat(token_ids.row_starts(), lengths)
    rank = tf.scatter_nd(
        order[:, None], tf.range(tf.size(flat, out_type=tf.int64)) - starts, tf.shape(flat, out_type=tf.int64)
    )
    count = tf.math.segment_sum(tf.cast(codes, tf.float64), token_ids.value_rowids())
    wanted = tf.clip_by_value(tf.round(count * options.masked_lm_prob), 1.0, float(options.max_predictions))
    wanted = tf.gather(tf.cast(wanted, tf.int64), token_ids.value_rowids())
    selected = codes & (rank < wanted)
    ordinary = tf.constant(vocabulary.ordinary_ids)
    size = len(vocabulary.ordinary_ids)
    random_code = tf.gather(ordinary, tf.cast(tf.floor(draws[2] * size), tf.int64))
    replaced = tf.where(
        draws[1] < 0.8, tf.cast(vocabulary.mask_id, flat.dtype), tf.where(draws[1] < 0.9, random_code, flat)
    )
    return token_ids.with_flat_values(tf.where(selected, replaced, flat)), selected
