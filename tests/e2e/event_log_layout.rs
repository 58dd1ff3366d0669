//! A library of one version beside tables of another: whatever is done to the event log's layout, in a session that has
//! captured before and in a new one, each change is an event that is found and sent.

use tests::{Database, Session, Stage};

const REPRICE: &str = "UPDATE products SET price = price + 1 WHERE id = 1";

/// What is done (`{today}` is the day's partition), and what holds for each event that is made afterwards.
const LAYOUTS: &[(&str, &str)] = &[
    ("ALTER TABLE webhooks.event ADD CHECK (seq >= 0 AND name <> '')", "true"),
    ("ALTER TABLE {today} ADD CONSTRAINT short CHECK (length(body) < 1000000) NOT VALID", "true"),
    (
        "UPDATE webhooks.event SET extra = '{}'; ALTER TABLE webhooks.event ALTER extra SET DEFAULT '{}', ALTER extra SET NOT NULL",
        "extra = '{}'",
    ),
    ("ALTER TABLE webhooks.event ADD size int GENERATED ALWAYS AS (length(body)) STORED", "size = length(body)"),
    ("CREATE SEQUENCE numbers; ALTER TABLE webhooks.event ADD number int DEFAULT nextval('numbers')", "number > 0"),
    ("ALTER TABLE webhooks.event ADD made timestamptz NOT NULL DEFAULT clock_timestamp()", "made >= occurred_at"),
    ("ALTER TABLE webhooks.event DROP extra, ADD extra jsonb DEFAULT '[]'", "extra = '[]'"),
    (
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.extra := '[7]'; RETURN new; END $$;
         CREATE TRIGGER mark BEFORE INSERT ON webhooks.event FOR EACH ROW EXECUTE FUNCTION mark()",
        "extra = '[7]'",
    ),
    (
        "CREATE TABLE copied (id text);
         CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN INSERT INTO public.copied VALUES (new.webhook_id); RETURN NULL; END $$;
         CREATE TRIGGER copy AFTER INSERT ON {today} FOR EACH ROW EXECUTE FUNCTION copy()",
        "webhook_id IN (SELECT id FROM copied)",
    ),
    ("CREATE UNIQUE INDEX ON webhooks.event (webhook_id, occurred_at)", "true"),
    ("CREATE INDEX ON {today} (upper(name)) WHERE seq = 0; CREATE INDEX ON {today} USING hash (name)", "true"),
    ("CREATE INDEX ON {today} USING gin ((body::jsonb))", "true"),
    ("ALTER TABLE {today} ADD PRIMARY KEY (xid, seq)", "true"),
    ("ALTER TABLE {today} SET UNLOGGED", "true"),
    ("ALTER TABLE {today} SET (fillfactor = 20, toast_tuple_target = 128)", "true"),
    (
        "ALTER TABLE webhooks.event ALTER body SET STORAGE EXTERNAL, ALTER name SET STATISTICS 1000; ANALYZE webhooks.event",
        "true",
    ),
    ("ALTER TABLE {today} ALTER body SET COMPRESSION pglz; CREATE STATISTICS pairs ON name, key FROM {today}", "true"),
    ("ALTER TABLE {today} REPLICA IDENTITY FULL; CREATE PUBLICATION everything FOR ALL TABLES", "true"),
    ("ALTER TABLE {today} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "true"),
    ("CREATE UNLOGGED TABLE other (LIKE {today} INCLUDING ALL); DROP TABLE other", "true"),
];

async fn today(db: &Database<'_>) -> String {
    db.one("SELECT tableoid::regclass::text FROM webhooks.event LIMIT 1").await
}

/// A stage whose `open` session has captured an event.
async fn captured() -> (Stage, Session) {
    let stage = Stage::start().await;
    let open = stage.db.session().await;
    open.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    for _ in 0..2 {
        open.run(REPRICE).await;
    }
    (stage, open)
}

/// Asserts that a change by each session makes an event of which `is_right` holds, and that all have been sent.
async fn assert_captures(stage: &Stage, open: &Session, is_right: &str, what: &str) {
    let new = stage.db.session().await;
    open.run(&format!("{REPRICE}; {REPRICE}")).await;
    new.run(&format!("{REPRICE}; BEGIN; {REPRICE}; COMMIT")).await;
    let warnings: Vec<_> = open.notices().into_iter().chain(new.notices()).map(|notice| notice.message).collect();
    assert!(warnings.is_empty(), "{what}: {warnings:?}");
    let made = "SELECT name, occurred_at, webhook_id FROM webhooks.event WHERE name <> 'marker.made'
                 ORDER BY xid DESC, seq DESC LIMIT 4";
    let right = format!(
        "SELECT count(*) FROM webhooks.event WHERE webhook_id IN (SELECT webhook_id FROM ({made}) m) AND ({is_right})
            AND EXISTS (SELECT FROM webhooks.message(webhook_id))"
    );
    assert_eq!(stage.db.one::<i64>(&right).await, 4, "{what}");
    assert_eq!(stage.arrived().await.len(), 7, "{what}");
    stage.assert_each_once().await;
}

#[tokio::test]
async fn whatever_is_done_to_the_logs_layout_costs_no_event() {
    for (change, is_right) in LAYOUTS {
        let (stage, open) = captured().await;
        let change = change.replace("{today}", &today(&stage.db).await);
        stage.db.run(&change).await;
        assert_captures(&stage, &open, is_right, &change).await;
    }
}

#[tokio::test]
async fn a_day_that_is_rewritten_or_moved_to_another_tablespace_costs_no_event() {
    let (stage, open) = captured().await;
    let today = today(&stage.db).await;
    let space = format!("space_of_{}", stage.db.name());
    stage.db.run("SET allow_in_place_tablespaces = on").await;
    stage.db.run(&format!("CREATE TABLESPACE {space} LOCATION ''")).await;
    for change in ["SET TABLESPACE {space}", "SET TABLESPACE pg_default"] {
        stage.db.run(&format!("ALTER TABLE {today} {}", change.replace("{space}", &space))).await;
    }
    stage.db.run(&format!("VACUUM FULL {today}")).await;
    stage.db.run(&format!("CLUSTER {today} USING {}_xid_seq_idx", today.trim_start_matches("webhooks."))).await;
    assert_captures(&stage, &open, "true", "rewritten").await;
}

#[tokio::test]
async fn another_table_in_the_place_of_a_day_has_the_events_that_come_after_it() {
    let others = [
        "CREATE TABLE {today} (LIKE webhooks.event INCLUDING ALL)",
        "CREATE TABLE {today} (body text, extra jsonb, signature bytea, tenant text, name text, webhook_id text, target int,
                               key bigint, horizon xid8, ended int, seq int, xid xid8, occurred_at timestamptz)",
    ];
    for other in others {
        let (stage, open) = captured().await;
        let today = today(&stage.db).await;
        stage.arrived().await;
        let bounds: String = stage
            .db
            .one(&format!("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = '{today}'::regclass"))
            .await;
        stage
            .db
            .run(&format!(
                "BEGIN;
                 ALTER TABLE webhooks.event DETACH PARTITION {today};
                 ALTER TABLE {today} RENAME TO former;
                 {};
                 DO $$ DECLARE c name; BEGIN
                     FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 'webhooks.event'::regclass AND attnotnull AND attnum > 0
                     LOOP EXECUTE format('ALTER TABLE {today} ALTER %I SET NOT NULL', c); END LOOP; END $$;
                 ALTER TABLE webhooks.event ATTACH PARTITION {today} {bounds};
                 INSERT INTO webhooks.event SELECT * FROM webhooks.former;
                 COMMIT",
                other.replace("{today}", &today)
            ))
            .await;
        assert_captures(&stage, &open, "true", other).await;
    }
}
