"""Without the package onnx, what needs it says how to install it."""

import sys

import gradloom as gl
import pytest


def test_reading_and_writing_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"from_onnx needs the package onnx .* pip install 'gradloom\[onnx\]'"):
        gl.from_onnx(tmp_path / "model.onnx")
    model = gl.nn.Linear(2, 1)
    gl.save_arrays(tmp_path / "p.safetensors", model.state_dict())
    loaded = gl.load(model, tmp_path / "p.safetensors")
    with pytest.raises(ImportError, match=r"export_onnx needs the package onnx .* pip install 'gradloom\[onnx\]'"):
        loaded.export_onnx(tmp_path / "model.onnx", lambda model, x: model(x), gl.spec((3, 2)))
