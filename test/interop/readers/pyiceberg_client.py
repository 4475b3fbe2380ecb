"""Works on a lake through its REST catalog with PyIceberg, for the interop tests: `pyiceberg_client.py URI [TOKEN]`.

One request a line on stdin, {"do": verb, ...}; one answer a line on stdout. Verbs are the functions below. Rows are
lists of objects; what is written takes the table's own Arrow schema.
"""

import sys

import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

from pyiceberg_reader import canonical, serve

catalog = RestCatalog("millrace", uri=sys.argv[1], **({"token": sys.argv[2]} if len(sys.argv) > 2 else {}))


def rows_of(table, rows):
    return pa.Table.from_pylist(rows, schema=table.schema().as_arrow())


def retried(change, load):
    """PyIceberg tries again itself, a few times."""
    while True:
        try:
            return change(load())
        except CommitFailedException:
            pass


def namespaces(_):
    return {"namespaces": [".".join(levels) for levels in catalog.list_namespaces()]}


def create_namespace(request):
    catalog.create_namespace(request["namespace"], request.get("properties", {}))
    return {"properties": catalog.load_namespace_properties(request["namespace"])}


def drop_namespace(request):
    catalog.drop_namespace(request["namespace"])
    return {}


def tables(request):
    return {"tables": [".".join(levels) for levels in catalog.list_tables(request["namespace"])]}


def schema():
    return Schema(
        NestedField(7, "id", LongType(), required=True),
        NestedField(3, "name", StringType(), required=False),
    )


def create(request):
    parts = [
        PartitionField(source_id=7, field_id=1000 + i, transform=parse_transform(text), name=f"part_{i}")
        for i, text in enumerate(request.get("partition", []))
    ]
    table = catalog.create_table(
        request["table"], schema(), partition_spec=PartitionSpec(*parts), properties=request.get("properties", {})
    )
    return {"uuid": str(table.metadata.table_uuid), "location": table.location()}


def create_with_rows(request):
    with catalog.create_table_transaction(request["table"], schema()) as transaction:
        data = pa.Table.from_pylist(request["rows"], schema=transaction.table_metadata.schema().as_arrow())
        transaction.append(data)
    return {}


def create_foreign_types(request):
    catalog.create_table(request["table"], Schema(NestedField(1, "at", TimestamptzType(), required=False)))
    return {}


def append(request):
    for rows in request["batches"]:
        data = rows_of(catalog.load_table(request["table"]), rows)
        retried(lambda t: t.append(data), lambda: catalog.load_table(request["table"]))
    return {}


def append_copies(request):
    """Appends the first row of a table once for each value, with the value in a column."""
    table = catalog.load_table(request["table"])
    first = table.scan().to_arrow().to_pylist()[0]
    data = rows_of(table, [{**first, request["column"]: value} for value in request["values"]])
    retried(lambda t: t.append(data), lambda: catalog.load_table(request["table"]))
    return {}


def overwrite(request):
    table = catalog.load_table(request["table"])
    table.overwrite(rows_of(table, request["rows"]), overwrite_filter=request["filter"])
    return {}


def delete(request):
    catalog.load_table(request["table"]).delete(request["filter"])
    return {}


def evolve(request):
    table = catalog.load_table(request["table"])
    with table.update_schema() as update:
        update.add_column("note", StringType())
    with table.update_spec() as update:
        update.add_field("name", parse_transform("identity"), "name_part")
    with table.transaction() as transaction:
        transaction.set_properties({"owner": "them"})
    return {}


def branch(request):
    table = catalog.load_table(request["table"])
    at = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_branch(at, "work").create_tag(at, "mark").commit()
    table.append(rows_of(table, request["rows"]), branch="work")
    return {"refs": sorted(catalog.load_table(request["table"]).metadata.refs)}


def read(request):
    table = catalog.load_table(request["table"])
    rows = table.scan(row_filter=request.get("filter") or "true").to_arrow().to_pylist()
    return {
        "rows": [{key: canonical(value) for key, value in row.items()} for row in rows],
        "snapshot": str(table.metadata.current_snapshot_id),
        "summary": dict(table.current_snapshot().summary.additional_properties) if table.current_snapshot() else {},
    }


def drop(request):
    catalog.drop_table(request["table"])
    return {}


VERBS = {
    name: verb
    for name, verb in list(globals().items())
    if callable(verb) and getattr(verb, "__module__", None) == "__main__" and name not in ("rows_of", "retried", "schema")
}

serve(lambda request: VERBS[request["do"]](request))
