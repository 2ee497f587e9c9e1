"""Documents with spans -> records of windows of words: the record maker of `run_entities.py`.

A token is a word (`[UNK]` where the vocabulary lacks it); a window is `[CLS] words [SEP]`. Each word carries its label
in the one window that decides it (`medtop.entities.windows`), with weight 1; all else has weight 0. The gazetteer of a
training document is learned from the other documents (five folds), or it would know every answer.
"""

import collections
import dataclasses
import itertools
import zlib

import numpy as np

from medtop.cohort.vocabulary import CLS_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID, Vocabulary
from medtop.data.layouts import ENTITIES
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, RecordMaker, Settings, description, require
from medtop.entities import tables
from medtop.entities.channels import gazetteer_ids, word_channels
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Tally
from medtop.entities.spans import reduce_fragments
from medtop.entities.tags import SCHEMES, encode, tag_set, word_ranges
from medtop.entities.windows import cut
from medtop.entities.words import document_words

TASK = "entities"
FOLDS = 5
_BLOCK = 64


def learn_vocabulary(documents, min_count=2):
    """The `Vocabulary` of lower-cased words that occur at least so often, by falling frequency."""
    counts = collections.Counter(
        word.lower() for document in documents for word in document_words(document).words if " " not in word
    )
    words = sorted((word for word, number in counts.items() if number >= min_count), key=lambda w: (-counts[w], w))
    return Vocabulary(
        (*SPECIAL_TOKENS, *(word for word in words if word not in SPECIAL_TOKENS and word.strip() == word))
    )


@dataclasses.dataclass(frozen=True)
class Tagset:
    """What records are made with, the same for every split.

    Attributes:
        vocabulary: `Vocabulary` of words.
        types: list of types.
        scheme: "bio" or "bioes".
        dictionary: `Dictionary` of the training split; folds: FOLDS dictionaries, each of the other folds.
        rows: rows of the hashed tables.
    """

    vocabulary: Vocabulary
    types: list
    scheme: str
    dictionary: Dictionary
    folds: list
    rows: int = 8192

    @property
    def tags(self):
        """The task's labels."""
        return tag_set(self.types, self.scheme)


def fold_of(document_id):
    """The fold of a training document."""
    return zlib.crc32(document_id.encode("utf-8", "surrogatepass")) % FOLDS


def learn_tagset(documents, scheme, rows=8192):
    """The `Tagset` of training documents (a list)."""
    by_fold = [[] for _ in range(FOLDS)]
    for document in documents:
        found = document_words(document)
        ranges = word_ranges(found.starts, found.ends, document.spans)
        by_fold[fold_of(document.document_id)].append(
            (found.words, [(first, after, span.type) for first, after, span in ranges])
        )
    all_of = list(itertools.chain.from_iterable(by_fold))
    types = sorted({kind for _, ranges in all_of for _, _, kind in ranges})
    others = [
        Dictionary.learn([item for other, items in enumerate(by_fold) if other != fold for item in items])
        for fold in range(FOLDS)
    ]
    return Tagset(learn_vocabulary(documents), types, scheme, Dictionary.learn(all_of), others, rows)


@dataclasses.dataclass(frozen=True)
class Window:
    """One record before it is written.

    Attributes:
        document_id, patient_id: str; number: int, of the window in its document.
        columns: dict name -> list of n int.
        labels, weights: lists of n.
    """

    document_id: str
    patient_id: str
    number: int
    columns: dict
    labels: list
    weights: list


def document_windows(document, tagset, max_seq_length, overlap, training, tally=None):
    """The `Window`s of a document.

    Args:
        document: `Document`; its spans are read for labels only.
        tagset: `Tagset`.
        max_seq_length, overlap: of the windows.
        training: whether the gazetteer must not know the document.
        tally: `Tally` of the spans that tags cannot hold, or None.
    """
    found, vocabulary = document_words(document), tagset.vocabulary
    if not found.words:
        return []
    ranges = [
        item for item in word_ranges(found.starts, found.ends, document.spans, tally) if item[2].type in tagset.types
    ]
    number_of = {tag: number for number, tag in enumerate(tagset.tags)}
    tags = encode(len(found.words), [(first, after, span.type) for first, after, span in ranges], tagset.scheme)
    dictionary = tagset.folds[fold_of(document.document_id)] if training else tagset.dictionary
    channels = word_channels(found.words, gazetteer_ids(found.words, dictionary, tagset.types), tagset.rows)
    channels["token_ids"] = [vocabulary.ids.get(word.lower(), UNK_ID) for word in found.words]
    edges = {name: (0, 0) for name in channels} | {"token_ids": (CLS_ID, SEP_ID)}
    windows, made = cut(np.ones(len(found.words), np.int64), max_seq_length, overlap), []
    for number, (start, end) in enumerate(zip(windows.starts.tolist(), windows.ends.tolist(), strict=True)):
        columns = {name: [edges[name][0], *values[start:end], edges[name][1]] for name, values in channels.items()}
        mine = (windows.owners[start:end] == number).astype(float).tolist()
        labels = [0, *(number_of[tag] for tag in tags[start:end]), 0]
        made.append(Window(document.document_id, document.patient_id, number, columns, labels, [0.0, *mine, 0.0]))
    return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntitySettings(Settings):
    """What the maker is asked for: `input_file` is the documents' table of one split.

    Attributes:
        split: "train", "valid" or "test".
        tag_scheme: "bio" or "bioes".
        window_overlap: words that neighbouring windows share.
        fragments: what becomes of spans in fragments.
        training: whether the gazetteer must not know the documents (the training split).
    """

    split: str
    tag_scheme: str = "bio"
    window_overlap: int = 32
    fragments: str = "hull"
    training: bool = False


class EntityMaker(RecordMaker):
    """Records of the windows of one split's documents.

    Args:
        settings: `EntitySettings`.
        tagset: `Tagset`, learned from the training split.
        documents: function that gives the documents, or None: those of the table.
    """

    expects = "a table of documents (.documents.<split>.parquet)"
    counts = ("documents", "words")

    def __init__(self, settings, tagset, documents=None):
        super().__init__(settings)
        self.tagset, self._documents = tagset, documents

    def check(self):
        """See `RecordMaker.check`."""
        scheme = self.settings.tag_scheme
        require("--tag_scheme", scheme in SCHEMES, " or ".join(SCHEMES), scheme)

    def open(self, inputs):
        """See `RecordMaker.open`."""
        defaults = self.defaults(max_seq_length=128, max_predictions_per_seq=1, masked_lm_prob=0.15)
        return description(
            ENTITIES.name,
            self.tagset.vocabulary,
            {TASK: self.tagset.tags},
            defaults,
            split=self.settings.split,
            flags={"vocabulary": self.tagset.vocabulary.hash, **defaults},
            levels={TASK: "token"},
        )

    def documents(self, inputs):
        """Yields the documents, spans in one piece."""
        if self._documents is not None:
            yield from self._documents()
            return
        for path in inputs:
            prefix = str(path).removesuffix(f".documents.{self.settings.split}.parquet")
            for document in tables.read_tables(prefix, self.settings.split, Tally()):
                spans = [reduce_fragments(span, self.settings.fragments, Tally()) for span in document.spans]
                document.spans = [span for span in spans if span is not None]
                yield document

    def examples(self, inputs, about):
        """See `RecordMaker.examples`."""
        settings = self.settings
        length = about["defaults"]["max_seq_length"]
        stream = self.documents(inputs)
        while block := list(itertools.islice(stream, _BLOCK)):
            windows = [
                window
                for document in block
                for window in document_windows(
                    document, self.tagset, length, settings.window_overlap, settings.training
                )
            ]
            yield _examples(windows, len(self.tagset.tags), len(block))


def _examples(windows, num_tags, documents):
    lengths = np.array([len(window.labels) for window in windows], np.int64)
    names = list(windows[0].columns) if windows else []

    def flat(values, kind=np.int64):
        return np.fromiter(itertools.chain.from_iterable(values), kind)

    labels, weights = flat(w.labels for w in windows), flat((w.weights for w in windows), np.float32)
    columns = [Column(name, "int64", flat(w.columns[name] for w in windows), lengths) for name in names]
    patients = [window.patient_id or window.document_id for window in windows]
    columns += [
        Column(f"{TASK}_labels", "int64", labels, lengths),
        Column(f"{TASK}_weights", "float", weights, lengths),
        Column("window", "int64", np.array([window.number for window in windows], np.int64)),
        Column("prediction_time", "int64", np.zeros(len(windows), np.int64)),
        Column("patient_id", "bytes", [patient.encode() for patient in patients]),
        Column("document_id", "bytes", [window.document_id.encode() for window in windows]),
    ]
    one_hot = (labels[:, None] == np.arange(num_tags)).astype(np.float32)
    known = np.repeat(weights[:, None], num_tags, axis=1)
    counts = {"documents": documents, "words": int(weights.sum())}
    return Examples(columns, lengths, patients, {TASK: one_hot}, {TASK: known}, examples_in=len(windows), counts=counts)
