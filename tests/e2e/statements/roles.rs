//! Who writes the row: it makes no difference, except for who is named in it.

use super::{CASE, Case, assert_makes};

#[tokio::test]
async fn whoever_writes_a_row_makes_its_event() {
    assert_makes(&[
        Case {
            name: "SET ROLE, SET SESSION AUTHORIZATION",
            run: &[
                "SET ROLE app; INSERT INTO products VALUES (1, 'a'); RESET ROLE",
                "SET SESSION AUTHORIZATION app; INSERT INTO products VALUES (2, 'b'); RESET SESSION AUTHORIZATION",
                "BEGIN; SET LOCAL ROLE app; INSERT INTO products VALUES (3, 'c'); COMMIT",
            ],
            makes: "created 1 a; created 2 b; created 3 c",
            ..CASE
        },
        Case {
            name: "SECURITY DEFINER",
            before: "CREATE FUNCTION put() RETURNS void LANGUAGE sql SECURITY DEFINER
                         AS $$ INSERT INTO products VALUES (1, 'a') $$;
                     ALTER FUNCTION put() OWNER TO app",
            run: &["SELECT put()"],
            makes: "created 1 a",
            ..CASE
        },
        Case {
            name: "row-level security, forced",
            before: "INSERT INTO products VALUES (1, 'a'), (2, 'b');
                     ALTER TABLE products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                     CREATE POLICY odd ON products USING (id % 2 = 1) WITH CHECK (true)",
            run: &["SET ROLE app; UPDATE products SET price = 2; INSERT INTO products VALUES (4, 'd'); DELETE FROM products"],
            makes: "updated 1 price=2; created 4 d; deleted 1 a",
            ..CASE
        },
        Case {
            name: "an import whose supplier row-level security hides from the table's owner",
            before: "CREATE TABLE imports (LIKE public.imports INCLUDING DEFAULTS);
                     ALTER TABLE imports ALTER supplier_id TYPE int, ADD FOREIGN KEY (supplier_id) REFERENCES suppliers;
                     SELECT webhooks.attach('imports');
                     INSERT INTO suppliers VALUES (1, 'hidden'), (2, 'shown');
                     ALTER TABLE suppliers OWNER TO app;
                     ALTER TABLE suppliers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                     CREATE POLICY second ON suppliers USING (id = 2)",
            run: &["INSERT INTO imports (id, supplier_id, status) VALUES (1, 1, 'running'), (2, 2, 'running')"],
            makes: "import.started 1 -; import.started 2 shown",
            ..CASE
        },
        Case {
            name: "a policy on suppliers that fails",
            before: "CREATE TABLE imports (LIKE public.imports INCLUDING DEFAULTS);
                     ALTER TABLE imports ALTER supplier_id TYPE int, ADD FOREIGN KEY (supplier_id) REFERENCES suppliers;
                     SELECT webhooks.attach('imports');
                     INSERT INTO suppliers VALUES (1, 's');
                     ALTER TABLE suppliers OWNER TO app;
                     ALTER TABLE imports DROP CONSTRAINT imports_supplier_id_fkey;
                     ALTER TABLE imports ADD FOREIGN KEY (supplier_id) REFERENCES suppliers NOT VALID;
                     ALTER TABLE imports DISABLE TRIGGER ALL;
                     ALTER TABLE imports ENABLE TRIGGER USER;
                     ALTER TABLE suppliers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                     CREATE POLICY broken ON suppliers USING (1 / (id - 1) = 0)",
            run: &["INSERT INTO imports (id, supplier_id, status) VALUES (1, 1, 'running')"],
            makes: "import.started 1 -",
            warns: "pg_webhooks could not read the supplier's name: division by zero",
            ..CASE
        },
    ])
    .await;
}
