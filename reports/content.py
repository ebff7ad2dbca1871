"""Everything that a report shows, computed once: outcomes, tables, findings.

The page and report.json are both drawn from this, so that they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fits.predictions.prediction import Estimate, Prediction
from reports.diagnostics import Finding, diagnostics
from reports.inputs import ReportInputs, number, part_column, part_name, part_names
from reports.numbers import ratio, target_label
from reports.run_tables import (
    convention_table,
    cost_table,
    law_table,
    left_out_table,
    ordered_runs,
    reference_table,
    result_table,
    setup_table,
    source_table,
    wall_seconds,
    wall_table,
)
from reports.tables import (
    curve_table,
    forecast_table,
    pass_table,
    rate_law_table,
    residual_table,
)
from reports.verdict import Outcome, judge, seal_sentence, verdict_sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What one prediction said and what came of it."""

    loss: Outcome
    pass_rate: Outcome
    parts: dict[str, Outcome]
    buckets: dict[str, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The tables and sentences of one report."""

    inputs: ReportInputs
    outcomes: dict[str, Outcomes]  # by prediction
    has_rates: bool  # whether pass rates were measured or predicted at all
    forecast: pd.DataFrame
    part_forecasts: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]
    findings: list[Finding]

    @property
    def past(self) -> pd.DataFrame:
        """Predictions of held-out runs of the table; empty where none were made."""
        return pd.DataFrame() if self.inputs.backtest is None else self.inputs.backtest

    @property
    def headline(self) -> Outcomes:
        """The outcomes of the first prediction."""
        return self.outcomes[self.inputs.headline.name]

    @property
    def ratios(self) -> dict[str, float | None]:
        """Compute ratio by prediction: target over the largest run used, or else as asked."""
        return {
            item.name: number(item.compute_ratio) or number(item.ratio_asked)
            for item in self.inputs.predictions
        }

    @property
    def labels(self) -> dict[str, str]:
        """A short name of each prediction: its compute ratio, or its target where these differ."""
        targets = [dict(item.target) for item in self.inputs.predictions]
        one = all(target == targets[0] for target in targets) and None not in self.ratios.values()
        return {
            name: ratio(known) if one else target_label(name) for name, known in self.ratios.items()
        }


def compute_content(inputs: ReportInputs) -> Content:
    """All tables and findings of the report."""
    has_rates = _has_rates(inputs)
    rates = _target_rates(inputs)
    outcomes = {item.name: _judge_all(item, inputs, rates) for item in inputs.predictions}
    target = inputs.headline.target.get("flops") or (inputs.actual or {}).get("flops")
    forecast = forecast_table(
        inputs.runs,
        {item.name: item.loss for item in inputs.predictions},
        "loss",
        actual=None if inputs.diverged else inputs.actual,
        target_flops=target,
        targets={item.name: item.target for item in inputs.predictions},
    )
    flat = {name: _flat(item, has_rates) for name, item in outcomes.items()}
    return Content(
        inputs=inputs,
        outcomes=outcomes,
        has_rates=has_rates,
        forecast=forecast,
        part_forecasts=_part_forecasts(inputs, target),
        tables=_tables(inputs, forecast, has_rates),
        findings=diagnostics(inputs, flat),
    )


def _has_rates(inputs: ReportInputs) -> bool:
    measured = inputs.samples is not None and len(inputs.samples) > 0
    return measured or number((inputs.actual or {}).get("pass_rate")) is not None


def _target_rates(inputs: ReportInputs) -> dict[str, Any]:
    """Actual pass rate by bucket: as given, else as counted on the target's samples."""
    if inputs.actual is None:
        return {}
    counted = pass_table(inputs.samples)
    counted = counted[counted["role"] == "target"]
    found = dict(zip(counted["bucket"], counted["rate"], strict=True))
    return found | dict(inputs.actual.get("pass_rate_buckets") or {})


def _judge_all(prediction: Prediction, inputs: ReportInputs, rates: Mapping[str, Any]) -> Outcomes:
    known, lost = inputs.actual or {}, inputs.diverged
    target = prediction.target.get("flops") or known.get("flops")
    loss = partial(judge, target_flops=target, diverged=lost)
    rate = partial(judge, target_flops=target, rate=True, diverged=lost)
    return Outcomes(
        loss=loss(prediction.loss, known.get("loss")),
        pass_rate=rate(prediction.pass_rate, known.get("pass_rate")),
        parts={
            part_name(part): loss(estimate, known.get(part_column(part)))
            for part, estimate in prediction.parts.items()
        },
        buckets={
            bucket: rate(estimate, _rate_of(rates.get(bucket)))
            for bucket, estimate in prediction.buckets.items()
        },
    )


def _rate_of(value: object) -> object:
    return value.get("rate", value.get("pass_rate")) if isinstance(value, Mapping) else value


def _flat(outcomes: Outcomes, has_rates: bool) -> dict[str, Outcome]:
    flat = {"loss": outcomes.loss} | {f"loss {k}": v for k, v in outcomes.parts.items()}
    if has_rates:
        flat["pass rate"] = outcomes.pass_rate
        flat |= {f"pass rate {k}": v for k, v in outcomes.buckets.items()}
    return flat


def _part_forecasts(inputs: ReportInputs, target: object) -> dict[str, pd.DataFrame]:
    """A forecast table for each part; the headline's law, as others would not fit the panel."""
    tables = {}
    given = {part_name(key): item for key, item in inputs.headline.parts.items()}
    actual = None if inputs.diverged else inputs.actual
    for part in part_names(inputs):
        estimates: dict[str, Estimate] = {}
        if part in given:
            estimates[inputs.headline.name] = given[part]
        tables[part] = forecast_table(
            inputs.runs, estimates, part_column(part), actual=actual, target_flops=target
        )
    return {part: table for part, table in tables.items() if not table.empty}


def _tables(
    inputs: ReportInputs, forecast: pd.DataFrame, has_rates: bool
) -> dict[str, pd.DataFrame]:
    headline = inputs.headline
    rates = {"": headline.pass_rate, **headline.buckets} if has_rates else {}
    return {
        "residuals": residual_table(forecast),
        "pass_rates": pass_table(inputs.samples),
        "pass_rate_laws": rate_law_table(rates),
        "strips": pass_table(inputs.samples, strips=True),
        "curves": curve_table(inputs.curves),
        "runs_setup": setup_table(inputs.runs),
        "runs_result": result_table(inputs.runs, part_names(inputs)),
        "references": reference_table(inputs.runs, part_names(inputs)),
        "left_out": left_out_table(inputs),
        "laws": law_table(inputs),
        "conventions": convention_table(inputs),
        "sources": source_table(inputs),
        "costs": cost_table(inputs.runs),
        "wall": wall_table(inputs.wall),
    }


def record(content: Content) -> dict[str, Any]:
    """report.json: the headline prediction at the top level, others under their names."""
    inputs = content.inputs
    seal = dict(inputs.seal) if inputs.seal is not None else None
    found: dict[str, Any] = {
        "schema": 1,
        "title": inputs.title,
        "verdict": verdict_sentence(content.headline.loss),
        "seal_verdict": seal_sentence(inputs.seal),
        **_prediction_record(content, inputs.headline, seal),
        "wall_seconds": wall_seconds(inputs.wall),
    }
    found["seal"] = seal
    found["actual"] = dict(inputs.actual) if inputs.actual is not None else None
    found["family"] = dict(inputs.family)
    found["loss_weights"] = dict(inputs.loss_weights)
    found["manifest"] = dict(inputs.manifest) if inputs.manifest is not None else None
    found["diagnostics"] = [{"weight": weight, "text": text} for weight, text in content.findings]
    found["tables"] = {name: _records(table) for name, table in content.tables.items()}
    found["tables"]["runs"] = _records(ordered_runs(inputs.runs))
    if not content.past.empty:
        found["tables"]["backtest"] = _records(content.past)
    found["tables"]["loss"] = _records(content.forecast)
    found["tables"]["loss_parts"] = {
        part: _records(table) for part, table in content.part_forecasts.items()
    }
    for prediction in inputs.predictions[1:]:
        name = prediction.name
        found[name if name not in found else f"prediction {name}"] = _prediction_record(
            content, prediction, seal
        )
    return {key: jsonable(value) for key, value in found.items()}


def _prediction_record(
    content: Content, prediction: Prediction, seal: Mapping[str, Any] | None
) -> dict[str, Any]:
    outcomes = content.outcomes[prediction.name]
    return {
        "prediction": prediction.name,
        "ratio_asked": prediction.ratio_asked,
        "compute_ratio": prediction.compute_ratio,
        "sealed_before_target": None if seal is None else seal.get("sealed_before_target"),
        "loss": outcomes.loss.as_json(),
        "pass_rate": outcomes.pass_rate.as_json(),
        "parts": {name: item.as_json() for name, item in outcomes.parts.items()},
        "buckets": {name: item.as_json() for name, item in outcomes.buckets.items()},
        "target": dict(prediction.target),
        "inputs_hash": prediction.inputs_hash,
        "seed": prediction.seed,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def jsonable(value: Any) -> Any:
    """The value as JSON takes it; what is missing or not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return [jsonable(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else str(value)
