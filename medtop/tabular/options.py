"""How a network for tables is trained. No TensorFlow here: flags are checked first."""

import dataclasses

from medtop.files.options import SEED, Rule, above, at_least, check, option, share


@dataclasses.dataclass(frozen=True)
class TabularOptions:
    """How a network is trained."""

    hidden: tuple[int, ...] = option(
        (64, 32, 16),
        "Widths of the shared trunk's layers.",
        rule=Rule("widths of 1 or more", lambda widths: bool(widths) and all(width >= 1 for width in widths)),
    )
    dropout: float = option(
        0.0, "Dropout behind each trunk layer.", rule=Rule("a rate from 0 to below 1", lambda rate: 0 <= rate < 1)
    )
    learning_rate: float = option(1e-3, "AdamW's learning rate.", rule=above(0))
    weight_decay: float = option(1e-4, "AdamW's weight decay.", rule=at_least(0))
    batch_size: int = option(32, "Rows in a batch.", rule=at_least(1))
    epochs: int = option(200, "Most passes over the training rows.", rule=at_least(1))
    patience: int = option(
        20, "Epochs without a better validation loss until training stops; 0 = never.", rule=at_least(0)
    )
    valid_share: float = option(0.15, "Share of each fold's training rows that choose the epoch.", rule=share())
    balancing_learning_rate: float = option(0.025, "Of the optimizer of uncertainty and gradnorm.", rule=above(0))
    gradnorm_alpha: float = option(
        1.5, "GradNorm's alpha: how strongly tasks that learn slowly are preferred.", rule=at_least(0)
    )
    seed: int = option(0, "Seed of folds, weights and order.", rule=SEED)

    def check(self):
        """Refuses what cannot train; returns itself."""
        return check(self)
