"""BertConfig: what shapes an encoder. No Keras here, so that scripts can check a configuration before they load it."""

import dataclasses
from pathlib import Path

from medtop.files.bounded import read_json
from medtop.files.errors import DataError, shown

EMBEDDINGS = {
    # name: (key of the batch, config field that sizes its table, how the input becomes a row of the table)
    "code": ("token_ids", "vocab_size", "identity"),
    "position": ("positions", "max_position_embeddings", "identity"),
    "visit_position": ("visit_positions", "visit_position_vocab_size", "identity"),
    "visit": ("visits", "visit_vocab_size", "identity"),
    "segment": ("segments", "type_vocab_size", "identity"),
    "age": ("ages", "age_vocab_size", "years"),
    "gap": ("gaps", "day_vocab_size", "days"),
    "stay": ("stays", "day_vocab_size", "days"),
    "recency": ("recencies", "day_vocab_size", "days"),
    "sex": ("sexes", "sex_vocab_size", "identity"),
}
"""The embeddings that a config may list. Another one is one more line here and one key in the pipeline's batch."""

WORD_CHANNELS = {
    "word": ("words", "word_channel_size", "identity"),
    "shape": ("shapes", "word_channel_size", "identity"),
    "prefix": ("prefixes", "word_channel_size", "identity"),
    "suffix": ("suffixes", "word_channel_size", "identity"),
    "short_suffix": ("short_suffixes", "word_channel_size", "identity"),
    "previous_word": ("previous_words", "word_channel_size", "identity"),
    "next_word": ("next_words", "word_channel_size", "identity"),
    "gazetteer": ("gazetteer", "gazetteer_vocab_size", "identity"),
    "first_characters": ("first_characters", "character_width", "characters"),
    "last_characters": ("last_characters", "character_width", "characters"),
}
"""Embeddings of the word that a token belongs to, which only records of words can fill (`medtop.entities.channels`)."""

CHANNELS = EMBEDDINGS | WORD_CHANNELS
"""All of them."""

CHARACTERS, CHARACTER_BITS = 6, 5
"""Characters in one number of `first_characters` and `last_characters`, and bits of each."""

SEGMENTS = ("zero", "alternating", "visit", "sentence")
"""What segment ids are: 0; the visit's number modulo 2; its number; the records' own (notes: first or second text)."""

_ADDED = ("wide_days", "head", "head_size", "body", "code_start")
"""Fields that came later: written only where they are used, so that earlier runs compare equal."""

DAYS_PER_YEAR = 365.25

MOST_WEIGHTS = 2_000_000_000
"""Weights that a configuration may ask for: 8 GB in float32, six times BERT large."""
MOST_LAYERS = 1_000

PATIENT_HEADS = ("linear", "gru", "bigru", "lstm", "bilstm", "retain")
"""What stands between the encoder's outputs and the patient-level tasks' logits (`medtop.model.recurrent`)."""
PARTS = ("recurrent", "retain")
"""How the names of the layers begin that make a patient's vector under a head that is not linear."""
CODE_STARTS = ("random", "ppmi", "hierarchy")
BODIES = ("bert", "embeddings")
"""What makes a token's vector: embeddings and transformer blocks, or the embeddings alone."""

WIDE_INPUTS = ("visits", "ages", "stays", "recencies", "sexes")
"""Keys of the batch that the wide part reads beside `token_ids` (`medtop.model.wide`)."""


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Everything that shapes an encoder; the names are google-research/bert's where it has them.

    Attributes:
        vocab_size: rows of the code table; 0 = taken from the vocabulary.
        hidden_size: width H.
        num_hidden_layers, num_attention_heads, intermediate_size: blocks, heads, width of the feed-forward layer.
        hidden_dropout_prob, attention_probs_dropout_prob: dropout rates in training.
        channel_dropout_prob: how often, in training, a token goes without one of its embeddings, each drawn by itself.
        max_position_embeddings: longest row.
        type_vocab_size: rows of the segment table (HuggingFace's token types).
        initializer_range: standard deviation of the truncated normal that weights start from (LayerNorm: 1 and 0;
            tables of days and years: `encoder.SmoothRows`). BERT's 0.02 suits a width of 768; narrower encoders
            learn faster from more, about 0.8 / sqrt(hidden_size).
        layer_norm_eps: added to the variance.
        activation: "gelu" (erf, HuggingFace's `gelu`) or "gelu_tanh" (google-research/bert's, `gelu_new`).
        norm: "post" (BERT: LayerNorm after each residual sum) or "pre" (megatron-bert: before each layer and last).
        pooling: "cls" ([CLS] through a tanh layer), "mean" or "sum" over the patient's tokens, padding left out.
        embeddings: names out of `CHANNELS`, summed.
        segment: what the segment ids are: "zero", "alternating" (visit number modulo 2), "visit" (its number) or
            "sentence" (notes: 0 in the first text of a pair, 1 in the second).
        visit_vocab_size, visit_position_vocab_size, age_vocab_size, day_vocab_size, sex_vocab_size: rows of the tables.
        word_channel_size, gazetteer_vocab_size: rows of the tables of words' channels (hashed) and of the gazetteer.
        neighbour_layers: convolutions over a token and its two neighbours between the embeddings and the blocks.
        character_width: width of a character before the convolution over three neighbours.
        head: one of `PATIENT_HEADS`: "linear" on what `pooling` says, a recurrent net over the tokens (Rasmy et al.
            2021), or RETAIN over the visits (Choi et al. 2016), which reads plain vectors: `body` "embeddings".
        head_size: units of each of the head's recurrent nets; 0 = hidden_size.
        body: one of `BODIES`.
        code_start: one of `CODE_STARTS`, what the table of codes starts from (`medtop.training.code_start`).
        wide_days: ascending days of the wide part's windows, such as (31, 92, 183, 366); empty: no wide part.
        day_scale: row of the day tables for d days: "log2" is round(4 log2(1 + d)), "days" is d itself.
    """

    vocab_size: int = 0
    hidden_size: int = 192
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    intermediate_size: int = 768
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    channel_dropout_prob: float = 0.0
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    activation: str = "gelu"
    norm: str = "post"
    pooling: str = "cls"
    embeddings: tuple = ("code", "position", "segment")
    segment: str = "zero"
    visit_vocab_size: int = 1000
    visit_position_vocab_size: int = 64
    age_vocab_size: int = 122
    day_vocab_size: int = 64
    sex_vocab_size: int = 3
    word_channel_size: int = 8192
    gazetteer_vocab_size: int = 64
    neighbour_layers: int = 0
    character_width: int = 16
    day_scale: str = "log2"
    wide_days: tuple = ()
    head: str = "linear"
    head_size: int = 0
    body: str = "bert"
    code_start: str = "random"

    def __post_init__(self):
        if not (isinstance(self.embeddings, (list, tuple)) and all(isinstance(name, str) for name in self.embeddings)):
            raise DataError(
                f"config: expected embeddings to be a list of names, received embeddings={shown(self.embeddings)}"
            )
        object.__setattr__(self, "embeddings", tuple(self.embeddings))
        days = self.wide_days
        if not isinstance(days, (list, tuple)) or not all(type(day) is int and day >= 0 for day in days):
            raise DataError(f"config: expected wide_days to be a list of days, received wide_days={days!r}")
        if list(days) != sorted(set(days)):
            raise DataError(f"config: expected wide_days in ascending order, received wide_days={list(days)!r}")
        object.__setattr__(self, "wide_days", tuple(days))
        choices = {
            "activation": ("gelu", "gelu_tanh"),
            "norm": ("post", "pre"),
            "pooling": ("cls", "mean", "sum"),
            "segment": SEGMENTS,
            "day_scale": ("log2", "days"),
            "head": PATIENT_HEADS,
            "body": BODIES,
            "code_start": CODE_STARTS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise DataError(
                    f"config: expected {name} to be one of {', '.join(allowed)}, "
                    f"received {name}={shown(getattr(self, name))}"
                )
        unknown = [name for name in self.embeddings if name not in CHANNELS]
        if unknown or "code" not in self.embeddings or len(set(self.embeddings)) != len(self.embeddings):
            raise DataError(
                f"config: expected embeddings with code and any of {', '.join(CHANNELS)}, each once, "
                f"received embeddings={list(self.embeddings)!r}"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("vocab_size", "head_size", "neighbour_layers") else 1
            if field.type is int and (type(value) is not int or value < least):
                raise DataError(f"config: expected {field.name} to be a positive whole number, received {value!r}")
            if field.type is float and not (isinstance(value, (int, float)) and 0 <= value < 1):
                raise DataError(f"config: expected {field.name} to be a number in [0, 1), received {value!r}")
        self._check_size()
        self._check_head()
        if self.hidden_size % self.num_attention_heads:
            raise DataError(
                f"config: expected hidden_size to be a multiple of num_attention_heads, "
                f"received hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads}"
            )

    def _check_head(self):
        """Refuses what could learn nothing, or is not what its name says."""
        if self.body == "embeddings" and self.head == "linear" and self.pooling == "cls":
            raise DataError(
                "config: expected pooling mean or sum with body=embeddings and head=linear ([CLS] alone has seen no "
                "code), received pooling='cls'"
            )
        if self.head == "retain" and self.body != "embeddings":
            raise DataError(f"config: expected body='embeddings' with head='retain', received body={self.body!r}")

    def _check_size(self):
        """Refuses a configuration that asks for more weights than any machine's memory, before anything is made."""
        width = self.hidden_size
        weights = {
            f"{size}={getattr(self, size)}": getattr(self, size) * width
            for size in dict.fromkeys(CHANNELS[name][1] for name in self.embeddings)
        }
        block = 4 * width * width + 2 * width * self.intermediate_size
        weights[f"intermediate_size={self.intermediate_size}"] = self.num_blocks * block
        if self.head != "linear":
            weights[f"head_size={self.head_size}"] = 8 * self.head_units * (width + self.head_units)
        if sum(weights.values()) > MOST_WEIGHTS or self.num_hidden_layers > MOST_LAYERS:
            raise DataError(
                f"config: expected at most {MOST_WEIGHTS:,} weights and {MOST_LAYERS:,} layers, received "
                f"{sum(weights.values()):,} (hidden_size={width}, num_hidden_layers={self.num_hidden_layers}, "
                f"{max(weights, key=weights.get)})"
            )
        most = max(getattr(self, field.name) for field in dataclasses.fields(self) if field.type is int)
        if most > MOST_WEIGHTS:
            raise DataError(f"config: expected sizes up to {MOST_WEIGHTS:,}, received {most:,}")

    @classmethod
    def from_dict(cls, values, where="config"):
        """Builds a config from JSON values; unknown keys are refused, keys that begin with `_` are comments.

        Raises:
            DataError: for an unknown key, a wrong value, or a missing activation: google-research/bert's "gelu" is the
                tanh form and HuggingFace's is the erf form, so `hidden_act` alone does not say which is meant.
        """
        values = {key: value for key, value in values.items() if not key.startswith("_")}
        values.pop("hidden_act", None) if "activation" in values else None
        if "activation" not in values:
            raise DataError(
                f'{where}: expected "activation": "gelu" (erf form, HuggingFace) or "gelu_tanh" (tanh form, '
                f"google-research/bert and Med-BERT), received hidden_act={values.get('hidden_act')!r}"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise DataError(f"{where}: expected keys among {', '.join(sorted(known))}; received {', '.join(unknown)}")
        try:
            return cls(**values)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    @classmethod
    def from_file(cls, path):
        """Reads a JSON file."""
        path = Path(path)
        try:
            values = read_json(path)
        except FileNotFoundError:
            raise DataError(f"{path}: expected a model configuration (JSON), found no such file") from None
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: expected a model configuration (JSON): {error}") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}: expected a JSON object, received a {type(values).__name__}")
        return cls.from_dict(values, str(path))

    def to_dict(self):
        """Plain JSON values; those of `_ADDED` only where they are not the default."""
        values = {**dataclasses.asdict(self), "embeddings": list(self.embeddings), "wide_days": list(self.wide_days)}
        plain = {field.name for field in dataclasses.fields(self) if getattr(self, field.name) == field.default}
        return {name: value for name, value in values.items() if name not in _ADDED or name not in plain}

    @property
    def num_blocks(self):
        """Transformer blocks: none where the embeddings alone are the body."""
        return self.num_hidden_layers if self.body == "bert" else 0

    @property
    def head_units(self):
        """Units of each recurrent net of the head."""
        return self.head_size or self.hidden_size

    @property
    def pooled_size(self):
        """Width of what stands for a patient."""
        if self.head in ("linear", "retain"):
            return self.hidden_size
        return self.head_units * (2 if self.head.startswith("bi") else 1)

    @property
    def embedding_inputs(self):
        """Keys of the batch that the embeddings read, in their order."""
        return [CHANNELS[name][0] for name in self.embeddings]

    @property
    def inputs(self):
        """Keys of the batch that the model reads: the embeddings', then those that only another part needs."""
        more = [*(["visits"] if self.head == "retain" else []), *(WIDE_INPUTS if self.wide_days else ())]
        return list(dict.fromkeys([*self.embedding_inputs, *more]))
