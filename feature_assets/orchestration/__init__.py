"""The Dagster layer: everything that a user watches or starts is a Dagster object.

Each module is named by Dagster's noun and stays thin: take the platform, call the core, return metadata. Only this
package and `feature_assets.definitions` import dagster.
"""

import warnings

import dagster as dg

# Partition mappings, backfill policies and the secrets resource are marked beta: each would be announced once per
# asset at every start. The release is pinned: what they do changes only with the lock file, and then the tests say so.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
