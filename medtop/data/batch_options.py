"""Which batches a plan asks for: their size, their rows' lengths, and whether patients share rows."""

import dataclasses
import logging

import numpy as np

from medtop.data.batches import FEW_ROW_LENGTHS, BatchOptions
from medtop.data.packing import best_row_lengths

logger = logging.getLogger(__name__)


def batch_options(plan, batch_size):
    """`BatchOptions` of a plan for batches of a size."""
    options = plan.options
    return BatchOptions(
        batch_size=batch_size,
        max_seq_length=options.max_seq_length,
        masked_lm_prob=options.masked_lm_prob,
        max_predictions=options.max_predictions_per_seq,
        whole_words=options.whole_word_masking,
    )


def training_batch_options(plan, few_shapes=False):
    """`BatchOptions` for training: patients share rows and rows have other lengths where the plan says so.

    Args:
        few_shapes: whether batches should have few shapes, because the step is compiled for each.
    """
    options = plan.options
    made = dataclasses.replace(batch_options(plan, options.train_batch_size), few_shapes=few_shapes)
    if options.row_lengths == "auto" and not options.packing:
        return dataclasses.replace(made, row_lengths=FEW_ROW_LENGTHS) if few_shapes else made
    if options.row_lengths == "auto":
        config, sample = plan.config, sample_lengths(plan.train.lengths)
        width = config.hidden_size
        linear = 8 * width * width + 4 * width * config.intermediate_size
        lengths = best_row_lengths(sample, options.max_seq_length, options.train_batch_size, linear, 4 * width)
    else:
        lengths = tuple(int(length) for length in options.row_lengths.split(","))
    logger.info("row lengths: %s", ", ".join(map(str, lengths)))
    return dataclasses.replace(made, packing=options.packing, row_lengths=lengths)


def sample_lengths(histogram, size=4096):
    """Lengths of patients like those of a data set: int [about size], from the middle of each bin of its histogram."""
    upper, counts = np.array(histogram["upper"]), np.array(histogram["counts"], float)
    middle = (np.concatenate([[0], upper[:-1]]) + np.minimum(upper, histogram["max"])) // 2
    return np.repeat(np.maximum(middle, 1), np.round(counts / max(counts.sum(), 1) * size).astype(int))
