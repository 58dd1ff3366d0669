//! Rows that constraints, triggers and rules write, and what keeps rows from being written.

use super::{CASE, Case, assert_makes};

/// Products that belong to two suppliers, by a foreign key that does something.
const TWO: &str = "INSERT INTO suppliers VALUES (1), (2);
                   INSERT INTO products (id, sku, supplier_id) VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 2);";

#[tokio::test]
async fn what_a_foreign_key_does_to_rows_makes_their_events() {
    let with = |action: &str| -> &'static str {
        let sql = "{TWO} ALTER TABLE products ALTER supplier_id SET DEFAULT 2, ADD FOREIGN KEY (supplier_id)
                                              REFERENCES suppliers {action}";
        String::leak(sql.replace("{TWO}", TWO).replace("{action}", action))
    };
    assert_makes(&[
        Case {
            name: "ON DELETE CASCADE",
            before: with("ON DELETE CASCADE"),
            run: &["DELETE FROM suppliers WHERE id = 1"],
            makes: "deleted 1 a; deleted 2 b",
            ..CASE
        },
        Case {
            name: "ON DELETE SET NULL",
            before: with("ON DELETE SET NULL"),
            run: &["DELETE FROM suppliers WHERE id = 2"],
            makes: "updated 3 supplier_id=null",
            ..CASE
        },
        Case {
            name: "ON DELETE SET DEFAULT",
            before: with("ON DELETE SET DEFAULT"),
            run: &["DELETE FROM suppliers WHERE id = 1"],
            makes: "updated 1 supplier_id=2; updated 2 supplier_id=2",
            ..CASE
        },
        Case {
            name: "ON UPDATE CASCADE",
            before: with("ON UPDATE CASCADE"),
            run: &["UPDATE suppliers SET id = 5 WHERE id = 2"],
            makes: "supplier.updated 5 id=5; updated 3 supplier_id=5",
            ..CASE
        },
        Case {
            name: "ON DELETE CASCADE, deferrable",
            before: with("ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"),
            run: &["BEGIN; DELETE FROM suppliers WHERE id = 2; 
                    INSERT INTO products (id, sku, supplier_id) VALUES (4, 'd', 1); COMMIT"],
            makes: "deleted 3 c; created 4 d",
            ..CASE
        },
        Case {
            name: "a key into its own table",
            before: "ALTER TABLE products ADD parent int REFERENCES products ON DELETE CASCADE;
                     INSERT INTO products (id, sku, parent) VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 2)",
            run: &["DELETE FROM products WHERE id = 1"],
            makes: "deleted 1 a; deleted 2 b; deleted 3 c",
            ..CASE
        },
        Case {
            name: "a violation that shows only at the commit",
            before: with("DEFERRABLE INITIALLY DEFERRED"),
            run: &[
                "BEGIN; INSERT INTO products (id, sku, supplier_id) VALUES (4, 'd', 9); INSERT INTO suppliers VALUES (9); COMMIT",
                "DO $$ BEGIN
                     INSERT INTO products (id, sku, supplier_id) VALUES (5, 'e', 99); SET CONSTRAINTS ALL IMMEDIATE;
                 EXCEPTION WHEN foreign_key_violation THEN NULL; END $$",
            ],
            makes: "created 4 d; supplier.created 9 n",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn what_a_trigger_or_a_rule_does_to_rows_makes_their_events() {
    assert_makes(&[
        Case {
            name: "BEFORE triggers that change or skip rows",
            before: "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         IF new.sku = 'skip' THEN RETURN NULL; END IF;
                         new.sku := upper(new.sku); RETURN new; END $$;
                     CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION guard()",
            run: &["INSERT INTO products VALUES (1, 'a'), (2, 'skip'), (3, 'c')", "UPDATE products SET sku = 'skip'"],
            makes: "created 1 A; created 3 C",
            ..CASE
        },
        Case {
            name: "a BEFORE trigger that writes another row of the table",
            before: "INSERT INTO products VALUES (9, 'total', 'n', 0);
                     CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         UPDATE products SET price = price + new.price WHERE id = 9; RETURN new; END $$;
                     CREATE TRIGGER add_up BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION add_up()",
            run: &["INSERT INTO products VALUES (1, 'a'), (2, 'b')"],
            makes: "updated 9 price=1; updated 9 price=2; created 1 a; created 2 b",
            ..CASE
        },
        Case {
            name: "an AFTER trigger that writes the same row",
            before: "CREATE FUNCTION price() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         UPDATE products SET price = 5 WHERE id = new.id; RETURN NULL; END $$;
                     CREATE TRIGGER zz_price AFTER INSERT ON products FOR EACH ROW EXECUTE FUNCTION price()",
            run: &["INSERT INTO products VALUES (1, 'a'), (2, 'b')"],
            makes: "created 1 a; updated 1 price=5; created 2 b; updated 2 price=5",
            ..CASE
        },
        Case {
            name: "a statement trigger with transition tables",
            before: "CREATE FUNCTION price() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         UPDATE products p SET price = 5 FROM fresh WHERE p.id = fresh.id; RETURN NULL; END $$;
                     CREATE TRIGGER price AFTER INSERT ON products REFERENCING NEW TABLE AS fresh
                         FOR EACH STATEMENT EXECUTE FUNCTION price()",
            run: &["INSERT INTO products VALUES (1, 'a'), (2, 'b')"],
            makes: "created 1 a; created 2 b; updated 1 price=5; updated 2 price=5",
            ..CASE
        },
        Case {
            name: "deferred constraint triggers",
            before: "CREATE FUNCTION price() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         UPDATE products SET price = 5 WHERE id = new.id; RETURN NULL; END $$;
                     CREATE CONSTRAINT TRIGGER zz_price AFTER INSERT ON products DEFERRABLE INITIALLY DEFERRED
                         FOR EACH ROW EXECUTE FUNCTION price()",
            run: &[
                "BEGIN; INSERT INTO products VALUES (1, 'a'); INSERT INTO products VALUES (2, 'b'); COMMIT",
                "BEGIN; SET CONSTRAINTS zz_price IMMEDIATE; INSERT INTO products VALUES (3, 'c');
                 INSERT INTO products VALUES (4, 'd'); ROLLBACK",
                "BEGIN; INSERT INTO products VALUES (5, 'e'); SET CONSTRAINTS ALL IMMEDIATE;
                 INSERT INTO products VALUES (6, 'f'); COMMIT",
            ],
            makes: "created 1 a; created 2 b; updated 1 price=5; updated 2 price=5; created 5 e; updated 5 price=5; \
                    created 6 f; updated 6 price=5",
            ..CASE
        },
        Case {
            name: "rules",
            before: "CREATE RULE also AS ON INSERT TO suppliers
                         DO ALSO INSERT INTO products (id, sku, supplier_id) VALUES (new.id, 'of ' || new.id, new.id);
                     CREATE RULE instead AS ON DELETE TO suppliers
                         DO INSTEAD UPDATE products SET price = 0 WHERE supplier_id = old.id",
            run: &["INSERT INTO suppliers VALUES (1)", "DELETE FROM suppliers"],
            makes: "supplier.created 1 n; created 1 of 1; updated 1 price=0",
            ..CASE
        },
        Case {
            name: "stored generated columns",
            before: "ALTER TABLE products ADD gross numeric GENERATED ALWAYS AS (price * 2) STORED",
            run: &["INSERT INTO products VALUES (1, 'a')", "UPDATE products SET price = 3"],
            makes: "created 1 a; updated 1 gross=6,price=3",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn a_trigger_that_is_off_makes_no_event_and_on_again_it_does() {
    assert_makes(&[
        Case {
            name: "session_replication_role",
            run: &[
                "SET session_replication_role = replica; INSERT INTO products VALUES (1, 'a')",
                "SET session_replication_role = origin; INSERT INTO products VALUES (2, 'b')",
            ],
            makes: "created 2 b",
            ..CASE
        },
        Case {
            name: "ENABLE ALWAYS",
            before: "DO $$ BEGIN EXECUTE (
                         SELECT format('ALTER TABLE products ENABLE ALWAYS TRIGGER %I', tgname)
                           FROM pg_trigger WHERE tgrelid = 'products'::regclass AND tgfoid = 'webhooks.capture'::regproc AND tgtype & 1 = 1
                     ); END $$",
            run: &["SET session_replication_role = replica; INSERT INTO products VALUES (1, 'a')"],
            makes: "created 1 a",
            ..CASE
        },
        Case {
            name: "DISABLE TRIGGER",
            run: &[
                "INSERT INTO products VALUES (1, 'a')",
                "ALTER TABLE products DISABLE TRIGGER USER; INSERT INTO products VALUES (2, 'b')",
                "ALTER TABLE products ENABLE TRIGGER USER; INSERT INTO products VALUES (3, 'c')",
            ],
            makes: "created 1 a; created 3 c",
            ..CASE
        },
        Case {
            name: "TRUNCATE",
            before: TWO,
            run: &["TRUNCATE products", "TRUNCATE suppliers CASCADE"],
            warns: "pg_webhooks made no event of a row change: TRUNCATE removes rows without telling which: use DELETE \
                    where it matters",
            ..CASE
        },
        Case {
            name: "a table that is rewritten",
            before: TWO,
            run: &[
                "ALTER TABLE products ALTER price TYPE int USING 7, ADD made timestamptz DEFAULT clock_timestamp()",
                "VACUUM FULL products",
                "CLUSTER products USING products_pkey",
                "CREATE TABLE copied AS TABLE products",
            ],
            ..CASE
        },
    ])
    .await;
}
