"""Training, evaluation and prediction of taggers of entities, from tables to a folder and back to any format.

A run's folder: `entities.json` (what it was trained with and on), `dictionary.json`, `crf.bin`; with the encoder
`encoder/` (the trainer's run directory), `records/`, `words.txt` and `windows.json`; with the stack `stack.json`; after
an evaluation `metrics.json`, `predictions.<system>.jsonl` and `entities.html`.
"""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np

import medtop
from medtop.entities import crf_tagger, evaluate, tables
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Tally
from medtop.entities.formats import find_format
from medtop.entities.formats.jsonl import as_dict
from medtop.entities.overlaps import find_groups, left_out
from medtop.entities.reader_page import write_page
from medtop.entities.scores import RATIOS
from medtop.entities.spans import RULES, reduce_fragments
from medtop.entities.tagging import predict, training_sentences
from medtop.files.atomic import atomic_path, sha256, write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, has_json_key, whole_folder
from medtop.files.options import Rule, at_least, option, plain_defaults
from medtop.text.tags import SCHEMES

SETTINGS = "entities.json"
MODELS = ("crf", "dictionary", "encoder", "stack")
NEURAL = ("encoder", "stack")
"""Trained with the trainers' flags; stack: the encoder and the CRF together."""

RIVALS = ("crf", "dictionary")
"""Trained in every run, and always shown."""

PREDICTION = "prediction.json"


@dataclasses.dataclass(frozen=True)
class EntityOptions:
    """What a run is asked to do."""

    # The trainers' own flags (`TrainingOptions`), which the script hands on.
    output_dir: str = ""
    do_train: bool = False
    do_eval: bool = False
    seed: int = 0
    num_bootstrap: int = 1000
    overwrite: bool = False
    input_prefix: str = option("", "Prefix of convert_entities.py's tables.")
    do_predict: bool = option(False, "Mark entities in the texts of --predict_input.")
    model: str = option(
        "crf",
        "Which of the run's systems predicts and stands first; encoder is trained beside the other two, with the "
        "trainers' flags; stack is the encoder and the CRF together, weighed on the valid split.",
        choices=MODELS,
    )
    tag_scheme: str = option("bio", "Tags of the words.", choices=SCHEMES)
    decode: str = option(
        "",
        "viterbi: the best sequence that the scheme allows; greedy: the CRF's own best one, or each word's best tag, "
        "read strictly. Default: greedy for the CRF, viterbi for the encoder.",
        choices=("", "greedy", "viterbi"),
    )
    window_overlap: int = option(32, "Encoder: words that neighbouring windows share.", rule=at_least(0))
    fragments: str = option("hull", "What becomes of training spans in fragments.", choices=RULES)
    overlaps: str = option(
        "longest",
        "Overlapping training spans: longest: the longer one is learned, counted; groups: the encoder gets a task for "
        "each group of types that do not overlap, trained together; refuse: stop.",
        choices=("longest", "groups", "refuse"),
    )
    tag_head: str = option(
        "softmax",
        "Encoder: softmax: each word's tag by itself; crf: with a conditional random field over the words.",
        choices=("softmax", "crf"),
    )
    bert_model: str = option(
        "",
        "Encoder: a HuggingFace folder (bert, or megatron-bert such as GatorTron) or a run pretrained on text to start "
        "from; tokens are its word pieces then.",
    )
    train_documents: int = option(0, "Train on so many documents, drawn by the seed; 0 = all.", rule=at_least(0))
    eval_split: str = option("test", "Which split --do_eval scores.", choices=("test", "valid"))
    flavour: str = option("conll", "How hits are counted.", choices=("conll", "nervaluate", "i2b2_2010", "i2b2_2012"))
    predict_input: str = option("", "A .txt file or a folder of them.")
    predict_output: str = option("", "New folder for the predictions, files named as the texts.")
    predict_format: str = option(
        "brat",
        "Format of the predictions; each span with its score.",
        rule=Rule("a format of docs/entities.md", lambda name: find_format(name) is not None),
    )


def check_options(options):
    """Refuses flags that do not fit together, before anything is read.

    Raises:
        DataError: naming the flag.
    """
    wanted = [name for name in ("do_train", "do_eval", "do_predict") if getattr(options, name)]
    if not wanted:
        raise DataError("--do_train: expected at least one of --do_train, --do_eval and --do_predict")
    if (options.do_train or options.do_eval) and not options.input_prefix:
        raise DataError("--input_prefix: expected the prefix of convert_entities.py's tables, received ''")
    for name, value in (("overlaps", "groups"), ("tag_head", "crf"), ("bert_model", options.bert_model)):
        if value and getattr(options, name) == value and options.model not in NEURAL:
            raise DataError(f"--{name}={value} has no effect without --model=encoder or stack")
    for name in ("predict_input", "predict_output"):
        if options.do_predict != bool(getattr(options, name)):
            raise DataError(
                f"--do_predict needs --{name}" if options.do_predict else f"--{name} has no effect without --do_predict"
            )
    if options.do_predict:
        check_target(options.predict_output, has_json_key(PREDICTION, "system"), options.overwrite)


def train(options):
    """Learns the dictionary and the CRF and writes the run's folder, whole or not at all.

    Where the same run has been done before, nothing is touched.

    Returns:
        (dict of `entities.json`, whether it had been done before).

    Raises:
        DataError: for missing tables, tables without spans in the training split, or a run with other settings.
    """
    request = _request(options)
    if (Path(options.output_dir) / SETTINGS).is_file() and not options.overwrite:
        about = read_settings(options.output_dir)
        before = plain_defaults(options) | about.get("request", {})
        differences = [
            f"{key} {before.get(key)!r} -> {value!r}" for key, value in request.items() if before.get(key) != value
        ]
        if differences:
            raise DataError(
                f"{options.output_dir}: expected the settings that the run was started with, received others: "
                f"{'; '.join(differences)}; --overwrite starts anew"
            )
        return about, True
    with whole_folder(options.output_dir, has_json_key(SETTINGS, "tag_scheme"), options.overwrite) as work:
        tally, counts = Tally(), {"documents": 0, "sentences": 0}

        def counted():
            for document in training_documents(options, tally):
                counts["documents"] += 1
                yield document

        sentences = list(training_sentences(counted(), tally))
        counts["sentences"] = len(sentences)
        if options.overlaps == "refuse" and (number := tally.counts["overlapping_spans_left_out_of_tags"]):
            raise DataError(f"{options.input_prefix}: expected spans that share no word, received {number} that do")
        types, groups = sorted({kind for _, ranges in sentences for _, _, kind in ranges}), None
        if options.overlaps == "groups":
            documents = list(training_documents(options, Tally()))
            groups = find_groups(documents)
            types = sorted(itertools.chain.from_iterable(groups))
            tally.count("overlapping_spans_left_out_of_groups", left_out(documents, groups))
        crf_tagger.CrfTagger.learn(sentences, work / crf_tagger.FILE, options.tag_scheme)
        write_json(work / "dictionary.json", Dictionary.learn(sentences).to_json())
        about = {
            "tag_scheme": options.tag_scheme,
            "types": types,
            "groups": groups,
            "training": counts,
            "request": request,
            "counts": dict(sorted(tally.counts.items())),
            "versions": {"medtop": medtop.__version__},
        }
        write_json(work / SETTINGS, about)
    return about, False


def _request(options):
    """What tells one run from another: plain values."""
    files = [Path(path).resolve() for path in tables.table_paths(options.input_prefix, "train")]
    tables.splits_of(options.input_prefix)
    return {
        "tables": {str(path): sha256(path) for path in files if path.is_file()},
        **{name: getattr(options, name) for name in ("tag_scheme", "fragments", "overlaps", "train_documents", "seed")},
    }


def training_documents(options, tally, split="train"):
    """Yields the documents of a split that are used, spans in one piece."""
    chosen = _choose(options) if split == "train" else None
    for number, document in enumerate(tables.read_tables(options.input_prefix, split, tally)):
        if chosen is None or number in chosen:
            spans = [reduce_fragments(span, options.fragments, tally) for span in document.spans]
            document.spans = [span for span in spans if span is not None]
            yield document


def train_encoder(options, training, resume=True, command="", import_model=None):
    """Trains the encoder beside the run's other systems, with the shared trainer; goes on where it was stopped.

    Args:
        options: `EntityOptions`, whose run `train` has made.
        training: `TrainingOptions`: the trainers' flags.
        resume, command: as for `medtop.runs.execute.execute`.
        import_model: see `medtop.entities.pretrained.find_start`.

    Returns:
        the content of `stack.json` with --model=stack, else None.
    """
    from medtop.entities import encoder_tagger, pretrained, stack

    about, tally = read_settings(options.output_dir), Tally()
    if options.model == "stack" and "valid" not in tables.splits_of(options.input_prefix):
        raise DataError(
            f"{options.input_prefix}: expected a valid split, on which --model=stack is weighed, found none"
        )
    start = pretrained.find_start(options.output_dir, options.bert_model, training.init_checkpoint, import_model)
    documents = {"train": list(training_documents(options, tally))}
    if "valid" in tables.splits_of(options.input_prefix):
        documents["valid"] = list(training_documents(options, tally, "valid"))
    windows = encoder_tagger.WindowOptions(
        training.max_seq_length or 128, options.window_overlap, chain=options.tag_head == "crf"
    )
    known = _dictionary(options.output_dir)
    encoder_tagger.train(
        options.output_dir, documents, about, known, windows, training, start=start, resume=resume, command=command
    )
    if options.model == "stack":
        tagger = encoder_tagger.load(options.output_dir, about, known)
        return stack.fit(options.output_dir, tagger, _crf(options.output_dir, about), documents["valid"])
    return None


def stack_lines(weighed):
    """What `stack.fit` found, a line a task: list of str."""
    return [
        f"{task}: {entry['crf']:.2f} x CRF + {entry['encoder']:.2f} x encoder; log loss a word on {entry['words']:,} "
        "words of validation: " + ", ".join(f"{name} {loss:.4f}" for name, loss in entry["log_loss"].items())
        for task, entry in weighed.items()
    ]


def _choose(options):
    """Places of the training documents that are used; None for all."""
    if not options.train_documents:
        return None
    number = sum(1 for _ in tables.read_tables(options.input_prefix, "train", Tally()))
    if options.train_documents > number:
        raise DataError(f"--train_documents: expected at most {number}, received {options.train_documents}")
    return set(np.random.default_rng(options.seed).permutation(number)[: options.train_documents].tolist())


def read_settings(folder):
    """`entities.json` of a run.

    Raises:
        DataError: where there is none.
    """
    path = Path(folder) / SETTINGS
    try:
        about = read_json(path)
        about["tag_scheme"], about["types"]
    except FileNotFoundError:
        raise DataError(f"{path}: expected a run that was trained, found none (--do_train)") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: expected what --do_train writes, received another content") from None
    return about


def _dictionary(folder):
    path = Path(folder) / "dictionary.json"
    try:
        return Dictionary.from_json(read_json(path))
    except FileNotFoundError:
        raise DataError(f"{path}: expected a run's dictionary, found none") from None
    except (ValueError, TypeError):
        raise DataError(f"{path}: expected a run's dictionary, received another content") from None


def _crf(folder, about, constrained=False):
    return crf_tagger.CrfTagger(Path(folder) / crf_tagger.FILE, about["tag_scheme"], constrained)


def load(folder, name, decode=""):
    """A run's system: a function of an iterable of documents that yields them with its spans.

    Args:
        folder: the run's.
        name: one of `MODELS`.
        decode: see `EntityOptions`.
    """
    if name in NEURAL:
        return load_neural(folder, name, decode).predict_all
    about = read_settings(folder)
    tag = _dictionary(folder).tag if name == "dictionary" else _crf(folder, about, decode == "viterbi").tag
    return lambda documents: (predict(document, tag) for document in documents)


def load_neural(folder, name, decode=""):
    """The `EncoderTagger` of a run, for "stack" with its CRF beside it; arguments as of `load`."""
    from medtop.entities import encoder_tagger, stack

    about = read_settings(folder)
    tagger = encoder_tagger.load(folder, about, _dictionary(folder), decode != "greedy")
    if name == "stack":
        tagger.stack = stack.load(folder, _crf(folder, about), tagger.tagset.tasks)
    return tagger


def trained_model(folder):
    """Which of `MODELS` a run's folder was trained for: its rivals do not count."""
    from medtop.entities import encoder_tagger, stack

    if (Path(folder) / stack.FILE).is_file():
        return "stack"
    return "encoder" if (Path(folder) / encoder_tagger.RUN).is_dir() else "crf"


def evaluate_run(options):
    """Scores the run's systems on a split that they were not trained on; writes what the module's docstring lists.

    Returns:
        dict system -> `evaluate.Evaluation`, the chosen model first.

    Raises:
        DataError: for types that the run does not know.
    """
    about, tally = read_settings(options.output_dir), Tally()
    gold = list(tables.read_tables(options.input_prefix, options.eval_split, tally))
    if not gold:
        raise DataError(f"{options.input_prefix}: expected documents in the {options.eval_split} split, found none")
    unknown = sorted({span.type for document in gold for span in document.spans} - set(about["types"]))
    if unknown and not any(kind in about["types"] for document in gold for kind in {s.type for s in document.spans}):
        raise DataError(
            f"{options.input_prefix}: expected types {', '.join(about['types'])}, received {', '.join(unknown)}"
        )
    others = ("encoder", *RIVALS) if options.model == "stack" else RIVALS
    names = [options.model, *(name for name in others if name != options.model)]
    folder, evaluations = Path(options.output_dir), {}
    predicted = {name: list(load(folder, name, options.decode)(gold)) for name in names}
    for name in names:
        other = next(rival for rival in RIVALS if rival != name)
        evaluations[name] = evaluate.evaluate(
            gold,
            predicted[name],
            predicted[other],
            flavour=options.flavour,
            num_bootstrap=options.num_bootstrap,
            seed=options.seed,
        )
        with atomic_path(folder / f"predictions.{name}.jsonl") as temporary, open(temporary, "wb") as file:
            for document in predicted[name]:
                file.write(json.dumps(as_dict(document), ensure_ascii=False).encode() + b"\n")
    notes = [f"types that training did not have: {', '.join(unknown)}"] if unknown else []
    write_page(
        folder / "entities.html", evaluations[options.model].pairs, title=f"Entities: {options.model}", notes=notes
    )
    content = {"split": options.eval_split, "unknown_types": unknown}
    write_json(
        folder / "metrics.json",
        content | {"systems": {name: evaluation.result for name, evaluation in evaluations.items()}},
    )
    return evaluations


def table_lines(evaluations):
    """The systems beside each other, micro and per type, strict."""
    lines = [f"{'strict':<12} {'type':<20} {'gold':>6} precision  recall  F1 [95%]"]
    for name, evaluation in evaluations.items():
        for label, entry in evaluation.result["scores"][next(iter(evaluation.result["scores"]))].items():
            values = [entry[ratio]["value"] for ratio in RATIOS]
            shown = ["  -  " if value is None else f"{value:.3f}" for value in values]
            low, high = entry["f1"]["low"], entry["f1"]["high"]
            edges = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            lines.append(f"{name:<12} {label:<20} {entry['gold']:>6} {shown[0]:<10} {shown[1]:<7} {shown[2]}{edges}")
    return lines
