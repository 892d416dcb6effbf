"""The table, in Markdown, and the machine that it was measured on."""

# ruff: noqa: RUF001 - a range has a dash

import os
import platform
import statistics
from pathlib import Path


def machine():
    model = next(
        (line.partition(":")[2].strip() for line in cpu_info() if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{model}, {len(os.sched_getaffinity(0))} CPUs usable, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def cpu_info():
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def short(value):
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def spread(values):
    return f"{short(statistics.median(values))} ({short(min(values))}–{short(max(values))})"


def goal_text(goal):
    bound = "≥" if goal.at_least else "≤"
    reached = goal.reached >= goal.target if goal.at_least else goal.reached <= goal.target
    answer = "yes" if reached else "**no**"
    return f"{short(goal.reached)} {goal.what}", f"{bound} {short(goal.target)}", answer


def summary(finished):
    """`finished`: (row, goals) pairs."""
    yield "| what | measured | goal | reached |"
    yield "|---|---|---|---|"
    for row, goals in finished:
        for goal in goals:
            yield "| " + " | ".join((f"{row.name}: {row.title}", *goal_text(goal))) + " |"


def details(row, values, extra, failures):
    """Every side of one row: median, spread, and what else it told."""
    yield ""
    yield f"**{row.name}**: {row.title}; {row.unit}, {'more' if row.higher_is_better else 'less'} is better"
    yield ""
    yield "| side | median (least–most) | aside |"
    yield "|---|---|---|"
    for side in [side for side in row.sides if values.get(side) or side in failures]:
        told = "; ".join(f"{name}: {aside(values)}" for name, values in extra.get(side, {}).items())
        measured = spread(values[side]) if values.get(side) else "failed"
        yield f"| {side} | {measured} | {failures.get(side, told)} |"


def aside(values):
    numbers = [value for value in values if isinstance(value, int | float)]
    return short(statistics.median(numbers)) if numbers else values[-1]
