"""Integrated gradients against Captum's, computed on the exported PyTorch twin: channel by channel, token by token."""

import numpy as np
import pytest
from convert_cases import convert_config, padded_batch, random_model, write_run
from small_data import ALL_EMBEDDINGS, VOCABULARY, all_tasks

tf = pytest.importorskip("tensorflow", reason="gradients are TensorFlow's")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
captum = pytest.importorskip("captum.attr", reason="Captum is not installed: make test-extras")

from medtop.cohort.vocabulary import MASK_ID  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.torch_bert import EMBEDDINGS, TorchBert, table_name, table_rows  # noqa: E402
from medtop.explain.gradients import CONTEXT, Attributor  # noqa: E402

LABELS = [("long_stay", 0), ("complications", 1)]


class Given(torch.nn.Module):
    """Stands in the place of the twin's embeddings: their sum is given."""

    def __init__(self, own):
        super().__init__()
        self.own, self.total = own, None

    def forward(self, x):
        return self.own.LayerNorm(self.total) if self.own.config["norm"] == "post" else self.total


def parts_of(embeddings, x, config):
    """(dict channel -> what it adds over the baseline [B, T, H]; the baseline's sum), by the twin's own tables."""
    real, rest, parts = (x["patient_slots"] > 0)[..., None], 0, {}
    special = torch.tensor(VOCABULARY.special_ids)
    is_code = real & ~torch.isin(x["token_ids"], special)[..., None]
    for name in config["embeddings"]:
        key, size, kind = EMBEDDINGS[name]
        table = getattr(embeddings, table_name(name, config["embeddings"])).weight
        here = table[table_rows(x[key], kind, config[size], config["day_scale"])]
        there = here
        if name == "code":
            there = torch.where(is_code, table[MASK_ID], here)
        elif name in CONTEXT:
            there = torch.where(real, table[0], here)
        if name == "code" or name in CONTEXT:
            parts[name] = here - there
        rest = rest + there
    return parts, rest


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_integrated_gradients_are_captums(norm, tmp_path):
    config = convert_config(norm=norm, embeddings=ALL_EMBEDDINGS)
    tasks = all_tasks(["long_stay", "complications"])
    model = random_model(config, tasks)
    export(plan_export(write_run(tmp_path / "run", model, config, tasks), tmp_path / "twin", layout="medtop"))
    twin = TorchBert.from_folder(tmp_path / "twin").eval()
    batch = padded_batch(config)
    tensors = {name: tf.constant(values) for name, values in batch.items()}
    ours, logits, baseline = Attributor(model, config, tasks, LABELS, VOCABULARY, steps=64)(tensors)

    x = {name: torch.from_numpy(np.ascontiguousarray(values)).long() for name, values in batch.items()}
    with torch.no_grad():
        parts, rest = parts_of(twin.bert.embeddings, x, twin.config)
    twin.bert.embeddings = given = Given(twin.bert.embeddings)
    names = list(parts)
    assert names[0] == "code" and set(names[1:]) == set(CONTEXT)

    def forward(*inputs):
        *pieces, base, slots, places, tokens, task, number = inputs
        given.total = base + sum(pieces)
        outputs = twin({"patient_slots": slots, "cls_positions": places, "token_ids": tokens})
        return outputs[task][:, 0, number]

    for place, (task, number) in enumerate(LABELS):
        extra = (rest, x["patient_slots"], x["cls_positions"], x["token_ids"], task, number)
        values, residual = captum.IntegratedGradients(forward).attribute(
            tuple(parts[name] for name in names),
            additional_forward_args=extra,
            n_steps=64,
            method="gausslegendre",
            return_convergence_delta=True,
        )
        largest = max(float(np.abs(ours[name][..., place]).max()) for name in names)
        assert largest > 0.05, "something is attributed"
        for name, theirs in zip(names, values, strict=True):
            assert np.abs(theirs.sum(-1).numpy() - ours[name][..., place]).max() < 1e-4, (name, task)
        own = sum(part[..., place].sum(1) for part in ours.values()) - (logits - baseline)[:, place]
        assert np.abs(residual.numpy() - own).max() < 1e-3
