"""Can this source be deployed, and what is its program? Read, checked, and compiled to functions.

Everything that is known before an execution is settled here: names are frames and functions, jumps are indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from localcloud.workflows import checker, reader, source, steps, tree
from localcloud.workflows.engine import invoke
from localcloud.workflows.evaluator import Code, Evaluator
from localcloud.workflows.functions import FUNCTIONS
from localcloud.workflows.names import StaticScope, find_function
from localcloud.workflows.observe import StepType
from localcloud.workflows.program import Block, Exit, Jump, Next, Program, Routine, Step
from localcloud.workflows.syntax import Call, Embedded, Expression, Literal
from localcloud.workflows.thread import Frame
from localcloud.workflows.values import Value

_EXTENDING = ("list.concat", "list.prepend")
_EXITS = {each.value: each for each in Exit}


def compile_source(text: str) -> Program:
    """The program of a workflow's source.

    Raises:
        DeploymentError: with what the real service would say, as far as it is known.
    """
    workflow = reader.read(source.load(text))
    checker.check(workflow)
    params = {name: tuple(routine.params) for name, routine in workflow.routines.items()}
    evaluator = Evaluator(params, _invoke)
    return Program({name: _RoutineCompiler(evaluator, each).routine() for name, each in workflow.routines.items()})


async def _invoke(frame: Frame, name: str, args: Mapping[str, Value]) -> Value:
    return await invoke(frame.thread, name, args)


@dataclass(frozen=True)
class _Place:
    """Where a step stands: its scope, and the steps `next` can reach."""

    scope: StaticScope
    targets: Mapping[str, Jump] = field(default_factory=dict)


@dataclass(frozen=True)
class _RoutineCompiler:
    evaluator: Evaluator
    node: tree.Routine

    def routine(self) -> Routine:
        outside = StaticScope(frozenset())
        defaults = {
            name: None if default is None else self.evaluator.code(default, outside)
            for name, default in self.node.params.items()
        }
        body = self.block(self.node.body, _Place(StaticScope.of_routine(self.node)))
        return Routine(self.node.name, defaults, body)

    def block(self, nodes: tuple[tree.Step, ...], place: _Place) -> Block:
        block = Block()
        targets = {**place.targets, **{node.name: Jump(block, index) for index, node in enumerate(nodes)}}
        block.steps += [self.step(node, _Place(place.scope, targets)) for node in nodes]
        return block

    def inline(self, nodes: tuple[tree.Step, ...], around: str, place: _Place) -> Block:
        """The body of a branch or a `try`: steps, or one that has the name of what it stands in."""
        if len(nodes) == 1 and nodes[0].name == around:
            return Block([self.step(nodes[0], place)])
        return self.block(nodes, place)

    def step(self, node: tree.Step, place: _Place) -> Step:
        step = Step(node.name, self.node.name, node.position, StepType.GOTO)
        match node:
            case tree.Assign():
                self.assign(step, node, place)
            case tree.Call():
                self.call(step, node, place)
            case tree.Switch():
                self.switch(step, node, place)
            case tree.For():
                step.type, step.later = StepType.FOR, steps.for_loop(step, self.loop(node.loop, place, None))
            case tree.Parallel():
                self.parallel(step, node, place)
            case tree.Try():
                self.attempt(step, node, place)
            case tree.Return():
                step.type, code = StepType.RETURN, self.code(node.value, place)
                self.fill(step, code, steps.return_now, steps.return_later)
            case tree.Raise():
                step.type, code = StepType.RAISE, self.code(node.value, place)
                self.fill(step, code, steps.raise_now, steps.raise_later)
            case tree.Nested():
                step.type, step.later = StepType.STEPS, steps.nested(self.block(node.body, place))
            case _:
                step.now = steps.goto
        if node.next is not None and not isinstance(node, tree.Switch):
            step.next = self.target(node.next.name, place)
        return step

    def fill(self, step: Step, code: Code, now: object, later: object) -> None:
        if code.now is not None:
            step.now = now(code)  # type: ignore[operator]
        else:
            step.later = later(code)  # type: ignore[operator]

    def target(self, name: str, place: _Place) -> Next:
        return place.targets.get(name) or _EXITS[name]

    def assign(self, step: Step, node: tree.Assign, place: _Place) -> None:
        stores = [self.store(assignment, place) for assignment in node.assignments]
        step.type = StepType.ASSIGN
        # In a branch, one that waits holds the others of its call back.
        if any(store.waits for store in stores) or (place.scope.is_in_branch() and self.has_waiting_assignment):
            step.later = steps.assign_later(stores)
        else:
            step.now = steps.assign_now(stores)

    @cached_property
    def has_waiting_assignment(self) -> bool:
        return _has_waiting_assignment(self.node.body, self.evaluator)

    def store(self, assignment: tree.Assignment, place: _Place) -> steps.Assignment:
        position = assignment.target.position
        path = [Embedded(Literal(key) if isinstance(key, str) else key, position) for key in assignment.path]
        return steps.Assignment(
            assignment.variable,
            place.scope.depth(assignment.variable) or 0,
            [self.code(key, place) for key in path],
            self.code(assignment.value, place),
            self.extension(assignment.value.body, place),
        )

    def extension(self, value: Expression, place: _Place) -> steps.Extension | None:
        if not isinstance(value, Call) or value.function not in _EXTENDING or self.evaluator.waits(value):
            return None
        items, element = (self.evaluator.now(arg, place.scope) for arg in value.args)
        return steps.Extension(FUNCTIONS[value.function].call, items, element)

    def call(self, step: Step, node: tree.Call, place: _Place) -> None:
        args = {name: self.code(value, place) for name, value in node.args.items()}
        result = None if node.result is None else (node.result.name, place.scope.depth(node.result.name) or 0)
        if node.function.name in self.evaluator.params:
            step.type = StepType.SUBWORKFLOW_CALL
            step.later = steps.call_routine(node.function.name, args, result)
            return
        function = find_function(node.function.name)
        assert function is not None, node.function.name  # noqa: S101  # the checker has found it
        step.type = StepType.CONNECTOR_CALL if function.is_connector else StepType.STD_LIB_CALL
        if function.kind != "blocking" and all(code.now for code in args.values()):
            step.now = steps.call_now(function, args, result)
        else:
            step.later = steps.call_later(function, args, result)

    def switch(self, step: Step, node: tree.Switch, place: _Place) -> None:
        cases = [(self.code(case.condition, place), self.step(case.body, place)) for case in node.cases]
        otherwise = None if node.next is None else self.target(node.next.name, place)
        step.type = StepType.SWITCH
        if all(code.now and body.now for code, body in cases):
            step.now = steps.switch_now(step, cases, otherwise)
        else:
            step.later = steps.switch_later(step, cases, otherwise)

    def loop(self, node: tree.Loop, place: _Place, shared: frozenset[str] | None) -> steps.Loop:
        targets = place.targets if shared is None else {}
        return steps.Loop(
            node.value.name,
            None if node.index is None else node.index.name,
            None if node.items is None else self.code(node.items, place),
            None if node.bounds is None else self.code(node.bounds, place),
            self.block(node.body, _Place(place.scope.of_loop(node, shared), targets)),
        )

    def parallel(self, step: Step, node: tree.Parallel, place: _Place) -> None:
        shared = frozenset(label.name for label in node.shared)
        limit = None if node.limit is None else self.code(node.limit, place)
        if node.loop is not None:
            step.type = StepType.PARALLEL_FOR
            step.later = steps.parallel_loop(step, self.loop(node.loop, place, shared), limit)
            return
        step.type = StepType.PARALLEL_BRANCH
        branches = []
        for branch in node.branches:
            head = Step(branch.name, self.node.name, branch.position, StepType.PARALLEL_BRANCH_ENTRY)
            inner = _Place(place.scope.of_branch(branch, shared))
            branches.append((head, self.inline(branch.body, branch.name, inner)))
        step.later = steps.parallel_branches(branches, limit)

    def attempt(self, step: Step, node: tree.Try, place: _Place) -> None:
        handler = None
        if node.handler is not None:
            inner = _Place(place.scope.of_handler(node.handler), place.targets)
            variable = None if node.handler.variable is None else node.handler.variable.name
            handler = (variable, self.block(node.handler.body, inner))
        retry = None if node.retry is None else self.code(node.retry, place)
        step.type = StepType.TRY_RETRY_EXCEPT
        step.later = steps.attempt(step, self.inline(node.body, node.name, place), retry, handler)

    def code(self, value: Embedded, place: _Place) -> Code:
        return self.evaluator.code(value, place.scope)


def _has_waiting_assignment(nodes: tuple[tree.Step, ...], evaluator: Evaluator) -> bool:
    for node in nodes:
        match node:
            case tree.Assign():
                parts = [part for each in node.assignments for part in (each.target, each.value)]
                if any(map(evaluator.waits, parts)):
                    return True
            case _ if _has_waiting_assignment(tree.parts(node), evaluator):
                return True
    return False
