"""Which steps does the source spell out? Its nodes as frozen records; what is misspelt, missing or too much is refused.

Fields and limits on counts: https://cloud.google.com/workflows/docs/reference/syntax and /workflows/quotas
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from localcloud.workflows import source, tree
from localcloud.workflows.errors import DeploymentError, Position
from localcloud.workflows.names import is_name
from localcloud.workflows.parser import ExpressionError, parse
from localcloud.workflows.source import Node
from localcloud.workflows.syntax import Embedded, Expression, Index, ListOf, Literal, MapOf, Member, Name

MAX_ASSIGNMENTS = MAX_CONDITIONS = 50
MAX_BRANCHES = MAX_PARAMS = 10

_ACTIONS = ("assign", "call", "switch", "for", "parallel", "try", "raise", "return", "steps")
_COMPANIONS = {"call": {"args", "result"}, "try": {"retry", "except"}}


def read(root: Node) -> tree.Workflow:
    """The workflow that the source spells out.

    Raises:
        DeploymentError: with what the real service would say, as far as it is known.
    """
    if isinstance(root, source.Sequence):
        return tree.Workflow({"main": _RoutineReader("main").bare(root)})
    bodies = source.entries(root, "the workflow")
    if all(name != "main" for name, _, _ in bodies):
        raise DeploymentError("failed to build: the workflow has no main block", position=root.position)
    return tree.Workflow({name: _RoutineReader(name).routine(key, body) for name, key, body in bodies})


class _RoutineReader:
    """Reads one routine. `_step` is the name of the step that is being read, for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._step = ""
        self._positions: dict[str, Position] = {}  # of the steps, by name

    def bare(self, steps: Node) -> tree.Routine:
        """A `main` that is just its steps."""
        return self._located(lambda: tree.Routine(self._name, steps.position, {}, self._block(steps)))

    def routine(self, key: Node, body: Node) -> tree.Routine:
        """`main` or a subworkflow with its header."""
        return self._located(lambda: self._with_header(key, body))

    def _located(self, read_routine: Callable[[], tree.Routine]) -> tree.Routine:
        try:
            return read_routine()
        except DeploymentError as error:
            error.routine, error.step = self._name, self._step or None
            raise

    def _with_header(self, key: Node, body: Node) -> tree.Routine:
        if isinstance(body, source.Sequence) and self._name == "main":
            return tree.Routine(self._name, key.position, {}, self._block(body))
        if not is_name(self._name):
            raise source.problem(key, f"{self._name!r} cannot be the name of a subworkflow")
        fields = self._fields(body, f"workflow {self._name!r}", {"params", "steps"})
        if "steps" not in fields:
            raise source.problem(body, f"workflow {self._name!r} has no steps")
        params = self._params(fields["params"]) if "params" in fields else {}
        return tree.Routine(self._name, key.position, params, self._block(fields["steps"]))

    def _params(self, node: Node) -> Mapping[str, tree.Value | None]:
        params: dict[str, tree.Value | None] = {}
        for item in source.items(node, f"params of {self._name!r}"):
            name, default = self._param(item)
            if not is_name(name) or name in params:
                raise source.problem(item, f"{name!r} cannot be a parameter of {self._name!r}, or is one already")
            params[name] = default
        most = 1 if self._name == "main" else MAX_PARAMS
        if len(params) > most:
            raise source.problem(node, f"workflow {self._name!r} has {len(params)} parameters; at most {most} allowed")
        return params

    def _param(self, item: Node) -> tuple[str, tree.Value | None]:
        if not isinstance(item, source.Mapping):
            return source.text_of(item, "a parameter"), None
        pairs = source.entries(item, "a parameter")
        if len(pairs) != 1:
            raise source.problem(item, "a parameter with a default must be a map of its name to the default")
        name, _, value = pairs[0]
        return name, self._value(value, "default value")

    # Steps

    def _block(self, node: Node) -> tuple[tree.Step, ...]:
        items = source.items(node, f"steps of {self._step or self._name!r}")
        if not items:
            raise source.problem(node, f"{self._step or self._name!r} has no steps")
        return tuple(self._named(item) for item in items)

    def _named(self, item: Node) -> tree.Step:
        outer = self._step
        self._step, key, body = self._name_of(item)
        step = self._read_step(key.position, body)
        self._step = outer
        return step

    def _name_of(self, item: Node) -> tuple[str, Node, Node]:
        pairs = source.entries(item, "a step")
        if len(pairs) != 1:
            raise source.problem(item, "a step must be a map of its name to its body")
        name, key, body = pairs[0]
        if not name:
            raise source.problem(item, "step name should not be empty")
        if name in self._positions:
            first = self._positions[name].line
            raise source.problem(
                key, f"step name '{name}' is used more than once in '{self._name}' (first: line {first})"
            )
        self._positions[name] = key.position
        return name, key, body

    def _inline(self, node: Node) -> tuple[tree.Step, ...]:
        """A body that is `steps`, or a single step without a name."""
        if isinstance(node, source.Mapping) and len(node.entries) == 1:
            key, value = node.entries[0]
            if isinstance(key, source.Scalar) and key.text == "steps":
                return self._block(value)
        first = node.entries[0][0] if isinstance(node, source.Mapping) and node.entries else node
        return (self._read_step(first.position, node),)

    def _read_step(self, position: Position, body: Node) -> tree.Step:
        fields = {name: value for name, _, value in source.entries(body, f"step '{self._step}'")}
        actions = [action for action in _ACTIONS if action in fields]
        if len(actions) > 1 or not (actions or "next" in fields):
            raise self._failure(body, f"expected exactly one of {', '.join(_ACTIONS)}, found {actions or 'none'}")
        action = actions[0] if actions else "next"
        if unknown := fields.keys() - {action, "next"} - _COMPANIONS.get(action, set()):
            raise self._failure(body, f"unexpected field {min(unknown)!r}")
        step = _READ[action](self, fields)
        return replace(
            step,
            name=self._step,
            position=position,
            next=self._label(fields["next"], "next") if "next" in fields else None,
        )

    def _goto(self, fields: Mapping[str, Node]) -> tree.Step:
        return tree.Goto()

    def _assign(self, fields: Mapping[str, Node]) -> tree.Step:
        nodes = self._counted(fields["assign"], "assign", MAX_ASSIGNMENTS, "assignments")
        return tree.Assign(assignments=tuple(map(self._assignment, nodes)))

    def _assignment(self, node: Node) -> tree.Assignment:
        pairs = source.entries(node, f"an assignment of step '{self._step}'")
        if len(pairs) != 1:
            raise self._failure(node, "an assignment must be a map of one variable to its value")
        text, key, value = pairs[0]
        target = self._expression(text, key, "assign target", 0)
        body: Expression = target.body
        while isinstance(body, (Member, Index)):
            body = body.target
        if not isinstance(body, Name):
            raise self._failure(key, f"cannot assign to {text!r}")
        return tree.Assignment(target, self._value(value, "assign value"))

    def _call(self, fields: Mapping[str, Node]) -> tree.Step:
        pairs = source.entries(fields["args"], f"args of step '{self._step}'") if "args" in fields else []
        return tree.Call(
            function=self._label(fields["call"], "call"),
            args={key: self._value(node, f"argument {key}") for key, _, node in pairs},
            result=self._variable(fields["result"], "result") if "result" in fields else None,
        )

    def _switch(self, fields: Mapping[str, Node]) -> tree.Step:
        nodes = self._counted(fields["switch"], "switch", MAX_CONDITIONS, "conditions")
        return tree.Switch(cases=tuple(map(self._case, nodes)))

    def _case(self, node: Node) -> tree.Case:
        pairs = source.entries(node, f"an entry of switch '{self._step}'")
        condition = next((value for name, _, value in pairs if name == "condition"), None)
        if condition is None:
            raise self._failure(node, "a switch entry has no condition")
        rest = tuple((key, value) for name, key, value in pairs if name != "condition")
        if rest:
            body = self._read_step(rest[0][0].position, source.Mapping(rest, node.position, node.size))
        else:
            body = tree.Goto(name=self._step, position=node.position)
        return tree.Case(self._value(condition, "condition"), body)

    def _for(self, fields: Mapping[str, Node]) -> tree.Step:
        return tree.For(loop=self._loop(fields["for"]))

    def _loop(self, node: Node) -> tree.Loop:
        fields = self._fields(node, f"for of step '{self._step}'", {"value", "index", "in", "range", "steps"})
        if missing := {"value", "steps"} - fields.keys():
            raise self._failure(node, f"for has no {max(missing)}")
        if ("in" in fields) == ("range" in fields):
            raise self._failure(node, "for needs exactly one of in and range")
        index = self._variable(fields["index"], "index") if "index" in fields else None
        value = self._variable(fields["value"], "value")
        if index is not None and index.name == value.name:
            raise self._failure(fields["index"], f"value and index of for are both '{value.name}'")
        bounds = self._value(fields["range"], "range") if "range" in fields else None
        if bounds is not None and isinstance(bounds.body, ListOf) and len(bounds.body.items) != 2:
            raise self._failure(
                fields["range"], f"range has {len(bounds.body.items)} elements; begin and end are needed"
            )
        return tree.Loop(
            value=value,
            index=index,
            items=self._value(fields["in"], "in") if "in" in fields else None,
            bounds=bounds,
            body=self._block(fields["steps"]),
        )

    def _parallel(self, fields: Mapping[str, Node]) -> tree.Step:
        node = fields["parallel"]
        inner = self._fields(
            node,
            f"parallel of step '{self._step}'",
            {"shared", "concurrency_limit", "exception_policy", "branches", "for"},
        )
        if ("branches" in inner) == ("for" in inner):
            raise self._failure(node, "parallel needs exactly one of branches and for")
        if "exception_policy" in inner:
            policy = source.text_of(inner["exception_policy"], "exception_policy")
            if policy != "continueAll":
                raise self._failure(inner["exception_policy"], f"exception_policy must be continueAll, not {policy!r}")
        shared = source.items(inner["shared"], "shared") if "shared" in inner else ()
        return tree.Parallel(
            shared=tuple(self._variable(item, "shared") for item in shared),
            limit=self._limit(inner["concurrency_limit"]) if "concurrency_limit" in inner else None,
            branches=self._branches(inner["branches"]) if "branches" in inner else (),
            loop=self._loop(inner["for"]) if "for" in inner else None,
        )

    def _limit(self, node: Node) -> tree.Value:
        limit = self._value(node, "concurrency_limit")
        if isinstance(limit.body, Literal) and not (type(limit.body.value) is int and limit.body.value > 0):
            raise self._failure(node, "concurrency_limit must be a positive integer")
        return limit

    def _branches(self, node: Node) -> tuple[tree.Branch, ...]:
        items = source.items(node, f"branches of '{self._step}'")
        if not 2 <= len(items) <= MAX_BRANCHES:
            raise self._failure(node, f"parallel has {len(items)} branches; 2 to {MAX_BRANCHES} are allowed")
        return tuple(map(self._branch, items))

    def _branch(self, item: Node) -> tree.Branch:
        outer = self._step
        self._step, key, body = self._name_of(item)
        branch = tree.Branch(name=self._step, position=key.position, body=self._inline(body))
        self._step = outer
        return branch

    def _try(self, fields: Mapping[str, Node]) -> tree.Step:
        node = fields["try"]
        if isinstance(node, source.Mapping) and any(name == "for" for name, _, _ in source.entries(node, "try")):
            # Known issue of the real service: a loop needs `steps` around it here.
            raise self._failure(node, "loop step name should not be empty")
        return tree.Try(
            body=self._inline(node),
            retry=self._retry(fields["retry"]) if "retry" in fields else None,
            handler=self._handler(fields["except"]) if "except" in fields else None,
        )

    def _retry(self, node: Node) -> tree.Value:
        if isinstance(node, source.Mapping):
            fields = self._fields(node, "retry", {"predicate", "max_retries", "backoff"})
            if isinstance(backoff := fields.get("backoff"), source.Mapping):
                self._fields(backoff, "backoff", {"initial_delay", "max_delay", "multiplier"})
        elif not isinstance(node, source.Scalar) or not _is_expression(node):
            raise self._failure(node, "retry must be a map or an expression that gives a retry policy")
        return self._value(node, "retry")

    def _handler(self, node: Node) -> tree.Handler:
        fields = self._fields(node, f"except of step '{self._step}'", {"as", "steps"})
        return tree.Handler(
            self._variable(fields["as"], "as") if "as" in fields else None,
            self._block(fields["steps"]) if "steps" in fields else (),
        )

    def _return(self, fields: Mapping[str, Node]) -> tree.Step:
        return tree.Return(value=self._value(fields["return"], "return value"))

    def _raise(self, fields: Mapping[str, Node]) -> tree.Step:
        return tree.Raise(value=self._value(fields["raise"], "raise value"))

    def _nested(self, fields: Mapping[str, Node]) -> tree.Step:
        return tree.Nested(body=self._block(fields["steps"]))

    # Values

    def _value(self, node: Node, what: str) -> Embedded:
        """A value of the source in which each whole scalar `${...}` is an expression."""
        match node:
            case source.Mapping():
                entries = [
                    (self._key(key, what), self._value(value, what)) for _, key, value in source.entries(node, what)
                ]
                return Embedded(MapOf(tuple(entries)), node.position)
            case source.Sequence():
                return Embedded(ListOf(tuple(self._value(item, what) for item in node.items)), node.position)
            case source.Scalar():
                if _is_expression(node):
                    return self._expression(node.text.rstrip()[2:-1], node, what, 2)
                return Embedded(Literal(source.scalar(node)), node.position)

    def _key(self, node: Node, what: str) -> Embedded:
        if isinstance(node, source.Scalar) and _is_expression(node):
            return self._expression(node.text.rstrip()[2:-1], node, what, 2)
        return Embedded(Literal(source.text_of(node, "a key")), node.position)

    def _expression(self, text: str, node: Node, what: str, offset: int) -> Embedded:
        # Escapes and line ends make columns inside a scalar differ from those of its text.
        is_verbatim = isinstance(node, source.Scalar) and node.position.length - len(node.text) in (0, 2)
        offset += isinstance(node, source.Scalar) and not node.is_plain
        try:
            return Embedded(parse(text), node.position, offset if is_verbatim else -1)
        except ExpressionError as error:
            column = node.position.column + (offset + error.at if is_verbatim else 0)
            raise self._failure(
                replace(node, position=replace(node.position, column=column)), f"error evaluating {what}: {error}"
            ) from error

    def _variable(self, node: Node, what: str) -> tree.Label:
        label = self._label(node, what)
        if not is_name(label.name):
            raise self._failure(node, f"{what} must be the name of a variable, not {label.name!r}")
        return label

    def _label(self, node: Node, what: str) -> tree.Label:
        return tree.Label(source.text_of(node, what), node.position)

    def _fields(self, node: Node, what: str, allowed: set[str]) -> dict[str, Node]:
        entries = source.entries(node, what)
        for name, key, _ in entries:
            if name not in allowed:
                raise self._failure(key, f"{what} has the unexpected field {name!r}")
        return {name: value for name, _, value in entries}

    def _counted(self, node: Node, action: str, most: int, what: str) -> tuple[Node, ...]:
        items = source.items(node, f"{action} of step '{self._step}'")
        if not 1 <= len(items) <= most:
            raise self._failure(node, f"{len(items)} {what}; 1 to {most} are allowed")
        return items

    def _failure(self, node: Node, message: str) -> DeploymentError:
        return failure(self._name, self._step, message, node.position)


def failure(routine: str, step: str, message: str, position: Position) -> DeploymentError:
    """A deployment error in a step, in the words of the real service."""
    where = f"error in step {step}" if step else f"error in workflow {routine}"
    return DeploymentError(
        f"failed to build: {where}: {message}", position=position, routine=routine, step=step or None
    )


def _is_expression(node: source.Scalar) -> bool:
    return node.text.startswith("${") and node.text.rstrip().endswith("}")


_READ: Mapping[str, Callable[[_RoutineReader, Mapping[str, Node]], tree.Step]] = {
    "assign": _RoutineReader._assign,
    "call": _RoutineReader._call,
    "switch": _RoutineReader._switch,
    "for": _RoutineReader._for,
    "parallel": _RoutineReader._parallel,
    "try": _RoutineReader._try,
    "raise": _RoutineReader._raise,
    "return": _RoutineReader._return,
    "steps": _RoutineReader._nested,
    "next": _RoutineReader._goto,
}
