"""Reading graphs from the text that `str(graph)` prints."""

from __future__ import annotations

import base64
import math
import re
import zlib
from typing import Any

import numpy as np

from .graph import ROLES, Graph, Node, Origin, Value
from .near_names import similar
from .op import OPS
from .printable import printable
from .printer import BARE_NAME, unquote
from .types import DTYPE_OF_SHORT, Array, ArrayType
from .user_kernel import CUSTOM_OPS, find_op
from .users_line import located

# As few turns of a repetition as there are escapes: each one takes memory.
_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(
    rf"""
      (?P<value>%(?:{BARE_NAME.pattern}|{_QUOTED}))
    | (?P<string>{_QUOTED})
    | (?P<number>-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf\b))
    | (?P<word>[A-Za-z_]\w*)
    | (?P<arrow>->)
    | (?P<mark>[(){{}}\[\],:=])
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"\s*(?:#[^\n]*\s*)*")

_DEEPEST = 64
"""Tuples and graphs within one another."""
_MOST_ELEMENTS = 2**48
"""No machine has memory for an array of so many."""
_MOST_DIGITS = 400
"""Of a number: those of the largest float, and some."""
_SHOWN = 160
"""Letters of a line, in a message."""


class ParseError(ValueError):
    """The text is not a graph. The message shows the line, or what stands around the place where it is long."""


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.kind = ""
        self.token = ""
        self.start = 0
        self.depth = 0
        self.advance()

    def advance(self) -> str:
        previous = self.token
        blank = _BLANK.match(self.text, self.position)
        self.start = self.position = blank.end() if blank else self.position
        match = _TOKEN.match(self.text, self.position)
        if match is not None:
            self.kind = match.lastgroup or ""
            self.token = match[self.kind]
            self.position = match.end()
        elif self.position == len(self.text):
            self.kind, self.token = "end", ""
        else:
            self.token = self.text[self.position]
            raise self.error("unexpected text")
        return previous

    def error(self, message: str) -> ParseError:
        line_number = self.text.count("\n", 0, self.start) + 1
        first = max(self.text.rfind("\n", 0, self.start) + 1, self.start - _SHOWN // 2)
        line = self.text[first : first + _SHOWN].partition("\n")[0]
        at = "the end" if self.kind == "end" else repr(shortened(self.token))
        return ParseError(f"line {line_number}: {message}, at {at}\n  {printable(line.strip())}")

    def deeper(self) -> None:
        """Enter a tuple or a graph; `shallower` leaves it."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error(f"more than {_DEEPEST} tuples and graphs within one another")

    def shallower(self) -> None:
        self.depth -= 1

    def expect(self, token: str) -> None:
        if self.token != token:
            raise self.error(f"expected {token!r}")
        self.advance()

    def accept(self, token: str) -> bool:
        if self.token != token or self.kind == "string":
            return False
        self.advance()
        return True

    def take(self, kind: str) -> str:
        if self.kind != kind:
            raise self.error(f"expected a {kind}")
        return self.advance()

    def string(self) -> str:
        return unquote(self.take("string"))

    def type(self) -> ArrayType:
        short = self.take("word")
        if short not in DTYPE_OF_SHORT:
            raise self.error(f"{shortened(short)!r} is no dtype")
        self.expect("[")
        shape: list[int] = []
        while not self.accept("]"):
            shape.append(self.length())
            if math.prod(shape) > _MOST_ELEMENTS:
                raise self.error("an array of too many elements")
            self.accept(",")
        return ArrayType(tuple(shape), DTYPE_OF_SHORT[short])

    def length(self) -> int:
        if not (self.kind == "number" and self.token.isascii() and self.token.isdecimal()):
            raise self.error("expected a length")
        return int(self.number())

    def number(self) -> int | float:
        if len(self.token) > _MOST_DIGITS:
            raise self.error(f"a number of more than {_MOST_DIGITS} letters")
        text = self.advance()
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def array(self) -> Array:
        array_type = self.type()
        start, token = self.start, self.token
        data = self.attr()
        try:
            if isinstance(data, str):
                # No more than the type says, however much the data would become.
                unpacked = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), array_type.nbytes + 1)
                flat = np.frombuffer(unpacked, array_type.dtype)
            else:
                flat = np.array(data, array_type.dtype)
            return flat.reshape(array_type.shape)
        except (ValueError, TypeError, OverflowError, zlib.error):
            self.start, self.token = start, token
            raise self.error(f"expected the data of {array_type}") from None

    def complex(self) -> complex:
        start, token = self.start, self.token
        try:
            re, im = self.attr()
            return complex(float(re), float(im))
        except (ValueError, TypeError, OverflowError):
            self.start, self.token = start, token
            raise self.error("expected a real and an imaginary part") from None

    def attr(self) -> Any:
        if self.kind == "string":
            return self.string()
        if self.kind == "number":
            return self.number()
        if self.accept("("):
            self.deeper()
            items: list[Any] = []
            while not self.accept(")"):
                items.append(self.attr())
                self.accept(",")
            self.shallower()
            return tuple(items)
        if self.token == "graph":
            return self.graph()
        if self.accept("array"):
            return self.array()
        if self.accept("complex"):
            return self.complex()
        constants = {"None": None, "True": True, "False": False, "nan": float("nan")}
        if self.token in constants:
            return constants[self.advance()]
        if self.token in DTYPE_OF_SHORT:
            if self.text[self.position : self.position + 1] == "[":
                return self.type()
            return DTYPE_OF_SHORT[self.advance()]
        raise self.error("expected an attribute value")

    def origin(self) -> Origin:
        fields = {"scope": "", "at": "", "checkpoint": ""}
        role = "forward"
        while self.kind == "word" and (self.token in fields or self.token in ROLES):
            word = self.advance()
            if word in ROLES:
                role = word
            else:
                self.expect("=")
                fields[word] = self.string()
        return Origin(fields["scope"], fields["at"], role, fields["checkpoint"])

    def typed_names(self) -> list[tuple[str, ArrayType]]:
        names: list[tuple[str, ArrayType]] = []
        while self.kind == "value":
            name = self.advance()
            self.expect(":")
            names.append((name, self.type()))
            self.accept(",")
        return names

    def graph(self) -> Graph:
        self.deeper()
        self.expect("graph")
        self.expect("(")
        values: dict[str, Value] = {}
        inputs: list[Value] = []
        for name, value_type in self.typed_names():
            if name in values:
                raise self.error(f"there are two inputs {shortened(name)}")
            value = Value(value_type, name=unquote(name[1:]) if name[1] == '"' else name[1:])
            values[name] = value
            inputs.append(value)
        self.expect(")")
        self.expect("{")
        nodes: list[Node] = []
        while self.token != "return":
            nodes.append(self.node(values))
        self.expect("return")
        outputs: list[Value] = []
        output_names: list[str] = []
        aliases: dict[int, int] = {}
        place = {value: i for i, value in enumerate(inputs)}
        while not self.accept("}"):
            name = ""
            if self.kind == "string":
                name = self.string()
                self.expect("=")
            output_names.append(name)
            outputs.append(self.reference(values))
            if self.accept("->"):
                if values.get(self.token) not in place:
                    raise self.error("expected an input")
                aliases[len(outputs) - 1] = place[self.reference(values)]
            self.accept(",")
        self.shallower()
        return Graph(inputs, nodes, outputs, aliases, output_names)

    def reference(self, values: dict[str, Value]) -> Value:
        if self.kind == "value" and self.token not in values:
            raise self.error(f"{shortened(self.token)} is used before it is computed")
        return values[self.take("value")]

    def node(self, values: dict[str, Value]) -> Node:
        outputs = self.typed_names()
        if not outputs:
            raise self.error("expected a node or 'return'")
        names: dict[str, None] = {}
        for output_name, _ in outputs:
            if output_name in values or output_name in names:
                raise self.error(f"{shortened(output_name)} is computed twice")
            names[output_name] = None
        self.expect("=")
        name = self.take("word")
        try:
            op = find_op(name)
        except LookupError as error:
            raise self.error(str(error)) from None
        if op is None:
            known = "a custom op is known once the module that defines it is imported"
            raise self.error(f"there is no op {shortened(name)!r}; {similar(name, [*OPS, *CUSTOM_OPS]) or known}")
        self.expect("(")
        inputs: list[Value] = []
        while not self.accept(")"):
            inputs.append(self.reference(values))
            self.accept(",")
        attrs: dict[str, Any] = {}
        if self.accept("{"):
            while not self.accept("}"):
                key = self.take("word")
                if key in attrs:
                    raise self.error(f"there are two attributes {shortened(key)}")
                self.expect("=")
                attrs[key] = self.attr()
                self.accept(",")
        node = Node(op, inputs, attrs, [t for _, t in outputs], self.origin())
        values.update(zip(names, node.outputs))
        return node


def shortened(token: str) -> str:
    """A token for a message."""
    return printable(token if len(token) <= _SHOWN else f"{token[:_SHOWN]}...")


def parse(text: str) -> Graph:
    """The graph that `text` prints. Raises `ParseError` with the offending line; what it reads is not verified.

    Text from anywhere may be read: it costs memory in proportion to the arrays that it holds, and runs nothing.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(located(f"a graph is parsed from the text that str(graph) prints, got a {type(text).__name__}"))
    parser = _Parser(text)
    graph = parser.graph()
    if parser.kind != "end":
        raise parser.error("text after the end of the graph")
    return graph
