"""Assets, one module per stage, as the data flows: sources, views, online, training, drift, models."""
