"""HuggingFace BERT in PyTorch, as a contender of training_speed.py.

`padded`: as the lineage trains: BertForPreTraining, rows of 512, vocabulary logits at every position. `grouped`: the
strongest fair way: batches of like lengths, padded to their longest, logits at masked positions only, fused AdamW.
On a GPU where PyTorch finds one.
"""

import numpy as np
import torch
from torch.nn import functional
from transformers import BertConfig, BertForPreTraining

from speed.data import BATCH, LONGEST, batches_by_length, mask

MOST_LOGITS = 500_000_000
"""Logits at once of the padded way, 2 GB; more of them are computed in several parts, as a user would have to."""


def their_config(config, **more):
    """HuggingFace's configuration of the encoder of a medtop `BertConfig`, with `more` of its own keywords."""
    same = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    same += ("type_vocab_size", "hidden_dropout_prob", "attention_probs_dropout_prob")
    activation = {"gelu": "gelu", "gelu_tanh": "gelu_new"}[config.activation]
    shared = {name: getattr(config, name) for name in same}
    return BertConfig(**shared, hidden_act=activation, attn_implementation="sdpa", **more)


class Contender:
    """Steps over batches that lie ready in memory."""

    def __init__(self, config, patients, kind, precision="float32", compiled=False):
        torch.manual_seed(0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.kind, self.device, self.precision = kind, device, precision
        self.model = BertForPreTraining(their_config(config, max_position_embeddings=LONGEST)).to(device)
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=5e-5, weight_decay=0.01, fused=kind == "grouped" or None
        )
        self.loss = torch.compile(self._loss, dynamic=True) if compiled else self._loss
        rng = np.random.default_rng(2)
        lengths = patients.lengths
        places = batches_by_length(lengths)
        if kind == "padded":  # in any order, as the lineage reads them; four batches, because each takes seconds
            places = np.split(rng.permutation(len(lengths))[: 4 * BATCH], 4)
        self.batches = [self._batch(patients, some, config.vocab_size, rng) for some in places]
        self.codes = [int(lengths[some].sum()) - BATCH for some in places]
        self.lengths = [lengths[some] for some in places]
        self.place = 0
        self.parts = 1
        while kind == "padded" and BATCH // self.parts * LONGEST * config.vocab_size > MOST_LOGITS:
            self.parts *= 2

    def _batch(self, patients, some, vocab_size, rng):
        width = LONGEST if self.kind == "padded" else -(-max(len(patients.tokens[i]) for i in some) // 4) * 4
        ids, visits, seen = (np.zeros((BATCH, width), np.int64) for _ in range(3))
        labels = np.full((BATCH, width), -100, np.int64)
        for row, patient in enumerate(some):
            tokens = patients.tokens[patient]
            hidden, places = mask(tokens, vocab_size, rng)
            ids[row, : len(tokens)], seen[row, : len(tokens)] = hidden, 1
            visits[row, : len(tokens)] = patients.visits[patient]
            labels[row, places] = tokens[places]
        stays = patients.labels[some].astype(np.int64)
        return [torch.from_numpy(part).to(self.device) for part in (ids, visits, seen, labels, stays)]

    def _loss(self, ids, visits, seen, labels, stays, places):
        model = self.model
        if self.kind == "padded":
            return model(
                input_ids=ids, token_type_ids=visits, attention_mask=seen, labels=labels, next_sentence_label=stays
            ).loss
        output = model.bert(input_ids=ids, token_type_ids=visits, attention_mask=seen)
        chosen = output.last_hidden_state.flatten(0, 1)[places]
        logits = model.cls.predictions(chosen)
        return functional.cross_entropy(logits.float(), labels.flatten()[places]) + functional.cross_entropy(
            model.cls.seq_relationship(output.pooler_output).float(), stays
        )

    def steps(self, count):
        """Takes so many steps, 0: a pass over all batches; (real codes, list of the patients' lengths)."""
        codes, lengths = 0, []
        for _ in range(count or len(self.batches)):
            batch = self.batches[self.place % len(self.batches)]
            places = torch.nonzero(batch[3].flatten() >= 0).flatten()
            for rows in zip(*(part.chunk(self.parts) for part in batch), strict=True):
                with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    loss = self.loss(*rows, places)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            float(loss)
            codes += self.codes[self.place % len(self.batches)]
            lengths.append(self.lengths[self.place % len(self.batches)])
            self.place += 1
        return codes, lengths

    def score(self, count):
        """Scores so many batches, 0: all of them once, nothing masked: forward pass to the patients' logits."""
        self.model.eval()
        lengths = []
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            for _ in range(count or len(self.batches)):
                place = self.place % len(self.batches)
                ids, visits, seen, *_ = self.batches[place]
                pooled = self.model.bert(input_ids=ids, token_type_ids=visits, attention_mask=seen).pooler_output
                self.model.cls.seq_relationship(pooled).float().cpu().numpy()
                lengths.append(self.lengths[place])
                self.place += 1
        self.model.train()
        return sum(map(len, lengths)), lengths
