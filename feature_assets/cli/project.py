"""`check` and `plan`: what the project is, and where it stands.

Invariant: nothing here writes.
"""

import typer

from feature_assets.cli.options import Json, Views, load_project, open_store, selected_views
from feature_assets.cli.output import out, show_json, show_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)
    app.command()(plan)


def check(as_json: Json = False) -> None:
    """Validate the project's definitions and show what it holds."""
    from feature_assets.compute.dry_run import check_transforms
    from feature_assets.definition.version import service_version, view_version
    from feature_assets.quality.suite import check_suite

    project = load_project()
    check_transforms(project)
    for view in project.views:
        check_suite(view)
    views = [
        (v.name, ", ".join(v.entity.key_names), len(v.features), view_version(v), v.schedule) for v in project.views
    ]
    services = [(s.name, len(s.output_columns), service_version(s)) for s in project.services]
    if as_json:
        show_json(
            {
                "project": project.name,
                "views": [
                    dict(zip(("name", "keys", "features", "version", "schedule"), v, strict=True)) for v in views
                ],
                "services": [dict(zip(("name", "features", "version"), s, strict=True)) for s in services],
                "models": [model.name for model in project.models],
            }
        )
        return
    show_table("Feature views", ("view", "keys", "features", "version", "schedule (UTC)"), views)
    show_table("Feature services", ("service", "features", "version"), services)
    out.print(f"[green]ok[/]: project {project.name} is valid")


def plan(views: Views = None, as_json: Json = False) -> None:
    """What is committed, pending and published per view; bytes per item, request units and their price."""
    project = load_project()
    with open_store(project) as store:
        plans = [store.plan_view(view) for view in selected_views(project, views)]
    if as_json:
        show_json(plans)
        return
    show_table(
        f"Published to {store.target}",
        ("view", "version", "state", "committed", "pending", "published", "next push"),
        [(p.view, p.version, p.state, p.committed, p.pending, p.published, p.reason) for p in plans],
    )
    show_table(
        "Size and price (DynamoDB on demand)",
        ("view", "entities", "bytes p50", "bytes p95", "read units", "write units", "$ / M reads", "$ / full push"),
        [
            (
                p.view,
                p.size.entities,
                p.size.bytes_p50,
                p.size.bytes_p95,
                p.size.read_units,
                p.size.write_units,
                p.size.usd_per_million_reads,
                p.size.usd_per_full_push,
            )
            for p in plans
        ],
    )
