//! Savepoints, prepared transactions, and what is rolled back.

use super::{CASE, Case, assert_makes, made, tried};

#[tokio::test]
async fn what_a_transaction_keeps_makes_its_events_and_what_it_undoes_makes_none() {
    assert_makes(&[
        Case {
            name: "nested savepoints",
            run: &["BEGIN; INSERT INTO products VALUES (1, 'a');
                    SAVEPOINT s; INSERT INTO products VALUES (2, 'b');
                    SAVEPOINT t; INSERT INTO products VALUES (3, 'c'); RELEASE t;
                    ROLLBACK TO s; INSERT INTO products VALUES (4, 'd');
                    SAVEPOINT t; INSERT INTO products VALUES (5, 'e'); RELEASE s; COMMIT"],
            makes: "created 1 a; created 4 d; created 5 e",
            ..CASE
        },
        Case {
            name: "statements of one message",
            run: &[
                "INSERT INTO products VALUES (1, 'a'); INSERT INTO products VALUES (2, 'b')",
                "BEGIN; INSERT INTO products VALUES (3, 'c'); COMMIT AND CHAIN; INSERT INTO products VALUES (4, 'd'); ROLLBACK",
            ],
            makes: "created 1 a; created 2 b; created 3 c",
            ..CASE
        },
        Case {
            name: "two-phase commit",
            run: &[
                "BEGIN; INSERT INTO products VALUES (1, 'a'); SAVEPOINT s; INSERT INTO products VALUES (2, 'b')",
                "PREPARE TRANSACTION 'kept'",
                "BEGIN; INSERT INTO products VALUES (3, 'c')",
                "PREPARE TRANSACTION 'undone'",
                "INSERT INTO products VALUES (4, 'd')",
                "ROLLBACK PREPARED 'undone'",
                "COMMIT PREPARED 'kept'",
            ],
            makes: "created 1 a; created 2 b; created 4 d",
            ..CASE
        },
        Case {
            name: "a statement that fails halfway",
            run: &["DO $$ BEGIN
                        INSERT INTO products VALUES (1, 'a'), (2, 'b'), (1, 'c');
                    EXCEPTION WHEN unique_violation THEN INSERT INTO products VALUES (3, 'c'); END $$"],
            makes: "created 3 c",
            ..CASE
        },
        Case {
            name: "SERIALIZABLE and REPEATABLE READ",
            run: &[
                "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO products VALUES (1, 'a'); COMMIT",
                "BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE products SET price = 2; COMMIT",
            ],
            makes: "created 1 a; updated 1 price=2",
            ..CASE
        },
    ])
    .await;
}

#[tokio::test]
async fn of_100_000_subtransactions_those_that_were_kept_make_their_events_in_order() {
    let (db, session) = tried().await;
    session
        .run(
            "DO $$ BEGIN
                 FOR i IN 1..100000 LOOP
                     BEGIN
                         INSERT INTO suppliers VALUES (i, '');
                         IF i % 4 = 0 THEN RAISE 'no'; END IF;
                     EXCEPTION WHEN raise_exception THEN NULL;
                     END;
                 END LOOP; END $$",
        )
        .await;
    assert!(session.notices().is_empty());
    let wrong = "SELECT count(*) FILTER (WHERE NOT kept), count(*) FILTER (WHERE earlier >= id), count(DISTINCT id)
                   FROM (SELECT id, id % 4 <> 0 AS kept, lag(id) OVER (ORDER BY xid, seq) AS earlier
                           FROM webhooks.event, CAST(body::jsonb #>> '{data,supplier_id}' AS int) AS id) made";
    let row = db.row(wrong).await;
    assert_eq!([row.get::<_, i64>(0), row.get(1), row.get(2)], [0, 0, 75_000]);
}

#[tokio::test]
async fn a_writer_that_waited_for_anothers_row_makes_the_event_of_what_it_found() {
    let (db, first) = tried().await;
    let second = db.session().await;
    second.run("SET search_path = trial; SET application_name = 'second'").await;
    first.run("INSERT INTO products VALUES (1, 'a'), (2, 'b')").await;
    first.run("BEGIN; UPDATE products SET price = price + 1, stock = 7; DELETE FROM products WHERE id = 2").await;
    let waited = second.run("UPDATE products SET price = price + 1");
    let committed = async {
        let waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock'";
        tests::eventually(std::time::Duration::from_secs(20), "the second waits", async || {
            (!db.rows(waits).await.is_empty()).then_some(())
        })
        .await;
        first.run("COMMIT").await;
    };
    tokio::join!(waited, committed);
    let made = made(&db).await;
    assert_eq!(
        made,
        "created 1 a; created 2 b; updated 1 price=2,stock=7; updated 2 price=2,stock=7; deleted 2 b; updated 1 price=3"
    );
}
