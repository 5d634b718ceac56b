"""The stages, `squeeze -> condense -> train -> probe`, with `load` before and `measure` after;
between the first two a `survey`, where a method asks for one.

Each is a pure function of components, data and a seed, and runs in a process of its own. A module
here is a stage; its `run` is what `execute` calls.
"""
