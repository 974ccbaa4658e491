"""From looked-up features to the columns of a training set.

Invariant: the columns and their order follow from the service alone; a default stands in wherever a value is absent,
as it does when the service answers online, and before on-demand views see it.
It looks nothing up.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.on_demand import on_demand_columns
from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature
from feature_assets.offline.availability import PROVENANCE_NAMES, Provenance
from feature_assets.training.point_in_time import NOTHING, Looked
from feature_assets.training.spine import Spine, as_instants

Codes = npt.NDArray[np.int8]

AVAILABILITY = "availability"
EVENT_AT = "event_at"
WEAKEST_FIRST = (Provenance.SIMULATED, Provenance.INHERITED, Provenance.RECOVERED, Provenance.RECORDED)


def added_columns(service: FeatureService) -> tuple[str, ...]:
    """The names of the columns that a training set adds to its spine, in order."""
    return (*(column.name for column in service.output_columns), *_origin_columns(service), AVAILABILITY)


def _origin_columns(service: FeatureService) -> list[str]:
    return [f"{ref.prefix}{SEPARATOR}{what}" for ref in service.refs for what in (EVENT_AT, AVAILABILITY)]


def assembled(service: FeatureService, spine: Spine, answers: Mapping[str, Looked]) -> pa.Table:
    """The training set: the spine's columns, the service's, and where the values come from.

    `answers`: by prefix, one for each reference of the service.
    """
    values = {
        ref.column(feature.name): with_default(answers[ref.prefix].features[feature.name], feature)
        for ref in service.refs
        for feature in ref.selected
    }
    as_of = as_instants(spine.as_of)
    given = {name: spine.table.column(name) for name in spine.table.column_names}
    for view in service.on_demand:
        computed = on_demand_columns(view, {**given, **values}, as_of)
        values.update({view.column(one.name): with_default(computed[one.name], one) for one in view.features})
    columns = {**given, **{column.name: values[column.name] for column in service.output_columns}}
    for ref in service.refs:
        looked = answers[ref.prefix]
        columns[f"{ref.prefix}{SEPARATOR}{EVENT_AT}"] = looked.event_at
        columns[f"{ref.prefix}{SEPARATOR}{AVAILABILITY}"] = provenance_names(looked.provenance)
    columns[AVAILABILITY] = provenance_names(
        _weakest([answers[ref.prefix].provenance for ref in service.refs], len(spine.as_of))
    )
    # The spine's own fields as they are: a column that must not be null says so afterwards too.
    fields = [*spine.table.schema, *(pa.field(name, columns[name].type) for name in added_columns(service))]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def with_default(column: pa.Array | pa.ChunkedArray, feature: Feature) -> pa.Array | pa.ChunkedArray:
    """The column, with the feature's default where it is null."""
    if feature.default is None or not column.null_count:
        return column
    default = pa.scalar(feature.default, feature.dtype)
    if not pa.types.is_nested(feature.dtype):
        return pc.fill_null(column, default)
    # Arrow fills no nested values: they are taken from where the default stands, at the end.
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    pool = pa.concat_arrays([whole, pa.array([feature.default], feature.dtype)])
    place = np.where(np.asarray(whole.is_valid()), np.arange(len(whole)), len(whole))
    return pool.take(pa.array(place))


def provenance_names(provenance: Codes) -> pa.Array:
    """The codes as text, null for `NOTHING`."""
    names = pa.array(PROVENANCE_NAMES)
    return names.take(pa.array(provenance, mask=provenance == NOTHING))


def _weakest(all_provenance: Sequence[Codes], rows: int) -> Codes:
    """The weakest of each row's origins; `NOTHING` where nothing was found."""
    strength = np.empty(len(WEAKEST_FIRST) + 1, np.int8)
    strength[list(WEAKEST_FIRST)] = np.arange(len(WEAKEST_FIRST))
    # The last, which is where `NOTHING` (-1) points to.
    strength[NOTHING] = len(WEAKEST_FIRST)
    least = np.full(rows, len(WEAKEST_FIRST), np.int8)
    for provenance in all_provenance:
        np.minimum(least, strength[provenance], out=least)
    back = np.array([*WEAKEST_FIRST, NOTHING], np.int8)
    return back[least]
