"""From texts to a readmission run: their records, the weights to start from, and what scoring must know later.

No TensorFlow is loaded before everything that the user named has been checked.
"""

import dataclasses
import logging
from pathlib import Path

from medtop.data import create
from medtop.data.description import read_dataset, read_dataset_json
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.options import at_least, option
from medtop.model.config import BertConfig
from medtop.notes.create_features import NoteSettings, WindowMaker
from medtop.text.wordpiece import read_vocabulary
from medtop.training.options import check_evaluation_name
from medtop.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

RECORDS, IMPORTED = "records", "imported"
"""Folders in the run directory: TFRecord files made of texts; the run directory made of a HuggingFace folder."""
FOLDER_FILES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
"""ClinicalBERT's data folder."""
FILE_OPTIONS = {"train": "input_file", "valid": "valid_file", "test": "test_file"}
LONGEST = 512
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class TextInput:
    """Which texts a run reads, and how they become records."""

    data_dir: str = option(
        "", "Folder with train.csv, val.csv and test.csv (TEXT, ID, Label), or the prefix of preprocess_notes.py."
    )
    # "" where the user did not say
    readmission_mode: str = option(
        "", "What the texts are; refused where the data say otherwise.", choices=("", "discharge", "early")
    )
    vocab_file: str = option("", "WordPiece vocabulary; default: that of --bert_model.")
    lower_case: bool | None = option(None, "Lower-case and take accents off; default: as the vocabulary was made.")
    window_overlap: int = option(0, "Pieces that neighbouring windows share.", rule=at_least(0))
    legacy: bool = option(False, "The first window of each text only, as ClinicalBERT; the rest is dropped.")


def find_texts(data_dir):
    """The files of texts: dict split -> path, of those that are there.

    A folder with train.csv, val.csv or test.csv is ClinicalBERT's; else `<data_dir>.notes.<split>.parquet` are looked
    for.

    Raises:
        DataError: where neither is there.
    """
    files = {split: Path(data_dir) / name for split, name in FOLDER_FILES.items()}
    files = {split: path for split, path in files.items() if path.is_file()}
    if files:
        return files
    files = {split: Path(f"{data_dir}.notes.{split}.parquet") for split in FOLDER_FILES}
    files = {split: path for split, path in files.items() if path.is_file()}
    if not files:
        raise DataError(
            f"--data_dir: expected a folder with {', '.join(FOLDER_FILES.values())}, or the prefix of "
            f"<prefix>.notes.train.parquet and so on, received {data_dir!r}"
        )
    return files


def resolve_start(folder, output_dir, import_folder):
    """The run directory to start from; a HuggingFace folder is first imported into `<output_dir>/imported`.

    Args:
        folder: run directory, HuggingFace folder, or "".
        output_dir: this run's directory.
        import_folder: function (HuggingFace folder, run directory to write) that imports and says in words what it
            took; handed in, so that notes know nothing of other frameworks.

    Returns:
        Path as str, or "".
    """
    if not folder or RunDirectory(folder).exists():
        return folder
    if not any((Path(folder) / name).is_file() for name in ("config.json", "bert_config.json")):
        raise DataError(
            f"--bert_model: expected a run directory or a HuggingFace folder with config.json (or bert_config.json), "
            f"received {folder!r}"
        )
    target = Path(output_dir) / IMPORTED
    if RunDirectory(target).exists():
        earlier = RunDirectory(target).settings().get("imported_from", "")
        if str(folder) not in earlier:
            raise DataError(
                f"{target}: expected the import of {folder}, found that of {earlier}; choose another --output_dir"
            )
        return str(target)
    logger.info("imported %s: %s", folder, import_folder(folder, target))
    return str(target)


def vocabulary_source(start, vocab_file):
    """The vocabulary file of the records to be made: the start's where there is one.

    Args:
        start: run directory or "".
        vocab_file: what the user named, or "".

    Raises:
        DataError: without a vocabulary, or with two different ones.
    """
    if not start:
        if not vocab_file:
            raise DataError(
                "--vocab_file: expected a WordPiece vocabulary (learn_wordpiece_vocab.py makes one), or "
                "--bert_model, whose vocabulary is taken, received neither"
            )
        return vocab_file
    own = str(RunDirectory(start).vocabulary_file)
    if vocab_file and read_vocabulary(vocab_file) != read_vocabulary(own):
        raise DataError(f"--vocab_file: expected the vocabulary of {start} or none, received another one")
    return own


def prepare(options, texts, import_folder, overwrite=False):
    """Fills in what a readmission run needs: records of its texts, weights and configuration to start from.

    Args:
        options: `medtop.training.options.TrainingOptions`.
        texts: `TextInput`.
        import_folder: as for `resolve_start`.
        overwrite: whether records made with other settings may be replaced.

    Returns:
        `TrainingOptions` that name records and configuration.

    Raises:
        DataError: for what is missing or does not fit (also texts of another `readmission_mode`), before anything is
            written.
    """
    named = [name for name in FILE_OPTIONS.values() if getattr(options, name)]
    if texts.data_dir and named:
        raise DataError(f"--data_dir and --{named[0]} exclude each other: give texts or records")
    if not options.output_dir:
        raise DataError("--output_dir: expected a folder, received ''")
    check_evaluation_name(options)
    _check_run(options, texts.readmission_mode, overwrite)
    files = find_texts(texts.data_dir) if texts.data_dir else {}
    if options.do_train:
        if files and "train" not in files:
            raise DataError(f"--data_dir: expected texts of the train split, received {', '.join(files)} only")
        start = resolve_start(options.init_checkpoint, options.output_dir, import_folder)
    else:
        start = options.output_dir
        files = _evaluated(files, options)
    config = options.bert_config_file or (str(RunDirectory(start).config_file) if start else "")
    options = dataclasses.replace(options, init_checkpoint=start if options.do_train else "", bert_config_file=config)
    if not files:
        _check_mode(options, texts.readmission_mode)
        return options
    plans = _record_plans(files, options, texts, start, overwrite)
    _records_folder(options).mkdir(parents=True, exist_ok=True)
    for split, a_plan in plans.items():
        info = create.write(a_plan)
        logger.info(
            "%s: %d windows of %d texts%s",
            split,
            info.num_examples,
            info.counts["examples_in"],
            " (made before)" if a_plan.done else "",
        )
    if any(path.suffix == ".csv" for path in files.values()):
        _warn_of_patients(plans)
    made = {FILE_OPTIONS[split]: str(a_plan.settings.output_file) for split, a_plan in plans.items()}
    return dataclasses.replace(options, **made)


def _records_folder(options):
    """Where the records of texts are made: those of a named evaluation apart from the run's."""
    run = RunDirectory(options.output_dir)
    return (run.evaluations / options.eval_name if options.eval_name else run.path) / RECORDS


def _evaluated(files, options):
    """The files to evaluate a finished run on: dict split -> path; of a named evaluation the test split alone."""
    wanted = ("test",) if options.eval_name else ("valid", "test")
    kept = {split: path for split, path in files.items() if split in wanted}
    if files and options.eval_name and not kept:
        raise DataError(f"--data_dir: expected texts of the test split, received {', '.join(files)} only")
    return kept


def _check_texts(plan, run):
    """Refuses texts that were cleaned otherwise than those that the run was trained on."""
    made, trained = _settings(plan.description["source_manifest"]), read_text_settings(run)
    for name in ("cleaning", "lower_case"):
        if made.get(name, trained[name]) != trained[name]:
            raise DataError(
                f"--data_dir: expected texts of --{name}={trained[name]} as the run's, received --{name}={made[name]}"
            )


def _check_run(options, mode, overwrite):
    """Refuses to evaluate where no run is, and a run that was made for the other prediction time."""
    run = RunDirectory(options.output_dir)
    if not options.do_train and not run.exists():
        hint = "; --bert_model is where training starts" if options.init_checkpoint else ""
        raise DataError(
            f"--output_dir: expected the folder of a run to evaluate (--do_train makes one), found none in "
            f"{options.output_dir!r}{hint}"
        )
    if mode and run.notes_file.is_file() and not (options.do_train and overwrite):
        said = read_text_settings(run)["mode"] or mode
        if said != mode:
            raise DataError(f"--readmission_mode: expected {said} (the run in {run.path} was made so), received {mode}")


def _record_plans(files, options, texts, start, overwrite):
    """dict split -> checked `medtop.data.create.DatasetPlan`."""
    vocab_file = vocabulary_source(start, texts.vocab_file)
    if not options.bert_config_file:
        raise DataError("--bert_config_file: expected a model configuration (JSON) or --bert_model, received neither")
    most = BertConfig.from_file(options.bert_config_file).max_position_embeddings
    trained = None if options.do_train else RunDirectory(options.output_dir).settings().get("max_seq_length")
    length = options.max_seq_length or trained or min(LONGEST, most)
    if length > most:
        raise DataError(
            f"--max_seq_length: expected at most {most} (max_position_embeddings of "
            f"{options.bert_config_file}), received {length}"
        )
    folder = _records_folder(options)
    plans = {}
    for split, path in files.items():
        settings = NoteSettings(
            input_file=str(path),
            output_file=str(folder / f"{split}.tfrecord"),
            vocab_file=vocab_file,
            lower_case=texts.lower_case,
            max_seq_length=length,
            window_overlap=texts.window_overlap,
            legacy=texts.legacy,
            overwrite=overwrite,
        )
        plans[split] = create.plan(WindowMaker(settings))
        if options.eval_name:
            _check_texts(plans[split], RunDirectory(options.output_dir))
        _compare_modes(texts.readmission_mode, "--data_dir", plans[split].description["source_manifest"])
    return plans


def _warn_of_patients(plans):
    """ClinicalBERT's folders name no patients: nobody can see whether one stands in two splits."""
    for a_plan in plans.values():
        path = a_plan.inputs[0]
        with open(path, encoding="utf-8-sig") as file:
            header = [name.strip().strip('"').lower() for name in file.readline().split(",")]
        if not {"patient_id", "subject_id"} & set(header):
            logger.warning(
                "%s names no patients: each admission counts as a patient of its own, so that intervals are too narrow "
                "and a patient may stand in two splits unseen; preprocess_notes.py makes splits by patient",
                path,
            )
            return


def _check_mode(options, mode):
    """Refuses named records that were made for the other prediction time."""
    for name in FILE_OPTIONS.values():
        if getattr(options, name):
            for manifest in read_dataset(getattr(options, name)).source_manifests:
                _compare_modes(mode, f"--{name}", manifest)


def _compare_modes(mode, flag, manifest):
    """Refuses texts whose manifest says another mode than the user; "" and texts without a manifest say none."""
    said = _settings(manifest).get("mode", mode)
    if mode and said != mode:
        raise DataError(f"--readmission_mode: expected {said} (the texts of {flag} were made so), received {mode}")


def _settings(manifest):
    """The settings of a manifest of notes, or of the first of several; {} where it has none."""
    first = manifest[0] if isinstance(manifest, list) and manifest else manifest
    return first.get("settings") or {} if isinstance(first, dict) else {}


def text_settings(options, mode=""):
    """How the texts of a run were cleaned and cut, so that new notes can be treated alike.

    Args:
        options: `TrainingOptions` that name records.
        mode: "discharge", "early" or "".

    Returns:
        dict of `mode`, `cleaning`, `lower_case`, `window_overlap`, `legacy`.
    """
    names = read_dataset(options.input_file or options.valid_file or options.test_file).names
    content = read_dataset_json(str(names[0]).removesuffix(".dataset.json"))
    flags, made = content["flags"], _settings(content["source_manifest"])
    return {
        "mode": mode or made.get("mode", ""),
        "cleaning": made.get("cleaning", "published"),  # a ClinicalBERT data folder says nothing: it was cleaned so
        "lower_case": made.get("lower_case", True),
        "window_overlap": flags.get("window_overlap", 0),
        "legacy": flags.get("legacy", False),
    }


def write_text_settings(run, settings):
    """Writes notes.json of a run."""
    write_json(run.notes_file, {"version": _VERSION, **settings})


def read_text_settings(run):
    """What `write_text_settings` wrote; a DataError for a run without it."""
    try:
        content = read_json(run.notes_file)
    except FileNotFoundError:
        raise DataError(f"{run.notes_file}: expected a run of run_readmission.py, found no such file") from None
    wanted = ("mode", "cleaning", "lower_case", "window_overlap", "legacy")
    good = isinstance(content, dict) and content.get("version") == _VERSION
    if not good or any(name not in content for name in wanted):
        raise DataError(f"{run.notes_file}: expected {', '.join(wanted)}, version {_VERSION}, received another content")
    return {name: content[name] for name in wanted}
