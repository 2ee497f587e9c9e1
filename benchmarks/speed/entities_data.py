"""What the contenders of entities_speed.py tag: documents of convert_entities.py, their pieces, windows, labels."""

import dataclasses
import itertools

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.entities import tables
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Tally
from medtop.entities.records import FOLDS, Tagset, document_windows
from medtop.entities.spans import reduce_fragments
from medtop.model.config import BertConfig
from medtop.notes.learn_vocabulary import count_words, learn_pieces
from medtop.text.wordpiece import WordPiece, read_vocabulary

MAX_SEQ_LENGTH, OVERLAP = 128, 32

SHAPES = {
    # width, layers, heads, feed-forward
    "small": (192, 6, 6, 768),
    "base": (768, 12, 12, 3072),
}


@dataclasses.dataclass
class Case:
    """What a contender is given.

    Attributes:
        documents: list of `Document`, spans in one piece.
        tagset: `Tagset` with a tokenizer.
        config: `BertConfig` of the encoder.
        batch_size: windows of a training step; predict_batch: of a batch in prediction.
        start: file of `speed.entities_start.write_start`.
    """

    documents: list
    tagset: Tagset
    config: BertConfig
    batch_size: int
    predict_batch: int
    start: str

    def windows(self):
        """list of the documents' `Window`s, for training."""
        return [
            window
            for document in self.documents
            for window in document_windows(document, self.tagset, MAX_SEQ_LENGTH, OVERLAP, False)
        ]


def read_documents(prefix, split, most):
    """The first documents of a split, spans in one piece."""
    documents = list(itertools.islice(tables.read_tables(prefix, split, Tally()), most or None))
    for document in documents:
        spans = [reduce_fragments(span, "hull", Tally()) for span in document.spans]
        document.spans = [span for span in spans if span is not None]
    return documents


def write_vocabulary(documents, size, path):
    """Learns word pieces of the documents' texts and writes `vocab.txt`."""
    counts = count_words([([document.text for document in documents], [])], True).counts
    pieces = learn_pieces(counts, size - len(SPECIAL_TOKENS))
    Vocabulary((*SPECIAL_TOKENS, *pieces)).write_text(path)


def make_case(prefix, split, documents, vocab_file, shape, batch_size, predict_batch, start):
    """The `Case` of a split's documents."""
    some = read_documents(prefix, split, documents)
    vocabulary = read_vocabulary(vocab_file)
    types = sorted({span.type for document in some for span in document.spans})
    empty = Dictionary({})
    tokenizer = WordPiece(vocabulary, True)
    tagset = Tagset(vocabulary, types, "bio", empty, [empty] * FOLDS, tokenizer=tokenizer)
    width, layers, heads, inner = SHAPES[shape]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        activation="gelu",
        embeddings=("code", "position", "segment"),
        segment="sentence",
        max_position_embeddings=512,
    )
    return Case(some, tagset, config, batch_size, predict_batch, start)
