"""Rules of convolutions and windows: examples are more images, more channels out, or more groups."""

from __future__ import annotations

from ...ir import OPS, Node, Value
from .vectorizer import Outputs, Vectorizer


def vectorized_conv(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """`conv(x, w)` of (n, spatial..., channels) and (channels out, channels in / groups, kernel...)."""
    x, w = inputs
    if not flags[1]:
        images = _reshaped(v, x, (v.count * x.type.shape[1], *x.type.shape[2:]))
        made = v.b.emit(node.op, images, w, **node.attrs)
        return [(_reshaped(v, made, (v.count, x.type.shape[1], *made.type.shape[1:])), True)]
    groups, mine = node.attrs["groups"], w.type.shape[1]
    if not flags[0]:
        # The channels out of all examples, those of a group together.
        made = v.b.emit(node.op, x, _joined(v, w, groups), **node.attrs)
        return [(_apart(v, made, groups, mine), True)]
    channels = _channels_of_all(v, x)
    made = v.b.emit(node.op, channels, _joined(v, w, 1), **{**node.attrs, "groups": v.count * groups})
    return [(_groups_apart(v, made, mine), True)]


def vectorized_weight_gradient(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """`conv_weight_gradient(x, g)`: each example is a group of its own."""
    x, g = inputs
    groups = node.attrs["groups"]
    if groups == 1 and not flags[0]:
        made = v.b.emit(node.op, x, _channels_of_all(v, g), **node.attrs)
    else:
        images = [_channels_of_all(v, each) for each in v.all_repeated([x, g], flags)]
        made = v.b.emit(node.op, *images, **{**node.attrs, "groups": v.count * groups})
    return [(_reshaped(v, made, (v.count, node.output.type.shape[0], *made.type.shape[1:])), True)]


def vectorized_window(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """Windows along later axes."""
    axes = tuple(a + 1 for a in node.attrs["axes"])
    return [(v.b.emit(node.op, *v.all_repeated(inputs, flags), **{**node.attrs, "axes": axes}), True)]


def _reshaped(v: Vectorizer, x: Value, shape: tuple[int, ...]) -> Value:
    return v.b.emit(OPS["reshape"], x, shape=shape)


def _joined(v: Vectorizer, w: Value, groups: int) -> Value:
    """Weights of all examples, (examples, channels out, ...), as those of one convolution; groups stay together."""
    count, out, *rest = w.type.shape
    parts = v.moved(_reshaped(v, w, (count, groups, out // groups, *rest)), 1, 0)
    return _reshaped(v, parts, (count * out, *rest))


def _apart(v: Vectorizer, made: Value, groups: int, out: int) -> Value:
    """Images with the channels of `_joined` weights as images of each example."""
    images = made.type.shape[:-1]
    parts = _reshaped(v, made, (*images, groups, v.count, out // groups))
    parts = v.moved(parts, len(images) + 1, 0)
    return _reshaped(v, parts, (v.count, *images, out))


def _channels_of_all(v: Vectorizer, x: Value) -> Value:
    """Images of all examples, (examples, n, spatial..., channels), as images with the channels of all."""
    count, *images, channels = x.type.shape
    return _reshaped(v, v.moved(x, 0, x.type.ndim - 2), (*images, count * channels))


def _groups_apart(v: Vectorizer, made: Value, out: int) -> Value:
    """Images with a group of channels for each example as images of each."""
    images = made.type.shape[:-1]
    return v.moved(_reshaped(v, made, (*images, v.count, out)), len(images), 0)
