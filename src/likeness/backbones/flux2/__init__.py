"""FLUX.2 klein: reference images beside the picture on a time axis of their own."""
