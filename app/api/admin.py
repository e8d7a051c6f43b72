"""What concerns all owners: whose runs there are, and stopping or deleting them.

Where there are tokens, one with the scope `admin` is needed; elsewhere there is one owner.
"""

import shutil
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify
from sqlalchemy import func, select

from app import runs
from app.access_schemas import OwnerList
from app.api import run_cache, services
from app.api.runs import iso_time, run_view
from app.database import reading, transaction
from app.models import ACTIVE_STATES, Computation, Run
from app.openapi import blueprint, responses
from app.schemas import NoQuery, RunPath, RunView

api = blueprint("admin", "What concerns all owners: needs a token with the scope admin.")


@api.get("/v1/admin/owners", responses=responses({200: OwnerList}))
def list_owners(query: NoQuery) -> dict[str, Any]:
    """Who has runs, how many, and how many bases of them are on their way."""
    waiting = Computation.state.in_(sorted(ACTIVE_STATES)) & Run.canceled_at.is_(None)
    with reading(services().engine) as session:
        rows = session.execute(
            select(
                Run.owner,
                func.count(),
                func.sum(Computation.bases),
                func.coalesce(func.sum(Computation.bases).filter(waiting), 0),
                func.count().filter(waiting),
                func.max(Run.created_at),
            )
            .join(Computation)
            .group_by(Run.owner)
            .order_by(Run.owner)
        ).all()
    return {
        "owners": [
            {
                "owner": name,
                "runs": count,
                "bases": int(bases),
                "active_runs": active,
                "active_bases": int(active_bases),
                "last_submitted_at": iso_time(last),
            }
            for name, count, bases, active_bases, active, last in rows
        ]
    }


@api.post("/v1/admin/runs/<run_id>/cancel", responses=responses({202: RunView}, 404, 409))
def cancel_any_run(path: RunPath, query: NoQuery) -> tuple[Response, int]:
    """Cancel a run of any owner."""
    with transaction(services().engine) as session:
        runs.cancel_run(session, runs.get_run(session, path.run_id, None))
    with reading(services().engine) as session:
        view = run_view(session, runs.get_run(session, path.run_id, None))
    return jsonify(view), HTTPStatus.ACCEPTED


@api.delete("/v1/admin/runs/<run_id>", responses=responses({204: None}, 404))
def delete_any_run(path: RunPath, query: NoQuery) -> tuple[str, int]:
    """Delete a run of any owner."""
    here = services()
    with reading(here.engine) as session:
        whose = runs.get_run(session, path.run_id, None).owner
    runs.delete_run(here.engine, here.storage, path.run_id, whose)
    shutil.rmtree(run_cache(here.settings, path.run_id), ignore_errors=True)
    return "", HTTPStatus.NO_CONTENT
