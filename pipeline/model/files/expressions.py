"""The symbolic expressions of a model file, such as the rows of a batch: torch evaluates them as Python."""

from __future__ import annotations

import ast
import re

# Symbols as torch names them. It counts up to their numbers one by one.
_SYMBOL = re.compile(r"(s|u|zuf|zf)\d{1,6}", re.ASCII)

_MOST_CHARACTERS = 10_000
_MOST_DIGITS = 20
_MOST_POWER = 64

# sympy's, as sympy.srepr writes them, and those of torch.utils._sympy.functions.
_FUNCTIONS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "CeilDiv",
        "CeilToInt",
        "CleanDiv",
        "Equality",
        "Eq",
        "Float",
        "FloatPow",
        "FloatTrueDiv",
        "FloorDiv",
        "FloorToInt",
        "Ge",
        "GreaterThan",
        "Gt",
        "Identity",
        "IntTrueDiv",
        "Integer",
        "IsNonOverlappingAndDenseIndicator",
        "LShift",
        "Le",
        "LessThan",
        "Lt",
        "Max",
        "Min",
        "Mod",
        "ModularIndexing",
        "Mul",
        "Ne",
        "Not",
        "Or",
        "Pow",
        "PowByNatural",
        "PythonMod",
        "RShift",
        "Rational",
        "RoundDecimal",
        "RoundToInt",
        "StrictGreaterThan",
        "StrictLessThan",
        "Symbol",
        "ToFloat",
        "TruncToFloat",
        "TruncToInt",
        "Unequality",
        "Where",
    ]
)
_CONSTANTS = frozenset(["true", "false", "oo", "int_oo"])
_KEYWORDS = frozenset(["integer", "negative", "nonnegative", "positive", "precision"])
# Operators, as torch wrote them before it used sympy.srepr.
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.UAdd, ast.USub,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip


def is_symbol(name: str) -> bool:
    """Return whether torch could have given this name to a size."""
    return _SYMBOL.fullmatch(name) is not None


def is_allowed(expression: str) -> bool:
    """Return whether an expression is made of symbols, numbers and known functions of them alone."""
    if len(expression) > _MOST_CHARACTERS or not expression.isascii():
        return False
    try:
        return _is_value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_value(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _CONSTANTS or is_symbol(name)
        case ast.Constant(value=bool()):
            return True
        case ast.Constant(value=int() | float() as number):
            return len(str(number)) <= _MOST_DIGITS
        case ast.UnaryOp(op=op, operand=operand):
            return isinstance(op, _OPERATORS) and _is_value(operand)
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _is_value(base) and _is_power(exponent)
        case ast.BinOp(left=left, op=op, right=right):
            return isinstance(op, _OPERATORS) and _is_value(left) and _is_value(right)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return isinstance(op, _OPERATORS) and _is_value(left) and _is_value(right)
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=keywords):
            return _is_call(function, arguments, keywords)
    return False


def _is_call(function: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    if function not in _FUNCTIONS:
        return False
    if not all(each.arg in _KEYWORDS and isinstance(each.value, ast.Constant) for each in keywords):
        return False
    if function in ("Symbol", "Float"):
        # The only ones that take a text: a name, or a number's digits.
        match arguments:
            case [ast.Constant(value=str() as text)]:
                pattern = _SYMBOL if function == "Symbol" else re.compile(r"-?[\d.e+-]{1,40}", re.ASCII)
                return pattern.fullmatch(text) is not None
        return False
    if function in ("Pow", "PowByNatural", "LShift"):
        return len(arguments) == 2 and _is_value(arguments[0]) and _is_power(arguments[1])
    return all(map(_is_value, arguments))


def _is_power(node: ast.expr) -> bool:
    # A number to the power of a number may be too large for any memory.
    match node:
        case ast.Call(func=ast.Name(id="Integer"), args=[each], keywords=[]):
            return _is_power(each)
        case ast.UnaryOp(op=ast.USub(), operand=each):
            return _is_power(each)
        case ast.Call(func=ast.Name(id="Symbol")):
            return _is_value(node)
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= _MOST_POWER
