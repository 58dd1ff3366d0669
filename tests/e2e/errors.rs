//! Bad input: each with its SQLSTATE, a message that names the bad value, a hint that says what to do, and nothing
//! changed.

use tests::{Cluster, Database, SECRET};

const INVALID: &str = "22023";
const IS_NULL: &str = "22004";
const UNDEFINED_OBJECT: &str = "42704";
const UNDEFINED_COLUMN: &str = "42703";
const WRONG_OBJECT: &str = "42809";
const RESERVED: &str = "42939";
const NO_RIGHT: &str = "42501";

/// A statement, and what its error must say.
struct Case {
    sql: String,
    code: &'static str,
    /// Each is in the message.
    names: &'static [&'static str],
    /// Each is in the hint.
    hints: &'static [&'static str],
}

fn case(
    sql: impl Into<String>,
    code: &'static str,
    names: &'static [&'static str],
    hints: &'static [&'static str],
) -> Case {
    Case { sql: sql.into(), code, names, hints }
}

/// All that a failed statement could have changed.
async fn state(db: &Database<'_>) -> Vec<String> {
    db.all(
        "SELECT e::text FROM webhooks.endpoint e
          UNION ALL SELECT body FROM webhooks.event
          UNION ALL SELECT p::text FROM webhooks.pending p
          UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = '!webhooks_capture'
          ORDER BY 1",
    )
    .await
}

async fn assert_refused(db: &Database<'_>, cases: &[Case]) {
    let before = state(db).await;
    for Case { sql, code, names, hints } in cases {
        let error = db.fail(sql).await;
        assert_eq!(error.code, *code, "{sql}: {error:?}");
        for name in *names {
            assert!(error.message.contains(name), "{sql}: the message names {name:?}: {error:?}");
        }
        assert!(!error.hint.is_empty(), "{sql}: there is a hint: {error:?}");
        for hint in *hints {
            assert!(error.hint.contains(hint), "{sql}: the hint says {hint:?}: {error:?}");
        }
        assert!(!error.message.contains("panic"), "{sql}: {error:?}");
        let ours = ["/src/", " FROM "];
        assert!(!ours.iter().any(|code| error.more.contains(code)), "{sql}: it shows code of ours: {error:?}");
    }
    assert_eq!(state(db).await, before, "nothing changed");
}

fn register(url: &str) -> String {
    format!("SELECT webhooks.register({url}, '{{*}}')")
}

fn subscribe(events: &str) -> String {
    format!("SELECT webhooks.register('http://127.0.0.1:9/', {events})")
}

#[tokio::test]
async fn a_bad_url_is_refused() {
    let db = Cluster::shared().await.database().await;
    assert_refused(
        &db,
        &[
            case(register("'not a url'"), INVALID, &["not a url"], &["http"]),
            case(register("'//example.com/x'"), INVALID, &["//example.com/x"], &["http"]),
            case(register("'http://'"), INVALID, &["http://"], &[]),
            case(register("'https://exa mple.com/'"), INVALID, &["exa mple"], &[]),
            case(register("'http://example.com:99999/'"), INVALID, &["99999"], &[]),
            case(register("'ftp://example.com/x'"), INVALID, &["ftp"], &["http"]),
            case(register("'javascript:alert(1)'"), INVALID, &["javascript"], &["http"]),
            case(register("'https://user:pass@example.com/'"), INVALID, &["example.com"], &[]),
            case(register("'https://user@example.com/'"), INVALID, &["example.com"], &[]),
            case(register("''"), INVALID, &[], &["http"]),
            case(register("'   '"), INVALID, &[], &["http"]),
            case(register("NULL"), IS_NULL, &["url"], &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_password_in_a_url_is_not_repeated_in_the_error() {
    let db = Cluster::shared().await.database().await;
    let error = db.fail(&register("'https://user:hunter2@example.com/'")).await;
    assert!(!error.message.contains("hunter2") && !error.hint.contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn unknown_events_are_refused_and_the_hint_lists_the_known() {
    let db = Cluster::shared().await.database().await;
    let known: &[&str] = &[
        "import.started",
        "import.completed",
        "import.failed",
        "product.created",
        "product.updated",
        "product.deleted",
        "supplier.created",
        "supplier.updated",
        "stock.low_alert",
    ];
    assert_refused(
        &db,
        &[
            case(subscribe("'{product.exploded}'"), INVALID, &["product.exploded"], known),
            case(subscribe("'{product.created, products.*}'"), INVALID, &["products.*"], known),
            case(subscribe("'{product}'"), INVALID, &["product"], known),
            case(subscribe("'{*.created}'"), INVALID, &["*.created"], known),
            case(subscribe("'{PRODUCT.CREATED}'"), INVALID, &["PRODUCT.CREATED"], known),
            case(subscribe("'{\"\"}'"), INVALID, &[], known),
            case(subscribe("'{}'"), INVALID, &[], known),
            case(subscribe("'{product.created, NULL}'"), INVALID, &["events"], known),
            case(subscribe("NULL"), INVALID, &["events"], known),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_bad_secret_is_refused_and_not_repeated() {
    let db = Cluster::shared().await.database().await;
    let sql = "SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 'whsec_not/base64!')";
    let long = "SELECT webhooks.register('http://127.0.0.1:9/', '{*}', repeat('s', 1001))";
    assert_refused(
        &db,
        &[
            case(sql, INVALID, &["whsec_"], &["base64"]),
            case(long, INVALID, &["1000 bytes", "1001"], &["generate_secret"]),
        ],
    )
    .await;
    let error = db.fail(sql).await;
    assert!(!error.message.contains("not/base64!"), "{error:?}");
}

#[tokio::test]
async fn an_unknown_endpoint_is_named_and_a_message_id_is_told_from_an_endpoints() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let message: String = db.one("SELECT webhooks.emit('a.b', '{}')").await;
    let mut cases = Vec::new();
    for call in ["update", "delete", "get", "test", "logs"] {
        cases.push(case(
            format!("SELECT webhooks.{call}('ep_unknown')"),
            UNDEFINED_OBJECT,
            &["ep_unknown"],
            &["webhooks.list()"],
        ));
        cases.push(case(format!("SELECT webhooks.{call}('{message}')"), INVALID, &["wh_"], &["ep_", "wh_"]));
        cases.push(case(format!("SELECT webhooks.{call}('')"), UNDEFINED_OBJECT, &[], &["webhooks.list()"]));
        cases.push(case(format!("SELECT webhooks.{call}(NULL)"), UNDEFINED_OBJECT, &["NULL"], &["webhooks.list()"]));
    }
    assert_refused(&db, &cases).await;
}

#[tokio::test]
async fn an_update_with_one_bad_value_changes_none() {
    let db = Cluster::shared().await.database().await;
    let id = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let update = |change: &str| format!("SELECT webhooks.update('{id}', active => false, {change})");
    assert_refused(
        &db,
        &[
            case(update("url => 'ftp://x/'"), INVALID, &["ftp"], &["http"]),
            case(update("events => '{product.exploded}'"), INVALID, &["product.exploded"], &["product.created"]),
            case(update("events => '{}'"), INVALID, &[], &["product.created"]),
            case(update("secret => 'whsec_!'"), INVALID, &[], &["base64"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_test_of_a_disabled_endpoint_is_refused() {
    let db = Cluster::shared().await.database().await;
    let id = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(&format!("SELECT webhooks.update('{id}', active => false)")).await;
    let sql = format!("SELECT webhooks.test('{id}')");
    assert_refused(&db, &[case(sql, "55000", &["disabled"], &["active => true"])]).await;
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    let db = Cluster::shared().await.database().await;
    db.run(
        "CREATE VIEW shown AS SELECT * FROM products;
         CREATE MATERIALIZED VIEW kept AS SELECT * FROM products;
         CREATE TABLE lacking (id int, price numeric);
         CREATE TEMP TABLE passing (LIKE products);
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE far (id int) SERVER nowhere;
         CREATE SEQUENCE counted;
         CREATE TABLE parted (LIKE products) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products');
         CREATE TABLE above (LIKE products) PARTITION BY RANGE (id);
         CREATE TABLE within PARTITION OF above FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('within', 'products');
         CREATE TABLE goods (id int, sku text, name text, price numeric, qty int, min_stock int, supplier_id int)",
    )
    .await;
    let mapped = |columns: &str| format!("SELECT webhooks.attach('goods', 'products', '{columns}')");
    assert_refused(
        &db,
        &[
            case("SELECT webhooks.attach('shown', 'products')", WRONG_OBJECT, &["shown", "a view"], &["tables"]),
            case("SELECT webhooks.attach('kept', 'products')", WRONG_OBJECT, &["kept", "materialized"], &["tables"]),
            case("SELECT webhooks.attach('far', 'products')", WRONG_OBJECT, &["far", "foreign"], &["install"]),
            case(
                "SELECT webhooks.attach('counted', 'products')",
                WRONG_OBJECT,
                &["counted", "not a table"],
                &["table"],
            ),
            case(
                "SELECT webhooks.attach('passing', 'products')",
                WRONG_OBJECT,
                &["passing", "temporary"],
                &["ordinary"],
            ),
            case("SELECT webhooks.attach('pg_class', 'products')", WRONG_OBJECT, &["pg_class", "Postgres"], &["own"]),
            case("SELECT webhooks.attach('webhooks.attempt', 'products')", WRONG_OBJECT, &["attempt"], &["logs()"]),
            case("SELECT webhooks.attach('part', 'products')", WRONG_OBJECT, &["part", "parted"], &["already"]),
            case("SELECT webhooks.detach('part')", WRONG_OBJECT, &["part", "parted"], &["detach('public.parted')"]),
            case("SELECT webhooks.attach('above', 'products')", "42710", &["within", "above"], &["detach"]),
            case(
                "SELECT webhooks.attach('lacking', 'products')",
                UNDEFINED_COLUMN,
                &["lacking", "sku", "name"],
                &["columns =>"],
            ),
            case("SELECT webhooks.attach('goods')", INVALID, &["goods"], &["products, suppliers, imports"]),
            case("SELECT webhooks.attach('goods', 'orders')", INVALID, &["orders"], &["products, suppliers, imports"]),
            case("SELECT webhooks.attach(NULL)", IS_NULL, &[], &["webhooks.attach"]),
            case(mapped(r#"{"stok": "qty", "prise": "price"}"#), INVALID, &["stok", "prise"], &["stock", "price"]),
            case(mapped(r#"{"stock": "quantity"}"#), UNDEFINED_COLUMN, &["quantity"], &["columns =>"]),
            case(mapped(r#"{"stock": 5}"#), INVALID, &["5"], &["columns =>"]),
            case(mapped(r#"["stock"]"#), INVALID, &["stock"], &["columns =>"]),
            case(
                "SELECT webhooks.attach('suppliers', include => '{name}', exclude => '{name}')",
                INVALID,
                &["include", "exclude"],
                &["include"],
            ),
            case(
                "SELECT webhooks.attach('suppliers', exclude => '{nots, name, import_schedule}')",
                UNDEFINED_COLUMN,
                &["nots", "exclude"],
                &["columns"],
            ),
            case(
                "SELECT webhooks.attach('suppliers', exclude => '{name, import_schedule}')",
                INVALID,
                &["name", "import_schedule"],
                &["changes"],
            ),
            case("SELECT webhooks.attach('suppliers', include => '{nme}')", UNDEFINED_COLUMN, &["nme", "include"], &[]),
            case("SELECT webhooks.detach('goods')", UNDEFINED_OBJECT, &["goods"], &["attach"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_table_of_someone_else_is_not_attached() {
    let db = Cluster::shared().await.database().await;
    db.run("GRANT ALL ON products TO manager; SELECT webhooks.detach('products')").await;
    let manager = db.session_as("manager").await;
    let error = manager.fail("SELECT webhooks.attach('products')").await;
    assert_eq!(error.code, NO_RIGHT);
    assert!(error.message.contains("products") && error.hint.contains("postgres"), "{error:?}");
    manager.run("SET ROLE webhooks_admin").await;
    assert_eq!(manager.fail("SELECT webhooks.attach('products')").await.code, NO_RIGHT);
    assert!(state(&db).await.iter().all(|row| !row.contains("ON public.products")));
}

#[tokio::test]
async fn what_cannot_be_emitted_is_refused() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let emit = |event: &str, data: &str| format!("SELECT webhooks.emit({event}, {data})");
    assert_refused(
        &db,
        &[
            case(emit("'product.created'", "'{}'"), RESERVED, &["product.created"], &[]),
            case(emit("'webhook.test'", "'{}'"), RESERVED, &["webhook.test"], &[]),
            case(emit("'order.paid'", "'[1]'"), INVALID, &[], &["object"]),
            case(emit("'order.paid'", "'\"text\"'"), INVALID, &[], &["object"]),
            case(emit("'order.paid'", "'null'"), INVALID, &[], &["object"]),
            case(emit("'order.paid'", "NULL"), IS_NULL, &[], &[]),
            case(emit("NULL", "'{}'"), IS_NULL, &[], &[]),
            case(emit("''", "'{}'"), INVALID, &[], &[]),
            case(emit("'order paid'", "'{}'"), INVALID, &["order paid"], &[]),
            case(emit("'*'", "'{}'"), INVALID, &["*"], &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_bad_setting_is_refused_and_named() {
    let db = Cluster::shared().await.database().await;
    db.run("SELECT webhooks.sign('load', 'it')").await;
    for (setting, value) in [
        ("retry_schedule", "1min, soon"),
        ("retry_schedule", "-1min"),
        ("request_timeout", "tomorrow"),
        ("request_timeout", "0"),
        ("event_retention", "a while"),
        ("enabled", "perhaps"),
        ("max_body", "1kB"),
    ] {
        let error = db.fail(&format!("SET pg_webhooks.{setting} = '{value}'")).await;
        assert_eq!(error.code, INVALID, "{setting} = {value}: {error:?}");
        assert!(error.message.contains(&format!("pg_webhooks.{setting}")), "{error:?}");
    }
}

#[tokio::test]
async fn an_error_of_postgres_that_comes_through_our_code_shows_none_of_it() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let holder = db.session().await;
    holder.run("BEGIN; LOCK TABLE webhooks.subscription").await;
    for statement in [
        "BEGIN READ ONLY; SELECT webhooks.emit('a.b', '{}')",
        "ROLLBACK; SET lock_timeout = '100ms'; INSERT INTO suppliers (name) VALUES ('s')",
    ] {
        let error = db.fail(statement).await;
        assert!(!error.more.contains("/"), "paths of the machine that built it: {error:?}");
    }
}

#[tokio::test]
async fn a_number_of_rows_that_cannot_be_is_refused() {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let mut cases = Vec::new();
    for (rows, names) in [("-1", &["-1"]), ("NULL", &["NULL"])] {
        for call in [
            format!("logs('{endpoint}', {rows})"),
            format!("attempts(max_rows => {rows})"),
            format!("events(max_rows => {rows})"),
            format!("health(recent => {rows})"),
        ] {
            cases.push(case(format!("SELECT webhooks.{call}"), INVALID, names, &["how many rows"]));
        }
    }
    assert_refused(&db, &cases).await;
    for call in ["attempts(max_rows => 2147483647)", "events(max_rows => 0)", "health(recent => 2147483647)"] {
        db.run(&format!("SELECT webhooks.{call}")).await;
    }
}
