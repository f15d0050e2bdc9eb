"""FLUX.1: uno.py the backbone, folder.py opens folders and LoRAs, tokens.py packing and positions, watch.py hooks."""
