"""A head from outside the package: a hidden layer between the pooled patient vector and the logits."""

from medtop.model.heads import HEADS
from medtop.model.tokenwise import dense


def two_layers(task, config, encoder, inputs, outputs):
    """[B, P, H] -> [B, P, K]."""
    hidden = dense(config, config.hidden_size // 2, f"{task.name}_hidden", "gelu")(outputs["pooled_output"])
    return dense(config, task.num_outputs, f"{task.name}_logits", dtype="float32")(hidden)


HEADS["two_layers"] = two_layers
