"""What the contenders of training_speed.py train on: patients, two model shapes, and the arithmetic of a step."""

import dataclasses

import numpy as np

from medtop.model.config import BertConfig

CLS, MASK, FIRST_CODE = 2, 4, 5
MASKED_SHARE, MOST_MASKED = 0.15, 77
BATCH, LONGEST, WINDOW_BATCHES = 32, 512, 64

MODELS = {
    # vocabulary, and the sizes of the lineage's configurations
    "topbert": BertConfig(
        vocab_size=1870,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=768,
        activation="gelu",
        embeddings=("code", "position", "segment"),
        segment="visit",
        type_vocab_size=1000,
    ),
    "medbert": BertConfig(
        vocab_size=82_603,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=64,
        activation="gelu_tanh",
        embeddings=("code", "position", "segment"),
        segment="visit",
        type_vocab_size=1000,
    ),
    "base": BertConfig(
        vocab_size=30_522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        activation="gelu",
        embeddings=("code", "position", "segment"),
        segment="visit",
        type_vocab_size=1000,
    ),
}


@dataclasses.dataclass
class Patients:
    """Made-up patients: Zipf codes, lognormal lengths (mean about 44 codes), visits of three codes.

    Attributes:
        tokens, visits: lists of int arrays, [CLS] first.
        labels: float [n], prolonged stay.
    """

    tokens: list
    visits: list
    labels: np.ndarray

    @property
    def lengths(self):
        return np.array([len(tokens) for tokens in self.tokens])


def make_patients(count, vocab_size, seed=0, fixed_length=None):
    """`Patients`; lengths as DESIGN measured them, or all the same."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(44) - 0.5 * 0.8**2, 0.8, count).round(), 2, LONGEST - 1).astype(int)
    if fixed_length:
        lengths[:] = fixed_length - 1
    codes = [FIRST_CODE + (rng.zipf(1.2, n) - 1) % (vocab_size - FIRST_CODE) for n in lengths]
    return Patients(
        tokens=[np.concatenate([[CLS], some]) for some in codes],
        visits=[np.concatenate([[0], 1 + np.arange(n) // 3]) for n in lengths],
        labels=rng.integers(0, 2, count).astype(np.float32),
    )


def batches_by_length(lengths, seed=1):
    """Indices of length-grouped batches: sorted within windows of 64 batches, batches in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), BATCH * WINDOW_BATCHES):
        window = order[start : start + BATCH * WINDOW_BATCHES]
        window = window[np.argsort(lengths[window], kind="stable")]
        full = len(window) // BATCH
        some = np.split(window[: full * BATCH], full)
        batches += [some[number] for number in rng.permutation(full)]
    return batches


def mask(tokens, vocab_size, rng):
    """(tokens with 15% of the codes hidden, places): 80% [MASK], 10% a random code, 10% kept."""
    count = min(max(1, round((len(tokens) - 1) * MASKED_SHARE)), MOST_MASKED)
    places = np.sort(rng.choice(np.arange(1, len(tokens)), count, replace=False))
    hidden, draw = tokens.copy(), rng.random(count)
    hidden[places[draw < 0.8]] = MASK
    random = places[(draw >= 0.8) & (draw < 0.9)]
    hidden[random] = rng.integers(FIRST_CODE, vocab_size, len(random))
    return hidden, places


def useful_flops(config, lengths, training=True):
    """Floating-point operations that these patients need: real codes only, logits at masked places only.

    Forward 2 per weight and token, attention 4 T H per token and layer; backward twice that.
    """
    lengths = np.asarray(lengths, float)
    width = config.hidden_size
    per_token = config.num_hidden_layers * (8 * width**2 + 4 * width * config.intermediate_size)
    attention = config.num_hidden_layers * 4 * width * lengths**2
    masked = np.clip(np.round((lengths - 1) * MASKED_SHARE), 1, MOST_MASKED) if training else 0 * lengths
    head = masked * (2 * width**2 + 2 * width * config.vocab_size)
    return float(np.sum(per_token * lengths + attention + head)) * (3 if training else 1)
