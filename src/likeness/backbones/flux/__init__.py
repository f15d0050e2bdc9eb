"""FLUX.1: uno.py the backbone, options.py and condition.py what it is told, folder.py, tokens.py and watch.py below."""
