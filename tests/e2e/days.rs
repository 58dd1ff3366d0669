//! The days of the two logs: made ahead, dropped when they are old; and nobody waits or loses an event where one is missing.

use std::time::Duration;

use tests::{Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, Stage, eventually};

/// The UTC day, by which the logs are partitioned.
const TODAY: &str = "(clock_timestamp() AT TIME ZONE 'UTC')::date";

/// The last days of the partitions of `event` or `attempt`, counted from today, but for the one without a last day.
async fn days(db: &Database<'_>, log: &str) -> Vec<i32> {
    db.all(&format!(
        "SELECT to_date(right(relname, 8), 'YYYYMMDD') - {TODAY} AS day FROM pg_inherits JOIN pg_class ON oid = inhrelid
          WHERE inhparent = 'webhooks.{log}'::regclass AND relname !~ 'later' ORDER BY 1"
    ))
    .await
}

#[tokio::test]
async fn maintenance_drops_old_days_and_makes_coming_ones() {
    let db = Cluster::shared().await.database().await;
    db.set("event_retention", "3 days").await;
    db.set("log_retention", "10 days").await;
    db.run(&format!(
        "SELECT webhooks.create_partition(parent, {TODAY} + day)
           FROM unnest('{{webhooks.event,webhooks.attempt}}'::regclass[]) parent, unnest('{{-30,-12,-8,-2}}'::int[]) day"
    ))
    .await;
    db.run(&format!(
        "DO $$ DECLARE ahead text := 'webhooks.event' || to_char({TODAY} + 2, '_YYYYMMDD');
         BEGIN EXECUTE 'ALTER EXTENSION pg_webhooks DROP TABLE ' || ahead; EXECUTE 'DROP TABLE ' || ahead; END $$"
    ))
    .await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let sidecar = db.session_as("sidecar").await;
    sidecar.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await, [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(days(&db, "attempt").await, [-8, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]);
    sidecar.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await, [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7], "a second time changes nothing");
    db.run(&format!("SELECT webhooks.test('{endpoint}')")).await;
    assert_eq!(db.events().await, ["webhook.test"]);
}

#[tokio::test]
async fn yesterdays_attempts_are_kept_however_short_their_retention() {
    let db = Cluster::shared().await.database().await;
    db.set("log_retention", "0s").await;
    db.run(&format!(
        "SELECT webhooks.create_partition('webhooks.attempt', {TODAY} + day) FROM unnest('{{-2,-1}}'::int[]) day"
    ))
    .await;
    db.session_as("sidecar").await.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "attempt").await, [-1, 0, 1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn the_bounds_of_a_day_do_not_depend_on_the_datestyle() {
    let db = Cluster::shared().await.database().await;
    db.run("SET datestyle = 'SQL, DMY'; SELECT webhooks.create_partition('webhooks.event', make_date(2020, 1, 2))")
        .await;
    db.run("RESET datestyle; SET timezone = 'UTC'").await;
    let bounds = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'webhooks.event_20200102'::regclass";
    let expected = "FOR VALUES FROM ('2020-01-02 00:00:00+00') TO ('2020-01-03 00:00:00+00')";
    assert_eq!(db.one::<String>(bounds).await, expected);
}

#[tokio::test]
async fn an_old_day_that_was_not_sent_yet_is_kept_until_it_was() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    // As if the sidecar had been away for a month.
    db.run("SELECT webhooks.create_partition('webhooks.event', (now() - interval '30 days')::date)").await;
    db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    db.run(
        "INSERT INTO webhooks.event (occurred_at, xid, seq, ended, horizon, webhook_id, name, signature, body)
         SELECT occurred_at - interval '30 days', xid, seq + 1, ended, horizon, id, name,
                webhooks.log_signature(id, body, (SELECT key FROM webhooks.log_key)), body
           FROM webhooks.event CROSS JOIN LATERAL (SELECT webhook_id || 'old' AS id) old",
    )
    .await;
    db.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await[..2], [-30, -1]);

    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 2).await;
    eventually(Duration::from_secs(10), "the old day is dropped", async || {
        // The cursor moves with a report: one more delivery brings one.
        db.run("UPDATE suppliers SET name = name || '.'; SELECT webhooks.maintain()").await;
        (days(&db, "event").await[0] == -1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reader_of_the_log_does_not_make_maintenance_wait() {
    let db = Cluster::shared().await.database().await;
    db.run("SELECT webhooks.create_partition('webhooks.event', (now() - interval '1 year')::date)").await;
    let reader = db.session().await;
    reader.run("BEGIN; SELECT count(*) FROM webhooks.event").await;
    db.run("SET statement_timeout = '5s'; SELECT webhooks.maintain()").await;
    reader.run("COMMIT").await;
    db.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await[0], -1);
}

/// As if housekeeping had last been there `ago` days ago: the log ends then, but for what is made for all later days.
async fn without_housekeeping_for(db: &Database<'_>, ago: i32) {
    for log in ["event", "attempt"] {
        db.run(&format!(
            "DO $$ DECLARE day text;
             BEGIN
                 FOR day IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'webhooks.{log}'::regclass LOOP
                     EXECUTE format('ALTER EXTENSION pg_webhooks DROP TABLE %s', day);
                     EXECUTE format('DROP TABLE %s', day);
                 END LOOP;
                 EXECUTE format('CREATE TABLE webhooks.{log}_later PARTITION OF webhooks.{log}
                                 FOR VALUES FROM (%L) TO (MAXVALUE)', ({TODAY} - {ago})::text || ' 00:00:00+00');
                 ALTER EXTENSION pg_webhooks ADD TABLE webhooks.{log}_later;
             END $$"
        ))
        .await;
    }
}

const INSERT: &str = "INSERT INTO suppliers (name) VALUES ('s')";

#[tokio::test]
async fn writers_of_a_day_that_was_not_made_wait_for_nobody_and_lose_nothing() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    without_housekeeping_for(&db, 33).await;
    let (slow, quick) = (db.session().await, db.session().await);
    slow.run(&format!("BEGIN; {INSERT}")).await;
    quick.run(&format!("SET lock_timeout = '500ms'; {INSERT}")).await;
    slow.run("COMMIT").await;
    assert!(slow.notices().is_empty() && quick.notices().is_empty());
    assert_eq!(days(&db, "event").await, [0; 0], "a writer makes no table");

    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 2).await;
    eventually(Duration::from_secs(10), "housekeeping makes the days", async || {
        db.run("SELECT webhooks.maintain()").await;
        (days(&db, "event").await.len() > 1).then_some(())
    })
    .await;
    assert_eq!(days(&db, "event").await, [0, 1, 2, 3, 4, 5, 6, 7], "the first of them begins 33 days ago");
    let rows = "SELECT count(*) FROM ONLY webhooks.event_later";
    assert_eq!(db.one::<i64>(rows).await, 0);
    for session in [&slow, &quick, &db.session().await] {
        session.run(INSERT).await;
        assert!(session.notices().is_empty());
    }
    receiver.wait_at("/all", 5).await;
    assert_eq!(db.one::<i64>(rows).await, 0);
}

#[tokio::test]
async fn housekeeping_that_comes_back_under_traffic_costs_no_event() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    without_housekeeping_for(&db, 40).await;
    let housekeeper = db.session_as("sidecar").await;
    let write = async || {
        let writer = db.session().await;
        writer.run("SET lock_timeout = '5s'").await;
        for _ in 0..100 {
            writer.run(&format!("BEGIN; {INSERT}; {INSERT}; COMMIT")).await;
        }
        assert!(writer.notices().is_empty());
    };
    let keep_house = async || {
        eventually(Duration::from_secs(20), "the days are made", async || {
            housekeeper.run("SELECT webhooks.maintain()").await;
            (days(&db, "event").await.len() > 1).then_some(())
        })
        .await;
    };
    tokio::join!(write(), write(), write(), write(), keep_house());
    assert_eq!(db.events().await.len(), 800);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM suppliers").await, 800);
    let outside = "SELECT count(*) FROM webhooks.event JOIN webhooks.partitions('webhooks.event') ON partition = tableoid
                    WHERE (occurred_at AT TIME ZONE 'UTC')::date NOT BETWEEN first_day AND coalesce(last_day, 'infinity')";
    assert_eq!(db.one::<i64>(outside).await, 0);
}

#[tokio::test]
async fn housekeeping_holds_writers_up_for_a_moment_only_and_comes_again() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    without_housekeeping_for(&db, 40).await;
    let (slow, quick) = (db.session().await, db.session().await);
    slow.run(&format!("BEGIN; {INSERT}")).await;
    quick.run("SET lock_timeout = '1s'").await;
    tokio::join!(db.run("SET statement_timeout = '5s'; SELECT webhooks.maintain()"), quick.run(INSERT));
    assert_eq!(days(&db, "event").await, [0; 0]);
    assert_eq!(days(&db, "attempt").await[..3], [-1, 0, 1], "the other log's are made");
    slow.run("COMMIT").await;
    db.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(db.events().await.len(), 2);
}

#[tokio::test]
async fn who_forbids_new_tables_stops_housekeeping_and_no_writer() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    without_housekeeping_for(&db, 40).await;
    db.run(
        "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no tables'; END $$;
         CREATE EVENT TRIGGER no_tables ON ddl_command_start WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION forbid()",
    )
    .await;
    db.run(INSERT).await;
    assert!(db.notices().is_empty());
    assert_eq!(db.fail("SELECT webhooks.maintain()").await.message, "no tables");
    db.run(&format!("{INSERT}; DROP EVENT TRIGGER no_tables; SELECT webhooks.maintain()")).await;
    assert_eq!(db.events().await.len(), 2);
}

#[tokio::test]
async fn a_partition_of_many_days_goes_once_the_last_of_them_is_old() {
    let db = Cluster::shared().await.database().await;
    for (first, last) in [(-60, -30), (-29, -9), (-8, -3)] {
        let create = format!("SELECT webhooks.create_partition('webhooks.event', {TODAY} + {first}, {TODAY} + {last})");
        db.run(&create).await;
    }
    db.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await, [-3, -1, 0, 1, 2, 3, 4, 5, 6, 7], "seven days are kept");
}

#[tokio::test]
async fn a_clock_that_was_far_ahead_for_a_moment_does_not_end_retention() {
    let stage = Stage::start().await;
    let db = &stage.db;
    db.run(INSERT).await;
    stage.receiver.wait_at("/all", 1).await;
    without_housekeeping_for(db, 5).await;
    db.run(INSERT).await;
    // As capture logs it while the clock says 2099.
    let ahead =
        "INSERT INTO webhooks.event SELECT '2099-01-01', xid, 9, ended, horizon, key, target, webhook_id, name, tenant,
                                                   signature, body, extra FROM webhooks.event LIMIT 1";
    db.run(&format!("{ahead}; SELECT webhooks.maintain(); SELECT webhooks.maintain()")).await;
    assert_eq!(days(db, "event").await, [1, 2, 3, 4, 5, 6, 7], "up to tomorrow, and then each day again");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM ONLY webhooks.event_later").await, 1, "it is where it was");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.event").await, 2);
}

#[tokio::test]
async fn an_event_of_a_day_before_the_log_is_not_lost_in_silence() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    without_housekeeping_for(&db, -1).await;
    db.run(INSERT).await;
    let today = db.one::<String>(&format!("SELECT {TODAY}::text")).await;
    let told = db.notices().remove(0).message;
    assert!(told.contains(&format!("no partition for {today}")) && told.contains("clock"), "{told}");
    assert!(db.fail("SELECT webhooks.emit('order.paid', '{}')").await.message.contains(&today));
}

#[tokio::test]
async fn a_table_that_was_detached_from_the_log_gets_no_events() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(INSERT).await;
    let today: String = db.one("SELECT tableoid::regclass::text FROM webhooks.event").await;
    db.run(&format!("ALTER TABLE webhooks.event DETACH PARTITION {today}; {INSERT}")).await;
    assert!(db.notices()[0].message.contains("no partition"), "nobody would read it there");
}

#[tokio::test]
async fn an_administrator_may_do_the_housekeeping_where_no_sidecar_runs() {
    let db = Cluster::shared().await.database().await;
    without_housekeeping_for(&db, 40).await;
    db.session_as("manager").await.run("SELECT webhooks.maintain()").await;
    assert_eq!(days(&db, "event").await, [-1, 0, 1, 2, 3, 4, 5, 6, 7]);
    let refused = db.session_as("app").await.fail("SELECT webhooks.maintain()").await;
    assert_eq!(refused.code, "42501");

    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(&format!("{INSERT}; {INSERT}")).await;
    let told = CommandLine::of(&db, "manager").run(&["doctor"]).await.stdout;
    for words in ["nothing is sent", "2 unread", "webhooks.event: ", " kB in 9 days"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
