"""Plain PySpark doing the benchmark's job: python reference.py URL WAREHOUSE SQL. A line in, the milliseconds of one run out."""

import sys
import time

from pyspark.sql import SparkSession

url, warehouse, sql = sys.argv[1:]
spark = SparkSession.builder.remote(url).getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")
spark.conf.set("spark.sql.timestampType", "TIMESTAMP_NTZ")
for name, directory in (("millrace", warehouse), ("plain", warehouse + "-plain")):
    spark.conf.set("spark.sql.catalog." + name, "org.apache.iceberg.spark.SparkCatalog")
    spark.conf.set("spark.sql.catalog." + name + ".type", "hadoop")
    spark.conf.set("spark.sql.catalog." + name + ".warehouse", directory)
    spark.conf.set("spark.sql.catalog." + name + ".cache-enabled", "false")
spark.sql(
    "CREATE TABLE plain.curated.daily (who BIGINT, day TIMESTAMP_NTZ, n BIGINT, amount DECIMAL(22, 2), page STRING) USING iceberg"
)
for _ in sys.stdin:
    began = time.perf_counter()
    spark.sql("INSERT OVERWRITE plain.curated.daily " + sql)
    print((time.perf_counter() - began) * 1000, flush=True)
