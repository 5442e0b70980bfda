"""Models of the benchmark's wider list. Each is written once: a function takes a framework and returns the model, whose
parameters come in one order in all frameworks.
"""
