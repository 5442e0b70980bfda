"""Text of graphs from anywhere: what is no graph is one clear error, and costs little memory whatever it claims."""

from __future__ import annotations

import base64
import re
import tracemalloc
import zlib
from random import Random

import pytest
from gradloom.ir import Graph, parse
from gradloom.ir.op import OPS
from gradloom.ir.parser import ParseError
from gradloom.ir.verify import VerificationError

LOOP = """
graph(%x: f32[4,3], %"odd name": i64[2], %n: i64[]) {
  %0: f32[3,4] = transpose(%x) {axes=(1, 0)} scope="layers.0" at="model.py:3"
  %1: f32[3] = reduce_sum(%0) {axes=(1,)} backward
  %2: f32[3] = constant() {value=array f32[3] (1.0, nan, -inf)}
  %3: f32[3] = add(%1, %2)
  %4: f32[3] = scan(%3) {body=graph(%c: f32[3]) {
    %0: f32[3] = tanh(%c)
    return %0
  }, length=3, carries=1, consts=0, reverse=False}
  return "loss"=%3, %1 -> %x
}
"""


def bomb(megabytes: int) -> str:
    return base64.b64encode(zlib.compress(bytes(megabytes << 20), 9)).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected 'graph', at the end"),
        ("graph(" + "(" * 10**5, "expected"),
        ("graph() { %0: f32[] = full() {value=" + "(" * 10**5, "more than 64 tuples and graphs within one another"),
        ("graph() { %0: f32[] = full() {value=" + "graph() { %0: f32[] = full() {value=" * 5000, "more than 64"),
        ("graph(%x: f32[" + "9" * 10**5 + "]) { return }", "a number of more than 400 letters"),
        ("graph(%x: f32[99999999,99999999]) { return }", "an array of too many elements"),
        ("graph(%x: f32[-1]) { return }", "expected a length"),
        ("graph(%x: f32[1.5]) { return }", "expected a length"),
        ("graph(%x: f32[\u0663]) { return }", "expected a length"),
        ("graph(%x: f33[1]) { return }", "'f33' is no dtype"),
        ("graph(%x: f32[1], %x: f32[1]) { return }", "two inputs %x"),
        ("graph() { %0: f32[], %0: f32[] = full() return }", "%0 is computed twice"),
        ("graph() { %0: f32[] = full() {value=1, value=2} return }", "two attributes value"),
        ("graph() { %0: f32[] = " + "a" * 10**6 + "() return }", "there is no op 'aaa"),
        ("graph() { return %x }", "%x is used before it is computed"),
        ("graph() { return } graph() { return }", "text after the end"),
        ("graph() {\x1b]0;owned\x07 return }", "unexpected text"),
        ('graph() { %0: f32[2] = constant() {value=array f32[2] "%%%"} return }', "expected the data of f32[2]"),
        ("graph() { %0: f32[2] = constant() {value=array f32[2] (1,)} return }", "expected the data of f32[2]"),
        ("graph() { %0: f32[2] = constant() {value=array i32[1] (1e999,)} return }", "expected the data of i32[1]"),
        (f'graph() {{ %0: f32[2] = constant() {{value=array f32[2] "{bomb(1)}"}} return }}', "expected the data of"),
        ('graph() { %0: f32[] = full() {value="', "unexpected text"),
    ],
)
def test_what_is_no_graph_is_one_error_that_can_be_shown(text: str, said: str):
    with pytest.raises(ParseError) as error:
        parse(text)
    assert said in str(error.value)
    assert len(str(error.value)) < 700
    assert re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f]*", str(error.value))


def test_packed_data_takes_no_more_memory_than_its_type_says():
    text = f'graph() {{ %0: f32[2] = constant() {{value=array f32[2] "{bomb(200)}"}} return }}'
    tracemalloc.start()
    with pytest.raises(ParseError):
        parse(text)
    assert tracemalloc.get_traced_memory()[1] < 40 * len(text)
    tracemalloc.stop()


def test_only_text_is_parsed():
    with pytest.raises(TypeError, match="got a bytes"):
        parse(b"graph() { return }")  # pyright: ignore[reportArgumentType]


def test_control_characters_of_names_are_shown_as_escapes_and_read_back():
    odd = 'a\x1b[31m"\\x07\u202eb\ud800\x00'
    graph = parse("graph(%x: f32[]) { return %x }")
    named = Graph(graph.inputs, graph.nodes, graph.outputs, {}, [odd])
    text = str(named)
    assert "\\x1b[31m" in text
    assert text.isprintable() or text.replace("\n", "").isprintable()
    assert parse(text).output_names == (odd,)


def mutated(random: Random, text: str) -> str:
    """A few tokens of the text dropped, doubled, exchanged, or replaced by others."""
    tokens = re.findall(r'"[^"]*"|%?[\w.]+|\s+|.', text)
    others = ["-1", "99999999999999999999", "0", "nan", "None", "()", "graph", "f64", "f32[0]", "%x", '"x"', "1.5", "{"]
    for _ in range(random.randint(1, 4)):
        i, j = random.randrange(len(tokens)), random.randrange(len(tokens))
        match random.randrange(5):
            case 0:
                del tokens[i]
            case 1:
                tokens.insert(i, tokens[j])
            case 2:
                tokens[i], tokens[j] = tokens[j], tokens[i]
            case 3:
                tokens[i] = random.choice(others)
            case _:
                names = [k for k, token in enumerate(tokens) if token in OPS]
                tokens[random.choice(names)] = random.choice(sorted(OPS))
    return "".join(tokens)


def test_mutated_graphs_are_read_or_refused_and_verified_or_refused():
    random, read = Random(0), 0
    for _ in range(3000):
        text = mutated(random, LOOP)
        try:
            graph = parse(text)
            read += 1
            graph.verify()
            str(graph)
        except (ParseError, VerificationError):
            continue
    assert read > 300
