"""The network: configuration, encoder, heads, tasks, losses, balancing, the compiled multi-task model; Keras only."""
