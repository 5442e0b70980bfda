"""What the suite's conftest.py takes of its reporting.py, which writes JSON by a plugin: nothing of it is used here."""

pytest_metadata = pytest_json_modifyreport = add_extra_json_metadata = None
