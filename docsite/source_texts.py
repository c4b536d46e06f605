"""What stands below the fields of a class: Python keeps it in the source alone."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any


def field_texts(owner: type) -> Mapping[str, str]:
    """The texts below a class's own fields, by name; "" where there is none."""
    body = _parsed(owner).body
    found: dict[str, str] = {}
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = ""
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))) if found:
                found[[*found][-1]] = inspect.cleandoc(text)
    return found


def field_types(owner: type) -> Mapping[str, str]:
    """The types of a class's own fields, as they were written."""
    return {
        each.target.id: ast.unparse(each.annotation)
        for each in _parsed(owner).body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def signature(function: Callable[..., Any]) -> str:
    """A function's head as it was written, `self` left out; a parameter a line if it is long."""
    node = _parsed(function)
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    first = len(plain) - len(arguments.defaults)
    parameters = [
        _parameter(each, arguments.defaults[index - first] if index >= first else None)
        for index, each in enumerate(plain)
        if index or each.arg not in ("self", "cls")
    ]
    if arguments.vararg:
        parameters.append(f"*{_parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parameters.append("*")
    parameters += map(_parameter, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        parameters.append(f"**{_parameter(arguments.kwarg, None)}")
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    short = f"def {node.name}({', '.join(parameters)}){result}: ..."
    if len(short) <= 80:
        return short
    return "\n".join(
        [f"def {node.name}(", *(f"    {each}," for each in parameters), f"){result}: ..."]
    )


def result(function: Callable[..., Any]) -> str:
    """A property's name and type, as a field's are written."""
    node = _parsed(function)
    return f"{node.name}: {ast.unparse(node.returns)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    named = (
        f"{argument.arg}: {ast.unparse(argument.annotation)}"
        if argument.annotation
        else argument.arg
    )
    if default is None:
        return named
    # The quotes are those of the code.
    return f"{named} = {ast.unparse(default)}".replace("'", '"')


def _parsed(of: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]
