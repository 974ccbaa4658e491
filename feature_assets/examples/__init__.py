"""Built-in projects that run on real data.

Each is an ordinary user of the public interface: nothing in the rest of the package imports from here, except where the
command line asks for an example by name.
"""
