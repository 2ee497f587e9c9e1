"""Configurations of benchmarks/entities_quality.py without some of what an encoder of words sees."""

import json
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from comparison.left_out import without  # noqa: E402

from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402


def test_configurations_without():
    whole = json.loads((ROOT / "medtop/configs/entities.json").read_text(encoding="utf-8"))
    less = without(whole, "prefix+gazetteer+neighbour_layers")
    assert set(whole["embeddings"]) - set(less["embeddings"]) == {"prefix", "gazetteer"}
    assert less["neighbour_layers"] == 0 < whole["neighbour_layers"], "the one that is given stays"
    assert BertConfig.from_dict(less).embeddings == tuple(less["embeddings"])
    for word in ("nonsense", "activation", ""):
        with pytest.raises(DataError, match="expected an embedding or a number of the configuration"):
            without(whole, word)
