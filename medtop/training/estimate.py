"""How long a training will take, said before it starts: rough, from its arithmetic and this machine's speed."""

import time

import numpy as np
import tensorflow as tf

SHARE_OF_PEAK = 0.2
"""What a training step of a small encoder reached of the matrix product's speed, measured on two CPU cores."""


def flops_per_token(config, row_length, masked_share):
    """Floating-point operations of forward and backward for one token (Kaplan et al. 2020, section 2.1).

    Args:
        config: `BertConfig`.
        row_length: tokens that attend to each other.
        masked_share: share of tokens whose vocabulary logits are computed.
    """
    width = config.hidden_size
    block = 4 * width * width + 2 * width * config.intermediate_size + 2 * row_length * width
    head = masked_share * (width * width + width * config.vocab_size)
    if config.head != "linear":
        nets = 1 + (config.head.startswith("bi") or config.head == "retain")
        head += nets * 4 * config.head_units * (width + config.head_units)
    return 6 * (config.num_blocks * block + head)


def matmul_speed(size=1024, seconds=0.3):
    """Float32 operations per second of a square matrix product."""
    left = tf.random.normal([size, size])
    product = tf.function(lambda: tf.linalg.matmul(left, left))
    product()
    started, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        np.asarray(product()[0, 0])
        count += 1
    return 2 * size**3 * count / elapsed


def training_seconds(plan, steps):
    """Rough duration of so many training steps."""
    info, options = plan.train, plan.options
    length = min(info.lengths["mean"], options.max_seq_length)
    masked = options.masked_lm_prob if any(task.level == "masked" for task in plan.tasks) else 0.0
    tokens = steps * options.train_batch_size * length
    return tokens * flops_per_token(plan.config, length, masked) / (matmul_speed() * SHARE_OF_PEAK)
