"""The encoder: embeddings, blocks, and the functional model that knows no task.

Letters: B rows in a batch, T tokens in a row, P patients in a row, H width, N heads, D = H / N.
Written with keras only, so that it runs on every backend.
"""

import math

import keras
from keras import ops

from medtop.files.errors import DataError
from medtop.model.config import CHANNELS, CHARACTER_BITS, CHARACTERS, DAYS_PER_YEAR, BertConfig
from medtop.model.dropout import Dropout
from medtop.model.encoder_layers import GatherPositions, GatherTokens, Neighbours, SplitPositions
from medtop.model.recurrent import recurrent_pooling, retain_pooling
from medtop.model.tokenwise import affine, affine_parts, dense, initializer, layer_norm


@keras.saving.register_keras_serializable("medtop")
class SmoothRows(keras.initializers.Initializer):
    """Rows that change slowly with their number, for tables of days and years: neighbours start alike.

    `table[r, h] = sqrt(2) stddev sin(2 pi r / l_h + p_h)`, wave lengths l_h log-uniform between 4 and 256 rows, phases
    p_h uniform (random Fourier features, Rahimi and Recht 2007; the idea of Vaswani et al. 2017, section 3.5). With
    rows drawn one by one, what is learned for 30 days says nothing about 35 days until both have been seen often:
    measured in docs/training.md.

    Args:
        stddev: root mean square of the entries.
        seed: None takes Keras's.
    """

    def __init__(self, stddev, seed=None):
        self.stddev, self.seed = stddev, seed

    def __call__(self, shape, dtype=None, **kwargs):
        seed = keras.random.SeedGenerator(self.seed)
        lengths = 4.0 * ops.exp(keras.random.uniform((shape[1],), 0.0, math.log(64.0), seed=seed))
        phases = keras.random.uniform((shape[1],), 0.0, 2.0 * math.pi, seed=seed)
        rows = ops.cast(ops.arange(shape[0]), "float32")[:, None]
        table = math.sqrt(2.0) * self.stddev * ops.sin(2.0 * math.pi * rows / lengths + phases)
        return ops.cast(table, dtype or "float32")

    def get_config(self):
        return {"stddev": self.stddev, "seed": self.seed}


def table_rows(values, kind, rows, day_scale):
    """Turns a batch input into rows of its table, clipped to the table's last row.

    Args:
        values: int [B, T]; `kind` "identity": row numbers, "years": days since birth (0 = unknown), "days": days.
        rows: size of the table.
        day_scale: "log2" or "days", see `BertConfig`.

    Returns:
        int32 [B, T] between 0 and rows - 1.
    """
    if kind == "years":
        years = ops.cast(ops.floor(ops.cast(values, "float32") / DAYS_PER_YEAR), "int32") + 1
        values = ops.where(values > 0, years, ops.zeros_like(years))
    elif kind == "days" and day_scale == "log2":
        scaled = 4.0 / math.log(2.0) * ops.log(1.0 + ops.cast(ops.maximum(values, 0), "float32"))
        values = ops.floor(scaled + 0.5)
    return ops.cast(ops.clip(values, 0, rows - 1), "int32")


@keras.saving.register_keras_serializable("medtop")
class Embeddings(keras.layers.Layer):
    """Sum of the config's embeddings; LayerNorm (post-norm only) and dropout follow in the graph.

    Call:
        a list of int [B, T], in the order of `config["embeddings"]` -> [B, T, H].
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, BertConfig) else BertConfig(**config)
        rate = self.config.channel_dropout_prob
        self.dropout = Dropout(rate) if rate else None  # each one that a model has draws noise of its own

    def build(self, input_shape):
        self.tables, self.convolutions = {}, {}
        for name in self.config.embeddings:
            _, size, kind = CHANNELS[name]
            if kind == "characters":
                width, stddev = getattr(self.config, size), self.config.initializer_range
                self.tables[name] = self.add_weight(
                    name=f"{name}_embeddings", shape=(2**CHARACTER_BITS, width), initializer=initializer(1.0)
                )
                self.convolutions[name] = self.add_weight(
                    name=f"{name}_convolution",
                    shape=(3 * width, self.config.hidden_size),
                    initializer=initializer(stddev),
                )
                continue
            start = (initializer if kind == "identity" else SmoothRows)(self.config.initializer_range)
            self.tables[name] = self.add_weight(
                name=f"{name}_embeddings",
                shape=(getattr(self.config, size), self.config.hidden_size),
                initializer=start,
            )

    @property
    def kernel(self):
        """The code table: what all tasks share where no block follows."""
        return self.tables["code"]

    def call(self, inputs, training=False):
        total, kept = None, None
        if training and self.dropout is not None:
            shape = (*ops.shape(inputs[0]), len(inputs))
            kept = ops.unstack(self.dropout(ops.ones(shape, self.compute_dtype), training=True), len(inputs), axis=-1)
        for place, (name, values) in enumerate(zip(self.config.embeddings, inputs, strict=True)):
            part = self._convolved(name, values) if name in self.convolutions else self._looked_up(name, values)
            if kept is not None:
                part = part * kept[place][:, :, None]
            total = part if total is None else total + part
        return total

    def _looked_up(self, name, values):
        """Rows of a table, [B, T, H]."""
        _, size, kind = CHANNELS[name]
        rows = table_rows(values, kind, getattr(self.config, size), self.config.day_scale)
        return ops.take(ops.cast(self.tables[name], self.compute_dtype), rows, axis=0)

    def _convolved(self, name, values):
        """Characters [B, T], `CHARACTERS` in a number, through a convolution of width 3; the largest value of each."""
        table, kernel = (ops.cast(arrays[name], self.compute_dtype) for arrays in (self.tables, self.convolutions))
        values = ops.cast(values, "int32")
        shifts = [CHARACTER_BITS * place for place in range(CHARACTERS)]
        letters = ops.stack([(values // 2**shift) % 2**CHARACTER_BITS for shift in shifts], axis=-1)
        letters = ops.pad(letters, [[0, 0], [0, 0], [1, 1]])
        vectors = ops.take(table, letters, axis=0)  # [B, T, C + 2, D]
        windows = ops.concatenate([vectors[:, :, place : place + CHARACTERS] for place in range(3)], axis=-1)
        return ops.max(ops.matmul(windows, kernel), axis=2)

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor((*inputs[0].shape, self.config.hidden_size), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable("medtop")
class AttentionMask(keras.layers.Layer):
    """Additive mask: 0 where both tokens are of one patient, a large negative number elsewhere.

    Call:
        patient_slots int [B, T] (0 = padding) -> float [B, 1, T, T]; with places int [B, P] these rows, [B, 1, P, T].
    """

    def call(self, patient_slots, places=None):
        rows = patient_slots
        if places is not None:
            rows = ops.take_along_axis(patient_slots, ops.cast(places, "int32"), axis=1)
        same = ops.equal(rows[:, :, None], patient_slots[:, None, :])
        keys = ops.not_equal(patient_slots, 0)[:, None, :]
        allowed = ops.cast(ops.logical_and(same, keys), self.compute_dtype)
        # -1e9 would be -inf in float16; -30000 fits all and leaves exp() = 0 beside any logit.
        return ((1.0 - allowed) * -30000.0)[:, None, :, :]


@keras.saving.register_keras_serializable("medtop")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention, softmax(Q K' / sqrt(D) + mask) V (Vaswani et al. 2017, eq. 1), with output projection.

    Query, key and value are one [H, 3, H] kernel: one matrix product instead of three, and each of them can be sharded
    along its own width.

    Call:
        x [B, T, H], mask [B, 1, T, T] -> [B, T, H]; with queries [B, P, H] and their mask [B, 1, P, T] -> [B, P, H].
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, BertConfig) else BertConfig(**config)
        self.dropout = Dropout(self.config.attention_probs_dropout_prob)

    def build(self, x_shape, mask_shape=None, queries_shape=None):
        width, stddev = self.config.hidden_size, self.config.initializer_range
        # An initializer each: one used twice gives both kernels the same numbers.
        self.qkv_kernel = self.add_weight(name="qkv_kernel", shape=(width, 3, width), initializer=initializer(stddev))
        self.qkv_bias = self.add_weight(name="qkv_bias", shape=(3, width), initializer="zeros")
        self.output_kernel = self.add_weight(
            name="output_kernel", shape=(width, width), initializer=initializer(stddev)
        )
        self.output_bias = self.add_weight(name="output_bias", shape=(width,), initializer="zeros")

    def _heads(self, x, first, last):
        """Parts first to last - 1 of (query, key, value): tuple of [B, N, T, D]."""
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        kernel, bias = self.qkv_kernel, self.qkv_bias
        if (first, last) != (0, 3):
            kernel, bias = kernel[:, first:last], bias[first:last]
        parts = affine_parts(x, kernel, bias)
        parts = ops.reshape(parts, (-1, ops.shape(x)[1], last - first, heads, width // heads))
        # One transposition, and parts that need no copy; their gradients are stacked again at once.
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), last - first, axis=0)

    def call(self, x, mask, queries=None, training=None):
        width = self.config.hidden_size
        if queries is None:
            query, key, value = self._heads(x, 0, 3)
        else:
            (query,), (key, value) = self._heads(queries, 0, 1), self._heads(x, 1, 3)
        query = query * (1.0 / math.sqrt(width // self.config.num_attention_heads))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + ops.cast(mask, x.dtype)  # [B, N, T, T]
        weights = self.dropout(ops.softmax(scores, axis=-1), training=training)
        context = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))  # [B, T, N, D]
        rows = ops.shape(context)[1]
        context = ops.reshape(context, (-1, width))
        return ops.reshape(affine(context, self.output_kernel, self.output_bias), (-1, rows, width))

    def compute_output_spec(self, x, mask, queries=None, training=None):
        return keras.KerasTensor((x if queries is None else queries).shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable("medtop")
class PatientPooling(keras.layers.Layer):
    """Mean or sum of each patient's tokens; padding and other patients take no part.

    Call:
        sequence [B, T, H], patient_slots int [B, T], cls_positions int [B, P] -> [B, P, H].
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, sequence, patient_slots, cls_positions):
        slots = ops.arange(1, ops.shape(cls_positions)[1] + 1, dtype="int32")  # P
        mine = ops.cast(ops.equal(ops.cast(patient_slots, "int32")[:, None, :], slots[None, :, None]), sequence.dtype)
        total = ops.matmul(mine, sequence)  # [B, P, T] [B, T, H] -> [B, P, H]
        if self.kind == "sum":
            return total
        return total / ops.maximum(ops.sum(mine, axis=-1, keepdims=True), 1.0)

    def compute_output_spec(self, sequence, patient_slots, cls_positions):
        return keras.KerasTensor((*cls_positions.shape, sequence.shape[-1]), dtype=sequence.dtype)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


def _new_block(config, prefix):
    """The layers of one transformer block: dict part -> layer, its name `<prefix>_<part>`."""
    return {
        "dropout": Dropout(config.hidden_dropout_prob, name=f"{prefix}_dropout"),
        "attention": SelfAttention(config, name=f"{prefix}_attention"),
        "attention_norm": layer_norm(config, f"{prefix}_attention_norm"),
        "intermediate": dense(config, config.intermediate_size, f"{prefix}_intermediate", config.activation),
        "output": dense(config, config.hidden_size, f"{prefix}_output"),
        "output_norm": layer_norm(config, f"{prefix}_output_norm"),
    }


def _block(config, layers, x, mask, queries=None):
    """One transformer block; post-norm: LN(x + f(x)) twice (Devlin et al. 2018); pre-norm: x + f(LN(x)) twice.

    With queries [B, P, H], some rows of x, and their mask: the block's output for these only.
    """
    attention, dropout, attention_norm = layers["attention"], layers["dropout"], layers["attention_norm"]
    rows = x if queries is None else queries
    if config.norm == "post":
        return _feed_forward(config, layers, attention_norm(rows + dropout(attention(x, mask, queries))))
    queries = None if queries is None else attention_norm(queries)
    return _feed_forward(config, layers, rows + dropout(attention(attention_norm(x), mask, queries)))


def _feed_forward(config, layers, rows):
    """The second half of a block, which sees each row by itself: [..., H] -> [..., H]."""
    dropout, output_norm = layers["dropout"], layers["output_norm"]
    if config.norm == "post":
        return output_norm(rows + dropout(layers["output"](layers["intermediate"](rows))))
    return rows + dropout(layers["output"](layers["intermediate"](output_norm(rows))))


def encoder_inputs(config):
    """The symbolic inputs of an encoder: dict of int32 [B, T], and cls_positions int32 [B, P]."""
    # All of them, though the encoder itself reads fewer: a functional model takes exactly the batch's keys.
    names = dict.fromkeys([*config.inputs, "patient_slots"])
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    inputs["cls_positions"] = keras.Input((None,), dtype="int32", name="cls_positions")
    return inputs


def _pooled(config, inputs, x):
    """What stands for each patient, [B, P, ...]."""
    if config.head == "retain":
        return retain_pooling(config, inputs, x)
    if config.head != "linear":
        return recurrent_pooling(config, inputs, x)
    if config.pooling != "cls":
        return PatientPooling(config.pooling, name="pooling")(x, inputs["patient_slots"], inputs["cls_positions"])
    first = GatherPositions(name="cls_gather")(x, inputs["cls_positions"])
    return dense(config, config.hidden_size, "pooler", "tanh")(first)


def build_encoder(config):
    """The encoder as a functional model.

    Inputs: dict of int32 [B, T] (`encoder_inputs`). Outputs: dict with `sequence_output` [B, T, H] and `pooled_output`
    [B, P, H], or as wide as the config's `head` makes it. Padding and the other patients of a row change no output of a
    patient.

    Args:
        config: `BertConfig` with vocab_size > 0.

    Returns:
        `keras.Model` with attribute `blocks`, the layers of each transformer block: list of dict part -> layer.
    """
    if not config.vocab_size:
        raise DataError("config: expected vocab_size > 0 to build an encoder, received vocab_size=0")
    inputs = encoder_inputs(config)
    x, blocks = Embeddings(config, name="embeddings")([inputs[key] for key in config.embedding_inputs]), []
    if config.norm == "post" and config.num_blocks:
        x = layer_norm(config, "embeddings_norm")(x)
    x = Dropout(config.hidden_dropout_prob, name="embeddings_dropout")(x)
    for number in range(config.neighbour_layers):
        parts = (config.hidden_size, config.initializer_range, config.hidden_dropout_prob)
        x = Neighbours(*parts, name=f"neighbours_{number}")(x, inputs["patient_slots"])
        x = layer_norm(config, f"neighbours_{number}_norm")(x)
    mask = AttentionMask(name="attention_mask")(inputs["patient_slots"]) if config.num_blocks else None
    for number in range(config.num_blocks):
        blocks.append(_new_block(config, f"layer_{number}"))
        x = _block(
            config, blocks[-1], x, mask
        )  # at once: new layers draw seeds, and the order decides how weights start
    if config.norm == "pre" and config.num_blocks:
        x = layer_norm(config, "final_norm")(x)
    pooled = _pooled(config, inputs, x)
    encoder = keras.Model(inputs, {"sequence_output": x, "pooled_output": pooled}, name="encoder")
    encoder.blocks = blocks
    return encoder


def build_reading_encoder(encoder, reads):
    """An encoder for heads that read few of its tokens: the same layers and weights.

    Where [CLS] stands for a patient and no head reads `sequence_output`, the last block is computed at [CLS] and at
    masked places only, about a fifth of the tokens: nobody reads its others.

    Args:
        encoder: `build_encoder`'s.
        reads: names of the outputs that are read, of `sequence_output`, `masked_output` and `pooled_output`.

    Returns:
        `keras.Model` with the encoder's inputs, and `mask_positions` int32 [B, M] where `masked_output` is read.
        Outputs: dict with `pooled_output` [B, P, H], and those read of `masked_output` [B, M, H], the tokens at
        `mask_positions`, and `sequence_output` [B, T, H].
    """
    config, inputs, outputs = encoder.get_layer("embeddings").config, dict(encoder.input), dict(encoder.output)
    first = inputs["cls_positions"]
    if "masked_output" in reads:
        inputs["mask_positions"] = keras.Input((None,), dtype="int32", name="mask_positions")
    if "sequence_output" in reads or config.pooling != "cls" or config.head != "linear":
        if "masked_output" in reads:
            gather = GatherPositions(name="mask_gather")
            outputs["masked_output"] = gather(outputs["sequence_output"], inputs["mask_positions"])
        if "sequence_output" not in reads:
            del outputs["sequence_output"]
    elif "masked_output" in reads:
        places = keras.layers.Concatenate(axis=1, name="places")([first, inputs["mask_positions"]])
        first, masked = SplitPositions(name="split")(_last_block_at(encoder, places, "read"), first)
        outputs = {"pooled_output": encoder.get_layer("pooler")(first), "masked_output": masked}
    else:
        outputs = {"pooled_output": encoder.get_layer("pooler")(_last_block_at(encoder, first, "cls"))}
    return keras.Model(inputs, outputs, name="encoder")


def _last_block_at(encoder, places, name):
    """What the encoder gives for some tokens, int [B, M] -> [B, M, H]; its last block is computed for these only."""
    config, layers = encoder.get_layer("embeddings").config, encoder.blocks[-1]
    x = layers["attention"].input[0] if config.norm == "post" else layers["attention_norm"].input
    mask = AttentionMask(name=f"{name}_attention_mask")(encoder.input["patient_slots"], places)
    states = _block(config, layers, x, mask, GatherPositions(name=f"{name}_queries")(x, places))
    return encoder.get_layer("final_norm")(states) if config.norm == "pre" else states


def build_token_encoder(encoder):
    """An encoder for heads that see some tokens, each by itself: the same layers and weights.

    The second half of the last block sees each token by itself too: it is computed for these only. Where words are
    marked that is three quarters of the tokens, the first pieces of words that a window decides.

    Args:
        encoder: `build_encoder`'s.

    Returns:
        `keras.Model` with the encoder's inputs and `token_places` int32 [n], places among the batch's B x T tokens.
        Output: `sequence_output` at these places, [n, H].
    """
    config, inputs = encoder.get_layer("embeddings").config, dict(encoder.input)
    places = inputs["token_places"] = keras.Input((), dtype="int32", name="token_places")
    gather = GatherTokens(name="token_gather")
    if not encoder.blocks:
        return keras.Model(inputs, gather(encoder.output["sequence_output"], places), name="encoder")
    layers = encoder.blocks[-1]
    between = layers["attention_norm"].output if config.norm == "post" else layers["output_norm"].input
    states = _feed_forward(config, layers, gather(between, places))
    states = encoder.get_layer("final_norm")(states) if config.norm == "pre" else states
    return keras.Model(inputs, states, name="encoder")
