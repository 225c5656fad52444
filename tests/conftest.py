"""What every test needs."""

import watchline.feature_store  # noqa: F401  (before a test imports Feast, whose classes it leaves as they are written)
