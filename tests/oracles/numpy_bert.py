"""BERT in NumPy, one patient at a time: the oracle of the Keras encoder and its heads.

Written from the papers (Vaswani et al. 2017; Devlin et al. 2018) and docs/contract.md, in float64. A patient is a
sequence of its own: there is no mask, no padding and no other patient, so a model that mixes any of these in cannot
agree.
"""

import math

import numpy as np
from scipy.special import erf

DAYS_PER_YEAR = 365.25


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def table_row(value, embedding, config):
    """Row of a table for one value, as plain Python."""
    if embedding == "age":
        row, size = (math.floor(value / DAYS_PER_YEAR) + 1 if value > 0 else 0), config.age_vocab_size
    elif embedding in ("gap", "stay", "recency"):
        row, size = (value if config.day_scale == "days" else round(4 * math.log2(1 + value))), config.day_vocab_size
    else:
        sizes = {
            "code": config.vocab_size,
            "position": config.max_position_embeddings,
            "sex": config.sex_vocab_size,
            "visit_position": config.visit_position_vocab_size,
            "visit": config.visit_vocab_size,
            "segment": config.type_vocab_size,
        }
        row, size = value, sizes[embedding]
    return min(max(row, 0), size - 1)


class NumpyBert:
    """The forward pass of one patient.

    Args:
        config: `BertConfig`.
        weights: dict path -> array, as `medtop.training.checkpoints.weights_of` names them.
    """

    def __init__(self, config, weights):
        self.config = config
        self.weights = {path: np.asarray(array, np.float64) for path, array in weights.items()}
        self.gelu = {"gelu": gelu, "gelu_tanh": gelu_tanh}[config.activation]

    def norm(self, name, x):
        mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + self.config.layer_norm_eps)
        return x * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def dense(self, name, x):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def attention(self, name, x):
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        depth = width // heads
        kernel, bias = self.weights[f"{name}/qkv_kernel"], self.weights[f"{name}/qkv_bias"]
        parts = [x @ kernel[:, n] + bias[n] for n in range(3)]
        context = []
        for head in range(heads):
            query, key, value = (part[:, head * depth : (head + 1) * depth] for part in parts)
            context.append(softmax(query @ key.T / math.sqrt(depth)) @ value)
        return (
            np.concatenate(context, axis=1) @ self.weights[f"{name}/output_kernel"]
            + self.weights[f"{name}/output_bias"]
        )

    def sequence(self, inputs):
        """[n, H] of one patient; `inputs` dict embedding -> int [n]."""
        x = 0
        for name in self.config.embeddings:
            rows = [table_row(int(value), name, self.config) for value in inputs[name]]
            x = x + self.weights[f"embeddings/{name}_embeddings"][rows]
        post = self.config.norm == "post"
        if post:
            x = self.norm("embeddings_norm", x)
        for number in range(self.config.num_hidden_layers):
            name = f"layer_{number}"

            def feed_forward(x, name=name):
                return self.dense(f"{name}_output", self.gelu(self.dense(f"{name}_intermediate", x)))

            if post:
                x = self.norm(f"{name}_attention_norm", x + self.attention(f"{name}_attention", x))
                x = self.norm(f"{name}_output_norm", x + feed_forward(x))
            else:
                x = x + self.attention(f"{name}_attention", self.norm(f"{name}_attention_norm", x))
                x = x + feed_forward(self.norm(f"{name}_output_norm", x))
        return x if post else self.norm("final_norm", x)

    def pooled(self, sequence):
        """[H]: what stands for the patient."""
        if self.config.pooling == "cls":
            return np.tanh(self.dense("pooler", sequence[0]))
        return sequence.sum(axis=0) if self.config.pooling == "sum" else sequence.mean(axis=0)

    def patient_logits(self, task, sequence):
        """[K]."""
        return self.dense(f"{task}_logits", self.pooled(sequence))

    def masked_logits(self, sequence, positions):
        """[M, V]: BERT's prediction head, tied to the code table."""
        x = self.norm("masked_lm_transform_norm", self.gelu(self.dense("masked_lm_transform", sequence[positions])))
        return x @ self.weights["embeddings/code_embeddings"].T + self.weights["masked_lm_logits/bias"]
