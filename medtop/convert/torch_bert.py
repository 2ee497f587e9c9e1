"""The encoder and its heads in PyTorch: a plain twin of medtop's Keras model that loads the exported weights.

It needs torch and safetensors, not medtop: a copy of this file stands in each folder that it is needed for.

    from torch_bert import TorchBert
    model = TorchBert.from_folder(".").eval()
    outputs = model({"token_ids": ..., "patient_slots": ..., "ages": ...})

What HuggingFace's BERT has a place for has HuggingFace's names, so that the stock folders load too; the rest (visit
position, age, gap, stay, recency, sex; mean and sum pooling) exists here only.

Letters: B rows, T tokens, P patients in a row, M masked positions, K labels, V vocabulary, H width, N heads, D = H / N.
"""

import json
import math
import re
from pathlib import Path

import torch
from torch import nn

EMBEDDINGS = {
    # name: (key of the input, config value with the rows of its table, how the input becomes a row)
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
DAYS_PER_YEAR = 365.25


def table_name(name, embeddings):
    """The module that holds an embedding's table: HuggingFace's three names, else ours."""
    token_type = next((kind for kind in ("visit", "segment") if kind in embeddings), None)
    known = {"code": "word_embeddings", "position": "position_embeddings", token_type: "token_type_embeddings"}
    return known.get(name, f"{name}_embeddings")


def table_rows(values, kind, rows, day_scale):
    """Input values as rows of a table, clipped to its last row: int [B, T] -> int64 [B, T].

    `years`: days since birth, 0 = unknown, row 1 = the first year. `days` with "log2": round(4 log2(1 + d)).
    """
    if kind == "years":
        years = torch.floor(values.float() / DAYS_PER_YEAR).long() + 1
        values = torch.where(values > 0, years, torch.zeros_like(years))
    elif kind == "days" and day_scale == "log2":
        values = torch.floor(4.0 / math.log(2.0) * torch.log(1.0 + values.clamp(min=0).float()) + 0.5)
    return values.clamp(0, rows - 1).long()


def gelu(x):
    """`x Phi(x)` with erf: HuggingFace's `gelu`."""
    return nn.functional.gelu(x)


def gelu_tanh(x):
    """Its tanh form, as google-research/bert has it: HuggingFace's `gelu_new`."""
    return nn.functional.gelu(x, approximate="tanh")


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh}


def has_blocks(config):
    """Whether transformer blocks stand behind the embeddings."""
    return config.get("body", "bert") == "bert"


def layer_norm(config):
    """LayerNorm over the width."""
    return nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])


def residual_output(config, inputs):
    """A dense layer and, post-norm, the LayerNorm after the residual sum."""
    parts = {"dense": nn.Linear(inputs, config["hidden_size"])}
    return nn.ModuleDict({**parts, "LayerNorm": layer_norm(config)} if config["norm"] == "post" else parts)


class Embeddings(nn.Module):
    """Sum of the config's embeddings, LayerNorm (post-norm only), dropout: dict of int [B, T] -> [B, T, H]."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        for name in config["embeddings"]:
            table = nn.Embedding(config[EMBEDDINGS[name][1]], config["hidden_size"])
            setattr(self, table_name(name, config["embeddings"]), table)
        self.normed = config["norm"] == "post" and has_blocks(config)
        if self.normed:
            self.LayerNorm = layer_norm(config)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, x):
        total = 0
        for name in self.config["embeddings"]:
            key, size, kind = EMBEDDINGS[name]
            rows = table_rows(x[key], kind, self.config[size], self.config["day_scale"])
            total = total + getattr(self, table_name(name, self.config["embeddings"]))(rows)
        return self.dropout(self.LayerNorm(total) if self.normed else total)


class SelfAttention(nn.Module):
    """softmax(Q K' / sqrt(D) + mask) V (Vaswani et al. 2017, eq. 1): x [B, T, H], mask [B, 1, T, T] -> [B, T, H]."""

    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(config["attention_probs_dropout_prob"])

    def forward(self, x, mask):
        batch, tokens, width = x.shape
        query, key, value = (
            part(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # [B, N, T, D]
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads) + mask
        context = self.dropout(scores.softmax(dim=-1)) @ value
        return context.transpose(1, 2).reshape(batch, tokens, width)


class Attention(nn.Module):
    """Self-attention and its output projection; pre-norm, its LayerNorm `ln` comes first (see `Block`)."""

    def __init__(self, config):
        super().__init__()
        if config["norm"] == "pre":
            self.ln = layer_norm(config)
        self.self = SelfAttention(config)
        self.output = residual_output(config, config["hidden_size"])

    def forward(self, x, mask):
        return self.output["dense"](self.self(x, mask))


class Block(nn.Module):
    """Post-norm: LN(x + f(x)) twice (Devlin et al. 2018); pre-norm: x + f(LN(x)) twice (Megatron-LM)."""

    def __init__(self, config):
        super().__init__()
        self.pre = config["norm"] == "pre"
        self.attention = Attention(config)
        if self.pre:
            self.ln = layer_norm(config)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config["hidden_size"], config["intermediate_size"])})
        self.output = residual_output(config, config["intermediate_size"])
        self.activation = ACTIVATIONS[config["activation"]]
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def feed_forward(self, x):
        """Two dense layers with the activation between them: [B, T, H] -> [B, T, H]."""
        return self.output["dense"](self.activation(self.intermediate["dense"](x)))

    def forward(self, x, mask):
        if self.pre:
            x = x + self.dropout(self.attention(self.attention.ln(x), mask))
            return x + self.dropout(self.feed_forward(self.ln(x)))
        x = self.attention.output["LayerNorm"](x + self.dropout(self.attention(x, mask)))
        return self.output["LayerNorm"](x + self.dropout(self.feed_forward(x)))


def apart(values, slots, patients, kept=None):
    """Tokens of each patient from the start of a row of its own.

    Args:
        values: [B, T, H].
        slots: int [B, T], the patient of each token, 0 = padding.
        patients: P.
        kept: bool [B, T], tokens that count; None = all.

    Returns:
        ([B P, T, H], int [B P] tokens of each).
    """
    mine = slots[:, None, :] == torch.arange(1, patients + 1, device=slots.device)[None, :, None]  # [B, P, T]
    mine = (mine if kept is None else mine & kept[:, None, :]).flatten(0, 1)
    order = (~mine).int().argsort(dim=1, stable=True)
    rows = values.repeat_interleave(patients, dim=0)
    return rows.gather(1, order[:, :, None].expand(-1, -1, values.shape[-1])), mine.sum(dim=1)


def read(net, rows, lengths):
    """(states [n, T, U], last states [layers, n, U]) of a recurrent net; rows without tokens count as one of zeros."""
    packed = nn.utils.rnn.pack_padded_sequence(rows, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    states, last = net(packed)
    states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=rows.shape[1])
    return states, last[0] if isinstance(last, tuple) else last


class Retain(nn.Module):
    """RETAIN's context vector of each patient (Choi et al. 2016): [B, T, H] -> [B, P, H]."""

    def __init__(self, config):
        super().__init__()
        width, units = config["hidden_size"], config.get("head_size") or config["hidden_size"]
        self.visits, self.codes = (nn.GRU(width, units, batch_first=True) for _ in range(2))
        self.visit, self.code = nn.Linear(units, 1), nn.Linear(units, width)

    def forward(self, hidden, slots, visits, patients):
        key = slots * 65_536 + visits
        before = torch.cat([torch.full_like(key[:, :1], -1), key[:, :-1]], dim=1)
        first = (key != before) & (visits > 0) & (slots > 0)
        sums = (key[:, :, None] == key[:, None, :]).to(hidden.dtype) @ hidden
        v, counts = apart(sums.flip(1), slots.flip(1), patients, first.flip(1))  # the latest visit comes first
        real = torch.arange(v.shape[1], device=v.device)[None, :] < counts[:, None]
        scores = self.visit(read(self.visits, v, counts)[0])[..., 0].masked_fill(~real, -30000.0)
        shares = scores.softmax(dim=1) * real
        each = torch.tanh(self.code(read(self.codes, v, counts)[0])) * v
        return (shares[:, :, None] * each).sum(dim=1).unflatten(0, (-1, patients))


class Encoder(nn.Module):
    """Inputs -> hidden states [B, T, H] and, with `pooler`, what stands for each patient [B, P, H]."""

    def __init__(self, config, pooler=True):
        super().__init__()
        self.config, self.head = config, config.get("head", "linear")
        blocks = config["num_hidden_layers"] if has_blocks(config) else 0
        self.embeddings = Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Block(config) for _ in range(blocks))
        if config["norm"] == "pre" and blocks:
            self.encoder.ln = layer_norm(config)
        width, units = config["hidden_size"], config.get("head_size") or config["hidden_size"]
        if self.head == "retain":
            self.retain = Retain(config)
        elif self.head != "linear":
            kind = nn.GRU if self.head.endswith("gru") else nn.LSTM
            self.recurrent = kind(width, units, batch_first=True, bidirectional=self.head.startswith("bi"))
        elif pooler and config["pooling"] == "cls":
            self.pooler = nn.ModuleDict({"dense": nn.Linear(config["hidden_size"], config["hidden_size"])})
        self.pools = pooler or config["pooling"] != "cls" or self.head != "linear"

    def forward(self, x):
        slots = x["patient_slots"]
        allowed = (slots[:, :, None] == slots[:, None, :]) & (slots != 0)[:, None, :]  # one patient, no padding
        hidden = self.embeddings(x)
        mask = ((~allowed) * -30000.0).to(hidden.dtype)[:, None]  # [B, 1, T, T]
        for block in self.encoder.layer:
            hidden = block(hidden, mask)
        if self.config["norm"] == "pre" and has_blocks(self.config):
            hidden = self.encoder.ln(hidden)
        if not self.pools:
            return hidden, None
        if self.head == "linear":
            return hidden, self.pool(hidden, slots, x["cls_positions"])
        patients = x["cls_positions"].shape[1]
        if self.head == "retain":
            return hidden, self.retain(hidden, slots.long(), x["visits"].long(), patients)
        _, last = read(self.recurrent, *apart(hidden, slots, patients))  # [directions, B P, U]
        return hidden, torch.cat(tuple(last), dim=-1).unflatten(0, (-1, patients))

    def pool(self, hidden, slots, cls_positions):
        """One vector per patient: [B, T, H] -> [B, P, H]."""
        if self.config["pooling"] == "cls":
            places = cls_positions.long()[:, :, None].expand(-1, -1, hidden.shape[-1])
            return torch.tanh(self.pooler["dense"](hidden.gather(1, places)))
        patients = torch.arange(1, cls_positions.shape[1] + 1, device=slots.device)
        mine = (slots[:, None, :] == patients[:, None]).to(hidden.dtype)  # [B, P, T]
        total = mine @ hidden
        return total if self.config["pooling"] == "sum" else total / mine.sum(dim=-1, keepdim=True).clamp(min=1.0)


def pooled_size(config):
    """Width of what stands for a patient."""
    head, width = config.get("head", "linear"), config["hidden_size"]
    return width if head in ("linear", "retain") else (config.get("head_size") or width) * (1 + head.startswith("bi"))


class MaskedHead(nn.Module):
    """BERT's prediction head, tied to the code table: [B, M, H], table [V, H] -> logits [B, M, V]."""

    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.transform = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": layer_norm(config)})
        self.bias = nn.Parameter(torch.zeros(config["vocab_size"]))
        self.activation = ACTIVATIONS[config["activation"]]

    def forward(self, x, table):
        return self.transform["LayerNorm"](self.activation(self.transform["dense"](x))) @ table.T + self.bias


class Wide(nn.Module):
    """Frozen coefficients of codes by the time since they were last seen, and of plain figures; no gradient.

    A code adds `tables[code, window of its last occurrence in the row]`; days beyond the last window are `ever`.

    Args:
        days: W ascending numbers of days.
        shapes: shapes of `tables` [V (W + 1), K], `context` [F, K], `intercepts` [K] and `scales` [3, K].

    Call:
        dict of int [B, T] `token_ids`, `patient_slots`, `visits`, `ages`, `stays`, `recencies`, `sexes`, and
        `cls_positions` [B, P]; deep [B, P, K] -> scales[0] * wide + scales[1] * deep + scales[2], [B, P, K].
    """

    def __init__(self, days, shapes):
        super().__init__()
        self.days = tuple(days)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, x, deep):
        tokens, slots = x["token_ids"].long(), x["patient_slots"].long()
        patients = torch.arange(1, x["cls_positions"].shape[1] + 1, device=slots.device)
        mine = (slots[:, None, :] == patients[:, None]).float()  # [B, P, T]
        code = (tokens == 1) | (tokens >= 5)  # [UNK], and no other special token
        window = sum((x["recencies"] > day).long() for day in self.days)
        later = torch.ones(2 * (tokens.shape[1],), dtype=torch.bool, device=slots.device).triu(1)
        again = (tokens[:, :, None] == tokens[:, None, :]) & (slots[:, :, None] == slots[:, None, :]) & later
        last = code & ~again.any(dim=-1)
        rows = self.tables[tokens * (len(self.days) + 1) + window] * last[:, :, None]
        wide = mine @ rows + self.figures(x, code, mine, slots) @ self.context + self.intercepts
        return self.scales[0] * wide + self.scales[1] * deep + self.scales[2]

    def figures(self, x, code, mine, slots):
        """[B, P, F]: age, sex, and log(1 + x) of numbers of codes, visits and long stays, and of days."""
        key = slots * 65_536 + x["visits"].long()
        before = torch.cat([torch.full_like(key[:, :1], -1), key[:, :-1]], dim=1)
        opens = (code & (key != before)).float()  # first code of its visit
        stays, recencies, code = x["stays"].float(), x["recencies"].float(), code.float()
        long = opens * (x["stays"] > 7)
        within = [(x["recencies"] <= day).float() for day in self.days]

        def total(values):
            return (mine @ values[:, :, None])[..., 0]

        def largest(values):
            return (mine * (code * values)[:, None, :]).amax(dim=-1)

        number = total(opens)
        nearest = torch.where(mine * code[:, None, :] > 0, recencies[:, None, :], 1e9).amin(dim=-1)
        first = x["cls_positions"].long()
        ages, sexes = x["ages"].gather(1, first).float(), x["sexes"].gather(1, first)
        logged = [
            total(code),
            number,
            total(long),
            torch.where(number > 0, nearest, torch.zeros_like(nearest)),
            largest(recencies + stays),
            largest(stays),
            total(opens * stays) / number.clamp(min=1.0),
            *(total(opens * inside) for inside in within),
            *(total(long * inside) for inside in within),
        ]
        plain = [ages / DAYS_PER_YEAR, (ages == 0).float(), (sexes == 1).float(), (sexes == 2).float()]
        return torch.stack([*plain, *(torch.log(1.0 + column) for column in logged)], dim=-1)


class TorchBert(nn.Module):
    """Encoder and heads, and the wide part beside them where the model has one.

    Args:
        config: dict, as `medtop.model.config.BertConfig.to_dict` gives it.
        heads: dict task -> (kind, K) with kind "masked", "two_way" (long_stay as HuggingFace's two-way head),
            "next_sentence" (that head as BERT's), "classifier" (one task) or "own" (any number of tasks).
        pooler: False for a folder without one.
        wide: dict name -> shape, of the wide part's arrays; None without.

    Call:
        dict of int [B, T] with `token_ids`, `patient_slots` (0 = padding, else the number of the patient in the row:
        1, unless rows are packed) and what the config's embeddings read (`EMBEDDINGS`; days as days). Optional:
        `cls_positions` [B, P] (default: one patient, whose first token it is), `positions` (default: counted),
        `segments` (default: 0), `mask_positions` [B, M] (default: every position).
        Returns a dict: `sequence_output` [B, T, H], `pooled_output` [B, P, H], and each task's logits, [B, M, V] for
        masked codes, [B, P, K] else.
    """

    def __init__(self, config, heads, pooler=True, wide=None):
        super().__init__()
        self.wide = Wide(config["wide_days"], wide) if wide else None
        self.widths = [(task, labels) for task, (kind, labels) in heads.items() if kind != "masked"]
        self.config, self.kinds = config, {task: kind for task, (kind, _) in heads.items()}
        self.masked = [task for task, kind in self.kinds.items() if kind == "masked"]
        self.bert = Encoder(config, pooler)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        outputs = {
            task: (kind, nn.Linear(pooled_size(config), 2 if kind in ("two_way", "next_sentence") else labels))
            for task, (kind, labels) in heads.items()
            if kind != "masked"
        }
        self.cls = nn.ModuleDict({"predictions": MaskedHead(config)} if self.masked else {})
        for kind, layer in outputs.values():
            if kind in ("two_way", "next_sentence"):
                self.cls["seq_relationship"] = layer
            elif kind == "classifier":
                self.classifier = layer
        self.heads = nn.ModuleDict({task: layer for task, (kind, layer) in outputs.items() if kind == "own"})

    @classmethod
    def from_folder(cls, folder):
        """Reads config.json and model.safetensors (or pytorch_model.bin) of a folder that medtop wrote.

        Raises:
            ValueError: for a folder of another origin.
        """
        folder = Path(folder)
        values = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        block = values.get("medtop")
        if not isinstance(block, dict):
            raise ValueError(f"{folder}/config.json: expected a folder that medtop wrote, found no key 'medtop'")
        weights = read_weights(folder)
        wide = {
            name.removeprefix("wide."): tuple(array.shape) for name, array in weights.items() if "wide." in name[:5]
        }
        if not any(name.startswith("bert.") for name in weights):
            weights = {
                f"bert.{name}": tensor for name, tensor in weights.items()
            }  # a bare encoder, as HuggingFace has it
        config, labels = dict(block["config"]), {task["name"]: len(task["labels"]) for task in block["tasks"]}
        # Stock folders hold a table for each of HuggingFace's embeddings: zeros, or trained there since.
        missing = {"position": "position_embeddings", "segment": "token_type_embeddings"}
        for name, table in missing.items():
            here = [table_name(other, config["embeddings"]) for other in config["embeddings"]]
            if f"bert.embeddings.{table}.weight" in weights and table not in here:
                config["embeddings"] = [*config["embeddings"], name]
        model = cls(
            config,
            {task: (kind, labels[task]) for task, kind in block["heads"].items()},
            pooler="bert.pooler.dense.weight" in weights,
            wide=wide,
        )
        model.load_state_dict(weights)
        return model

    def forward(self, x):
        x = {
            "cls_positions": torch.zeros_like(x["token_ids"][:, :1]),
            "segments": torch.zeros_like(x["token_ids"]),
            **x,
        }
        if "positions" not in x:
            if x["cls_positions"].shape[1] > 1:
                raise ValueError("TorchBert: expected positions with packed rows, received none")
            x["positions"] = torch.arange(x["token_ids"].shape[1], device=x["token_ids"].device).expand_as(
                x["token_ids"]
            )
        hidden, pooled = self.bert(x)
        outputs = {"sequence_output": hidden} | ({} if pooled is None else {"pooled_output": pooled})
        for task, kind in self.kinds.items():
            if kind == "masked":
                asked, places = hidden, x.get("mask_positions")
                if places is not None:
                    asked = hidden.gather(1, places.long()[:, :, None].expand(-1, -1, hidden.shape[-1]))
                outputs[task] = self.cls["predictions"](asked, self.bert.embeddings.word_embeddings.weight)
            elif kind in ("two_way", "next_sentence"):
                two = self.cls["seq_relationship"](self.dropout(pooled))
                outputs[task] = two[..., 1:] - two[..., :1]  # softmax(a, b)[1] = sigmoid(b - a)
                if kind == "next_sentence":  # class 0: it follows
                    outputs[task] = -outputs[task]
            else:
                layer = self.classifier if kind == "classifier" else self.heads[task]
                outputs[task] = layer(self.dropout(pooled))
        if self.wide is not None:
            both = self.wide(x, torch.cat([outputs[task] for task, _ in self.widths], dim=-1))
            widths = [labels for _, labels in self.widths]
            outputs |= dict(zip((task for task, _ in self.widths), both.split(widths, dim=-1), strict=True))
        return outputs


def read_weights(folder):
    """dict name -> tensor of model.safetensors, else of pytorch_model.bin (tensors only: no code in it is run)."""
    path = Path(folder) / "model.safetensors"
    if path.is_file():
        from safetensors.torch import load_file

        return load_file(path)
    if tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise RuntimeError(f"expected torch 2.6 or newer, received {torch.__version__}: CVE-2025-32434")
    return torch.load(path.with_name("pytorch_model.bin"), map_location="cpu", weights_only=True)
