"""Trained networks for other programs: ONNX, torch.export, and folders that hubs of models know."""
