"""How to get skia: apart from `pen.py`, so that `likeness doctor` can say it where skia cannot be imported."""

SKIA_FIX = "skia-python needs libGL.so.1 and libEGL.so.1: on Debian or Ubuntu `apt-get install libgl1 libegl1`"
