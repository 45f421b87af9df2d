"""MobileNetV2: the model, inference, and which images need it."""
