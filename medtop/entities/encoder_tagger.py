"""The encoder as a tagger: records of a run's tables, training in the shared trainer, and words' tags out of logits."""

import dataclasses
import itertools
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
    document_windows,
    learn_tagset,
    word_starts,
)
from medtop.entities.viterbi import allowed_transitions, viterbi
from medtop.entities.windows import cut, gather
from medtop.entities.words import document_words
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.temporary import temporary_folder
from medtop.model.config import BertConfig
from medtop.text.tags import decode
from medtop.text.wordpiece import WordPiece

RUN, RECORDS, WORDS, WINDOWS = "encoder", "records", "words.txt", "windows.json"
CONFIG = "configs/entities.json"
_BLOCK = 256


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
    return EncoderTagger(folder / RUN, tagset, windows, constrained)


class EncoderTagger:
    """A trained encoder.

    Args:
        folder: the trainer's run directory.
        tagset: `Tagset`.
        windows: `WindowOptions`.
        constrained: whether the scheme's rules decide (Viterbi), or each word's likeliest tag, read strictly.
        batch_size: windows in a batch.

    Attributes:
        stack: None, or the `medtop.entities.stack.Stack` that puts a CRF beside it.
    """

    name = "encoder"

    def __init__(self, folder, tagset, windows, constrained=True, batch_size=64):
        from medtop.model.multitask import build_model
        from medtop.training.run_directory import RunDirectory
        from medtop.training.trainer import load_best

        run = RunDirectory(folder)
        self.config, vocabulary, self.tasks = run.read()
        if vocabulary != tagset.vocabulary:
            raise DataError(f"{folder}: expected the vocabulary of the run around it, received another run's")
        self.model = build_model(self.config, self.tasks)
        load_best(self.model, run)
        self.tagset, self.windows, self.constrained, self.batch_size = tagset, windows, constrained, batch_size
        self._rules = {task: allowed_transitions(tags, tagset.scheme) for task, tags in tagset.labels.items()}
        self._traced, self.stack = {}, None

    def predict_all(self, documents):
        """Yields the documents with this tagger's spans, some hundred at a time."""
        for document, words, scores in self.word_scores(documents):
            yield dataclasses.replace(document, spans=self._spans(words, scores))

    def word_scores(self, documents):
        """What the encoder says of each word, whichever window decides it.

        Yields:
            (document, its `DocumentWords`, dict task -> log-probabilities float64 [W, K]; empty without a word).
        """
        stream = iter(documents)
        while block := list(itertools.islice(stream, _BLOCK)):
            yield from self._block(block)

    def _block(self, documents):
        from medtop.data.batches import BatchOptions
        from medtop.data.description import read_dataset
        from medtop.evaluation.scoring import Scorer

        bare = [dataclasses.replace(document, spans=[]) for document in documents]
        numbers = [len(self._windows(document)) for document in bare]
        logits = {}
        if sum(numbers):
            with temporary_folder() as folder:
                path = make_records(folder, bare, self.tagset, "test", self.windows)
                options = BatchOptions(batch_size=self.batch_size, max_seq_length=self.windows.max_seq_length)
                info = read_dataset(str(path))
                scorer = Scorer(self.model, info, self.config, self.tasks, options, 0, traced=self._traced)
                logits = {task: scorer.token_logits(task) for task in self.tagset.tasks}
        place = 0
        for document, number in zip(bare, numbers, strict=True):
            mine = {task: values[place : place + number] for task, values in logits.items()}
            yield document, *self._of_words(document, mine)
            place += number

    def _windows(self, document):
        return document_windows(document, self.tagset, self.windows.max_seq_length, self.windows.overlap, False)

    def _of_words(self, document, logits):
        """(`DocumentWords`, dict task -> log-probabilities) out of the logits of its windows, a list of [n, K] each."""
        words = document_words(document)
        if not words.words:
            return words, {}
        windows = cut(word_starts(words, self.tagset), self.windows.max_seq_length, self.windows.overlap)
        scores = {task: gather(windows, values).astype(np.float64) for task, values in logits.items()}
        return words, {task: special.log_softmax(values, axis=-1) for task, values in scores.items()}

    def _spans(self, words, scores):
        """The spans that log-probabilities of words say, of all tasks."""
        made = []
        for task, of_words in scores.items():
            tags = self.tagset.labels[task]
            logs = of_words if self.stack is None else self.stack(words, task, tags, of_words)
            path = viterbi(logs, *self._rules[task]) if self.constrained else logs.argmax(-1)
            ranges, _ = decode([tags[k] for k in path], self.tagset.scheme)
            chances = np.exp(logs[np.arange(len(path)), path])
            made += [
                (words.starts[first], words.ends[after - 1], kind, float(chances[first:after].min()))
                for first, after, kind in ranges
            ]
        return [
            Span(f"T{number}", kind, ((start, end),), {}, score)
            for number, (start, end, kind, score) in enumerate(sorted(made), 1)
        ]
