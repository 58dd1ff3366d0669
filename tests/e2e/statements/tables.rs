//! Tables that are more than one: partitions, children, views, foreign tables.

use super::{CASE, Case, assert_makes, made, tried};

/// A partitioned products, whose partitions have their columns in other orders, and some dropped; one has partitions itself.
const PARTED: &str = "
    DROP TABLE products;
    CREATE TABLE products (gone text, id int, sku text, name text, price numeric DEFAULT 1, stock int, min_stock int,
                           supplier_id int) PARTITION BY RANGE (id);
    ALTER TABLE products DROP gone;
    CREATE TABLE low (supplier_id int, sku text, gone int, name text, id int, price numeric DEFAULT 1, min_stock int, stock int);
    ALTER TABLE low DROP gone;
    ALTER TABLE products ATTACH PARTITION low FOR VALUES FROM (0) TO (10);
    CREATE TABLE high (stock int, id int, min_stock int, price numeric DEFAULT 1, name text, supplier_id int, sku text)
        PARTITION BY LIST (stock);
    ALTER TABLE products ATTACH PARTITION high FOR VALUES FROM (10) TO (100);
    CREATE TABLE high_empty PARTITION OF high FOR VALUES IN (0);
    CREATE TABLE high_others PARTITION OF high DEFAULT;
    SELECT webhooks.attach('products');";

#[tokio::test]
async fn a_partitioned_tables_rows_make_events_wherever_they_lie() {
    assert_makes(&[
        Case {
            name: "written through the root, in one statement",
            before: PARTED,
            run: &[
                "INSERT INTO products (id, sku, stock) VALUES (11, 'k', 0), (1, 'a', 1), (12, 'l', 5)",
                "UPDATE products SET price = id WHERE id > 1",
                "DELETE FROM products WHERE id <> 11",
            ],
            makes: "created 11 k; created 1 a; created 12 l; updated 11 price=11; updated 12 price=12; deleted 1 a; \
                    deleted 12 l",
            ..CASE
        },
        Case {
            name: "written where they lie",
            before: PARTED,
            run: &[
                "INSERT INTO high_others (id, sku, stock) VALUES (12, 'l', 5); INSERT INTO low (id, sku) VALUES (1, 'a')",
                "UPDATE low SET stock = 3; DELETE FROM high",
            ],
            makes: "created 12 l; created 1 a; updated 1 stock=3; deleted 12 l",
            ..CASE
        },
        Case {
            name: "moved to another partition, which Postgres does by DELETE and INSERT",
            before: PARTED,
            run: &[
                "INSERT INTO products (id, sku, stock) VALUES (1, 'a', 7), (11, 'k', 7)",
                "UPDATE products SET id = 12 WHERE id = 1",
                "UPDATE products SET stock = 0 WHERE id = 11",
            ],
            makes: "created 1 a; created 11 k; deleted 1 a; created 12 a; deleted 11 k; created 11 k",
            ..CASE
        },
        Case {
            name: "a partition that leaves, comes back and is dropped",
            before: PARTED,
            run: &[
                "INSERT INTO low (id, sku) VALUES (1, 'a')",
                "ALTER TABLE products DETACH PARTITION low; INSERT INTO low (id, sku) VALUES (2, 'b')",
                "ALTER TABLE products ATTACH PARTITION low FOR VALUES FROM (0) TO (10)",
                "INSERT INTO products (id, sku) VALUES (3, 'c')",
                "DROP TABLE low",
            ],
            makes: "created 1 a; created 3 c",
            ..CASE
        },
        Case {
            name: "COPY, which gathers what it writes to each",
            before: PARTED,
            run: &[r"COPY products (id, sku) FROM PROGRAM 'printf ''11,k\n1,a\n12,l\n''' WITH (FORMAT csv)"],
            makes: "created 11 k; created 12 l; created 1 a",
            ..CASE
        },
        Case {
            name: "WHERE CURRENT OF",
            before: PARTED,
            run: &["INSERT INTO products (id, sku) VALUES (1, 'a'), (11, 'k');
                    DECLARE c CURSOR FOR SELECT * FROM products ORDER BY id DESC FOR UPDATE; FETCH 1 FROM c;
                    UPDATE products SET price = 4 WHERE CURRENT OF c; CLOSE c"],
            makes: "created 1 a; created 11 k; updated 11 price=4",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn a_views_rows_make_the_events_of_the_table_behind_it() {
    assert_makes(&[
        Case {
            name: "a view that can be written",
            before: "CREATE VIEW cheap AS SELECT sku, id, price FROM products WHERE price < 5 WITH CHECK OPTION",
            run: &[
                "INSERT INTO cheap VALUES ('a', 1, 2), ('b', 2, 3)",
                "UPDATE cheap SET price = 4 WHERE id = 1",
                "DELETE FROM cheap WHERE id = 2",
                r"COPY products (sku, id) FROM PROGRAM 'printf ''c,3\n''' WITH (FORMAT csv)",
            ],
            makes: "created 1 a; created 2 b; updated 1 price=4; deleted 2 b; created 3 c",
            ..CASE
        },
        Case {
            name: "INSTEAD OF",
            before: "CREATE VIEW shelf AS SELECT id, sku FROM products;
                     CREATE FUNCTION shelve() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         CASE TG_OP WHEN 'INSERT' THEN INSERT INTO products VALUES (new.id, new.sku); RETURN new;
                                    WHEN 'UPDATE' THEN UPDATE products SET sku = new.sku WHERE id = old.id; RETURN new;
                                    ELSE DELETE FROM products WHERE id = old.id; RETURN old; END CASE; END $$;
                     CREATE TRIGGER shelve INSTEAD OF INSERT OR UPDATE OR DELETE ON shelf
                         FOR EACH ROW EXECUTE FUNCTION shelve()",
            run: &[
                "INSERT INTO shelf VALUES (1, 'a'), (2, 'b')",
                "UPDATE shelf SET sku = 'c' WHERE id = 2",
                "DELETE FROM shelf WHERE id = 1",
                r"COPY shelf FROM PROGRAM 'printf ''3,d\n''' WITH (FORMAT csv)",
            ],
            makes: "created 1 a; created 2 b; updated 2 sku=c; deleted 1 a; created 3 d",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn a_child_makes_no_events_for_its_parent_and_its_own_once_it_is_attached() {
    assert_makes(&[
        Case {
            name: "a child",
            before: "CREATE TABLE used (state text) INHERITS (products)",
            run: &[
                "INSERT INTO products VALUES (1, 'a'); INSERT INTO used (id, sku) VALUES (2, 'b')",
                "UPDATE products SET price = 2; DELETE FROM ONLY products",
            ],
            makes: "created 1 a; updated 1 price=2; deleted 1 a",
            ..CASE
        },
        Case {
            name: "a child that is attached",
            before: "CREATE TABLE used (state text) INHERITS (products); SELECT webhooks.attach('used', 'products')",
            run: &["INSERT INTO used (id, sku) VALUES (2, 'b')", "UPDATE products SET price = 2; DELETE FROM products"],
            makes: "created 2 b; updated 2 price=2; deleted 2 b",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn a_foreign_partitions_rows_make_events_here() {
    let (db, session) = tried().await;
    if db.rows("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'").await.is_empty() {
        return;
    }
    session.run(PARTED).await;
    session
        .run(
            "CREATE EXTENSION postgres_fdw WITH SCHEMA public;
             DO $$ BEGIN EXECUTE format('CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw
                                         OPTIONS (host ''127.0.0.1'', port %L, dbname %L)',
                                        current_setting('port'), current_database()); END $$;
             CREATE USER MAPPING FOR postgres SERVER there OPTIONS (user 'postgres');
             CREATE TABLE stored (id int, sku text, name text, price numeric, stock int, min_stock int, supplier_id int);
             CREATE FOREIGN TABLE far PARTITION OF products FOR VALUES FROM (100) TO (200)
                 SERVER there OPTIONS (schema_name 'trial', table_name 'stored')",
        )
        .await;
    session.run("INSERT INTO products (id, sku) VALUES (1, 'a'), (101, 'z'), (102, 'y')").await;
    session.run("UPDATE products SET price = 2 WHERE id IN (1, 101)").await;
    session.run("DELETE FROM products WHERE id = 102").await;
    session.run("BEGIN; DELETE FROM products; ROLLBACK").await;
    // Whoever writes the table there, past this one, fires no trigger here.
    session.run("INSERT INTO stored (id, sku) VALUES (103, 'x')").await;
    assert!(session.notices().is_empty());
    assert_eq!(
        made(&db).await,
        "created 1 a; created 101 z; created 102 y; updated 1 price=2; updated 101 price=2; deleted 102 y"
    );
}
