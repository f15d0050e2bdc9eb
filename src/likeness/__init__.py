"""likeness: personalised text-to-image generation whose subjects stay themselves, and the numbers that prove it.

The loop is data -> train -> generate -> evaluate -> study -> report; every stage is a room of this package, reads files
and writes files, and can be used alone. Importing the package loads no heavy library.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
