"""Writes records as Confluent's own serializers do: brokers, registry and topic are the arguments. Prints the ids of the schemas."""

import json
import sys
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal

from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, url, topic = sys.argv[1:]
registry = SchemaRegistryClient({"url": url})
context = SerializationContext(topic, MessageField.VALUE)

ADDRESS = {
    "type": "record",
    "name": "Address",
    "namespace": "shop",
    "fields": [{"name": "city", "type": "string"}, {"name": "zip", "type": ["null", "string"], "default": None}],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "number", "type": "long"},
        {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "address", "type": ["null", "Address"]},
        {"name": "more", "type": {"type": "map", "values": ["null", "double", "shop.Address"]}},
    ],
}
NOTED = {**PAYMENT, "fields": [*PAYMENT["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}
JSON_SCHEMA = {"title": "Payment", "type": "object", "properties": {"id": {"type": "string"}}}

registry.register_schema("shop.Address", Schema(json.dumps(ADDRESS), "AVRO"))
references = [SchemaReference("shop.Address", "shop.Address", 1)]


def payment(n: int, **more):
    return {
        "id": uuid.UUID(int=n),
        "amount": Decimal("123456789012345678.90") + n,
        "at": datetime(2026, 1, 31, 12, 0, n, 123456, tzinfo=timezone.utc),
        "day": date(2026, 1, n),
        "number": 2**62 + n,
        "currency": "EUR",
        "tags": ["a", 'ü "quoted"\n'],
        "address": {"city": "Köln", "zip": None},
        "more": {"rate": 0.5, "none": None, "to": {"city": "Bonn", "zip": "53111"}},
        **more,
    }


avro = AvroSerializer(registry, Schema(json.dumps(PAYMENT), "AVRO", references))
noted = AvroSerializer(registry, Schema(json.dumps(NOTED), "AVRO", references))
plain = JSONSerializer(json.dumps(JSON_SCHEMA), registry)

ROW = '{"id":"%s","amount":"1.00","at":"2026-01-31T12:00:00Z","day":"2026-01-31","number":1,"currency":"EUR","tags":[]}'

first = avro(payment(1), context)
second = noted(payment(2, note="märz"), context)
# The registry has one type for all versions of a subject.
third = plain(json.loads(ROW % "json"), SerializationContext(f"{topic}-json", MessageField.VALUE))
values = [
    (first, None),
    (second, None),
    (third, None),
    ((ROW % "text").encode(), None),
    # The schema named in a header, and not in the value.
    (second[5:], [("__value_schema_id", second[:5])]),
    (b"\x00\x00\x0f\x42\x3f" + first[5:], None),
    (first[:-20], None),
    (None, None),
    (avro(payment(3), context), None),
]

producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "compression.type": "snappy"})
for value, headers in values:
    producer.produce(topic, value, headers=headers or [])
assert producer.flush(30) == 0
print(json.dumps([int.from_bytes(value[1:5], "big") for value in (first, second, third)]))
