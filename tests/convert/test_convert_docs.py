"""docs/convert.md: its fine-tuning with HuggingFace's Trainer runs as it stands there, on an exported folder."""

import re

import numpy as np
import pytest
from convert_cases import convert_config, random_model, write_run
from small_data import VOCABULARY

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402


def test_the_pages_fine_tuning_runs_with_the_stock_trainer(tmp_path, monkeypatch, repo_root):
    page = (repo_root / "docs" / "convert.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "Trainer(" in block)
    config = convert_config(
        activation="gelu_tanh", embeddings=("code", "position", "segment"), segment="visit", initializer_range=0.02
    )
    run = write_run(tmp_path / "run", random_model(config), config)
    codes = ("ICD10_E119", "ICD10_I10", "ICD10_N183", "ICD10_J45")
    Vocabulary((*SPECIAL_TOKENS, *codes, *VOCABULARY.tokens[9:])).write_text(run / "vocab.txt")
    monkeypatch.chdir(tmp_path)
    export(plan_export(run, "exports/encoder", head="encoder"))
    before = transformers.AutoModel.from_pretrained("exports/encoder").state_dict()
    space = {"__name__": "page"}
    torch.manual_seed(0)
    exec(compile(code, "docs/convert.md", "exec"), space)  # the page's own lines, from this repository

    batch = space["collate"](space["patients"][:2])
    assert batch["input_ids"].tolist() == [[2, 5, 6, 7], [2, 6, 8, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 1, 1, 2], [0, 1, 2, 0]]
    history = space["trainer"].state
    assert history.global_step == 5 and np.isfinite(history.log_history[-1]["train_loss"])
    after = space["model"].state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])]
    assert len(moved) > len(before) / 2, "a few steps move the encoder"
    with torch.no_grad():
        logits = space["model"].eval()(**batch).logits[:, 0]
    assert logits[0] > logits[1], "it has learned which of the two comes back"

    done = import_weights(plan_import("exports/finetuned", tmp_path / "back", task_name="readmission"))
    assert [(task.name, task.labels) for task in done.tasks] == [("readmission", ("readmitted",))]
    assert done.parity_value <= 1e-5 and done.config.segment == "visit"


def test_the_page_names_every_flag_of_the_scripts(repo_root):
    """A flag that the page does not explain is a flag that nobody finds."""
    page = (repo_root / "docs" / "convert.md").read_text(encoding="utf-8")
    for script in ("convert_tf_to_pytorch", "convert_pytorch_to_tf"):
        text = (repo_root / "run_scripts" / f"{script}.py").read_text(encoding="utf-8")
        for flag in re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', text):
            assert f"--{flag}" in page, f"{script}: --{flag}"
