"""What a feature is: entities, sources, views, services, models, and the project that holds them together."""
