"""What the drills' server processes serve."""

import pyarrow as pa

from feature_assets_tests.histories import view_of
from feature_assets_tests.published import project_of

project = project_of(view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}))
