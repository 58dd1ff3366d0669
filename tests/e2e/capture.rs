//! What is captured and what is not: rolled-back changes, muted sessions, changes that change nothing, tables that
//! nobody listens to; and who may do it.

use std::time::Duration;

use tests::{Cluster, SECRET, Sidecar, Stage};
use tokio::time::timeout;

use crate::verification::assert_standard;

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";

/// Asserts that neither the log nor the receiver has any event.
async fn assert_nothing(stage: &Stage) {
    assert!(stage.db.events().await.is_empty(), "no event row");
    assert!(stage.arrived().await.is_empty(), "no request");
}

#[tokio::test]
async fn a_rolled_back_change_sends_nothing() {
    let stage = Stage::start().await;
    stage
        .db
        .run(&format!("BEGIN; {PRODUCT}; UPDATE products SET price = 2; SELECT webhooks.emit('a.b', '{{}}'); ROLLBACK"))
        .await;
    stage.db.fail(&format!("{PRODUCT}; SELECT 1 / 0")).await;
    assert_nothing(&stage).await;
}

#[tokio::test]
async fn a_rolled_back_savepoint_sends_nothing_and_what_is_around_it_is_sent() {
    let stage = Stage::start().await;
    let insert = |sku: &str| format!("INSERT INTO products (sku, name, price) VALUES ('{sku}', 'n', 1)");
    stage
        .db
        .run(&format!(
            "BEGIN; {}; SAVEPOINT one; {}; SAVEPOINT two; {}; RELEASE two; ROLLBACK TO one; {}; COMMIT",
            insert("before"),
            insert("undone"),
            insert("undone with it"),
            insert("after")
        ))
        .await;
    let mut skus: Vec<_> = stage.arrived().await.iter().map(|one| one.data()["sku"].clone()).collect();
    skus.sort_by_key(ToString::to_string);
    assert_eq!(skus, ["after", "before"]);
    stage.assert_each_once().await;
}

#[tokio::test]
async fn what_a_plpgsql_exception_block_undid_sends_nothing() {
    let stage = Stage::start().await;
    stage
        .db
        .run(
            "DO $$
             BEGIN
                 FOR i IN 1..5 LOOP
                     BEGIN
                         INSERT INTO products (sku, name, price) VALUES (i::text, 'n', 1);
                         IF i % 2 = 0 THEN RAISE 'undo'; END IF;
                     EXCEPTION WHEN raise_exception THEN NULL;
                     END;
                 END LOOP;
             END $$",
        )
        .await;
    assert_eq!(stage.arrived_events().await, ["product.created"; 3]);
}

#[tokio::test]
async fn a_muted_transaction_sends_nothing_and_the_next_one_does() {
    let stage = Stage::start().await;
    stage.db.run(&format!("BEGIN; SET LOCAL pg_webhooks.enabled = off; {PRODUCT}; COMMIT")).await;
    stage.db.run("SET pg_webhooks.enabled = off; UPDATE products SET price = 2").await;
    assert!(stage.db.events().await.is_empty());
    stage.db.run("RESET pg_webhooks.enabled").await;
    assert_nothing(&stage).await;
    stage.db.run("UPDATE products SET price = 3").await;
    assert_eq!(stage.arrived_events().await, ["product.updated"]);
}

#[tokio::test]
async fn an_update_that_changes_nothing_sends_nothing() {
    let stage = Stage::start().await;
    stage.db.run(&format!("BEGIN; SET LOCAL pg_webhooks.enabled = off; {PRODUCT}; COMMIT")).await;
    stage.db.run("UPDATE products SET price = price, name = 'a', stock = stock + 0").await;
    stage.db.run("UPDATE products SET price = 2 WHERE false").await;
    assert_nothing(&stage).await;
}

#[tokio::test]
async fn what_nobody_subscribed_to_is_not_logged() {
    let db = Cluster::shared().await.database().await;
    db.run(&format!("{PRODUCT}; UPDATE products SET price = 2")).await;
    assert!(db.events().await.is_empty(), "nobody is registered");
    db.register("http://127.0.0.1:9/", "supplier.*,import.failed", SECRET).await;
    db.run("UPDATE products SET price = 3; INSERT INTO suppliers (name) VALUES ('s')").await;
    assert_eq!(db.events().await, ["supplier.created"]);
}

#[tokio::test]
async fn each_endpoint_gets_what_its_patterns_name() {
    let stage = Stage::start().await;
    for (path, events) in
        [("/exact", "product.created"), ("/family", "product.*"), ("/two", "supplier.created,product.deleted")]
    {
        stage.db.register(&stage.receiver.url(path), events, SECRET).await;
    }
    stage
        .db
        .run(&format!(
            "{PRODUCT}; UPDATE products SET price = 2; DELETE FROM products; INSERT INTO suppliers (name) VALUES ('s')"
        ))
        .await;
    stage.receiver.wait_for("10 requests", |all| all.len() >= 10).await;
    let names = |path: &str| {
        let mut names: Vec<String> = stage.receiver.at(path).iter().map(|one| one.event()).collect();
        names.sort();
        names
    };
    assert_eq!(names("/all"), ["product.created", "product.deleted", "product.updated", "supplier.created"]);
    assert_eq!(names("/exact"), ["product.created"]);
    assert_eq!(names("/family"), ["product.created", "product.deleted", "product.updated"]);
    assert_eq!(names("/two"), ["product.deleted", "supplier.created"]);
    assert_eq!(stage.db.events().await.len(), 4, "one row for an event, however many want it");
}

#[tokio::test]
async fn a_registration_takes_effect_in_open_sessions_at_its_commit() {
    let db = Cluster::shared().await.database().await;
    let writer = db.session().await;
    writer.run(&format!("{PRODUCT}; UPDATE products SET price = 2")).await;
    db.run("BEGIN").await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    writer.run("UPDATE products SET price = 3").await;
    assert!(db.events().await.is_empty(), "not registered yet");
    db.run("COMMIT").await;
    writer.run("UPDATE products SET price = 4").await;
    assert_eq!(db.events().await.len(), 1, "registered");

    db.run(&format!("SELECT webhooks.update('{endpoint}', events => '{{supplier.*}}')")).await;
    writer.run("UPDATE products SET price = 5").await;
    assert_eq!(db.events().await.len(), 1, "no longer wanted");
    db.run("BEGIN").await;
    db.run(&format!("SELECT webhooks.update('{endpoint}', events => '{{*}}')")).await;
    db.run("ROLLBACK").await;
    writer.run("UPDATE products SET price = 6").await;
    assert_eq!(db.events().await.len(), 1, "a rolled-back change of it is none");
    db.run(&format!("SELECT webhooks.update('{endpoint}', events => '{{*}}'); SELECT webhooks.delete('{endpoint}')"))
        .await;
    writer.run("UPDATE products SET price = 7").await;
    assert_eq!(db.events().await.len(), 1, "deleted");
}

#[tokio::test]
async fn a_transaction_that_registers_gets_its_own_later_changes() {
    let stage = Stage::start().await;
    stage.db.run("BEGIN").await;
    stage.db.register(&stage.receiver.url("/new"), "*", SECRET).await;
    stage.db.run(&format!("{PRODUCT}; COMMIT")).await;
    assert_eq!(stage.receiver.wait_at("/new", 1).await[0].event(), "product.created");
}

#[tokio::test]
async fn events_queued_before_the_secret_changed_are_signed_with_the_new_one() {
    let stage = Stage::start().await;
    let Stage { db, receiver, endpoint, sidecar } = stage;
    sidecar.terminate().await;
    db.run(PRODUCT).await;
    db.run(&format!("SELECT webhooks.update('{endpoint}', secret => 'the new one')")).await;
    let _sidecar = Sidecar::start(&db);
    let received = receiver.wait_at("/all", 1).await.remove(0);
    assert_standard(&received, "the new one");
    let body = received.body.replace('\'', "''");
    let signature: String = db.one(&format!("SELECT webhooks.sign('{body}', 'the new one')")).await;
    assert_eq!(received.header("x-webhook-signature"), Some(signature.as_str()));
}

#[tokio::test]
async fn an_application_role_without_any_rights_writes_and_its_webhooks_go_out() {
    let stage = Stage::start().await;
    let app = stage.db.session_as("app").await;
    app.run(&format!("{PRODUCT}; UPDATE products SET price = 2; DELETE FROM products")).await;
    stage.receiver.wait_at("/all", 3).await;
    assert_eq!(stage.arrived().await.iter().find_map(|one| one.data().get("created_by").cloned()), Some("app".into()));
    stage.assert_each_once().await;
}

#[tokio::test]
async fn an_application_role_cannot_read_a_secret_the_queue_or_the_log() {
    let stage = Stage::start().await;
    let app = stage.db.session_as("app").await;
    for sql in [
        "SELECT secret FROM webhooks.endpoint",
        "SELECT * FROM webhooks.event",
        "SELECT * FROM webhooks.pending",
        "SELECT * FROM webhooks.attempt",
        "SELECT * FROM webhooks.cursor",
        "INSERT INTO webhooks.event DEFAULT VALUES",
        "SELECT webhooks.list()",
        "SELECT webhooks.register('http://127.0.0.1:9/', '{*}')",
        "SELECT webhooks.emit('a.b', '{}')",
        "SELECT webhooks.acquire('me', 1000)",
        &format!("SELECT webhooks.logs('{}')", stage.endpoint),
        &format!("SELECT webhooks.get('{}')", stage.endpoint),
    ] {
        assert_eq!(app.fail(sql).await.code, "42501", "{sql}");
    }
}

#[tokio::test]
async fn a_manager_manages_but_reads_no_secret_and_no_table() {
    let stage = Stage::start().await;
    let manager = stage.db.session_as("manager").await;
    let id: String = manager.one("SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 'hidden')").await;
    manager.run(&format!("SELECT webhooks.update('{id}', secret => 'hidden too', active => false)")).await;
    for table in ["endpoint", "event", "pending", "attempt", "cursor", "lease"] {
        assert_eq!(manager.fail(&format!("SELECT * FROM webhooks.{table}")).await.code, "42501", "{table}");
    }
    assert_eq!(manager.fail("SELECT webhooks.acquire('me', 1000)").await.code, "42501");
    manager.run(&format!("SELECT webhooks.delete('{id}')")).await;
}

#[tokio::test]
async fn the_sidecars_role_touches_no_table_and_sees_no_secret() {
    let stage = Stage::start().await;
    let sidecar = stage.db.session_as("sidecar").await;
    for table in ["endpoint", "event", "pending", "attempt", "cursor", "lease", "wakeup"] {
        assert_eq!(sidecar.fail(&format!("SELECT * FROM webhooks.{table}")).await.code, "42501", "{table}");
    }
    assert_eq!(sidecar.fail("SELECT webhooks.list()").await.code, "42501");
    assert_eq!(sidecar.fail("SELECT * FROM products").await.code, "42501");
}

#[tokio::test]
async fn an_application_role_cannot_mute_capture_until_it_was_granted() {
    let stage = Stage::start().await;
    let app = stage.db.session_as("app").await;
    app.run(PRODUCT).await;
    assert_eq!(app.fail("SET pg_webhooks.enabled = off").await.code, "42501");
    let newcomer = stage.db.session_as("app").await;
    // In a session that has not loaded the extension yet the name is not known, and SET takes any value.
    newcomer.run("SET pg_webhooks.enabled = off; UPDATE products SET price = 2").await;
    assert_eq!(stage.db.events().await, ["product.created", "product.updated"]);
}

#[tokio::test]
async fn a_trigger_of_ones_own_that_is_not_after_each_row_fails_the_statement_and_says_why() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run("CREATE TABLE mine (LIKE products INCLUDING DEFAULTS); ALTER TABLE mine OWNER TO manager").await;
    let manager = db.session_as("manager").await;
    let insert = "INSERT INTO mine (id, sku, name, price) VALUES (1, 'A', 'a', 1)";
    for fired in ["AFTER INSERT ON mine FOR EACH STATEMENT", "BEFORE INSERT ON mine FOR EACH ROW"] {
        let call = "EXECUTE FUNCTION webhooks.capture('{}')";
        manager.run(&format!("CREATE OR REPLACE TRIGGER own {fired} {call}")).await;
        let error = manager.fail(insert).await;
        assert!(error.message.contains("AFTER") && error.message.contains("FOR EACH ROW"), "{fired}: {error:?}");
    }
    manager.run(&format!("DROP TRIGGER own ON mine; SELECT webhooks.attach('mine', 'products'); {insert}")).await;
    assert_eq!(db.events().await, ["product.created"], "the session lives on");
}

#[tokio::test]
async fn a_statement_that_times_out_while_capture_waits_changes_nothing() {
    let db = Cluster::shared().await.database().await;
    db.run(&format!(
        "{PRODUCT}; INSERT INTO suppliers (id, name) VALUES (42, 's'); INSERT INTO imports (supplier_id) VALUES (42)"
    ))
    .await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let reprice = "UPDATE products SET price = price + 1";
    for (held, statement) in [
        ("LOCK TABLE webhooks.subscription IN ACCESS EXCLUSIVE MODE", reprice),
        // It lets the table be looked up, and has the query for the subscriptions wait.
        ("REINDEX INDEX webhooks.subscription_pattern", reprice),
        ("LOCK TABLE suppliers IN ACCESS EXCLUSIVE MODE", "UPDATE imports SET status = 'running'"),
    ] {
        let holder = db.session().await;
        holder.run(&format!("BEGIN; {held}")).await;
        let writer = db.session().await;
        for (limit, code) in [("statement_timeout", "57014"), ("lock_timeout", "55P03")] {
            writer.run(&format!("SET {limit} = '300ms'")).await;
            let error = timeout(Duration::from_secs(10), writer.fail(statement)).await;
            assert_eq!(error.expect("it does not go on waiting").code, code, "{held}");
            assert!(db.one::<bool>("SELECT status = 'pending' FROM imports").await, "{held}");
            writer.run(&format!("RESET {limit}")).await;
        }
        holder.run("ROLLBACK").await;
        writer.run(statement).await;
    }
    assert!(db.one::<bool>("SELECT price = 3 FROM products").await, "twice, of four times");
    assert_eq!(db.events().await, ["product.updated", "product.updated", "import.started"]);
}

#[tokio::test]
async fn an_error_that_an_application_retries_fails_the_statement_and_any_other_does_not() {
    let db = Cluster::shared().await.database().await;
    db.run(
        "INSERT INTO suppliers (id, name) VALUES (42, 's'); INSERT INTO imports (supplier_id) VALUES (42);
         CREATE FUNCTION fails() RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = current_setting('test.code'); END $$;
         CREATE POLICY failing ON suppliers USING (fails());
         ALTER TABLE suppliers OWNER TO manager;
         ALTER TABLE suppliers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    )
    .await;
    db.register("http://127.0.0.1:9/", "import.*", SECRET).await;
    let restart = "UPDATE imports SET status = 'pending'; UPDATE imports SET status = 'running'";
    for code in ["40001", "40P01", "53100", "53200", "55P03", "57014", "57P01"] {
        db.run(&format!("SET test.code = '{code}'")).await;
        let error = db.fail(restart).await;
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, "as told"));
    }
    assert_eq!(db.events().await, [""; 0]);
    for code in ["22012", "42501", "P0001"] {
        db.run(&format!("SET test.code = '{code}'; {restart}")).await;
        assert!(db.notices()[0].message.contains("as told"), "{code}");
    }
    assert_eq!(db.events().await, ["import.started"; 3], "without the supplier's name");
}
