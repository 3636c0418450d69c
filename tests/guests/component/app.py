"""A WASI 0.2 command in Python.

    component-py              says hello
    component-py args ...     prints its arguments, one a line
    component-py env          prints its environment
    component-py cat PATH     prints a file
    component-py os NAME ...  calls a function of Python's `os` with paths
    component-py below DIRECTORY NAME ...
                              the same from a directory that it opens
    component-py fail         returns an error from `run`
"""

import os
import sys

from componentize_py_types import Err


def call(name, paths, **more):
    try:
        getattr(os, name)(*paths, **more)
    except OSError as refusal:
        print(f"{name}: {refusal.strerror}", file=sys.stderr)
        raise Err(None) from None


class Run:
    def run(self) -> None:
        command, rest = sys.argv[1:2], sys.argv[2:]
        if not command:
            print("hello from a component")
        elif command == ["args"]:
            print(*rest, sep="\n")
        elif command == ["env"]:
            for name, value in os.environ.items():
                print(f"{name}={value}")
        elif command == ["cat"] and len(rest) == 1:
            try:
                with open(rest[0]) as file:
                    print(file.read(), end="")
            except OSError as refusal:
                print(f"{rest[0]}: {refusal.strerror}", file=sys.stderr)
                raise Err(None) from None
        elif command == ["os"] and rest:
            call(rest[0], rest[1:])
        elif command == ["below"] and len(rest) > 1:
            call(rest[1], rest[2:], dir_fd=os.open(rest[0], os.O_RDONLY))
        else:
            raise Err(None)
