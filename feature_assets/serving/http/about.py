"""What there is, how it is, and what it has done.

Invariant: nobody is told of a service that he may not ask.
"""

import msgspec
from starlette.responses import Response

from feature_assets.definition.service import FeatureService
from feature_assets.serving.http.call import Call, Reply, Serving, json_reply
from feature_assets.serving.http.openapi import document_of, schema_of
from feature_assets.serving.http.problems import ProblemError, problem_of


async def services(serving: Serving, call: Call) -> Response:
    """The services that this key may read."""
    key = call.known(serving)
    return json_reply(
        {"services": [_listed(one) for name, one in serving.services.items() if key.allows("read", name)]}
    )


async def service(serving: Serving, call: Call) -> Response:
    """What a service takes and gives."""
    key = call.known(serving)
    return json_reply(schema_of(serving.service(key, "read", call.path_params["service"])))


async def openapi(serving: Serving, call: Call) -> Response:
    """The OpenAPI document, of what this key may read."""
    key = call.known(serving)
    allowed = [one for name, one in serving.services.items() if key.allows("read", name)]
    return json_reply(document_of(allowed, serving.limits, keys=serving.keys is not None))


async def metrics(serving: Serving, call: Call) -> Response:
    """The numbers that Prometheus asks for."""
    if not call.known(serving).allows("metrics", None):
        raise ProblemError(403, "forbidden", "this key may not read metrics", "use one with the verb metrics")
    return Reply(serving.metrics.exposed(), media_type=serving.metrics.MEDIA_TYPE)


async def health(serving: Serving, call: Call) -> Response:
    """The process runs."""
    del serving, call
    return json_reply({"status": "alive"})


async def ready(serving: Serving, call: Call) -> Response:
    """Whether it can answer. Until every service was answered once, each is tried; then only going down changes it."""
    if serving.draining:
        return json_reply({"status": "draining"}, 503)
    if serving.warm:
        # A store that fails later fails all replicas alike: one that is not asked any more helps nobody, and each can
        # still say what it knows. That is told by statuses, and shown by the metrics.
        return _is_ready(serving)
    try:
        content = await serving.within(lambda: _standing(serving), serving.limits.deadline, call, "ready")
    except Exception as error:  # noqa: BLE001 # whatever it is, it is not ready, and says why
        problem = problem_of(error, call.id)
        return json_reply({"status": "not ready", "reasons": {"server": problem.message}}, 503)
    reasons = msgspec.json.decode(content, type=dict[str, str])
    if reasons:
        return json_reply({"status": "not ready", "reasons": reasons}, 503)
    serving.warm = True
    return _is_ready(serving)


def _is_ready(serving: Serving) -> Response:
    return json_reply({"status": "ready", "services": list(serving.services)})


def _standing(serving: Serving) -> bytes:
    return msgspec.json.encode(serving.client.warmed())


def _listed(service: FeatureService) -> dict[str, object]:
    return {
        "name": service.name,
        "description": service.description,
        "needs": [one.name for one in service.key_columns],
        "features": len(service.output_columns),
    }
