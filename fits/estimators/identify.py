"""What a table must show before a law can be fitted to it: refusals by name.

| refusal | why |
|---|---|
| no_sizes, no_total, no_experts, no_unique_tokens | a column that the law needs is missing |
| too_few_runs | fewer runs than the law's constants, and one to spare |
| one_compute_level, too_few_budgets | compute does not vary enough |
| one_line | sizes and tokens lie on one line |
| one_size | parameters do not vary |
| one_expert_count, too_few_expert_counts | experts do not vary enough |
| one_density | active over total parameters does not vary apart from the sizes |
| no_repeats | no run saw its tokens again |
| one_token_count | tokens do not vary, and the law has a term for them |
| tokens_vary | tokens vary, and the law has no term for them |
"""

import numpy as np

from fits.laws.checks import COLUMNS
from fits.observations import FitError, Observations, Vector

SPREAD = 0.5  # natural log: a column that spans less than e**0.5 does not vary
APART = 0.15  # sd, natural log, of a column off the plane of the others
REPEATED = 1.5  # tokens over distinct tokens from which data counts as repeated
SAME_AMOUNT = 0.1  # natural log: tokens within 10 % are one amount of data

MISSING = {
    "n": "no_sizes", "tokens": "no_sizes", "n_total": "no_total", "n_experts": "no_experts",
    "unique_tokens": "no_unique_tokens",
}  # fmt: skip


def require_known(obs: Observations, law: str, *names: str) -> None:
    """Raise FitError naming the first column that the law needs and some run lacks."""
    for name in names:
        if getattr(obs, name) is None:
            raise FitError(MISSING[name], f"the law {law} needs {COLUMNS[name]} for every run")


def require_count(obs: Observations, runs: int, law: str) -> None:
    """Raise FitError for fewer runs than so many."""
    if obs.flops.size < runs:
        raise FitError(
            "too_few_runs",
            f"{obs.flops.size} runs cannot fix the law {law}; at least {runs} are needed",
        )


def require_budgets(obs: Observations, budgets: int, law: str) -> None:
    """Raise FitError for fewer different budgets of compute than so many."""
    different = int(obs.budget.max()) + 1 if obs.flops.size else 0
    if different == 1 < budgets:
        raise FitError(
            "one_compute_level", f"all runs have one budget of compute, so {law} has no slope"
        )
    if different < budgets:
        raise FitError(
            "too_few_budgets",
            f"{different} budgets cannot fix the law {law}; at least {budgets} are needed",
        )


def apart(*columns: Vector) -> bool:
    """Whether each column spans e**SPREAD, and leaves the plane of the others by APART."""
    logs = [np.log(column) for column in columns]
    if any(x.size < len(logs) + 1 or np.ptp(x) < SPREAD for x in logs):
        return False
    centred = [x - x.mean() for x in logs]
    for k, own in enumerate(centred):
        others = np.stack([x for j, x in enumerate(centred) if j != k], axis=1)
        rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        if not rest.std() > APART:
            return False
    return True


def require_plane(obs: Observations, law: str, size: str = "n") -> None:
    """Raise FitError unless sizes and tokens are known and vary apart."""
    require_known(obs, law, size, "tokens")
    sizes, tokens = getattr(obs, size), obs.tokens
    if tokens is None or not apart(sizes, tokens):
        raise FitError(
            "one_line",
            f"{COLUMNS[size]} and tokens lie on one line, so only a law in compute can be fitted",
        )


def require_sizes(obs: Observations, law: str) -> None:
    """Raise FitError unless active parameters are known and vary."""
    require_known(obs, law, "n")
    if obs.n is None or np.ptp(np.log(obs.n)) < SPREAD:
        raise FitError("one_size", f"n_active does not vary, so {law} has no exponent in it")


def require_experts(obs: Observations, counts: int, law: str) -> None:
    """Raise FitError for fewer different expert counts than so many."""
    require_known(obs, law, "n_experts")
    different = 0 if obs.n_experts is None else int(np.unique(obs.n_experts).size)
    if different == 1:
        raise FitError(
            "one_expert_count",
            f"all runs have one expert count, which does not identify {law}; "
            "fit a law in active parameters, or add dense runs",
        )
    if different < counts:
        raise FitError(
            "too_few_expert_counts",
            f"{different} expert counts cannot fix the law {law}; at least {counts} are needed",
        )


def require_density(obs: Observations, law: str, *sizes: str) -> None:
    """Raise FitError unless n_active / n_total varies, and apart from the named sizes."""
    require_known(obs, law, "n", "n_total", *sizes)
    if obs.n is None or obs.n_total is None:
        return
    excess = np.flatnonzero(obs.n > obs.n_total * (1 + 1e-9))
    if excess.size:
        run = obs.run_id[int(excess[0])]
        raise ValueError(f"run {run}: n_active is above n_total; it must be at most n_total")
    if not apart(obs.n_total / obs.n, *(getattr(obs, size) for size in sizes)):
        raise FitError(
            "one_density",
            f"n_active / n_total does not vary apart from {' and '.join(COLUMNS[s] for s in sizes)}"
            f", which does not identify {law}",
        )


def require_repeats(obs: Observations, law: str) -> None:
    """Raise FitError unless some runs repeated their tokens."""
    require_known(obs, law, "unique_tokens", "tokens")
    if obs.tokens is None or obs.unique_tokens is None:
        return
    if not (obs.tokens > REPEATED * obs.unique_tokens).any():
        raise FitError(
            "no_repeats",
            f"no run saw its tokens {REPEATED:g} times, so {law} is chinchilla here",
        )


def require_amounts(obs: Observations, law: str, instead: str) -> None:
    """Raise FitError where every run saw the same tokens: the law's term for them is unseen."""
    require_known(obs, law, "tokens")
    if obs.tokens is not None and np.ptp(np.log(obs.tokens)) <= SAME_AMOUNT:
        raise FitError(
            "one_token_count",
            f"all runs saw one amount of data, which does not identify {law}; choose {instead}",
        )


def require_one_amount(obs: Observations, law: str) -> None:
    """Raise FitError where tokens are known and vary: the law has no term for them."""
    if obs.tokens is not None and np.ptp(np.log(obs.tokens)) > SAME_AMOUNT:
        raise FitError(
            "tokens_vary", f"{law} holds for one amount of data; choose a law with tokens"
        )
