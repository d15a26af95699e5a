"""Commands: each module parses the arguments of one command and calls the library.

A module defines ``add_arguments(parser)``, ``run(args)``, which returns the exit status or None
for 0, and ``main(argv)``. Until ``run`` it imports nothing heavy, so ``--help`` is quick.
"""
