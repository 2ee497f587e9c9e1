"""Where an encoder of entities starts: a run directory pretrained on text, or a HuggingFace folder (`--bert_model`)."""

import dataclasses
from pathlib import Path

from medtop.data.layouts import ENTITIES
from medtop.files.errors import DataError
from medtop.text.wordpiece import WordPiece, choose_case, read_vocabulary
from medtop.training.run_directory import RunDirectory

IMPORTED = "imported"


@dataclasses.dataclass(frozen=True)
class Start:
    """A pretrained encoder of word pieces.

    Attributes:
        folder: a run directory.
        tokenizer: `WordPiece` of its vocabulary.
    """

    folder: Path
    tokenizer: WordPiece

    @property
    def config_file(self):
        """The encoder's configuration."""
        return RunDirectory(self.folder).config_file


def find_start(folder, bert_model, init_checkpoint, import_model=None):
    """The `Start` that flags name.

    Args:
        folder: the run's; a HuggingFace folder is imported into it, once.
        bert_model: a HuggingFace folder (`bert` or `megatron-bert`: GatorTron's layout) or a run directory.
        init_checkpoint: a run directory, of words or of word pieces.
        import_model: function (HuggingFace folder, run directory to write), handed in from the room of conversion.

    Returns:
        `Start`; None where nothing is named, or a run of words.

    Raises:
        DataError: for both flags, or an encoder that was not pretrained on text.
    """
    if bert_model and init_checkpoint:
        raise DataError("--bert_model: expected either it or --init_checkpoint, received both")
    source = bert_model or init_checkpoint
    if not source:
        return None
    run = RunDirectory(source)
    if not run.exists():
        if init_checkpoint:
            raise DataError(f"--init_checkpoint: {source}: expected a run directory, found none")
        return _start(_imported(source, Path(folder) / IMPORTED, import_model))
    if (run.settings().get("data") or {}).get("train", {}).get("layout") == ENTITIES.name:
        if bert_model:
            raise DataError(f"--bert_model: {source}: expected word pieces, received words; --init_checkpoint takes it")
        return None
    return _start(run)


def _imported(source, target, import_model):
    """The `RunDirectory` of a HuggingFace folder's weights; what an earlier command has imported is not read again."""
    if not (Path(source) / "config.json").is_file():
        raise DataError(f"--bert_model: {source}: expected a folder with config.json or a run directory, found none")
    run = RunDirectory(target)
    if not run.exists() or not run.settings().get("imported_from", "").startswith(f"`{source}` ("):
        import_model(source, str(target))
    return run


def _start(run):
    about = (run.settings().get("data") or {}).get("train") or {}
    kept = run.path / "source_tokenizer"
    if "tokenizer" not in about and not kept.is_dir():
        raise DataError(f"{run.path}: expected an encoder pretrained on text (word pieces), received one of codes")
    vocabulary = read_vocabulary(run.vocabulary_file)
    return Start(run.path, WordPiece(vocabulary, choose_case(run.vocabulary_file, vocabulary)))
