"""The kernel that copies image rows for a convolution, with their padding, and makes them of others as it goes."""

from __future__ import annotations

from ...ir import SHORT_NAMES, Value
from ...ir.ops import creation
from ...passes.kernels.conv_operands import Operand
from .elementwise import expression, literal, loaded

SOURCES_AT = 22
WORDS_OF_SOURCE = 6


def copy_images(operand: Operand) -> str:
    """Copies some rows of some images, zeros where there are none.

    Args: tile, target, this worker's lines; 3: images, rows, columns, channels; 7: bands of an image, rows from one
    band to the next, first row; 10: rows of a tile; first column, columns; 13: elements of a line
    of what differs by channel alone; 14: images of a volume, blocks of a volume of what is made, images of a block, and
    how these meet: stride, lift, expand, lifted; 21: images that are copied, but for those which are not there; then
    for each source: where it lies, its strides, where its line begins.
    """
    zero = literal(0, operand.result.type.dtype)
    head, before, of_row, of_run = _readings(operand)
    names: dict[Value, str] = {value: f"v{k}" for k, value in enumerate(operand.inputs)}
    body: list[str] = []
    for node in operand.nodes:
        names[node.output] = f"v{len(names)}"
        if node.op is creation.full:
            text = literal(node.attrs["value"], node.output.type.dtype)
        elif node.op.fusion == "reshaping":
            text = names[node.inputs[0]]
        else:
            text = expression(node, [names[v] for v in node.inputs])
        body.append(f"{names[node.output]} = {text}")
    loads = [
        f"v{k} = {loaded(_load(k, source.form), source.value.type.dtype)}" for k, source in enumerate(operand.reads)
    ]
    run = "repeated" if any(source.form == "channels" for source in operand.reads) else "there"
    lines = [
        "def kernel(b):",
        *_indented(1, head),
        f"    target = array_{SHORT_NAMES[operand.result.type.dtype]}(word(b, 1), 0)",
        "    height, width, channels, depth = word(b, 4), word(b, 5), word(b, 6), word(b, 14)",
        "    block = word(b, 0) // word(b, 7)",
        "    begin = word(b, 0) % word(b, 7) * word(b, 8) + word(b, 9)",
        "    volume = block // word(b, 15)",
        "    met = (block - volume * word(b, 15)) * word(b, 16) * word(b, 17) + word(b, 18)",
        "    first_image = met // word(b, 19) - word(b, 20)",
        "    from_image = first_image if first_image > 0 else i64(0)",
        "    last_image = first_image + word(b, 21) if first_image + word(b, 21) < depth else depth",
        "    rows, left, columns, repeated = word(b, 10), word(b, 11), word(b, 12), word(b, 13)",
        "    line = columns * channels",
        "    skipped = -left if left < 0 else i64(0)",
        "    skipped = skipped if skipped < columns else columns",
        "    across = width - (left + skipped)",
        "    across = across if across < columns - skipped else columns - skipped",
        "    across = across if across > 0 else i64(0)",
        "    there = across * channels",
        *_indented(1, before),
        "    for image_of_volume in range(from_image, last_image):",
        "        image = volume * depth + image_of_volume",
        "        for r in range(rows):",
        "            to = window(target, ((image_of_volume - first_image) * rows + r) * line, line)",
        "            j = begin + r",
        "            if (j < 0) | (j >= height):",
        "                for e in range(line):",
        f"                    to[e] = {zero}",
        "                continue",
        "            for e in range(skipped * channels):",
        f"                to[e] = {zero}",
        *_indented(3, of_row),
        f"            for start in range(0, there, {run} if there > 0 else 1):",
        f"                n = there - start if there - start < {run} else {run}",
        "                made = window(to, skipped * channels + start, n)",
        *_indented(4, of_run),
        "                for e in range(n):",
        *_indented(5, [*loads, *body, f"made[e] = {names[operand.result]}"]),
        "            rest = line - skipped * channels - there",
        "            to = window(to, line - rest, rest)",
        "            for e in range(rest):",
        f"                to[e] = {zero}",
        "    return i64(0)",
        "",
    ]
    return "\n".join(lines)


def _indented(level: int, lines: list[str]) -> list[str]:
    return ["    " * level + line for line in lines]


def _load(k: int, form: str) -> str:
    return {"number": f"s{k}", "channels": f"line{k}[e]"}.get(form, f"w{k}[e]")


def _readings(operand: Operand) -> tuple[list[str], list[str], list[str], list[str]]:
    """Lines that find the sources: at the head, before the first image, for a row, for a run of a row."""
    head: list[str] = []
    before: list[str] = []
    of_row: list[str] = []
    of_run: list[str] = []
    for k, source in enumerate(operand.reads):
        at, short = SOURCES_AT + WORDS_OF_SOURCE * k, SHORT_NAMES[source.value.type.dtype]
        head.append(f"x{k} = array_{short}(word(b, {at}), 0)")
        if source.form in ("channels", "strided"):
            head.append(f"line{k} = array_{short}(word(b, 2) + word(b, {at + 5}), 0)")
        origin = f"image * word(b, {at + 1}) + j * word(b, {at + 2})"
        if source.form == "channels":
            before += [
                "for start in range(0, repeated, channels):",
                f"    part = window(line{k}, start, channels)",
                "    for c in range(channels):",
                f"        part[c] = x{k}[c * word(b, {at + 4})]",
            ]
        elif source.form == "number":
            of_row.append(f"s{k} = x{k}[{origin}]")
        elif source.form == "dense":
            of_run.append(f"w{k} = window(x{k}, {origin} + (left + skipped) * channels + start, n)")
        else:
            of_row += [
                f"from{k} = {origin} + (left + skipped) * word(b, {at + 3})",
                "for p in range(across):",
                f"    part = window(line{k}, p * channels, channels)",
                "    for c in range(channels):",
                f"        part[c] = x{k}[from{k} + p * word(b, {at + 3}) + c * word(b, {at + 4})]",
            ]
            of_run.append(f"w{k} = window(line{k}, start, n)")
    return head, before, of_row, of_run
