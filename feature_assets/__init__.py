"""feature_assets."""
