"""MobileNetV2 features: model conversion, planning, inference."""
