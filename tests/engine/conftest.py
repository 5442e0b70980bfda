"""What tests of the engine share."""

import importlib.util

import pytest


@pytest.fixture(scope="module")
def one_thread_for_torch():
    # Two for arrays this small spend their time waiting for each other.
    if importlib.util.find_spec("torch"):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)
    else:
        yield
