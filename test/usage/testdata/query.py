"""Runs BigQuery's SQL in DuckDB.

Standard input is JSON: rows, each as the log sink would insert it, the table's name, and queries by name. Standard output is
JSON: the rows of each query, with decimals as text.
"""

import datetime
import decimal
import json
import sys

import duckdb
import sqlglot

# The columns that every LogEntry has, with their types in the sink's table. A number of a payload is a double.
ENTRY = {"timestamp": "TIMESTAMP", "receivetimestamp": "TIMESTAMP", "httprequest.status": "BIGINT", "httprequest.requestsize": "BIGINT",
         "httprequest.responsesize": "BIGINT", "httprequest.latency": "DOUBLE"}


def merged(a, b):
    """A value that has every field of both."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {k: merged(a.get(k), b.get(k)) for k in [*a, *(k for k in b if k not in a)]}
    if isinstance(a, list) and isinstance(b, list):
        return [merged(a[0], b[0])] if a and b else a or b
    return b if a is None else a


def column(path, value):
    if path in ENTRY:
        return ENTRY[path]
    if isinstance(value, dict):
        return "STRUCT(" + ", ".join(f'"{k}" {column(f"{path}.{k}".lower(), v)}' for k, v in value.items()) + ")"
    if isinstance(value, list):
        return column(path, value[0]) + "[]"
    if isinstance(value, bool):
        return "BOOLEAN"
    return "DOUBLE" if isinstance(value, (int, float)) else "VARCHAR"


def shown(value):
    if isinstance(value, (decimal.Decimal, datetime.date)):
        return value.isoformat() if isinstance(value, datetime.date) else str(value)
    return value


def transpiled(query):
    (statement,) = sqlglot.transpile(query, read="bigquery", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    # BigQuery's NUMERIC is DECIMAL(38, 9); DuckDB's own DECIMAL has three decimals.
    return statement.replace("AS DECIMAL)", "AS DECIMAL(38, 9))")


def main():
    asked = json.load(sys.stdin)
    whole = {}
    for row in asked["rows"]:
        whole = merged(whole, row)
    project, dataset, table = asked["table"].split(".")
    db = duckdb.connect()
    db.execute(f"ATTACH ':memory:' AS {project}")
    db.execute(f"CREATE SCHEMA {project}.{dataset}")
    columns = {name: column(name.lower(), value) for name, value in whole.items()}
    db.execute(f"CREATE TABLE {asked['table']} (" + ", ".join(f'"{n}" {t}' for n, t in columns.items()) + ")")
    with open(asked["scratch"], "w") as f:
        for row in asked["rows"]:
            f.write(json.dumps(row) + "\n")
    db.execute(f"INSERT INTO {asked['table']} BY NAME SELECT * FROM read_json(?, format='newline_delimited', columns={columns!r})", [asked["scratch"]])
    answers = {}
    for name, query in asked["queries"].items():
        try:
            result = db.execute(transpiled(query))
        except Exception as err:
            sys.exit(f"{name}: {err}\n{transpiled(query)}")
        names = [d[0] for d in result.description]
        answers[name] = [dict(zip(names, map(shown, row))) for row in result.fetchall()]
    json.dump(answers, sys.stdout)


main()
