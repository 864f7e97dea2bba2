"""Families of Prometheus' metrics out of plain values: (values of the labels, in their order) -> value."""

from collections.abc import Mapping
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from app.engine.histogram import Histogram

PREFIX = "innerloop_"
Key = TypeVar("Key", bound=tuple[str, ...])


def gauge(
    name: str,
    told: str,
    values: Mapping[Key, float],
    labels: str = "",
    constant: Mapping[str, str] | None = None,
) -> Metric:
    """Return what goes up and down; `constant` labels are the same on all."""
    constant = constant or {}
    family = GaugeMetricFamily(PREFIX + name, told, labels=[*labels.split(), *constant])
    for key, value in values.items():
        family.add_metric([*key, *constant.values()], value)
    return family


def counter(name: str, told: str, labels: str, values: Mapping[Key, float]) -> Metric:
    """Return what only grows; Prometheus adds `_total` to its name."""
    family = CounterMetricFamily(PREFIX + name, told, labels=labels.split())
    for key, value in values.items():
        family.add_metric([*key], value)
    return family


def histogram(name: str, told: str, labels: str, found: Mapping[Key, Histogram]) -> Metric:
    """Return values by size."""
    family = HistogramMetricFamily(PREFIX + name, told, labels=labels.split())
    for key, histogram in found.items():
        buckets, so_far = [], 0
        for bound, count in zip((*histogram.bounds, float("inf")), tuple(histogram.counts), strict=True):
            so_far += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(so_far)))
        family.add_metric([*key], buckets, histogram.total)
    return family
