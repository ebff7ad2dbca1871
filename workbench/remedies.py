"""What to do about a refusal, by its name: the last line of an error, and beside a refused row."""

MORE_RUNS = "a refusal, not a crash: more, larger or better trained runs are needed"
_SPREAD = "train runs at more different compute, each budget 1.5 to 3 times the one before"

REMEDIES = {
    "all_screened": "`workbench import` shows each run's status; mend the most frequent reason",
    "extrapolation_too_far": "predict a nearer target, or train rungs closer to this one",
    "floor_above_loss": "give a floor below the smallest loss in the table",
    "never_above_chance": "add larger runs, or use a task that the largest run does better on",
    "no_minimum_inside": "at that compute, train models on both sides of the best size",
    "no_optimum": "look for wild values in the table: `workbench import` names doubtful rows",
    "no_passes": "draw more samples a problem, or use easier problems",
    "no_repeats": "the law of repeated data needs a column unique_tokens and runs that repeat them",
    "no_samples": "evaluate the runs on the problems first",
    "no_experts": "name the number of experts: workbench import … --columns n_experts=COLUMN",
    "no_total": "name the held parameters: workbench import … --columns n_total=COLUMN",
    "no_unique_tokens": "name the distinct tokens: import … --columns unique_tokens=COLUMN",
    "not_finite": "look for wild values in the table: `workbench import` names doubtful rows",
    "no_sizes": "name the sizes: workbench import … --columns n_active=COLUMN,tokens=COLUMN",
    "not_decreasing": "check the loss column and the runs' schedules; seeds may hide a small fall",
    "not_increasing": "check the counts; a task that no larger run does better on has no law",
    "one_budget": _SPREAD,
    "one_compute_level": _SPREAD,
    "one_density": "train at several numbers of experts, or fit --law chinchilla",
    "one_expert_count": "train at several numbers of experts, or fit --law chinchilla",
    "one_line": "train some sizes on other tokens per parameter, or fit --law power",
    "one_size": "train at several sizes",
    "one_token_count": "train some sizes on other amounts of data, or fit --law power",
    "regime_change": "leave the smallest rungs out of the table, or start the ladder higher",
    "saturated": "use harder problems: what every run passes says nothing of larger ones",
    "too_few_budgets": _SPREAD,
    "too_few_expert_counts": "train at more numbers of experts, or fit --law chinchilla",
    "too_few_rungs": _SPREAD,
    "too_few_runs": "add finished runs; `workbench import` says which rows are not usable and why",
    "too_few_sizes": "train at more sizes",
    "tokens_vary": "fit --law sparse, which sees tokens, or runs on one amount of data",
    "too_little_span": "add smaller or larger rungs: the ladder must span more compute",
}


def remedy(refusal: str) -> str:
    """One line of what to do about a refusal."""
    return REMEDIES.get(refusal, MORE_RUNS)
