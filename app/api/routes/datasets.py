"""`/datasets`: data to meta-train on."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api.body import parsed
from app.api.context import Context, InContext, now
from app.api.identity import TrainingTenant
from app.api.openapi import REF_TEMPLATE
from app.api.routes.pages import After, Limit, Name, page
from app.api.routes.route import TenantRoute
from app.api.threads import in_thread
from app.api.uploads import Upload, uploaded
from app.datasets.caps import caps_of
from app.datasets.read import read_dataset
from app.datasets.stored import dataset_bytes, describe
from app.store import DatasetRecord, NewDataset
from app.trees import sha256
from innerloop.wire import DatasetInfo, DatasetSpec, Page

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "spec"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "spec": {"$ref": REF_TEMPLATE.format(model="DatasetSpec")},
                    },
                },
                "encoding": {"spec": {"contentType": "application/json"}},
            }
        },
    }
}

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=TenantRoute)


@router.post(
    "",
    response_model=DatasetInfo,
    status_code=201,
    responses={200: {"model": DatasetInfo, "description": "The same data is there under this name already"}},
    openapi_extra=FORM,
)
async def add_dataset(request: Request, context: InContext, tenant: TrainingTenant) -> Response:
    """Upload a data set; how it is split into training, validation and test is fixed here."""
    async with uploaded(request, context.limits.max_body_bytes) as upload:
        record, made = await in_thread(_add, context, tenant, upload)
    headers = {"Location": f"/datasets/{record.name}"}
    return JSONResponse(dataset_info(record).model_dump(mode="json"), 201 if made else 200, headers)


@router.get("")
def list_datasets(
    context: InContext, tenant: TrainingTenant, after: After = None, limit: Limit = 50
) -> Page[DatasetInfo]:
    """Return a page of data sets by name."""
    return page(context.store.datasets(tenant, after=after, limit=limit), dataset_info)


@router.get("/{name}")
def get_dataset(context: InContext, tenant: TrainingTenant, name: Name) -> DatasetInfo:
    """Return what is known of a data set."""
    return dataset_info(context.store.dataset(tenant, name))


@router.delete("/{name}", status_code=204)
def delete_dataset(context: InContext, tenant: TrainingTenant, name: Name) -> None:
    """Delete a data set that no queued or running job uses."""
    context.store.delete_dataset(tenant, name)


def dataset_info(record: DatasetRecord) -> DatasetInfo:
    """Return a data set as the wire shows it."""
    return DatasetInfo(
        name=record.name, bytes=record.bytes, sha256=record.sha256, created_at=record.created_at, **record.info
    )


def _add(context: Context, tenant: str, upload: Upload) -> tuple[DatasetRecord, bool]:
    spec = parsed(upload.spec, DatasetSpec)
    dataset = read_dataset(spec, upload.path, upload.filename, caps_of(context.limits))
    data = dataset_bytes(dataset)
    context.take_room(tenant, num_bytes=len(data))
    new = NewDataset(
        tenant=tenant,
        name=spec.name,
        kind=spec.kind,
        sha256=sha256(data),
        spec=spec.model_dump(mode="json"),
        info=describe(dataset, spec),
        data=data,
    )
    return context.store.add_dataset(new, now=now())
