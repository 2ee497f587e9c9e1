"""Documents with spans -> records of windows of words or word pieces: the record maker of `run_entities.py`.

A token is a word (`[UNK]` where the vocabulary lacks it), or one of a word's pieces, where the encoder was pretrained
on pieces; a window is `[CLS] tokens [SEP]`. Each word carries its label at its first token, in the one window that
decides it (`medtop.entities.windows`), with weight 1; all else has weight 0. The gazetteer of a training document is
learned from the other documents (five folds), or it would know every answer.

Letters: W words, Z tokens of a document.
"""

import collections
import dataclasses
import itertools
import zlib

import numpy as np

from medtop.cohort.vocabulary import CLS_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID, Vocabulary
from medtop.data.layouts import ENTITIES, ENTITY_PIECES
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, RecordMaker, Settings, description, require
from medtop.entities import tables
from medtop.entities.channels import gazetteer_ids, word_channels
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Tally
from medtop.entities.spans import reduce_fragments
from medtop.entities.windows import cut
from medtop.entities.words import document_words
from medtop.model.tasks import CHAINS
from medtop.text.tags import SCHEMES, encode, tag_set, word_ranges

TASK = "entities"
MOST_GROUPS = len(CHAINS)
FOLDS = 5
_BLOCK = 64


def task_names(chain):
    """Names of the tasks of at most `MOST_GROUPS` groups of types.

    >>> task_names(False)[:2]
    ('entities', 'entities_2')
    """
    return CHAINS if chain else (TASK, *(f"{TASK}_{number}" for number in range(2, MOST_GROUPS + 1)))


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
        vocabulary: `Vocabulary` of words, or of pieces.
        types: list of types.
        scheme: "bio" or "bioes".
        dictionary: `Dictionary` of the training split; folds: FOLDS dictionaries, each of the other folds.
        rows: rows of the hashed tables.
        tokenizer: None: tokens are words; or the `WordPiece` of the pieces.
        groups: None: one task for all types; or lists of types, a task each, whose spans may overlap.
        chain: whether the tasks' heads are conditional random fields.
    """

    vocabulary: Vocabulary
    types: list
    scheme: str
    dictionary: Dictionary
    folds: list
    rows: int = 8192
    tokenizer: object = None
    groups: list | None = None
    chain: bool = False

    @property
    def tasks(self):
        """dict task -> its types."""
        groups = self.groups or [self.types]
        return dict(zip(task_names(self.chain), groups, strict=False))

    @property
    def labels(self):
        """dict task -> its tags."""
        return {task: tag_set(types, self.scheme) for task, types in self.tasks.items()}

    @property
    def tags(self):
        """The first task's tags."""
        return next(iter(self.labels.values()))


def fold_of(document_id):
    """The fold of a training document."""
    return zlib.crc32(document_id.encode("utf-8", "surrogatepass")) % FOLDS


def learn_tagset(documents, scheme, rows=8192):
    """The `Tagset` of training documents (a list)."""
    by_fold = [[] for _ in range(FOLDS)]
    for document in documents:
        split = document_words(document)
        ranges = word_ranges(split.starts, split.ends, document.spans)
        by_fold[fold_of(document.document_id)].append(
            (split.words, [(first, after, span.type) for first, after, span in ranges])
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
        labels: dict task -> list of n int; weights: list of n.
    """

    document_id: str
    patient_id: str
    number: int
    columns: dict
    labels: dict
    weights: list


def word_tokens(split, tagset, dictionary):
    """The tokens of a document's words.

    Args:
        split: `DocumentWords`, W > 0.
        tagset: `Tagset`.
        dictionary: of the gazetteer.

    Returns:
        (word_starts int64 [Z], 1 for the first token of a word; dict column -> list of Z int; dict column -> its values
        at [CLS] and [SEP], where they are not 0).
    """
    if tagset.tokenizer is None:
        gazetteer = gazetteer_ids(split.words, dictionary, tagset.types)
        columns = word_channels(split.words, gazetteer, tagset.rows)
        columns["token_ids"] = [tagset.vocabulary.ids.get(word.lower(), UNK_ID) for word in split.words]
        return np.ones(len(split.words), np.int64), columns, {"token_ids": (CLS_ID, SEP_ID)}
    starts, ids = word_pieces(split.words, tagset.tokenizer)
    edges = {"token_ids": (tagset.tokenizer.cls_id, tagset.tokenizer.sep_id)}
    return starts, {"token_ids": ids.tolist(), "segment_ids": [0] * len(ids)}, edges


def word_pieces(words, tokenizer):
    """(1 for the first piece of each word, ids): int64 [Z] each. A word of nothing but control characters is [UNK]."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}  # most words are there many times
    pieces = tokenizer.tokenize(list(numbers))
    empty = np.flatnonzero(pieces.counts == 0)
    begins = np.cumsum(pieces.counts) - pieces.counts
    ids = np.insert(pieces.ids, begins[empty], tokenizer.unk_id)
    counts = np.maximum(pieces.counts, 1)
    begins = np.cumsum(counts) - counts
    chosen = np.array([numbers[word] for word in words], np.int64)
    begins, counts = begins[chosen], counts[chosen]
    firsts = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(firsts, counts)
    starts = np.zeros(len(within), np.int64)
    starts[firsts] = 1
    return starts, ids[np.repeat(begins, counts) + within]


def document_windows(document, tagset, max_seq_length, overlap, training, tally=None):
    """The `Window`s of a document.

    Args:
        document: `Document`; its spans are read for labels only.
        tagset: `Tagset`.
        max_seq_length, overlap: of the windows.
        training: whether the gazetteer must not know the document.
        tally: `Tally` of the spans that tags cannot hold, or None.
    """
    split = document_words(document)
    if not split.words:
        return []
    dictionary = tagset.folds[fold_of(document.document_id)] if training else tagset.dictionary
    starts, columns, edges = word_tokens(split, tagset, dictionary)
    columns["word_starts"] = starts.tolist()
    edges = dict.fromkeys(columns, (0, 0)) | edges
    labels = {task: word_labels(document, split, types, tagset.scheme, tally) for task, types in tagset.tasks.items()}
    windows, made = cut(starts, max_seq_length, overlap), []
    for number, (start, end) in enumerate(zip(windows.starts.tolist(), windows.ends.tolist(), strict=True)):
        first, after = np.searchsorted(windows.first_pieces, [start, end])
        places = windows.first_pieces[first:after] - start + 1
        weights = np.zeros(end - start + 2)
        weights[places] = windows.owners[first:after] == number
        of_task = {}
        for task, values in labels.items():
            of_task[task] = np.zeros(end - start + 2, np.int64)
            of_task[task][places] = values[first:after]
        some = {name: [edges[name][0], *values[start:end], edges[name][1]] for name, values in columns.items()}
        made.append(Window(document.document_id, document.patient_id, number, some, of_task, weights))
    return made


def word_labels(document, split, types, scheme, tally=None):
    """Numbers of the words' tags in `tag_set(types, scheme)`: int64 [W]; spans of other types are not looked at."""
    spans = [span for span in document.spans if span.type in types]
    ranges = word_ranges(split.starts, split.ends, spans, tally)
    number_of = {tag: number for number, tag in enumerate(tag_set(types, scheme))}
    tags = encode(len(split.words), [(first, after, span.type) for first, after, span in ranges], scheme)
    return np.array([number_of[tag] for tag in tags], np.int64)


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
        tokenizer, labels = self.tagset.tokenizer, self.tagset.labels
        return description(
            (ENTITY_PIECES if tokenizer else ENTITIES).name,
            self.tagset.vocabulary,
            labels,
            defaults,
            split=self.settings.split,
            flags={"vocabulary": self.tagset.vocabulary.hash, **defaults},
            levels=dict.fromkeys(labels, "token"),
            **({"tokenizer": tokenizer.settings} if tokenizer else {}),
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
            yield _examples(windows, self.tagset.labels, len(block))


def _examples(windows, tags, documents):
    """`Examples` of windows; `tags`: dict task -> its tags."""
    lengths = np.array([len(window.weights) for window in windows], np.int64)
    names = list(windows[0].columns) if windows else []

    def flat(values, kind=np.int64):
        return np.fromiter(itertools.chain.from_iterable(values), kind)

    weights = flat((w.weights for w in windows), np.float32)
    columns = [Column(name, "int64", flat(w.columns[name] for w in windows), lengths) for name in names]
    patients = [window.patient_id or window.document_id for window in windows]
    one_hot, known = {}, {}
    for task, own in tags.items():
        labels = flat(w.labels[task] for w in windows)
        columns += [
            Column(f"{task}_labels", "int64", labels, lengths),
            Column(f"{task}_weights", "float", weights, lengths),
        ]
        one_hot[task] = (labels[:, None] == np.arange(len(own))).astype(np.float32)
        known[task] = np.repeat(weights[:, None], len(own), axis=1)
    columns += [
        Column("window", "int64", np.array([window.number for window in windows], np.int64)),
        Column("prediction_time", "int64", np.zeros(len(windows), np.int64)),
        Column("patient_id", "bytes", [patient.encode() for patient in patients]),
        Column("document_id", "bytes", [window.document_id.encode() for window in windows]),
    ]
    counts = {"documents": documents, "words": int(weights.sum())}
    return Examples(columns, lengths, patients, one_hot, known, examples_in=len(windows), counts=counts)
