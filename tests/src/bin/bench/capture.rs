//! What the trigger costs a row: one UPDATE of all products, with and without it, in turns.

use std::time::Instant;

use tests::{Cluster, Database};

use crate::table::{Finding, Table, Target};
use crate::{Size, database_with_products, median};

const UPDATE: &str = "UPDATE products SET price = price + 1";

/// Measures capture with no, one and five subscribers, beside the bare UPDATE, a copy of the same event rows, and an
/// outbox trigger in PL/pgSQL.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    let db = database_with_products(cluster, size.rows).await;
    db.run("CREATE EXTENSION pgcrypto").await;
    db.run(PLPGSQL_OUTBOX).await;
    db.run("CREATE TABLE copy (LIKE webhooks.event); CREATE INDEX ON copy (xid, seq)").await;
    let (mut bare, mut silent, mut one, mut five, mut copied, mut plpgsql) = Default::default();
    for _ in 0..size.rounds {
        let subscribe = async |count: i32| {
            db.run("DELETE FROM webhooks.endpoint").await;
            let register = format!(
                "SELECT webhooks.register('http://127.0.0.1:9/', ARRAY['product.updated'], 'secret ' || n) FROM generate_series(1, {count}) n"
            );
            db.run(&register).await;
        };
        db.run("ALTER TABLE products DISABLE TRIGGER webhooks_capture").await;
        record(&mut bare, &db, UPDATE).await;
        db.run("CREATE TRIGGER outbox AFTER UPDATE ON products FOR EACH ROW EXECUTE FUNCTION outbox()").await;
        record(&mut plpgsql, &db, UPDATE).await;
        db.run("DROP TRIGGER outbox ON products; TRUNCATE outbox").await;
        db.run("ALTER TABLE products ENABLE TRIGGER webhooks_capture").await;
        subscribe(0).await;
        record(&mut silent, &db, UPDATE).await;
        subscribe(5).await;
        record(&mut five, &db, UPDATE).await;
        db.run("TRUNCATE webhooks.event").await;
        subscribe(1).await;
        record(&mut one, &db, UPDATE).await;
        record(&mut copied, &db, "INSERT INTO copy SELECT * FROM webhooks.event").await;
        db.run("TRUNCATE webhooks.event, copy").await;
    }

    let microseconds_a_row = |seconds: &mut Vec<f64>| median(seconds) * 1e6 / f64::from(size.rows);
    let bare = microseconds_a_row(&mut bare);
    let above_bare = |seconds: &mut Vec<f64>| microseconds_a_row(seconds) - bare;
    let (silent, one, five) = (above_bare(&mut silent), above_bare(&mut one), above_bare(&mut five));
    let (plpgsql, copied) = (above_bare(&mut plpgsql), microseconds_a_row(&mut copied));
    let how = "median of the rounds; each round runs every statement once, in turn, with a vacuum before each";
    table.add(Finding {
        what: "capture a row, one subscriber, above the bare UPDATE",
        ours: format!("{one:.2} µs"),
        beside: format!("INSERT … SELECT of the same rows {copied:.2} µs"),
        target: Target::at_most(one / copied, 2.0, "≤ 2.0"),
        how,
    });
    table.add(Finding {
        what: "the same, against a PL/pgSQL outbox trigger",
        ours: format!("{one:.2} µs"),
        beside: format!("jsonb, pgcrypto HMAC, NOTIFY {plpgsql:.2} µs"),
        target: Target::at_most(one / plpgsql, 1.0 / 3.0, "≤ 0.33"),
        how,
    });
    table.add(Finding {
        what: "capture a row, nobody subscribes, above the bare UPDATE",
        ours: format!("{silent:.2} µs"),
        beside: format!("bare UPDATE {bare:.2} µs"),
        target: Target::at_most(silent / bare, 0.03, "≤ 0.03"),
        how,
    });
    table.add(Finding {
        what: "capture a row, five subscribers",
        ours: format!("{five:.2} µs"),
        beside: format!("one subscriber {one:.2} µs"),
        target: Target::at_most(five / one, 1.5, "≤ 1.5"),
        how,
    });
}

async fn record(seconds: &mut Vec<f64>, db: &Database<'_>, statement: &str) {
    db.run("VACUUM products").await;
    db.run("CHECKPOINT").await;
    let began = Instant::now();
    db.run(statement).await;
    seconds.push(began.elapsed().as_secs_f64());
}

/// What a careful developer writes by hand.
const PLPGSQL_OUTBOX: &str = "
    CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb NOT NULL, signature text NOT NULL);
    CREATE FUNCTION outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        body jsonb := jsonb_build_object('event', 'product.updated', 'timestamp', clock_timestamp(), 'data',
            jsonb_build_object('product_id', NEW.id, 'sku', NEW.sku, 'updated_by', session_user, 'changes',
                jsonb_build_object('price', jsonb_build_object('old', OLD.price, 'new', NEW.price))));
    BEGIN
        INSERT INTO outbox (body, signature) VALUES (body, encode(hmac(body::text, 'secret', 'sha256'), 'hex'));
        PERFORM pg_notify('outbox', '');
        RETURN NULL;
    END
    $$";
