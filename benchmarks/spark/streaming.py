"""Nexmark's queries as Structured Streaming, in PySpark: python streaming.py URL BROKERS SETTINGS

A line of JSON asks for one query: {"query", "topics": {stream: topic}, "directory"}. The answer is a line of JSON when the query runs. The
next line says that the topics hold all that will come; it is answered when all is read and the result is committed to the Iceberg table
curated.QUERY in DIRECTORY/lake. What Spark refuses, or fails at, is answered with {"error": …}.
"""

import json
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, expr, from_json, session_window, window

COLUMNS = {
    "persons": "id BIGINT, name STRING, email_address STRING, credit_card STRING, city STRING, state STRING, date_time TIMESTAMP, extra STRING",
    "auctions": "id BIGINT, item_name STRING, description STRING, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING",
    "bids": "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP, extra STRING",
}
BOUNDS = ["window.start AS window_start", "window.end AS window_end"]
# Iceberg's streaming sink appends, or writes the whole result anew; it takes no updates.
APPEND, COMPLETE = "append", "complete"


def stateless(*columns, where="true"):
    return lambda bids: bids.where(where).selectExpr(*columns)


def q3(auctions, persons):
    people = persons.where("state IN ('OR', 'ID', 'CA')").selectExpr("id AS person", "name", "city", "state")
    return auctions.where("category = 10").join(people, expr("seller = person")).select("name", "city", "state", "id")


def q4(auctions, bids):
    won = winning(auctions, bids).agg(expr("max(price) AS final"), expr("min(category) AS category"))
    return won.groupBy("category").agg(expr("CAST(floor(avg(final)) AS BIGINT) AS final"))


def q5(bids):
    counted = bids.groupBy(window("date_time", "10 seconds", "2 seconds"), "auction").agg(expr("count(*) AS num"))
    most = counted.groupBy("window").agg(expr("max(num) AS most"), expr("collect_list(struct(auction, num)) AS hot"))
    hot = most.selectExpr(*BOUNDS, "explode(filter(hot, h -> h.num = most)) AS h")
    return hot.selectExpr("window_start", "window_end", "h.auction", "h.num")


def q7(bids):
    row = "struct(auction, bidder, price, date_time, extra)"
    most = bids.groupBy(window("date_time", "10 seconds")).agg(
        expr("max(price) AS most"), expr("collect_list(%s) AS bids" % row)
    )
    return most.selectExpr(*BOUNDS, "inline(filter(bids, b -> b.price = most))")


def q8(auctions, persons):
    sold = auctions.select(window("date_time", "10 seconds").alias("sold"), "seller").dropDuplicates()
    came = persons.select(window("date_time", "10 seconds"), "id", "name")
    return came.join(sold, expr("seller = id AND sold = window")).selectExpr(*BOUNDS, "id", "name")


def winning(auctions, bids):
    """Bids while an auction is open, by auction."""
    b = bids.selectExpr("auction", "bidder", "price", "date_time AS bid_date_time", "extra AS bid_extra")
    open_bids = auctions.join(
        b,
        expr(
            "auction = id AND bid_date_time >= date_time AND bid_date_time <= expires"
            " AND bid_date_time <= date_time + INTERVAL 20 SECONDS"
        ),
    )
    return open_bids.groupBy(window("date_time", "1 second"), "id")


def q9(auctions, bids):
    auction = "id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra"
    best = winning(auctions, bids).agg(
        expr("min(struct(%s)) AS a" % auction),
        expr("min(struct(-price AS negative, bid_date_time, bidder, bid_extra, auction, price)) AS b"),
    )
    return best.selectExpr("a.*", "b.auction", "b.bidder", "b.price", "b.bid_date_time", "b.bid_extra")


def q11(bids):
    sessions = bids.groupBy(session_window("date_time", "10 seconds").alias("window"), "bidder")
    return sessions.agg(expr("count(*) AS bid_count")).selectExpr(*BOUNDS, "bidder", "bid_count")


def statistics():
    """Distinct values are collected: count(DISTINCT …) is refused over streams."""
    ranks = [("total", "true"), ("rank1", "price < 10000"), ("rank2", "price >= 10000 AND price < 1000000"), ("rank3", "price >= 1000000")]
    counts = ["count(*) FILTER (WHERE %s) AS %s_bids" % (where, name) for name, where in ranks]
    for column in ("bidder", "auction"):
        counts += ["size(collect_set(%s) FILTER (WHERE %s)) AS %s_%ss" % (column, where, name, column) for name, where in ranks]
    return [expr(count) for count in counts]


def q15(bids):
    return bids.groupBy(expr("CAST(date_time AS DATE) AS day")).agg(*statistics())


def q16(bids):
    minute = expr("date_trunc('minute', max(date_time)) AS minute")
    return bids.groupBy(expr("CAST(date_time AS DATE) AS day"), "channel").agg(minute, *statistics())


def q17(bids):
    return bids.groupBy(expr("CAST(date_time AS DATE) AS day"), "auction").agg(
        expr("count(*) AS total_bids"),
        expr("count(*) FILTER (WHERE price < 10000) AS rank1_bids"),
        expr("count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids"),
        expr("count(*) FILTER (WHERE price >= 1000000) AS rank3_bids"),
        expr("min(price) AS min_price"),
        expr("max(price) AS max_price"),
        expr("CAST(floor(avg(price)) AS BIGINT) AS avg_price"),
        expr("sum(price) AS sum_price"),
    )


def q18(bids):
    last = bids.groupBy("bidder", "auction").agg(expr("max(struct(date_time, price, channel, url, extra)) AS last"))
    return last.selectExpr("auction", "bidder", "last.*")


def q19(bids):
    """All bids of an auction are kept: row_number() is refused over streams."""
    row = "struct(-price AS negative, date_time, bidder, extra, channel, url, price)"
    ranked = bids.groupBy("auction").agg(expr("slice(array_sort(collect_list(%s)), 1, 10) AS bids" % row))
    top = ranked.selectExpr("auction", "posexplode(bids) AS (place, b)")
    return top.selectExpr("auction", "b.bidder", "b.price", "b.channel", "b.url", "b.date_time", "b.extra", "place + 1 AS rank_number")


def q20(auctions, bids):
    sold = auctions.where("category = 10").selectExpr(
        "id", "item_name", "description", "initial_bid", "reserve", "date_time AS auction_date_time",
        "expires", "seller", "category", "extra AS auction_extra",
    )  # fmt: skip
    made = bids.withColumnsRenamed({"date_time": "bid_date_time", "extra": "bid_extra"})
    return made.join(sold, expr("auction = id")).drop("id")


BY_URL = "regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)"
QUERIES = {
    "q0": (APPEND, stateless("auction", "bidder", "price", "date_time", "extra")),
    "q1": (APPEND, stateless("auction", "bidder", "CAST(0.908 * price AS DECIMAL(23, 3)) AS price", "date_time", "extra")),
    "q2": (APPEND, stateless("auction", "price", where="auction % 123 = 0")),
    "q3": (APPEND, q3),
    "q4": (COMPLETE, q4),
    "q5": (APPEND, q5),
    "q7": (APPEND, q7),
    "q8": (APPEND, q8),
    "q9": (APPEND, q9),
    "q10": (
        APPEND,
        stateless(
            "auction", "bidder", "price", "date_time", "extra",
            "substr(CAST(date_time AS STRING), 1, 10) AS dt", "substr(CAST(date_time AS STRING), 12, 5) AS hm",
        ),  # fmt: skip
    ),
    "q11": (APPEND, q11),
    "q14": (
        APPEND,
        stateless(
            "auction",
            "bidder",
            "CAST(0.908 * price AS DECIMAL(23, 3)) AS price",
            """CASE WHEN hour(date_time) >= 8 AND hour(date_time) <= 18 THEN 'dayTime'
                    WHEN hour(date_time) <= 6 OR hour(date_time) >= 20 THEN 'nightTime' ELSE 'otherTime' END AS bid_time_type""",
            "date_time",
            "extra",
            "length(extra) - length(replace(extra, 'c', '')) AS c_counts",
            where="0.908 * price > 1000000 AND 0.908 * price < 50000000",
        ),
    ),
    "q15": (COMPLETE, q15),
    "q16": (COMPLETE, q16),
    "q17": (COMPLETE, q17),
    "q18": (COMPLETE, q18),
    "q19": (COMPLETE, q19),
    "q20": (APPEND, q20),
    "q21": (
        APPEND,
        stateless(
            "auction",
            "bidder",
            "price",
            "channel",
            """CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
               ELSE %s END AS channel_id""" % BY_URL,
            where="lower(channel) IN ('apple', 'google', 'facebook', 'baidu') OR %s <> ''" % BY_URL,
        ),
    ),
    "q22": (
        APPEND,
        stateless(
            "auction", "bidder", "price", "channel",
            "split_part(url, '/', 4) AS dir1", "split_part(url, '/', 5) AS dir2", "split_part(url, '/', 6) AS dir3",
        ),  # fmt: skip
    ),
}
# Joins were faster with state on the heap, everything else with RocksDB's, on two processors.
STORE = "spark.sql.streaming.stateStore.providerClass"
IN_ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
ON_HEAP = "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider"
PARTITIONED = {"q10": ("dt", "hm")}
INPUTS = {
    "q3": ("auctions", "persons"),
    "q4": ("auctions", "bids"),
    "q8": ("auctions", "persons"),
    "q9": ("auctions", "bids"),
    "q20": ("auctions", "bids"),
}


def stream(spark, brokers, name, topic):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", brokers)
    records = reader.option("subscribe", topic).option("startingOffsets", "earliest").load()
    rows = records.select(from_json(col("value").cast("string"), COLUMNS[name]).alias("row")).select("row.*")
    return rows.withWatermark("date_time", "4 seconds")


def start(spark, brokers, catalog, query, topics, directory):
    mode, define = QUERIES[query]
    spark.conf.set(STORE, ON_HEAP if query in INPUTS else IN_ROCKSDB)
    rows = define(*(stream(spark, brokers, name, topics[name]) for name in INPUTS.get(query, ("bids",))))
    # Millrace's timestamps, and the reference's, are UTC without a zone.
    rows = rows.select([col(c).cast("timestamp_ntz").alias(c) if t == "timestamp" else col(c) for c, t in rows.dtypes])
    spark.conf.set("spark.sql.catalog." + catalog, "org.apache.iceberg.spark.SparkCatalog")
    spark.conf.set("spark.sql.catalog." + catalog + ".type", "hadoop")
    spark.conf.set("spark.sql.catalog." + catalog + ".warehouse", directory + "/lake")
    spark.conf.set("spark.sql.catalog." + catalog + ".cache-enabled", "false")
    table = catalog + ".curated." + query
    columns = ", ".join("%s %s" % (field.name, field.dataType.simpleString()) for field in rows.schema.fields)
    by = PARTITIONED.get(query)
    spark.sql(
        "CREATE TABLE %s (%s) USING iceberg %s TBLPROPERTIES ('write.distribution-mode' = 'none')"
        % (table, columns, "PARTITIONED BY (%s)" % ", ".join(by) if by else "")
    )
    writer = rows.writeStream.outputMode(mode).option("checkpointLocation", directory + "/checkpoint")
    return writer.option("fanout-enabled", "true").toTable(table)


def answer(**values):
    print(json.dumps(values), flush=True)


def main(url, brokers, settings):
    spark = SparkSession.builder.remote(url).getOrCreate()
    for key, value in json.loads(settings).items():
        spark.conf.set(key, value)
    for number, line in enumerate(sys.stdin):
        try:
            query = start(spark, brokers, "run%d" % number, **json.loads(line))
            while query.isActive and query.lastProgress is None and not query.status["message"].startswith("Waiting"):
                time.sleep(0.01)
            answer(started=True)
            sys.stdin.readline()
            query.processAllAvailable()
            query.stop()
            answer(committed=True)
        except Exception as error:  # Spark's own words, whatever they are
            answer(error=str(error).strip().split("\n")[0])


main(*sys.argv[1:])
