"""Model assets: the gate, a challenger, and the champion.

Invariant: whatever happens here is recorded with its reasons in `retraining/`; the champion changes only by such a
record. A refusal of the gate is a result, not a failure.
"""

import dagster as dg

from feature_assets.definition.model import Model
from feature_assets.definition.project import Project
from feature_assets.modelling import retrain_model
from feature_assets.orchestration.assets.keys import drift_key, model_key, owners, training_set_key
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.retraining.retrain import Outcome


def model_asset(project: Project, model: Model) -> dg.AssetsDefinition:
    """The asset `models/<model>`."""

    @dg.asset(
        key=model_key(model),
        deps=[training_set_key(model), *(drift_key(view) for view in model.service.views)],
        group_name="models",
        kinds={"lightgbm"},
        owners=owners(model.owner),
        description=f"The model {model.name}: retrained if the gate agrees, promoted if it is surely better.",
    )
    def _model(platform: Platform) -> dg.MaterializeResult[None]:
        with reported(f"model {model.name}"):
            outcome = retrain_model(platform.open(project), model)
        return dg.MaterializeResult(metadata=_metadata(outcome))

    return _model


def _metadata(outcome: Outcome) -> dict[str, dg.MetadataValue]:
    out: dict[str, dg.MetadataValue] = {
        "retrained": dg.MetadataValue.bool(outcome.retrain.go),
        "retrain_reasons": dg.MetadataValue.md(_bullets(outcome.retrain.reasons)),
        "champion": dg.MetadataValue.text(outcome.champion or "none"),
    }
    if outcome.model_id is not None:
        out["candidate"] = dg.MetadataValue.text(outcome.model_id)
    if outcome.promotion is not None:
        out["promoted"] = dg.MetadataValue.bool(outcome.promotion.go)
        out["promotion_reasons"] = dg.MetadataValue.md(_bullets(outcome.promotion.reasons))
    if outcome.comparison is not None:
        out["challenger_auc"] = dg.MetadataValue.float(outcome.comparison.challenger_auc)
        out["champion_auc"] = dg.MetadataValue.float(outcome.comparison.champion_auc)
        out["rows_compared"] = dg.MetadataValue.int(outcome.comparison.rows)
    return out


def _bullets(reasons: tuple[str, ...]) -> str:
    return "\n".join(f"- {reason}" for reason in reasons)
