"""Networks for classification: [B, C, H, W] to logits [B, classes]."""
