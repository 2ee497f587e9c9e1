"""HuggingFace's token classification in PyTorch, as a contender of entities_speed.py.

`collated`: as its users do it: batches in random order padded to their longest window, AdamW; prediction in the order
of the documents. `grouped`: the strongest fair way that we know: windows of like lengths in a batch, fused AdamW, and
prediction with windows sorted by length. Both: scaled dot-product attention, the fast tokenizer on words
(`is_split_into_words`), the windows that medtop cuts, and the tags decoded by the same code, all documents at once.
"""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import BertForTokenClassification, PreTrainedTokenizerFast

from medtop.entities.viterbi import allowed_transitions, viterbi_of_all
from medtop.entities.windows import cut
from medtop.entities.words import document_words
from medtop.text.tags import decode
from medtop.text.wordpiece import LONGEST_WORD
from speed.entities_data import MAX_SEQ_LENGTH, OVERLAP
from speed.entities_start import LEARNING_RATE, hugging_face_start
from speed.hugging_face import their_config

WINDOWS_AT_ONCE = 2048
"""Windows that prediction holds in memory, about as many as medtop's blocks have."""


def fast_tokenizer(vocabulary):
    """HuggingFace's tokenizer of an uncased BERT with these pieces."""
    tokenizer = Tokenizer(
        models.WordPiece(dict(vocabulary.ids), unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


class Contender:
    """Steps over batches that lie ready in memory; prediction from documents to spans."""

    def __init__(self, case, kind, compiled=False, precision="float32"):
        torch.manual_seed(0)
        self.precision = precision
        self.case, self.grouped, self.place = case, kind == "grouped", 0
        config, self.tags = case.config, case.tagset.tags
        self.model = BertForTokenClassification(
            their_config(config, max_position_embeddings=config.max_position_embeddings, num_labels=len(self.tags))
        )
        start = hugging_face_start(case.start, config)
        known = self.model.load_state_dict({name: torch.tensor(array) for name, array in start.items()}, strict=False)
        if known.unexpected_keys or set(known.missing_keys) - {"bert.embeddings.position_ids"}:
            raise RuntimeError(f"expected each weight under a name of BertForTokenClassification's, received {known}")
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=self.grouped or None
        )
        self.call = torch.compile(self.model, dynamic=True) if compiled else self.model
        self.tokenizer = fast_tokenizer(case.tagset.vocabulary)
        self.rules = allowed_transitions(self.tags, "bio")
        windows = case.windows()
        self.batches = [self._training_batch([windows[i] for i in some]) for some in self._places(windows)]
        self.documents = [len(ids) * len(case.documents) / len(windows) for ids, *_ in self.batches]

    def _places(self, windows):
        """Which windows are in each batch of an epoch."""
        rng, size = np.random.default_rng(1), self.case.batch_size
        order = rng.permutation(len(windows))
        if self.grouped:
            lengths = np.array([len(windows[i].weights) for i in order])
            order = order[np.argsort(lengths, kind="stable")]
        batches = np.split(order, range(size, len(order), size))
        return [batches[i] for i in rng.permutation(len(batches))]

    def _training_batch(self, windows):
        width = max(len(window.weights) for window in windows)
        ids, seen = (np.zeros((len(windows), width), np.int64) for _ in range(2))
        labels = np.full((len(windows), width), -100, np.int64)
        for row, window in enumerate(windows):
            size, known = len(window.weights), window.weights > 0
            ids[row, :size], seen[row, :size] = window.columns["token_ids"], 1
            labels[row, :size][known] = window.labels["entities"][known]
        return [torch.from_numpy(part) for part in (ids, seen, labels)]

    def steps(self, count):
        """Takes so many steps, 0: a pass over all batches; `done` counts documents, windows as their mean share."""
        done = 0.0
        for _ in range(count or len(self.batches)):
            place = self.place % len(self.batches)
            ids, seen, labels = self.batches[place]
            with self._autocast():
                loss = self.call(input_ids=ids, attention_mask=seen, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            float(loss)
            done += self.documents[place]
            self.place += 1
        return {"done": done}

    def _autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")

    def predict(self, count):
        """Tags the first documents, 0: all."""
        documents = self.case.documents[: count or None]
        self.model.eval()
        made, block, held = [], [], 0
        with torch.inference_mode():
            for document in documents:
                block.append(self._cut(document))
                held += len(block[-1][2].starts)
                if held >= WINDOWS_AT_ONCE:
                    made += self._mark(block)
                    block, held = [], 0
            made += self._mark(block)
        self.model.train()
        return {"done": len(documents), "spans": sum(map(len, made))}

    def _cut(self, document):
        """(words, ids, windows) of a document."""
        split = document_words(document)
        encoded = self.tokenizer(
            split.words,
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        words = np.array(encoded.word_ids())
        starts = np.ones(len(words), np.int64)
        starts[1:] = words[1:] != words[:-1]
        return split, np.array(encoded["input_ids"], np.int64), cut(starts, MAX_SEQ_LENGTH, OVERLAP)

    def _mark(self, block):
        """The spans of some documents: list of lists of (start, end, type, score)."""
        rows = [ids[a:b] for _, ids, w in block for a, b in zip(w.starts.tolist(), w.ends.tolist(), strict=True)]
        logits = self._logits(rows)
        scores, first, counts = [], 0, []
        for split, _, windows in block:
            own = logits[first : first + len(windows.starts)]
            first += len(windows.starts)
            begins = np.cumsum([0, *map(len, own)])
            if len(own):
                scores.append(np.concatenate(own)[begins[windows.owners] + windows.places + 1])
            counts.append(len(split.words))
        scores = np.concatenate(scores).astype(np.float64)
        scores -= scores.max(-1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
        path = viterbi_of_all(scores, counts, *self.rules)
        chances = np.exp(scores[np.arange(len(path)), path])
        made, start = [], 0
        for (split, _, _), count in zip(block, counts, strict=True):
            found, _ = decode([self.tags[k] for k in path[start : start + count].tolist()], "bio")
            own = chances[start : start + count]
            made.append([(split.starts[a], split.ends[b - 1], kind, float(own[a:b].min())) for a, b, kind in found])
            start += count
        return made

    def _logits(self, rows):
        """Logits of windows of pieces: list of float32 [n + 2, K]."""
        tokenizer, size = self.case.tagset.tokenizer, self.case.predict_batch
        order = np.argsort([len(row) for row in rows], kind="stable") if self.grouped else np.arange(len(rows))
        logits = [None] * len(rows)
        for some in np.split(order, range(size, len(order), size)):
            width = max(len(rows[i]) for i in some) + 2
            ids, seen = (np.zeros((len(some), width), np.int64) for _ in range(2))
            for row, place in enumerate(some):
                length = len(rows[place]) + 2
                ids[row, 0], ids[row, 1 : length - 1], ids[row, length - 1] = (
                    tokenizer.cls_id,
                    rows[place],
                    tokenizer.sep_id,
                )
                seen[row, :length] = 1
            with self._autocast():
                values = self.call(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(seen)).logits
            values = values.float().numpy()
            for row, place in enumerate(some):
                logits[place] = values[row, : len(rows[place]) + 2]
        return logits
