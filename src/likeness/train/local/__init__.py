"""The Local Image Encoder: a CLIP learns, from itself, dense features that tell what lies at each place."""
