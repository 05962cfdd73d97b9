"""Can this source be deployed, and what is its program?

Everything Google checks at deployment is checked here: syntax, names of steps, variables, subworkflows and functions,
arguments, and the limits on counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

from localcloud.workflows import source
from localcloud.workflows.connectors import hint
from localcloud.workflows.errors import DeploymentError, WorkflowError
from localcloud.workflows.expressions import Apply, Literal, Node, Variable, list_node, map_node
from localcloud.workflows.names import ExpressionNames, StaticScope, find_function, is_name
from localcloud.workflows.parser import ExpressionError, parse
from localcloud.workflows.program import (
    Assign,
    Assignment,
    Block,
    Branch,
    CallFunction,
    CallRoutine,
    Exit,
    For,
    Goto,
    Handler,
    Jump,
    Loop,
    Nested,
    Next,
    Parallel,
    Program,
    Raise,
    Return,
    Routine,
    Step,
    Switch,
    Try,
)  # fmt: skip
from localcloud.workflows.values import get_item

MAX_ASSIGNMENTS = MAX_CONDITIONS = 50
MAX_BRANCHES = MAX_PARAMS = 10

_ACTIONS = ("assign", "call", "switch", "for", "parallel", "try", "raise", "return", "steps")
_COMPANIONS = {"call": {"args", "result"}, "try": {"retry", "except"}}
_EXITS = {each.value: each for each in Exit}


def compile_source(text: str) -> Program:
    """The program of a workflow's source.

    Raises:
        DeploymentError: with what the real service would say, as far as it is known.
    """
    root = source.load(text)
    if source.is_list(root):
        bodies = {"main": (root, root)}
    else:
        bodies = {name: (key, body) for name, key, body in source.entries(root, "the workflow")}
    if "main" not in bodies:
        raise DeploymentError("failed to build: the workflow has no main block")
    headers = {name: _header(name, body) for name, (_, body) in bodies.items()}
    params = {
        name: {param: default is not None for param, default in header.params.items()}
        for name, header in headers.items()
    }
    return Program({name: _RoutineCompiler(name, header, params).routine() for name, header in headers.items()})


@dataclass(frozen=True)
class _Header:
    params: dict[str, yaml.Node | None]
    steps: yaml.Node


def _header(name: str, body: yaml.Node) -> _Header:
    if source.is_list(body) and name == "main":
        return _Header({}, body)
    fields = {key: value for key, _, value in source.entries(body, f"workflow {name!r}")}
    if unknown := fields.keys() - {"params", "steps"}:
        raise source.problem(body, f"workflow {name!r} has the unexpected field {min(unknown)!r}")
    if "steps" not in fields:
        raise source.problem(body, f"workflow {name!r} has no steps")
    return _Header(_params(name, fields["params"]) if "params" in fields else {}, fields["steps"])


def _params(routine: str, node: yaml.Node) -> dict[str, yaml.Node | None]:
    params: dict[str, yaml.Node | None] = {}
    for item in source.items(node, f"params of {routine!r}"):
        pairs = [(k, v) for k, _, v in source.entries(item, "a parameter")] if source.is_map(item) else []
        name, default = pairs[0] if len(pairs) == 1 else (source.text_of(item, "a parameter"), None)
        if not is_name(name) or name in params:
            raise source.problem(item, f"{name!r} cannot be a parameter of {routine!r}, or is one already")
        params[name] = default
    most = 1 if routine == "main" else MAX_PARAMS
    if len(params) > most:
        raise source.problem(node, f"workflow {routine!r} has {len(params)} parameters; at most {most} are allowed")
    return params


@dataclass(frozen=True)
class _Place:
    """Where a step stands: its name, scope, the steps `next` can reach, and whether it is in a loop."""

    step: str
    scope: StaticScope
    targets: dict[str, Jump] = field(default_factory=dict)
    in_loop: bool = False


@dataclass
class _RoutineCompiler:
    name: str
    header: _Header
    params: dict[str, dict[str, bool]]
    step_names: set[str] = field(default_factory=set)

    def routine(self) -> Routine:
        names = frozenset({*self.header.params, *source.assigned_in(self.header.steps)})
        place = _Place("", StaticScope(names))
        defaults = {
            param: None if node is None else self.value(node, _Place("", StaticScope(frozenset())), "default value")
            for param, node in self.header.params.items()
        }
        return Routine(self.name, defaults, self.block(self.header.steps, place), names)

    # Steps

    def block(self, node: yaml.Node, place: _Place) -> Block:
        steps = [self.named(item) for item in source.items(node, f"steps in {place.step or self.name!r}")]
        if not steps:
            raise source.problem(node, f"{place.step or self.name!r} has no steps")
        block = Block()
        targets = {**place.targets, **{name: Jump(block, index) for index, (name, _, _) in enumerate(steps)}}
        for name, key, body in steps:
            inner = _Place(name, place.scope, targets, place.in_loop)
            block.steps.append(self.step(key, body, inner))
        return block

    def named(self, item: yaml.Node) -> tuple[str, yaml.Node, yaml.Node]:
        pairs = source.entries(item, "a step")
        if len(pairs) != 1:
            raise source.problem(item, "a step must be a map of its name to its body")
        name = pairs[0][0]
        if not name:
            raise source.problem(item, "step name should not be empty")
        if name in self.step_names:
            raise source.problem(item, f"step name '{name}' is used more than once in '{self.name}'")
        self.step_names.add(name)
        return pairs[0]

    def inline(self, node: yaml.Node, place: _Place) -> Block:
        """A body that is `steps` or a single step without a name."""
        if source.is_map(node) and [key.value for key, _ in node.value] == ["steps"]:
            return self.block(node.value[0][1], place)
        return Block([self.step(node, node, place)])

    def step(self, key: yaml.Node, body: yaml.Node, place: _Place) -> Step:
        fields = {name: value for name, _, value in source.entries(body, f"step '{place.step}'")}
        actions = [action for action in _ACTIONS if action in fields]
        if len(actions) > 1 or not (actions or "next" in fields):
            raise self.failure(place, f"expected exactly one of {', '.join(_ACTIONS)}, found {actions or 'none'}")
        action = actions[0] if actions else "next"
        if unknown := fields.keys() - {action, "next"} - _COMPANIONS.get(action, set()):
            raise self.failure(place, f"unexpected field {min(unknown)!r}")
        compiler: Callable[[Step, dict[str, yaml.Node], _Place], Step] = getattr(self, f"_{action}")
        head = Step(place.step, source.position(key))
        step = compiler(head, fields, place)
        step.next = self.target(fields["next"], place) if "next" in fields else None
        return step

    def target(self, node: yaml.Node, place: _Place) -> Next:
        name = source.text_of(node, "next")
        if name in place.targets:
            return place.targets[name]
        if name not in _EXITS:
            raise self.failure(place, f"next step '{name}' is not defined")
        if name != "end" and not place.in_loop:
            raise self.failure(place, f"'{name}' is only allowed in a for loop")
        # Not documented: ending a routine from a parallel branch. Here refused like `return`.
        if name == "end" and self.in_branch(place):
            raise self.failure(place, "'end' is not allowed in a parallel branch")
        return _EXITS[name]

    def _next(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        return Goto(head.name, head.position)

    def _assign(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        nodes = source.items(fields["assign"], f"assign of step '{place.step}'")
        self.check_count(len(nodes), MAX_ASSIGNMENTS, "assignments", place)
        assignments = [self.assignment(node, place) for node in nodes]
        return Assign(head.name, head.position, assignments, any(each.pauses for each in assignments))

    def assignment(self, node: yaml.Node, place: _Place) -> Assignment:
        pairs = source.entries(node, f"an assignment of step '{place.step}'")
        if len(pairs) != 1:
            raise self.failure(place, "an assignment must be a map of one variable to its value")
        text, _, value_node = pairs[0]
        path: list[Node] = []
        target = self.expression(text, place, "assign target")
        while isinstance(target, Apply) and target.function is get_item:
            target, key = target.children
            path.insert(0, key)
        if not isinstance(target, Variable):
            raise self.failure(place, f"cannot assign to {text!r}")
        self.check_writable(target.name, place)
        value = self.value(value_node, place, "assign value")
        return Assignment(target.name, tuple(path), value, value.pauses or any(key.pauses for key in path))

    def _call(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        name = source.text_of(fields["call"], "call")
        args_node = fields.get("args")
        pairs = source.entries(args_node, f"args of step '{place.step}'") if args_node is not None else []
        args = {key: self.value(node, place, f"argument {key}") for key, _, node in pairs}
        result = self.variable(fields["result"], place, "result") if "result" in fields else None
        if result is not None:
            self.check_writable(result, place)
        if name in self.params:
            problem = self.routine_problem(name, list(args))
            step: Step = CallRoutine(head.name, head.position, name, args, result)
        elif (function := find_function(name)) is not None:
            problem = function.problem(list(args))
            step = CallFunction(head.name, head.position, function, args, result)
        else:
            problem = f"symbol '{name}' is neither a function nor a sub-workflow name{hint(name)}"
            raise self.failure(place, f"error evaluating call: {problem}")
        if problem:
            raise self.failure(place, f"error evaluating call: {problem}")
        return step

    def routine_problem(self, name: str, given: list[str]) -> str:
        params: dict[str, Node | None] = {
            param: Literal(None) if default else None for param, default in self.params[name].items()
        }
        return Routine(name, params, Block(), frozenset()).problem(given)

    def _switch(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        nodes = source.items(fields["switch"], f"switch of step '{place.step}'")
        self.check_count(len(nodes), MAX_CONDITIONS, "conditions", place)
        return Switch(head.name, head.position, [self.case(node, place) for node in nodes])

    def case(self, node: yaml.Node, place: _Place) -> tuple[Node, Step]:
        pairs = source.entries(node, f"an entry of switch '{place.step}'")
        conditions = [value for name, _, value in pairs if name == "condition"]
        if not conditions:
            raise self.failure(place, "a switch entry has no condition")
        rest = [(key, value) for name, key, value in pairs if name != "condition"]
        body = yaml.MappingNode(node.tag, rest, node.start_mark, node.end_mark)
        # An entry without an action just ends the switch.
        step = self.step(node, body, place) if rest else Goto(place.step, source.position(node))
        return self.value(conditions[0], place, "condition"), step

    def _for(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        return For(head.name, head.position, self.loop(fields["for"], place, None))

    def loop(self, node: yaml.Node, place: _Place, shared: frozenset[str] | None) -> Loop:
        fields = {name: value for name, _, value in source.entries(node, f"for of step '{place.step}'")}
        if unknown := fields.keys() - {"value", "index", "in", "range", "steps"}:
            raise self.failure(place, f"unexpected field {min(unknown)!r} in for")
        if missing := {"value", "steps"} - fields.keys():
            raise self.failure(place, f"for has no {max(missing)}")
        if ("in" in fields) == ("range" in fields):
            raise self.failure(place, "for needs exactly one of in and range")
        value = self.variable(fields["value"], place, "value")
        index = self.variable(fields["index"], place, "index") if "index" in fields else None
        own = [value] if index is None else [value, index]
        if taken := {name for scope in place.scope.chain() for name in scope.loop_variables} & set(own):
            raise self.failure(place, f"loop variable '{min(taken)}' is already that of an enclosing loop")
        scope = place.scope.child(source.assigned_in(fields["steps"]), own, shared)
        targets = place.targets if shared is None else {}
        inner = _Place(place.step, scope, targets, in_loop=shared is None)
        items = self.value(fields["in"], place, "in") if "in" in fields else None
        bounds = self.value(fields["range"], place, "range") if "range" in fields else None
        return Loop(value, index, items, bounds, self.block(fields["steps"], inner), scope.names)

    def _parallel(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        inner = {name: value for name, _, value in source.entries(fields["parallel"], f"parallel of '{place.step}'")}
        if unknown := inner.keys() - {"shared", "concurrency_limit", "exception_policy", "branches", "for"}:
            raise self.failure(place, f"unexpected field {min(unknown)!r} in parallel")
        if ("branches" in inner) == ("for" in inner):
            raise self.failure(place, "parallel needs exactly one of branches and for")
        if "exception_policy" in inner and inner["exception_policy"].value != "continueAll":
            raise self.failure(place, "exception_policy must be continueAll")
        shared = self.shared(inner["shared"], place) if "shared" in inner else frozenset()
        limit = (
            self.value(inner["concurrency_limit"], place, "concurrency_limit") if "concurrency_limit" in inner else None
        )
        loop = self.loop(inner["for"], place, shared) if "for" in inner else None
        branches = self.branches(inner["branches"], place, shared) if "branches" in inner else []
        return Parallel(head.name, head.position, branches, loop, limit)

    def shared(self, node: yaml.Node, place: _Place) -> frozenset[str]:
        names = frozenset(self.variable(item, place, "shared") for item in source.items(node, "shared"))
        for name in sorted(names):
            if not place.scope.sees(name):
                raise self.failure(place, f"shared variable '{name}' is not defined")
            self.check_writable(name, place)
        return names

    def branches(self, node: yaml.Node, place: _Place, shared: frozenset[str]) -> list[Branch]:
        named = [self.named(item) for item in source.items(node, f"branches of '{place.step}'")]
        if not 2 <= len(named) <= MAX_BRANCHES:
            raise self.failure(place, f"parallel has {len(named)} branches; 2 to {MAX_BRANCHES} are allowed")
        branches = []
        for name, key, body in named:
            scope = place.scope.child(source.assigned(body), (), shared)
            branches.append(Branch(name, source.position(key), self.inline(body, _Place(name, scope)), scope.names))
        return branches

    def _try(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        if source.is_map(fields["try"]) and any(key.value == "for" for key, _ in fields["try"].value):
            # Known issue of the real service: a loop needs `steps` around it here.
            raise self.failure(place, "loop step name should not be empty")
        body = self.inline(fields["try"], place)
        retry = self.value(fields["retry"], place, "retry") if "retry" in fields else None
        handler = self.handler(fields["except"], place) if "except" in fields else None
        return Try(head.name, head.position, body, retry, handler)

    def handler(self, node: yaml.Node, place: _Place) -> Handler:
        fields = {name: value for name, _, value in source.entries(node, f"except of step '{place.step}'")}
        if unknown := fields.keys() - {"as", "steps"}:
            raise self.failure(place, f"unexpected field {min(unknown)!r} in except")
        variable = self.variable(fields["as"], place, "as") if "as" in fields else None
        steps = fields.get("steps")
        assigned = source.assigned_in(steps) if steps is not None else iter(())
        scope = place.scope.child(assigned, () if variable is None else (variable,))
        scope = StaticScope(scope.names, scope.parent)  # `as` may be used again in a nested except
        inner = _Place(place.step, scope, place.targets, place.in_loop)
        body = self.block(steps, inner) if steps is not None else Block()
        return Handler(variable, body, scope.names)

    def _return(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        if self.in_branch(place):
            raise self.failure(place, "return is not allowed in a parallel branch")
        return Return(head.name, head.position, self.value(fields["return"], place, "return value"))

    def _raise(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        return Raise(head.name, head.position, self.value(fields["raise"], place, "raise value"))

    def _steps(self, head: Step, fields: dict[str, yaml.Node], place: _Place) -> Step:
        return Nested(head.name, head.position, self.block(fields["steps"], place))

    # Values

    def value(self, node: yaml.Node, place: _Place, what: str) -> Node:
        """A value of the source in which each whole scalar `${...}` is an expression."""
        if source.is_map(node):
            return map_node(self.map_entries(node, place, what))
        if source.is_list(node):
            return list_node([self.value(item, place, what) for item in source.items(node, what)])
        content = source.scalar(node)
        if isinstance(content, str) and content.startswith("${") and content.rstrip().endswith("}"):
            return self.expression(content.rstrip()[2:-1], place, what)
        return Literal(content)

    def map_entries(self, node: yaml.Node, place: _Place, what: str) -> list[tuple[Node, Node]]:
        return [
            (self.value(key, place, what) if name.startswith("${") else Literal(name), self.value(value, place, what))
            for name, key, value in source.entries(node, what)
        ]

    def expression(self, text: str, place: _Place, what: str) -> Node:
        try:
            return parse(text, ExpressionNames(place.scope, self.params))
        except ExpressionError as error:
            raise self.failure(place, f"error evaluating {what}: {error}") from error
        except WorkflowError as error:  # a constant list or map that cannot be made
            raise self.failure(place, f"error evaluating {what}: {error.headline}") from error

    def variable(self, node: yaml.Node, place: _Place, what: str) -> str:
        name = source.text_of(node, what)
        if not is_name(name):
            raise self.failure(place, f"{what} must be the name of a variable, not {name!r}")
        return name

    def check_writable(self, name: str, place: _Place) -> None:
        if refusal := place.scope.refusal(name):
            raise self.failure(place, refusal)

    def check_count(self, count: int, most: int, what: str, place: _Place) -> None:
        if not 1 <= count <= most:
            raise self.failure(place, f"{count} {what}; 1 to {most} are allowed")

    def in_branch(self, place: _Place) -> bool:
        return any(scope.shared is not None for scope in place.scope.chain())

    def failure(self, place: _Place, message: str) -> DeploymentError:
        where = f"error in step {place.step}" if place.step else f"error in workflow {self.name}"
        return DeploymentError(f"failed to build: {where}: {message}")
