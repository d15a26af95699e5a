"""Commands: each module parses the arguments of one and calls the library.

A module has ``add_arguments(parser)``, ``run(args)``, which returns the exit status, and
``main(argv)``. Nothing but the parser is imported until ``run``.
"""
