"""likeness: personalised text-to-image generation whose subjects stay themselves, and the numbers that prove it.

The loop is data -> train -> generate -> evaluate -> study -> report; every stage is a room of this package, reads files
and writes files, and can be used alone. What the package offers to Python stands in `__init__.pyi`, with examples in
docs/python.md. Importing it loads no heavy library: each name loads its own when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
