"""What a row is to reach: against the best peer, or as a value of its own."""

# ruff: noqa: RUF001 - a ratio has its sign

from dataclasses import dataclass

from sides import OURS

CPU_SHARE = "the first process's share of CPU"


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was."""

    what: str
    reached: float
    target: float
    at_least: bool  # else at most


def against_best(target, among=None, *, higher):
    """Ours against the best of the peers that could be measured."""

    def goals(medians, _aside):
        peers = {
            side: value for side, value in medians.items() if side != OURS and (not among or side in among)
        }
        if OURS not in medians or not peers:
            return []
        best = (max if higher else min)(peers, key=peers.get)
        ratio = medians[OURS] / peers[best] if higher else peers[best] / medians[OURS]
        return [Goal(f"× the best peer ({best})", ratio, target, at_least=True)]

    return goals


def all_of(*parts):
    return lambda medians, aside: [goal for part in parts for goal in part(medians, aside)]


def value_of(side, what, target, *, at_least=False, per=None, minus=None):
    """One side's own value, or its ratio to or its distance from another side's."""

    def goals(medians, _aside):
        if not {side, per or side, minus or side} <= medians.keys():
            return []
        value = medians[side] / (medians[per] if per else 1) - (medians[minus] if minus else 0)
        return [Goal(what, value, target, at_least=at_least)]

    return goals


def coordinator_cpu(_medians, aside):
    share = aside.get(CPU_SHARE)
    return (
        [] if share is None else [Goal("of the run's CPU, in the coordinator", share, 0.02, at_least=False)]
    )
