"""A text for examples to learn from: Python's own reference, as `help()` shows it, which comes with Python."""

import gradloom as gl


def read(path=None):
    """The text of a file; without one that of the reference, each paragraph once, about 350,000 characters."""
    if path is not None:
        return gl.data.read_text(path)
    from pydoc_data.topics import topics

    # Whole topics are parts of others.
    return "\n\n".join(dict.fromkeys("\n\n".join(topics.values()).split("\n\n")))
