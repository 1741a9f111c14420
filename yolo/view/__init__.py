"""Pictures of a network: its graph, its filters, its feature maps."""
