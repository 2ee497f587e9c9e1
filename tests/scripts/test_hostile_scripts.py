"""Hostile files given to scripts, as a user would: one line on standard error, exit code 1, nothing written."""

import json
import pickle

import pytest

TYPES = {token: number for number, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "I10"))}


def nested(levels):
    """Lists that hold the one before twice."""
    value = []
    for _ in range(levels):
        value = [value, value]
    return value


def features(folder, lists=b"", types=None):
    """The command line of the feature script over these files."""
    (folder / "a.bencs").write_bytes(lists)
    (folder / "a.types").write_bytes(pickle.dumps(TYPES) if types is None else types)
    command = "--input_file=a.bencs --output_file=out.tfrecord --vocab_file=a.types".split()
    return ["preprocessing/create_BERTpretrain_EHRfeatures.py", *command]


def preprocessing(folder, *flags):
    (folder / "t.csv").write_text("patient_id,admit,discharge,code\n" + "a,2010-01-01,2010-01-03,ICD10_I10\n" * 3)
    return ["preprocessing/preprocess_pretrain_data.py", "t.csv", "NA", "out", "0", *flags]


def training(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    command = "--do_train --output_dir=run --input_file=d --bert_config_file=config.json".split()
    return ["run_scripts/run_toppretraining.py", *command]


def nine_bytes(folder):
    return features(folder, types=b"\x80\x04]r\xff\xff\xff\x0f.")


def growing_message(folder):
    return features(folder, lists=pickle.dumps({"format": "medtop sequences", "version": nested(60)}))


def wrong_types(folder):
    types = pickle.dumps({"empty_pad": 0, "I10": 1})
    return features(folder, lists=pickle.dumps([["p", [3], [0], ["x"], [1]]]), types=types)


def deep_endpoints(folder):
    (folder / "own.json").write_text("[" * 100_000)
    return preprocessing(folder, "--endpoints=own.json")


def laughing_endpoints(folder):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (folder / "own.yaml").write_text("\n".join(lines))
    return preprocessing(folder, "--endpoints=own.yaml")


def deep_grid(folder):
    (folder / "grid.yaml").write_text("[" * 20_000)
    return ["run_scripts/run_grid.py", "grid.yaml"]


def damaged_dataset(folder):
    (folder / "d.dataset.json").write_text(json.dumps({"format": "medtop dataset", "version": 1, "shards": "d"}))
    return training(folder, config="{}")


def huge_config(folder):
    from test_hostile_datasets import describe

    describe(folder)
    return training(folder, config=json.dumps({"activation": "gelu", "hidden_size": 10**9, "num_attention_heads": 1}))


CASES = (
    nine_bytes, growing_message, wrong_types, deep_endpoints, laughing_endpoints, deep_grid, damaged_dataset,
    huge_config,
)  # fmt: skip


@pytest.mark.parametrize("make", CASES)
def test_one_line_and_exit_code_one(run_script, tmp_path, monkeypatch, repo_root, make):
    monkeypatch.syspath_prepend(str(repo_root / "tests" / "data"))
    script, *arguments = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = run_script(script, *arguments, cwd=tmp_path, timeout=60)
    assert done.returncode == 1, done.stderr[-2000:]
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and len(line) < 600 and "expected" in line
    assert sorted(tmp_path.rglob("*")) == before
