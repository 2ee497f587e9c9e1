"""What a model used: integrated gradients, deletion effects, and checks of both; of the model, never of causes."""
