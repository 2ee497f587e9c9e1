"""How much each task's loss counts: fixed weights, uncertainty, GradNorm, random weights.

The network minimises sum_i weight_i L_i, the weights taken as constants. A trainer's step does, for n tasks:

    weights = balancer.weights(step)
    ... unweighted losses L [n] of the whole global batch, which tasks have labels in it, and, where
        `balancer.needs_gram`, the Gram matrix [n, n] of the tasks' gradients at the last shared layer ...
    balancer.update(losses, present, gram, step)

A balancer sees sums over all replicas only, so it computes the same on each of them: one device, Mirrored and several
workers agree. Its `variables` belong in every checkpoint; then a resumed run is the run that never stopped.

`task_weights` are the user's priorities t_i. They multiply the balanced weights (not the losses that the balancer sees:
uncertainty and GradNorm make up for a loss's scale, and would cancel a factor in front of it).

Letters: n tasks.
"""

import math

import keras
from keras import ops

from medtop.files.errors import DataError
from medtop.model.choices import BALANCERS

CLASSIFICATION, REGRESSION = "classification", "regression"
KINDS = {CLASSIFICATION: 1.0, REGRESSION: 0.5}
"""Kind of a task -> c in its Gaussian or softmax likelihood (Kendall et al. 2018); a regression's loss is the mean
squared error, without a half."""

LEARNING_RATE = 0.025  # of the balancer's own optimizer (Chen et al. 2018, section 5)
LOG_VARIANCE_LIMIT = 20.0  # weights between 2e-9 and 5e8: a loss that reaches 0 must not end in infinity


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on one vector; elements that are not `active` stay exactly as they are.

    Every element has its own count of steps, for the correction of the means' start at 0.

    Args:
        size: n.
        learning_rate: number, or function of the step.
        dtype: of its variables.

    Attributes:
        variables: first and second means and step counts, three `keras.Variable` [n].
    """

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-7

    def __init__(self, size, learning_rate, dtype):
        self.learning_rate = learning_rate
        self.variables = [
            _variable(f"balancer_{name}", [0.0] * size, dtype) for name in ("mean", "square_mean", "count")
        ]

    def moved(self, value, gradient, active, step):
        """The vector after one step, [n]; the means move along.

        Args:
            value, gradient: [n].
            active: bool [n].
            step: steps taken before, for the learning rate.
        """
        mean, square_mean, count = (ops.convert_to_tensor(variable) for variable in self.variables)
        means = (
            self.beta_1 * mean + (1 - self.beta_1) * gradient,
            self.beta_2 * square_mean + (1 - self.beta_2) * ops.square(gradient),
            count + 1,
        )
        for variable, before, after in zip(self.variables, (mean, square_mean, count), means, strict=True):
            variable.assign(ops.where(active, after, before))
        first = means[0] / (1 - ops.power(ops.convert_to_tensor(self.beta_1, value.dtype), means[2]))
        second = means[1] / (1 - ops.power(ops.convert_to_tensor(self.beta_2, value.dtype), means[2]))
        rate = self.learning_rate
        if callable(rate):  # a number stays one: made a tensor, it would be float32 first
            rate = ops.cast(rate(step), value.dtype)
        moved = value - rate * first / (ops.sqrt(second) + self.epsilon)
        return ops.where(active, moved, value)


class Balancer:
    """Fixed weights: weight_i = t_i. The base of the others, which override `weights` and `update`.

    Args:
        task_names: n names.
        kinds: n keys of `KINDS`; None = all classification.
        task_weights: n priorities t_i >= 0, or a dict name -> t_i (1 where not named); None = 1.
        learning_rate: of the balancer's own optimizer: a number, or a function of the step.
        seed: of what is random.
        dtype: of its variables; None = keras.config.floatx().

    Attributes:
        variables: list of `keras.Variable`, what a checkpoint must hold.
        needs_gram: whether `update` wants the Gram matrix.
    """

    needs_gram = False

    def __init__(self, task_names, kinds=None, task_weights=None, learning_rate=LEARNING_RATE, seed=0, dtype=None):
        self.task_names = list(task_names)
        self.size = len(self.task_names)
        self.kinds = [CLASSIFICATION] * self.size if kinds is None else list(kinds)
        self.learning_rate, self.seed = learning_rate, seed
        self.dtype = dtype or keras.config.floatx()
        self.variables = []
        if not self.size or len(self.kinds) != self.size:
            raise DataError(f"balancing: expected a kind for each of {self.size} tasks, received {len(self.kinds)}")
        for name, kind in zip(self.task_names, self.kinds, strict=True):
            if kind not in KINDS:
                raise DataError(f"task {name}: expected a kind among {', '.join(KINDS)}, received {kind!r}")
        if not callable(learning_rate) and not 0 < learning_rate < math.inf:
            raise DataError(f"balancing: expected a learning rate above 0, received {learning_rate!r}")
        self.task_weights = self._checked(task_weights)

    def _checked(self, given):
        if given is None:
            return [1.0] * self.size
        if isinstance(given, dict):
            unknown = sorted(set(given) - set(self.task_names))
            if unknown:
                raise DataError(
                    f"task weights: expected names among {', '.join(self.task_names)}, received {unknown[0]!r}"
                )
            given = [given.get(name, 1.0) for name in self.task_names]
        if len(given) != self.size or not all(0 <= weight < math.inf for weight in given):
            raise DataError(f"task weights: expected {self.size} numbers of 0 or more, received {list(given)!r}")
        return [float(weight) for weight in given]

    @property
    def priorities(self):
        """t, [n]."""
        return ops.convert_to_tensor(self.task_weights, self.dtype)

    def weights(self, step):
        """Weights of the losses in the step after `step` steps: [n], above 0."""
        return self.priorities

    def added(self):
        """What the method's own total holds beside the weighted losses: a number without a gradient for the network."""
        return ops.zeros((), self.dtype)

    def update(self, losses, present, gram, step):
        """Learns from one step; outside of any gradient tape.

        Args:
            losses: [n], unweighted losses of the global batch; 0 for a task without labels in it.
            present: bool [n], whether the task has labels in the batch.
            gram: [n, n], inner products of the gradients of the unweighted losses at the last shared layer, of the
                global batch; None unless `needs_gram`.
            step: steps taken before.
        """


class Uncertainty(Balancer):
    """Homoscedastic uncertainty (Kendall, Gal and Cipolla 2018, equations 7 and 10).

    With s_i = log sigma_i^2 learned, total = sum_i t_i (c_i exp(-s_i) L_i + s_i / 2), where c = 1 for a cross-entropy
    and 1/2 for a mean squared error. So weight_i = t_i c_i exp(-s_i), and d total / d s_i = t_i (1/2 - c_i exp(-s_i)
    L_i), which vanishes at exp(s_i) = 2 c_i L_i. Adam is indifferent to the factor t_i, which is left out.

    Args:
        balanced_start: s_i starts at that point for the task's first loss (the paper leaves the start open); before
            it, weight_i = 0. From s_i = 0 the way to a loss of another order of magnitude is long, and one step with
            a loss 1,000 times too large spoils the second moments of the network's Adam for thousands of steps.
            False = s_i starts at 0.
    """

    def __init__(self, *arguments, balanced_start=True, **settings):
        super().__init__(*arguments, **settings)
        self.log_variances = _variable("balancer_log_variances", [0.0] * self.size, self.dtype)
        self.started = _variable("balancer_started", [float(not balanced_start)] * self.size, self.dtype)
        self.optimizer = Adam(self.size, self.learning_rate, self.dtype)
        self.variables = [self.log_variances, self.started, *self.optimizer.variables]

    def _scales(self):
        """c_i exp(-s_i), [n]."""
        likelihoods = ops.convert_to_tensor([KINDS[kind] for kind in self.kinds], self.dtype)
        return likelihoods * ops.exp(-ops.convert_to_tensor(self.log_variances))

    def weights(self, step):
        return self.priorities * self._scales() * ops.convert_to_tensor(self.started)

    def added(self):
        """sum_i t_i s_i / 2, of the tasks that have started."""
        started = ops.convert_to_tensor(self.started)
        return ops.sum(self.priorities * started * ops.convert_to_tensor(self.log_variances)) / 2

    def update(self, losses, present, gram, step):
        losses, values = ops.cast(losses, self.dtype), ops.convert_to_tensor(self.log_variances)
        started = ops.convert_to_tensor(self.started) > 0
        starting = _all(present, losses > 0, ops.logical_not(started))
        scaled = self._scales() * losses
        # Where a task starts, s_i = 0 and scaled = c_i L_i.
        start = ops.log(2 * ops.where(starting, scaled, ops.ones_like(scaled)))
        values = self.optimizer.moved(values, 0.5 - scaled, _all(present, started), step)
        values = ops.clip(ops.where(starting, start, values), -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        self.log_variances.assign(values)
        self.started.assign(ops.cast(ops.logical_or(started, starting), self.dtype))


class GradNorm(Balancer):
    """Gradient normalisation (Chen et al. 2018, equations 1 and 2 and algorithm 1).

    With g_i the norm of L_i's gradient at the last shared layer, G_i = w_i g_i, and r_i = (L_i / L_i(0)) divided by
    its mean over tasks (the inverse training rate), the weights minimise sum_i |G_i - mean(G) r_i^alpha|, the target
    taken as constant: d/dw_i = sign(G_i - target_i) g_i. After each step they are renormalised to sum n.
    weight_i = t_i w_i.

    The optimizer moves log w_i (the gradient is d/dw_i times w_i): so the weights stay above 0, and reach 0.001 as
    easily as 1; the point of rest, G_i = target_i, is the same.

    L_i(0) is the first loss seen above 0. A task without labels in a step takes no part in its means and keeps its
    weight; the others are renormalised to the rest of n.

    Args:
        alpha: how strongly tasks that learn slowly are preferred; 0 = equal norms. The paper's 1.5.
        balanced_start: w_i starts where its G_i is the mean of the others' (the point of rest of the first step, as
            all r_i are 1 there: w_i = n (1 / g_i) / sum_j 1 / g_j); before a task's first loss, weight_i = 0, and n
            counts the tasks that have started. Why: see `Uncertainty`. False = w_i starts at 1, as in the paper.
    """

    needs_gram = True

    def __init__(self, *arguments, alpha=1.5, balanced_start=True, **settings):
        super().__init__(*arguments, **settings)
        if not 0 <= alpha < math.inf:
            raise DataError(f"balancing: expected alpha of 0 or more, received {alpha!r}")
        self.alpha, self.balanced_start = alpha, balanced_start
        self.log_weights = _variable("balancer_log_weights", [0.0] * self.size, self.dtype)
        self.first_losses = _variable("balancer_first_losses", [0.0] * self.size, self.dtype)
        self.optimizer = Adam(self.size, self.learning_rate, self.dtype)
        self.variables = [self.log_weights, self.first_losses, *self.optimizer.variables]

    def _counted(self):
        """1 for the tasks that share n, else 0; [n]."""
        first = ops.convert_to_tensor(self.first_losses)
        return ops.cast(first > 0, self.dtype) if self.balanced_start else ops.ones_like(first)

    def weights(self, step):
        return self.priorities * ops.exp(ops.convert_to_tensor(self.log_weights)) * self._counted()

    def update(self, losses, present, gram, step):
        losses, norms = ops.cast(losses, self.dtype), ops.sqrt(ops.diagonal(ops.cast(gram, self.dtype)))
        logs, first = ops.convert_to_tensor(self.log_weights), ops.convert_to_tensor(self.first_losses)
        starting = _all(present, losses > 0, first <= 0)
        first = ops.where(starting, losses, first)
        known = _all(present, first > 0)  # their losses and norms mean something in this step
        active = _all(known, ops.logical_not(starting)) if self.balanced_start else known
        weighted = ops.exp(logs) * norms
        gradient = ops.sign(weighted - self._targets(weighted, losses, first, active)) * weighted
        moved = self.optimizer.moved(logs, gradient, active, step)
        if self.balanced_start:
            moved = ops.where(starting, _resting(weighted, norms, active), moved)
        self.first_losses.assign(first)
        self.log_weights.assign(_renormalised(moved, known, self._counted()))

    def _targets(self, weighted, losses, first, active):
        """mean(G) r^alpha, [n]."""
        ratios = losses / _or_one(first, active)
        mean = _mean(ratios, active)
        return _mean(weighted, active) * ops.power(ratios / _or_one(mean, mean > 0), self.alpha)


class RandomWeights(Balancer):
    """Random loss weighting (Lin et al. 2022), the control: weight_i = t_i n softmax(z)_i, z ~ N(0, 1) in each step.

    The draws are a function of (seed, step), so there is nothing to save.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._noise = _StepSeed()

    def weights(self, step):
        self._noise.set(self.seed, step)
        draws = keras.random.normal((self.size,), dtype=self.dtype, seed=self._noise)
        return self.priorities * self.size * ops.softmax(draws)


class _StepSeed(keras.random.SeedGenerator):
    """Gives (seed, step) to Keras's random functions, instead of a state of its own that would have to be saved."""

    def __init__(self):
        super().__init__(0)
        self._given = None

    def set(self, seed, step):
        self._given = ops.stack([ops.cast(seed % 2**32, "uint32"), ops.cast(step, "uint32")])

    def next(self, ordered=True):
        return self._given


BALANCERS.update(fixed=Balancer, uncertainty=Uncertainty, gradnorm=GradNorm, random=RandomWeights)


def make_balancer(name, task_names, kinds=None, task_weights=None, learning_rate=LEARNING_RATE, seed=0, **settings):
    """The balancer of a name; arguments as `Balancer`'s, `settings` the class's own (`alpha`, `dtype`).

    Make it under the strategy that it is used with.

    Raises:
        DataError: for a name that is not in `BALANCERS`, or arguments that do not fit the tasks.
    """
    if name not in BALANCERS:
        raise DataError(f"loss balancing: expected one of {', '.join(BALANCERS)}, received {name!r}")
    return BALANCERS[name](task_names, kinds, task_weights, learning_rate, seed, **settings)


def norms_and_cosines(gram):
    """Norms [n] of the tasks' gradients and cosines [n, n] between them; a cosine with a zero gradient is 0.

    Args:
        gram: [n, n], inner products of the gradients.
    """
    norms = ops.sqrt(ops.diagonal(gram))
    products = ops.expand_dims(norms, 0) * ops.expand_dims(norms, 1)
    return norms, gram / _or_one(products, products > 0)


def _all(first, *more):
    """Elementwise `and` of bool [n]."""
    for other in more:
        first = ops.logical_and(first, other)
    return first


def _or_one(values, good):
    """The values where `good`, else 1: a denominator."""
    return ops.where(good, values, ops.ones_like(values))


def _mean(values, active):
    """Mean over the active elements; 0 without any."""
    active = ops.cast(active, values.dtype)
    return ops.sum(values * active) / ops.maximum(ops.sum(active), 1.0)


def _resting(weighted, norms, active):
    """log w with w_i g_i = the mean of the active G, or 1 where there is none; 0 where the gradient vanishes. [n]"""
    mean = _mean(weighted, active)
    return ops.where(norms > 0, ops.log(_or_one(mean, mean > 0) / _or_one(norms, norms > 0)), ops.zeros_like(norms))


def _renormalised(logs, known, counted):
    """The logarithms of the known weights shifted by one number, so that all that are counted sum to their number."""
    weights, on = ops.exp(logs) * counted, ops.cast(known, logs.dtype)
    rest, sums = ops.sum(counted) - ops.sum(weights * (1 - on)), ops.sum(weights * on)
    return logs + ops.log(_or_one(rest, sums > 0) / _or_one(sums, sums > 0)) * on


def _variable(name, values, dtype):
    """State of a balancer; every replica assigns the same value, so the first one's counts."""
    return keras.Variable(values, dtype=dtype, trainable=False, name=name, aggregation="only_first_replica")
