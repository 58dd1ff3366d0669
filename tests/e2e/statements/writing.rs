//! Statements that write rows, of their own accord.

use super::{CASE, Case, assert_makes, made, tried};

const ONE: &str = "INSERT INTO products VALUES (1, 'a')";
const THREE: &str = "INSERT INTO products VALUES (1, 'a'), (2, 'b'), (3, 'c')";

#[tokio::test]
async fn whatever_inserts_rows_makes_an_event_of_each_in_their_order() {
    assert_makes(&[
        Case { name: "INSERT", run: &[ONE], makes: "created 1 a", ..CASE },
        Case {
            name: "many rows",
            run: &["INSERT INTO products VALUES (2, 'b'), (1, 'a'), (3, 'c')"],
            makes: "created 2 b; created 1 a; created 3 c",
            ..CASE
        },
        Case {
            name: "INSERT … SELECT",
            run: &["INSERT INTO products SELECT n, n::text FROM generate_series(3, 1, -1) n RETURNING id"],
            makes: "created 3 3; created 2 2; created 1 1",
            ..CASE
        },
        Case {
            name: "COPY",
            run: &[r"COPY products (sku, id) FROM PROGRAM 'printf ''b,2\na,1\n''' WITH (FORMAT csv)"],
            makes: "created 2 b; created 1 a",
            ..CASE
        },
        Case {
            name: "COPY of what the transaction has made, FREEZE",
            before: "DROP TABLE products",
            run: &[
                r"BEGIN;
                  CREATE TABLE products (LIKE suppliers);
                  ALTER TABLE products ADD sku text, ADD price int, ADD stock int, ADD min_stock int, ADD supplier_id int;
                  SELECT webhooks.attach('products');
                  COPY products (id, sku) FROM PROGRAM 'printf ''1,a\n2,b\n''' WITH (FORMAT csv, FREEZE);
                  COMMIT",
            ],
            makes: "created 1 a; created 2 b",
            ..CASE
        },
        Case {
            name: "EXPLAIN ANALYZE",
            run: &["EXPLAIN INSERT INTO products VALUES (7, 'z')", "EXPLAIN ANALYZE INSERT INTO products VALUES (1, 'a')"],
            makes: "created 1 a",
            ..CASE
        },
        Case {
            name: "a temporary table as the source",
            run: &[
                "CREATE TEMP TABLE staged AS SELECT 1 AS id, 'a' AS sku",
                "INSERT INTO products SELECT id, sku FROM staged; DROP TABLE staged",
            ],
            makes: "created 1 a",
            ..CASE
        },
        Case {
            name: "an identity column",
            before: "ALTER TABLE products ALTER id ADD GENERATED ALWAYS AS IDENTITY",
            run: &[
                "INSERT INTO products (sku) VALUES ('a')",
                "INSERT INTO products (id, sku) OVERRIDING SYSTEM VALUE VALUES (9, 'i')",
            ],
            makes: "created 1 a; created 9 i",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn on_conflict_makes_what_became_of_each_row() {
    assert_makes(&[
        Case {
            name: "DO NOTHING",
            run: &[ONE, "INSERT INTO products VALUES (1, 'a'), (2, 'b') ON CONFLICT DO NOTHING"],
            makes: "created 1 a; created 2 b",
            ..CASE
        },
        Case {
            name: "DO UPDATE",
            run: &[
                ONE,
                "INSERT INTO products VALUES (2, 'b'), (1, 'a') ON CONFLICT (sku) DO UPDATE SET price = 2",
                "INSERT INTO products VALUES (1, 'a') ON CONFLICT ON CONSTRAINT products_pkey
                 DO UPDATE SET price = 3 WHERE products.price > 2",
                "INSERT INTO products VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET price = 2",
            ],
            makes: "created 1 a; created 2 b; updated 1 price=2",
            ..CASE
        },
        Case {
            name: "DO UPDATE of a partitioned table",
            before: "DROP TABLE products;
                     CREATE TABLE products (id int PRIMARY KEY, sku text, name text, price int, stock int, min_stock int,
                                            supplier_id int) PARTITION BY HASH (id);
                     CREATE TABLE even PARTITION OF products FOR VALUES WITH (MODULUS 2, REMAINDER 0);
                     CREATE TABLE odd PARTITION OF products FOR VALUES WITH (MODULUS 2, REMAINDER 1);
                     SELECT webhooks.attach('products')",
            run: &[
                THREE,
                "INSERT INTO products VALUES (3, 'x'), (4, 'd'), (1, 'a') ON CONFLICT (id) DO UPDATE SET sku = excluded.sku",
            ],
            makes: "created 1 a; created 2 b; created 3 c; updated 3 sku=x; created 4 d",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn whatever_updates_or_deletes_rows_makes_an_event_of_each_that_changed() {
    assert_makes(&[
        Case {
            name: "UPDATE … FROM, where several rows fit one",
            before: THREE,
            run: &["UPDATE products p SET price = 5 FROM (VALUES (2), (2), (3)) AS v (id) WHERE p.id = v.id"],
            makes: "updated 2 price=5; updated 3 price=5",
            ..CASE
        },
        Case { name: "UPDATE of nothing", before: ONE, run: &["UPDATE products SET price = price, sku = 'a'"], ..CASE },
        Case {
            name: "UPDATE of the key",
            before: ONE,
            run: &["UPDATE products SET id = 2"],
            makes: "updated 2 id=2",
            ..CASE
        },
        Case {
            name: "DELETE … USING",
            before: THREE,
            run: &["DELETE FROM products p USING (VALUES (1), (3), (3)) AS v (id) WHERE p.id = v.id RETURNING p.id"],
            makes: "deleted 1 a; deleted 3 c",
            ..CASE
        },
        Case {
            name: "CTEs that write",
            before: THREE,
            run: &["WITH gone AS (DELETE FROM products WHERE id = 1 RETURNING *),
                         dearer AS (UPDATE products SET price = 2 WHERE id = 2 RETURNING *)
                    INSERT INTO products (id, sku) SELECT id + 10, sku || sku FROM gone
                    UNION ALL SELECT id + 10, sku || sku FROM dearer"],
            makes: "deleted 1 a; created 11 aa; updated 2 price=2; created 12 bb",
            ..CASE
        },
        Case {
            name: "a CTE that nobody reads",
            before: THREE,
            run: &["WITH gone AS (DELETE FROM products WHERE id = 1) SELECT 1"],
            makes: "deleted 1 a",
            ..CASE
        },
        Case {
            name: "WHERE CURRENT OF",
            before: THREE,
            run: &["BEGIN; DECLARE c CURSOR FOR SELECT * FROM products ORDER BY id FOR UPDATE;
                    MOVE 1 FROM c; FETCH 1 FROM c;
                    UPDATE products SET price = 9 WHERE CURRENT OF c; FETCH 1 FROM c;
                    DELETE FROM products WHERE CURRENT OF c; COMMIT"],
            makes: "updated 2 price=9; deleted 3 c",
            ..CASE
        },
        Case {
            name: "locks",
            before: THREE,
            run: &["BEGIN; SELECT * FROM products FOR UPDATE; SELECT * FROM products FOR KEY SHARE; COMMIT"],
            ..CASE
        },
        Case {
            name: "one row, inserted, updated and deleted in a transaction",
            run: &["BEGIN; INSERT INTO products VALUES (1, 'a'); UPDATE products SET price = 2; DELETE FROM products; COMMIT"],
            makes: "created 1 a; updated 1 price=2; deleted 1 a",
            ..CASE
        },
        Case {
            name: "MERGE",
            before: THREE,
            run: &["MERGE INTO products p USING (VALUES (1, NULL), (2, 7), (4, 1), (3, 1)) AS v (id, price) ON p.id = v.id
                     WHEN MATCHED AND v.price IS NULL THEN DELETE
                     WHEN MATCHED AND v.price = p.price THEN DO NOTHING
                     WHEN MATCHED THEN UPDATE SET price = v.price
                     WHEN NOT MATCHED THEN INSERT (id, sku) VALUES (v.id, 'd')"],
            makes: "deleted 1 a; updated 2 price=7; created 4 d",
            ..CASE
        },
        Case {
            name: "MERGE … BY SOURCE … RETURNING",
            before: THREE,
            run: &["MERGE INTO products p USING (VALUES (1), (2)) AS v (id) ON p.id = v.id
                     WHEN MATCHED AND v.id = 2 THEN UPDATE SET price = 7
                     WHEN NOT MATCHED BY SOURCE THEN DELETE
                    RETURNING merge_action(), p.id"],
            makes: "updated 2 price=7; deleted 3 c",
            since: 17,
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn a_prepared_statement_makes_its_events_under_either_plan() {
    assert_makes(&[Case {
        name: "PREPARE",
        run: &[
            "PREPARE put (int, text) AS INSERT INTO products VALUES ($1, $2)",
            "SET plan_cache_mode = force_custom_plan; EXECUTE put (1, 'a')",
            "SET plan_cache_mode = force_generic_plan; EXECUTE put (2, 'b')",
            "ALTER TABLE products ADD note text DEFAULT 'x', DROP min_stock, ADD min_stock int",
            "EXECUTE put (3, 'c')",
            "SET pg_webhooks.enabled = off; EXECUTE put (4, 'd')",
            "SET pg_webhooks.enabled = on; EXECUTE put (5, 'e')",
        ],
        makes: "created 1 a; created 2 b; created 3 c; created 5 e",
        ..CASE
    }])
    .await;
}

#[tokio::test]
async fn statements_with_parameters_make_their_events() {
    let (db, session) = tried().await;
    for (id, sku) in [(1, "a"), (2, "b")] {
        session.run_with("INSERT INTO trial.products (id, sku) VALUES ($1, $2)", &[&id, &sku]).await;
    }
    session.run_with("UPDATE trial.products SET stock = $1 WHERE id = $2", &[&7, &2]).await;
    assert_eq!(made(&db).await, "created 1 a; created 2 b; updated 2 stock=7");
}
