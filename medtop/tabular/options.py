"""How a network for tables is trained. No TensorFlow here: flags are checked first."""

import dataclasses
import math

from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class TabularOptions:
    """How a network is trained.

    Attributes:
        hidden: widths of the trunk's layers.
        dropout: rate behind each of them.
        learning_rate, weight_decay: AdamW's.
        batch_size: rows in a batch.
        epochs: most passes over the training rows.
        patience: epochs without a better validation measure until training stops; 0 = all epochs.
        valid_share: share of the training rows (groups) that choose the epoch; they train no weight.
        balancing_learning_rate: of the balancer's own optimizer.
        gradnorm_alpha: GradNorm's alpha.
        seed: of weights, order, splits.
    """

    hidden: tuple = (64, 32, 16)
    dropout: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 32
    epochs: int = 200
    patience: int = 20
    valid_share: float = 0.15
    balancing_learning_rate: float = 0.025
    gradnorm_alpha: float = 1.5
    seed: int = 0

    def check(self):
        """Refuses what cannot train; returns itself."""
        for name, good, expected in (
            ("hidden", bool(self.hidden) and all(width >= 1 for width in self.hidden), "widths of 1 or more"),
            ("dropout", 0 <= self.dropout < 1, "a rate from 0 to below 1"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a number above 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("patience", self.patience >= 0, "0 or more"),
            ("valid_share", 0 < self.valid_share < 1, "a share between 0 and 1"),
            ("balancing_learning_rate", 0 < self.balancing_learning_rate < math.inf, "a number above 0"),
            ("gradnorm_alpha", 0 <= self.gradnorm_alpha < math.inf, "0 or more"),
            ("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        ):
            if not good:
                raise DataError(f"--{name}: expected {expected}, received {getattr(self, name)!r}")
        return self
