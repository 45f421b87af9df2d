"""Files of pictures: listing, reading, validating, decoding. No model."""
