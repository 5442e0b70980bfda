"""What a step says of itself: how activations, gradients and updates go through its layers."""
