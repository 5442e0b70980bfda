"""The commit of the suite, where the original asks Git."""


def get_versions():
    return {"version": "55fcc60"}
