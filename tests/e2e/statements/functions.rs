//! Rows written by functions, procedures and blocks.

use super::{CASE, Case, assert_makes};

#[tokio::test]
async fn whatever_code_writes_a_row_makes_its_event() {
    assert_makes(&[
        Case {
            name: "functions in SQL and PL/pgSQL",
            before: "CREATE FUNCTION put(n int) RETURNS int LANGUAGE sql AS
                         $$ INSERT INTO products VALUES (n, 's' || n) RETURNING id $$;
                     CREATE FUNCTION put_some(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                         FOR i IN 1..n LOOP PERFORM put(i); UPDATE products SET price = i + 1 WHERE id = i; END LOOP; END $$",
            run: &["SELECT put_some(2)", "SELECT put(n) FROM generate_series(8, 9) n"],
            makes: "created 1 s1; updated 1 price=2; created 2 s2; updated 2 price=3; created 8 s8; created 9 s9",
            ..CASE
        },
        Case {
            name: "a function that an UPDATE calls for each row",
            before: "INSERT INTO products VALUES (1, 'a'), (2, 'b');
                     CREATE FUNCTION put(n int) RETURNS int LANGUAGE sql AS
                         $$ INSERT INTO suppliers VALUES (n) RETURNING id $$",
            run: &["UPDATE products SET supplier_id = put(id)"],
            makes: "supplier.created 1 n; supplier.created 2 n; updated 1 supplier_id=1; updated 2 supplier_id=2",
            ..CASE
        },
        Case {
            name: "a procedure that commits and rolls back",
            before: "CREATE PROCEDURE put() LANGUAGE plpgsql AS $$ BEGIN
                         FOR i IN 1..6 LOOP
                             INSERT INTO products VALUES (i, 's' || i);
                             IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
                         END LOOP;
                         INSERT INTO products VALUES (7, 's7');
                     END $$",
            run: &["CALL put()"],
            makes: "created 1 s1; created 2 s2; created 4 s4; created 5 s5; created 7 s7",
            ..CASE
        },
        Case {
            name: "a block that commits in a loop over a cursor",
            before: "INSERT INTO products SELECT n, n::text FROM generate_series(1, 3) n",
            run: &["DO $$ DECLARE p record; BEGIN
                        FOR p IN SELECT * FROM products ORDER BY id LOOP
                            UPDATE products SET price = 2 WHERE id = p.id; COMMIT;
                        END LOOP; END $$"],
            makes: "updated 1 price=2; updated 2 price=2; updated 3 price=2",
            ..CASE
        },
        Case {
            name: "a block whose exception undoes",
            run: &["DO $$ BEGIN
                        INSERT INTO products VALUES (1, 'a');
                        FOR i IN 2..5 LOOP
                            BEGIN
                                INSERT INTO products VALUES (i, 's' || i);
                                IF i % 2 = 0 THEN RAISE 'no'; END IF;
                            EXCEPTION WHEN raise_exception THEN INSERT INTO suppliers VALUES (i);
                            END;
                        END LOOP; END $$"],
            makes: "created 1 a; supplier.created 2 n; created 3 s3; supplier.created 4 n; created 5 s5",
            ..CASE
        },
        Case {
            name: "a body that was parsed when it was made",
            before: "CREATE FUNCTION put() RETURNS void BEGIN ATOMIC
                         INSERT INTO products VALUES (1, 'a'); UPDATE products SET price = 2; END",
            run: &["SET search_path = ''", "SELECT trial.put()"],
            makes: "created 1 a; updated 1 price=2",
            ..CASE
        },
        Case {
            name: "dynamic SQL",
            run: &["DO $$ BEGIN EXECUTE 'INSERT INTO products VALUES ($1, $2)' USING 1, 'a'; END $$"],
            makes: "created 1 a",
            ..CASE
        },
    ])
    .await;
}
