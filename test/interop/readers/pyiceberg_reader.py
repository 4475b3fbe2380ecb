"""Reads Iceberg tables with PyIceberg for the interop tests.

One request a line on stdin, {"metadata": path, "filter": expression or null}; one answer a line on stdout:
{"columns": {name: type}, "rows": [{...}], "files": [path], "partitions": {path: [value]}} or {"error": text}.
Values are in the canonical text of test/interop/canonical.ts.
"""

import datetime
import decimal
import json
import math
import sys

from pyiceberg.table import StaticTable


def canonical(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    raise TypeError(f"no canonical form for {type(value)}")


def answer(request):
    table = StaticTable.from_metadata(request["metadata"])
    scan = table.scan(row_filter=request["filter"]) if request.get("filter") else table.scan()
    tasks = list(scan.plan_files())
    return {
        "columns": {field.name: str(field.field_type) for field in table.schema().fields},
        "rows": [{key: canonical(value) for key, value in row.items()} for row in scan.to_arrow().to_pylist()],
        "files": [task.file.file_path for task in tasks],
        "partitions": {task.file.file_path: [str(value) for value in task.file.partition] for task in tasks},
    }


def serve(answer):
    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    serve(answer)
