"""The encoder as a tagger: records of a run's tables, training in the shared trainer, and words' tags out of logits."""

import dataclasses
from importlib import resources
from pathlib import Path

import numpy as np
from scipy import special

import medtop
from medtop.cohort.vocabulary import Vocabulary
from medtop.entities.documents import Span
from medtop.entities.records import (
    EntityMaker,
    EntitySettings,
    Tagset,
    learn_tagset,
)
from medtop.entities.viterbi import allowed_transitions, viterbi_of_all
from medtop.entities.window_batches import block_windows, blocks
from medtop.entities.words import words_of_all
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.text.tags import ranges_of_all
from medtop.text.wordpiece import WordPiece

RUN, RECORDS, WORDS, WINDOWS = "encoder", "records", "words.txt", "windows.json"
CONFIG = "configs/entities.json"
_BATCH_SIZES = {"GPU": 64, "CPU": 16}
"""Windows in a batch: on a CPU few enough for what a layer computes to stay in the cache."""


@dataclasses.dataclass(frozen=True)
class WindowOptions:
    """What an encoder was given.

    Attributes:
        max_seq_length: most tokens of a window, [CLS] and [SEP] included; overlap: tokens that neighbours share.
        lower_case: None: tokens are words; else they are word pieces, of lower-cased texts or of texts as they are.
        chain: whether the heads are conditional random fields.
    """

    max_seq_length: int = 128
    overlap: int = 32
    lower_case: bool | None = None
    chain: bool = False


def records_path(folder, split):
    """A split's records in a run's folder."""
    return Path(folder) / RECORDS / f"{split}.tfrecord"


def make_records(folder, documents, tagset, split, windows, seed=0):
    """Writes the records of documents.

    Args:
        folder: the run's.
        documents: list of `Document`, spans in one piece.
        tagset: `medtop.entities.records.Tagset`.
        split: "train", "valid" or "test".
        windows: `WindowOptions`.
        seed: stored as the trainer's default.
    """
    from medtop.data.tfrecord import DatasetWriter  # loads TensorFlow

    path = records_path(folder, split)
    settings = EntitySettings(
        input_file="",
        output_file=str(path),
        vocab_file="",
        max_seq_length=windows.max_seq_length,
        random_seed=seed,
        split=split,
        tag_scheme=tagset.scheme,
        window_overlap=windows.overlap,
        training=split == "train",
    )
    maker = EntityMaker(settings, tagset, lambda: iter(documents))
    maker.check()
    about = maker.open([])
    with DatasetWriter(path, 1, about) as writer:
        writer.dropped, writer.more_counts = {}, dict.fromkeys(maker.counts, 0)
        for examples in maker.examples([], about):
            if len(examples.lengths):
                writer.write(examples)
    return path


def train(folder, documents, about, dictionary, windows, training, start=None, resume=True, command=""):
    """Writes the records and trains, or goes on.

    Args:
        folder: the run's.
        documents: dict "train" and perhaps "valid" -> list of `Document`, spans in one piece.
        about: dict of `entities.json`: `types`, `groups`, `tag_scheme`.
        dictionary: the run's `Dictionary`, the gazetteer of all but training documents.
        windows: `WindowOptions`.
        training: `TrainingOptions`; files, tasks and folder are filled in here.
        start: None, or the `medtop.entities.pretrained.Start` whose encoder and word pieces are used.
        resume, command: as for `medtop.runs.execute.execute`.
    """
    from medtop.runs.execute import execute

    folder, given = Path(folder), training.bert_config_file
    config_file = given or str(start.config_file if start else resources.files(medtop).joinpath(CONFIG))
    rows = BertConfig.from_file(config_file).word_channel_size
    tagset = learn_tagset(documents["train"], about["tag_scheme"], rows)
    about_types = {"types": about["types"], "groups": about.get("groups"), "chain": windows.chain}
    tagset = dataclasses.replace(tagset, dictionary=dictionary, **about_types)
    if start is not None:
        windows = dataclasses.replace(windows, lower_case=start.tokenizer.lower_case)
        tagset = dataclasses.replace(tagset, vocabulary=start.tokenizer.vocabulary, tokenizer=start.tokenizer)
    tagset.vocabulary.write_text(folder / WORDS)
    write_json(folder / WINDOWS, dataclasses.asdict(windows))
    paths = {
        split: str(make_records(folder, some, tagset, split, windows, training.seed))
        for split, some in documents.items()
        if some
    }
    options = dataclasses.replace(
        training,
        input_file=paths["train"],
        valid_file=paths.get("valid", ""),
        test_file="",
        output_dir=str(folder / RUN),
        bert_config_file=config_file,
        init_checkpoint=str(start.folder) if start else training.init_checkpoint,
        tasks=tuple(tagset.tasks),
        do_train=True,
        do_eval=False,
        baselines=False,
        max_seq_length=windows.max_seq_length,
    )
    execute(options, resume, False, command)


def load(folder, about, dictionary, constrained=True):
    """The `EncoderTagger` of a run's folder.

    Args:
        folder, about, dictionary: as for `train`.
        constrained: see `EncoderTagger`.

    Raises:
        DataError: where no encoder was trained.
    """
    from medtop.training.run_directory import RunDirectory

    folder = Path(folder)
    try:
        windows = WindowOptions(**read_json(folder / WINDOWS))
    except FileNotFoundError:
        raise DataError(
            f"{folder / RUN}: expected a trained encoder, found none (--do_train --model=encoder)"
        ) from None
    except (ValueError, TypeError):
        raise DataError(f"{folder / WINDOWS}: expected what --do_train writes, received another content") from None
    config, vocabulary, _ = RunDirectory(folder / RUN).read()
    if Vocabulary.read(folder / WORDS) != vocabulary:
        raise DataError(f"{folder / WORDS}: expected the vocabulary of {folder / RUN}, received another run's")
    tokenizer = None if windows.lower_case is None else WordPiece(vocabulary, windows.lower_case)
    tagset = Tagset(
        vocabulary,
        about["types"],
        about["tag_scheme"],
        dictionary,
        [],
        config.word_channel_size,
        tokenizer,
        about.get("groups"),
        windows.chain,
    )
    return EncoderTagger.of_run(folder / RUN, tagset, windows, constrained)


class EncoderTagger:
    """A trained encoder.

    Args:
        model: `build_model`'s, with its weights.
        tagset: `Tagset`.
        windows: `WindowOptions`.
        constrained: whether the scheme's rules decide (Viterbi), or each word's likeliest tag, read strictly.
        batch_size: windows in a batch; None: what suits the machine.

    Attributes:
        stack: None, or the `medtop.entities.stack.Stack` that puts a CRF beside it.
    """

    name = "encoder"

    def __init__(self, model, tagset, windows, constrained=True, batch_size=None):
        import tensorflow as tf

        from medtop.evaluation.forward import forward
        from medtop.model.multitask import build_token_model

        self.tagset, self.windows, self.constrained, self.stack = tagset, windows, constrained, None
        self.batch_size = batch_size or _BATCH_SIZES["GPU" if tf.config.list_logical_devices("GPU") else "CPU"]
        self._rules = {task: allowed_transitions(tags, tagset.scheme) for task, tags in tagset.labels.items()}
        self._inputs = list(model.input)
        tokens = build_token_model(model, list(tagset.tasks))
        rows = {name: tf.TensorSpec([None, None], tf.int32) for name in self._inputs}
        self.logits = tf.function(  # one signature, so that it is traced once for all row lengths
            forward(tokens),
            input_signature=[rows | {"token_places": tf.TensorSpec([None], tf.int32)}],
            autograph=False,
        )

    @classmethod
    def of_run(cls, folder, tagset, windows, constrained=True):
        """The tagger that the trainer's run directory holds.

        Raises:
            DataError: where its vocabulary is not the tagset's.
        """
        from medtop.model.multitask import build_model
        from medtop.training.run_directory import RunDirectory
        from medtop.training.trainer import load_best

        run = RunDirectory(folder)
        config, vocabulary, tasks = run.read()
        if vocabulary != tagset.vocabulary:
            raise DataError(f"{folder}: expected the vocabulary of the run around it, received another run's")
        model = build_model(config, tasks)
        load_best(model, run)
        return cls(model, tagset, windows, constrained)

    def predict_all(self, documents):
        """Yields the documents with this tagger's spans, some hundred at a time."""
        for block in blocks(documents):
            yield from self._marked(self._scored(block))

    def word_scores(self, documents):
        """What the encoder (with the CRF, where it is a stack) says of each word, whichever window decides it.

        Yields:
            (document, its `DocumentWords`, dict task -> log-probabilities float64 [W, K]; empty without a word).
        """
        for block in blocks(documents):
            yield from self._scored(block)

    def type_scores(self, documents):
        """For each type how probable it is that a word belongs to one.

        Yields:
            (document, its `DocumentWords`, dict type -> float64 [W]; empty without a word).
        """
        for document, words, scores in self.word_scores(documents):
            chances = {}
            for task, logs in scores.items():
                for k, tag in enumerate(self.tagset.labels[task][1:], 1):
                    kind = tag.partition("-")[2]
                    chances[kind] = chances.get(kind, 0.0) + np.exp(logs[:, k])
            yield document, words, chances

    def _scored(self, documents):
        """`word_scores` of a block, as a list."""
        splits = words_of_all(documents)
        counts = [len(split.words) for split in splits]
        windows = block_windows(splits, self.tagset, self.windows.max_seq_length, self.windows.overlap)
        scores = {
            task: np.split(special.log_softmax(logits, axis=-1), np.cumsum(counts[:-1]))
            for task, logits in self._word_logits(windows).items()
        }
        scored = []
        for place, (document, split) in enumerate(zip(documents, splits, strict=True)):
            own = {task: parts[place] for task, parts in scores.items()} if split.words else {}
            if self.stack is not None:
                own = {task: self.stack(split, task, self.tagset.labels[task], logs) for task, logs in own.items()}
            scored.append((document, split, own))
        return scored

    def _word_logits(self, windows):
        """dict task -> float64 [W, K]: what the deciding windows of `BlockWindows` say of each word."""
        from medtop.data.batches import ROW_LENGTHS
        from medtop.evaluation.forward import side_by_side

        longest = self.windows.max_seq_length
        lengths = (*(length for length in ROW_LENGTHS if length < longest), longest)
        scores = {task: np.empty((len(windows.owners), len(tags))) for task, tags in self.tagset.labels.items()}

        def batches():
            for some, width in windows.batches(self.batch_size, lengths):
                words, rows = windows.decided(some)
                places = (rows * width + windows.places[words]).astype(np.int32)
                yield {**windows.rows(some, width, self._inputs), "token_places": places}, words

        for (_, words), logits in side_by_side(lambda x, _: self.logits(x), batches()):
            for task, values in logits.items():
                scores[task][words] = values.numpy()
        return scores

    def _marked(self, scored):
        """Yields the documents of `_scored` with the spans that log-probabilities of words say, of all tasks."""
        counts = np.array([len(words.words) for _, words, _ in scored], np.int64)
        starts, ends = (
            np.array([place for _, words, _ in scored for place in getattr(words, edge)], np.int64)
            for edge in ("starts", "ends")
        )
        owners, made = np.repeat(np.arange(len(scored)), counts), []
        for task, tags in self.tagset.labels.items() if len(owners) else ():
            logs = np.concatenate([own[task] for _, _, own in scored if task in own])
            path = self._path(task, logs, counts)
            first, after, kinds = ranges_of_all(path, counts, tags, self.tagset.scheme)
            least = _least(np.exp(logs[np.arange(len(path)), path]), first, after)
            places = (owners[first].tolist(), starts[first].tolist(), ends[after - 1].tolist())
            made += zip(*places, kinds, least, strict=True)
        marks = [[] for _ in scored]
        for number, *mark in sorted(made):
            marks[number].append(mark)
        for (document, _, _), own in zip(scored, marks, strict=True):
            spans = [
                Span(f"T{number}", kind, ((start, end),), {}, score)
                for number, (start, end, kind, score) in enumerate(own, 1)
            ]
            yield dataclasses.replace(document, spans=spans)

    def _path(self, task, logs, counts):
        """The tags int64 [W] of all words of documents of so many words, out of [W, K]."""
        return viterbi_of_all(logs, counts, *self._rules[task]) if self.constrained else logs.argmax(-1)


def _least(chances, first, after):
    """The smallest of `chances` [W] in each range of words, apart and in order: list of M float."""
    edges = np.stack([first, after], -1).ravel()
    return np.minimum.reduceat(np.append(chances, np.inf), edges)[::2].tolist() if len(edges) else []
