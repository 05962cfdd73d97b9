"""Does every name in a workflow mean something where it stands? What the real service refuses when it is deployed.

https://cloud.google.com/workflows/docs/troubleshooting#deployment_errors
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from localcloud.workflows import choices, tree
from localcloud.workflows.connectors import hint
from localcloud.workflows.errors import DeploymentError, Position
from localcloud.workflows.functions import Function
from localcloud.workflows.names import StaticScope, arguments_problem, constant, find_function
from localcloud.workflows.reader import failure
from localcloud.workflows.syntax import Call, Embedded, Expression, Index, Literal, MapOf, Member, Name, children
from localcloud.workflows.values import map_key

_EXITS = ("end", "break", "continue")


def check(workflow: tree.Workflow) -> None:
    """Refuse what cannot run.

    Raises:
        DeploymentError: with what the real service would say, as far as it is known, and the place.
    """
    for routine in workflow.routines.values():
        RoutineChecker(workflow, routine).check()


@dataclass(frozen=True)
class Place:
    """Where a step stands: its scope, the steps `next` can reach, and what it can say of a loop around it."""

    scope: StaticScope
    targets: frozenset[str] = field(default_factory=frozenset)
    loop_exits: frozenset[str] = field(default_factory=frozenset)
    step: str = ""


@dataclass
class RoutineChecker:
    """Checks one routine."""

    workflow: tree.Workflow
    routine: tree.Routine

    def check(self) -> None:
        """Defaults, which see no variables, and steps."""
        for default in self.routine.params.values():
            if default is not None:
                self.value(default, Place(StaticScope(frozenset())), "default value")
        self.block(self.routine.body, Place(StaticScope.of_routine(self.routine)))

    # Steps

    def block(self, steps: tuple[tree.Step, ...], place: Place) -> None:
        """Steps that `next` can name."""
        targets = place.targets | {step.name for step in steps}
        for step in steps:
            self.step(step, replace(place, targets=targets, step=step.name))

    def inline(self, steps: tuple[tree.Step, ...], place: Place) -> None:
        """The body of a branch or a `try`: steps, or one that has the name of what it stands in."""
        if len(steps) == 1 and steps[0].name == place.step:
            self.step(steps[0], place)
        else:
            self.block(steps, place)

    def step(self, step: tree.Step, place: Place) -> None:
        match step:
            case tree.Assign():
                for assignment in step.assignments:
                    self.assignment(assignment, place)
            case tree.Call():
                self.call(step, place)
            case tree.Switch():
                for case in step.cases:
                    self.value(case.condition, place, "condition")
                    self.step(case.body, place)
            case tree.For():
                self.loop(step.loop, place, None)
            case tree.Parallel():
                self.parallel(step, place)
            case tree.Try():
                self.attempt(step, place)
            case tree.Return():
                if place.scope.is_in_branch():
                    raise self.failure(place, "return is not allowed in a parallel branch", step.position)
                self.value(step.value, place, "return value")
            case tree.Raise():
                self.value(step.value, place, "raise value")
            case tree.Nested():
                self.block(step.body, place)
        if step.next is not None:
            self.target(step.next, place)

    def target(self, label: tree.Label, place: Place) -> None:
        name = label.name
        if name in place.targets:
            return
        if name not in _EXITS:
            raise self.failure(place, f"next step '{name}' is not defined", label.position)
        if name != "end" and name not in place.loop_exits:
            raise self.failure(place, f"'{name}' is only allowed in a for loop", label.position)
        if name == "end" and place.scope.is_in_branch() and not choices.may_end_in_branch():
            raise self.failure(place, "'end' is not allowed in a parallel branch", label.position)

    def assignment(self, assignment: tree.Assignment, place: Place) -> None:
        self.expression(assignment.target.body, place, "assign target", assignment.target)
        self.writable(tree.Label(assignment.variable, assignment.target.position), place)
        self.value(assignment.value, place, "assign value")

    def writable(self, label: tree.Label | None, place: Place) -> None:
        if label is not None and (refusal := place.scope.refusal(label.name)):
            raise self.failure(place, refusal, label.position)

    def call(self, step: tree.Call, place: Place) -> None:
        for name, value in step.args.items():
            self.value(value, place, f"argument {name}")
        self.writable(step.result, place)
        name = step.function.name
        if name in self.workflow.routines:
            problem = arguments_problem(self.workflow.routines[name], list(step.args))
        elif (function := find_function(name)) is not None:
            problem = function.problem(list(step.args))
        else:
            problem = f"symbol '{name}' is neither a function nor a sub-workflow name{hint(name)}"
        if problem:
            raise self.failure(place, f"error evaluating call: {problem}", step.function.position)

    def loop(self, loop: tree.Loop, place: Place, shared: frozenset[str] | None) -> None:
        taken = {name for scope in place.scope.chain() for name in scope.loop_variables}
        for label in (loop.value, loop.index):
            if label is not None and label.name in taken:
                message = f"loop variable '{label.name}' is already that of an enclosing loop"
                raise self.failure(place, message, label.position)
        if loop.items is not None:
            self.value(loop.items, place, "in")
        if loop.bounds is not None:
            self.value(loop.bounds, place, "range")
        scope = place.scope.of_loop(loop, shared)
        if shared is None:
            inner = Place(scope, place.targets, frozenset({"break", "continue"}), place.step)
        else:
            inner = Place(scope, frozenset(), choices.parallel_loop_exits(), place.step)
        self.block(loop.body, inner)

    def parallel(self, step: tree.Parallel, place: Place) -> None:
        for label in step.shared:
            if place.scope.depth(label.name) is None:
                raise self.failure(place, f"shared variable '{label.name}' is not defined", label.position)
            self.writable(label, place)
        if step.limit is not None:
            self.value(step.limit, place, "concurrency_limit")
        shared = frozenset(label.name for label in step.shared)
        if step.loop is not None:
            self.loop(step.loop, place, shared)
        for branch in step.branches:
            self.inline(branch.body, Place(place.scope.of_branch(branch, shared), step=branch.name))

    def attempt(self, step: tree.Try, place: Place) -> None:
        self.inline(step.body, place)
        if step.retry is not None:
            self.value(step.retry, place, "retry")
            self.retry(step.retry, place)
        if step.handler is not None and step.handler.body:
            self.block(step.handler.body, replace(place, scope=place.scope.of_handler(step.handler)))

    def retry(self, value: tree.Value, place: Place) -> None:
        """What can be known of a policy before it is used: that a subworkflow fits as the predicate."""
        if not isinstance(value.body, MapOf):
            return
        for key, item in value.body.entries:
            if not (isinstance(key, Embedded) and key.body == Literal("predicate") and isinstance(item, Embedded)):
                continue
            if isinstance(item.body, Literal):
                raise self.failure(place, "retry predicate must be a function or subworkflow", item.position)
            routine = self.workflow.routines.get(item.body.name) if isinstance(item.body, Name) else None
            if routine is not None and place.scope.depth(routine.name) is None:
                required = [name for name, default in routine.params.items() if default is None]
                if not routine.params or len(required) > 1:
                    message = f"retry predicate {routine.name} must take one parameter, the error"
                    raise self.failure(place, message, item.position)

    # Expressions

    def value(self, value: tree.Value, place: Place, what: str) -> None:
        self.expression(value.body, place, what, value)

    def expression(self, node: Expression, place: Place, what: str, at: Embedded) -> None:
        """Check names in an expression that stands `at` a place of the source."""
        match node:
            case Embedded():
                return self.expression(node.body, place, what, node)
            case Name() | Member() | Index():
                if (found := constant(node, place.scope, self.workflow.routines)) is not None and not found.rest:
                    return None
                if isinstance(node, Name):
                    self.variable(node, place, what, at)
                elif isinstance(node, Member) and found is not None:
                    return None
            case Call():
                self.function(node, place, what, at)
            case MapOf():
                self.keys(node, place, what, at)
        for child in children(node):
            self.expression(child, place, what, at)
        return None

    def variable(self, node: Name, place: Place, what: str, at: Embedded) -> None:
        if place.scope.depth(node.name) is None:
            message = f"error evaluating {what}: symbol '{node.name}' is neither a variable nor a sub-workflow name"
            raise self.failure(place, message, _position(at, node.at))

    def function(self, node: Call, place: Place, what: str, at: Embedded) -> None:
        if (routine := self.workflow.routines.get(node.function)) is not None:
            problem = _positional_problem(routine, len(node.args))
        elif (function := find_function(node.function)) is not None:
            problem = _function_problem(function, len(node.args))
        else:
            problem = f"symbol '{node.function}' is neither a function nor a sub-workflow name"
        if problem:
            raise self.failure(place, f"error evaluating {what}: {problem}", _position(at, node.at))

    def keys(self, node: MapOf, place: Place, what: str, at: Embedded) -> None:
        seen: set[str] = set()
        for key, _ in node.entries:
            literal = key.body if isinstance(key, Embedded) else key
            if not isinstance(literal, Literal):
                continue
            if choices.map_key(literal.value) is None:
                raise self.failure(place, f"error evaluating {what}: map keys must be strings", _position(at, 0))
            if (name := map_key(literal.value)) in seen:
                raise self.failure(place, f"error evaluating {what}: the key {name!r} is there twice", _position(at, 0))
            seen.add(name)

    def failure(self, place: Place, message: str, position: Position) -> DeploymentError:
        return failure(self.routine.name, place.step, message, position)


def _positional_problem(routine: tree.Routine, count: int) -> str:
    if count > len(routine.params):
        return f"too many arguments for subworkflow {routine.name}: {count}, at most {len(routine.params)}"
    return arguments_problem(routine, list(routine.params)[:count])


def _function_problem(function: Function, count: int) -> str:
    if function.kind == "blocking":
        return f"function '{function.name}' blocks and cannot be called in an expression; use a call step"
    if count > len(function.params):
        return f"too many arguments for {function.name}: {count}, at most {len(function.params)}"
    return function.problem(function.params[:count])


def _position(at: Embedded, character: int) -> Position:
    """The place of a character of an expression, as far as it is known."""
    if at.offset < 0:
        return at.position
    return replace(at.position, column=at.position.column + at.offset + character, length=0)
