"""What a workflow compiles into, and what it refuses."""

import json

import pytest

from orchestrator import ConfigError, Workflow
from workers.functions.steps import Step


def described(workflow):
    """Names by stage."""
    return [list(stage.names) for stage in workflow.stages]


def test_steps_stand_in_order_under_the_workflow_s_name():
    workflow = Workflow("w").step("parse", json.loads).filter("good", len, when=callable).flat_map("each", iter)
    [stage] = workflow.stages
    assert stage.steps == (
        Step("parse", "map", json.loads, workflow="w"),
        Step("good", "filter", len, callable, workflow="w"),
        Step("each", "flat_map", iter, workflow="w"),
    )


def test_a_workflow_is_not_changed_by_what_is_added_to_it():
    start = Workflow().step("a", abs)
    one, other = start.step("b", abs), start.step("c", abs)
    assert described(start) == [["a"]]
    assert described(one) == [["a", "b"]]
    assert described(other) == [["a", "c"]]


def test_barriers_part_the_stages():
    workflow = Workflow().step("a", abs).barrier().barrier().step("b", abs).step("c", abs).barrier().step("d", abs)
    assert described(workflow) == [["a"], ["b", "c"], ["d"]]


def test_a_nested_workflow_s_steps_carry_its_path():
    inner = Workflow("inner").step("a", abs).barrier().step("b", abs)
    outer = Workflow().step("first", abs).step("more", inner).step("last", abs)
    assert described(outer) == [["first", "more/a"], ["more/b", "last"]]
    assert [step.workflow for stage in outer.stages for step in stage.steps] == [None, "inner", "inner", None]
    named = Workflow("outer").step("more", inner)
    assert {step.workflow for stage in named.stages for step in stage.steps} == {"outer"}


def test_a_nested_workflow_may_have_a_condition():
    outer = Workflow("o").step("more", Workflow().step("a", abs).step("b", abs), when=callable)
    [stage] = outer.stages
    inner = (Step("more/a", "map", abs, workflow="o"), Step("more/b", "map", abs, workflow="o"))
    assert stage.steps == (Step("more", "chain", None, callable, ((None, inner),), workflow="o"),)


def test_branches_may_be_workflows_functions_or_nothing():
    workflow = Workflow().branch("kind", {1: Workflow().step("a", abs), 2: len, 3: None}, by=type, default=repr)
    assert described(workflow) == [["kind", "kind/1/a", "kind/2", "kind/default"]]
    assert Workflow().branch("k", {1: None}, by=type).stages[0].steps[0].default is None
    assert Workflow().branch("k", {1: None}, by=type, others_pass=True).stages[0].steps[0].default == ()


WITH_BARRIER = Workflow().step("a", abs).barrier().step("b", abs)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Workflow("").step("a", abs), "name must be a string"),
        (lambda: Workflow(abs), "name must be a string"),
        (lambda: Workflow().step("", abs), "a step's name"),
        (lambda: Workflow().step(abs, abs), "a step's name"),
        (lambda: Workflow().step("a/b", abs), "a step's name"),
        (lambda: Workflow("w").step("a", abs).filter("a", abs), "workflow 'w' already has a step 'a'"),
        (lambda: Workflow().step("a", WITH_BARRIER).step("a", abs), "already has a step 'a'"),
        (lambda: Workflow().step("a", None), "no function"),
        (lambda: Workflow().step("a", 5), "5 can't be called"),
        (lambda: Workflow().step("a", abs, when=5), "5 can't be called"),
        (lambda: Workflow().step("a", Workflow()), "step 'a' has no steps"),
        (lambda: Workflow().step("a", WITH_BARRIER, when=abs), "step 'a' has a barrier"),
        (lambda: Workflow().branch("a", {}, by=abs), "needs workflows by label"),
        (lambda: Workflow().branch("a", {"x": 5}, by=abs), "branch 'x' of step 'a' is neither"),
        (lambda: Workflow().branch("a", {"x": Workflow()}, by=abs), "branch 'x' of step 'a' has no steps"),
        (lambda: Workflow().branch("a", {"x": WITH_BARRIER}, by=abs), "branch 'x' of step 'a' has a barrier"),
        (lambda: Workflow().branch("a", {"x": abs}, by=5), "can't be called"),
        (lambda: Workflow().barrier(), "between two steps"),
        (lambda: Workflow().step("a", abs).barrier().stages, "ends with a barrier"),
        (lambda: Workflow("w").stages, "workflow 'w' has no steps"),
    ],
)
def test_mistakes(build, said):
    with pytest.raises(ConfigError, match=said):
        build()
