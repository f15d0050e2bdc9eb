"""Training: the embedded world's autoencoder, encoders and generator, each resumable from its own state folder."""
