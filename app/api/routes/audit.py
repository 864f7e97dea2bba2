"""`GET /audit`: who did what to which task."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.audit import audit_info
from app.api.context import InContext
from app.api.identity import AdminTenant
from app.api.routes.pages import ID_PATTERN, After, Limit, page
from app.api.routes.route import TenantRoute
from innerloop.wire import AuditInfo, Page

router = APIRouter(tags=["tasks"], route_class=TenantRoute)


@router.get("/audit")
def list_audit(
    context: InContext,
    tenant: AdminTenant,
    task_id: Annotated[str | None, Query(pattern=ID_PATTERN, description="Only of this task, there or not")] = None,
    after: After = None,
    limit: Limit = 50,
) -> Page[AuditInfo]:
    """Return a page of the audit log of the caller's tenant, the newest first."""
    return page(context.store.audit(tenant, task_id=task_id, after=after, limit=limit), audit_info)
