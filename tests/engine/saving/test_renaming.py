"""Names of arrays in a file as a model has them."""

import gradloom as gl
import pytest
from gradloom.engine.saving.renaming import renamed

NAMES = ["module.h.0.attn.weight", "module.h.1.attn.weight", "module.ln.bias", "head.weight"]


def test_patterns_carry_over_what_their_stars_are_and_the_first_counts():
    assert renamed(NAMES, {"module.h.*.attn.*": "blocks.*.attention.*", "module.*": "*", "head.*": None}, "f") == {
        "blocks.0.attention.weight": NAMES[0],
        "blocks.1.attention.weight": NAMES[1],
        "ln.bias": NAMES[2],
    }
    assert renamed(NAMES, {"head.weight": "tail"}, "f")["tail"] == "head.weight"
    assert renamed(["a.b", "a+b"], {"a.b": "c"}, "f") == {"c": "a.b", "a+b": "a+b"}
    assert renamed(["a\nb", "xx"], {"a*": "*c", "*x": "y"}, "f") == {"\nbc": "a\nb", "y": "xx"}


def test_a_function_gives_names_or_leaves_arrays_out():
    assert renamed(NAMES, lambda n: n.removeprefix("module.") if n.startswith("module") else None, "f") == {
        "h.0.attn.weight": NAMES[0],
        "h.1.attn.weight": NAMES[1],
        "ln.bias": NAMES[2],
    }


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"'modul\.\*' fits none of the file; there are module\.ln\.bias, "):
        renamed(NAMES, {"modul.*": "*"}, "the file")
    with pytest.raises(ValueError, match=r"'a\.\*\.\*' has more \* than 'module\.\*'"):
        renamed(NAMES, {"module.*": "a.*.*"}, "the file")
    with pytest.raises(gl.CheckpointError, match=r"makes module.h.0.attn.weight and module.h.1.attn.weight, .* both w"):
        renamed(NAMES, {"module.h.*": "w"}, "the file")
    with pytest.raises(TypeError, match=r"gives a name, or None to leave module\.h\.0\.attn\.weight out; it gave 3"):
        renamed(NAMES, lambda name: 3, "the file")
    with pytest.raises(TypeError, match="or a function of a name, got list"):
        renamed(NAMES, [("a", "b")], "the file")
