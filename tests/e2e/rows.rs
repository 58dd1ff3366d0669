//! Whatever way a row changes, its event is made, once, and says what changed and who did it.

use serde_json::{Value, json};
use tests::{Cluster, Database, Receiver};

/// A database with one subscriber to everything and nobody who delivers: the event log shows what was captured.
async fn subscribed() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "*", "s").await;
    db
}

/// `data` of every event in the log, in its order.
async fn data(db: &Database<'_>) -> Vec<Value> {
    let bodies: Vec<String> = db.all("SELECT body FROM webhooks.event ORDER BY xid, seq").await;
    bodies.iter().map(|body| serde_json::from_str::<Value>(body).expect("JSON")["data"].clone()).collect()
}

/// The `key` of `data` of the last event.
async fn last(db: &Database<'_>, key: &str) -> Value {
    data(db).await.pop().expect("an event")[key].clone()
}

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";

#[tokio::test]
async fn the_actor_setting_comes_before_the_rows_column_and_that_before_the_session_user() {
    let db = subscribed().await;
    db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    assert_eq!(last(&db, "created_by").await, "postgres");
    db.run("INSERT INTO suppliers (name, created_by) VALUES ('s', 'the column')").await;
    assert_eq!(last(&db, "created_by").await, "the column");
    db.run("BEGIN; SET LOCAL pg_webhooks.actor = 'the setting'").await;
    db.run("INSERT INTO suppliers (name, created_by) VALUES ('s', 'the column')").await;
    db.run("UPDATE suppliers SET name = 't', updated_by = 'the column' WHERE id = 1; COMMIT").await;
    let made = data(&db).await;
    assert_eq!(made[2]["created_by"], "the setting");
    assert_eq!(made[3]["updated_by"], "the setting");
    db.run("UPDATE suppliers SET name = 'u' WHERE id = 1").await;
    assert_eq!(last(&db, "updated_by").await, "the column");
}

#[tokio::test]
async fn the_session_user_is_named_where_set_role_changed_the_current_one() {
    let db = subscribed().await;
    db.run("SET ROLE app; INSERT INTO suppliers (name) VALUES ('s'); RESET ROLE").await;
    assert_eq!(last(&db, "created_by").await, "postgres");
}

#[tokio::test]
async fn the_reason_is_null_unless_set_and_ends_with_its_transaction() {
    let db = subscribed().await;
    db.run(&format!("{PRODUCT}; DELETE FROM products")).await;
    assert_eq!(last(&db, "reason").await, Value::Null);
    db.run(&format!("{PRODUCT}; BEGIN; SET LOCAL pg_webhooks.reason = 'sold out'; DELETE FROM products; COMMIT")).await;
    assert_eq!(last(&db, "reason").await, "sold out");
    db.run(&format!("{PRODUCT}; DELETE FROM products")).await;
    assert_eq!(last(&db, "reason").await, Value::Null);
}

#[tokio::test]
async fn an_update_says_only_what_changed() {
    let db = subscribed().await;
    db.run("INSERT INTO products (sku, name, price, stock) VALUES ('A', 'a', 1, 7)").await;
    db.run("UPDATE products SET sku = 'A', name = 'b', price = 1.00, stock = 7, updated_at = now()").await;
    assert_eq!(last(&db, "changes").await, json!({"name": {"old": "a", "new": "b"}}));
    db.run("UPDATE products SET supplier_id = NULL, name = 'b', min_stock = 2").await;
    assert_eq!(last(&db, "changes").await, json!({"min_stock": {"old": 0, "new": 2}}));
}

#[tokio::test]
async fn changes_to_and_from_null_are_changes() {
    let db = subscribed().await;
    db.run("INSERT INTO suppliers (name) VALUES ('s'); UPDATE suppliers SET import_schedule = 'daily'").await;
    assert_eq!(last(&db, "changes").await, json!({"import_schedule": {"old": null, "new": "daily"}}));
    db.run("UPDATE suppliers SET import_schedule = NULL").await;
    assert_eq!(last(&db, "changes").await, json!({"import_schedule": {"old": "daily", "new": null}}));
}

#[tokio::test]
async fn bookkeeping_columns_alone_are_no_event() {
    let db = subscribed().await;
    db.run(PRODUCT).await;
    db.run("UPDATE products SET updated_at = now() + interval '1 day', updated_by = 'me'").await;
    assert_eq!(db.events().await, ["product.created"]);
}

#[tokio::test]
async fn a_supplier_is_named_through_the_foreign_key_wherever_it_lives() {
    let db = subscribed().await;
    db.run(
        "CREATE SCHEMA shop;
         CREATE TABLE shop.vendors (id int PRIMARY KEY, name text NOT NULL);
         CREATE TABLE shop.jobs (LIKE imports INCLUDING DEFAULTS);
         ALTER TABLE shop.jobs ALTER supplier_id TYPE int, ADD FOREIGN KEY (supplier_id) REFERENCES shop.vendors;
         SELECT webhooks.attach('shop.jobs', 'imports');
         INSERT INTO shop.vendors VALUES (7, 'Vendeur');
         INSERT INTO shop.jobs (id, supplier_id, status) VALUES (1, 7, 'running')",
    )
    .await;
    assert_eq!(last(&db, "supplier_name").await, "Vendeur");
}

#[tokio::test]
async fn a_supplier_is_named_by_a_column_that_is_not_ascii() {
    let db = subscribed().await;
    db.run(
        r#"ALTER TABLE suppliers RENAME name TO "dénomination";
           SELECT webhooks.attach('suppliers', columns => '{"name": "dénomination"}');
           INSERT INTO suppliers (id, "dénomination") VALUES (42, 'Société « É »');
           INSERT INTO imports (supplier_id, status) VALUES (42, 'running')"#,
    )
    .await;
    assert_eq!(last(&db, "supplier_name").await, "Société « É »");
}

#[tokio::test]
async fn a_supplier_is_named_whichever_partition_it_is_in() {
    let db = subscribed().await;
    // As in a catalogue of some size: by index, in which this constraint comes behind those of its partitions.
    db.run("SET enable_seqscan = off; SET enable_bitmapscan = off").await;
    db.run(
        "CREATE TABLE vendors (id bigint PRIMARY KEY, name text NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE vendors_low PARTITION OF vendors FOR VALUES FROM (0) TO (100);
         CREATE TABLE vendors_high PARTITION OF vendors FOR VALUES FROM (100) TO (200);
         CREATE TABLE jobs (LIKE imports INCLUDING DEFAULTS);
         ALTER TABLE jobs ADD CONSTRAINT supplied_by FOREIGN KEY (supplier_id) REFERENCES vendors;
         SELECT webhooks.attach('jobs', 'imports');
         INSERT INTO vendors VALUES (7, 'low'), (107, 'high');
         INSERT INTO jobs (id, supplier_id, status) VALUES (1, 7, 'running'), (2, 107, 'running')",
    )
    .await;
    let made = data(&db).await;
    assert_eq!([&made[0]["supplier_name"], &made[1]["supplier_name"]], ["low", "high"]);
}

#[tokio::test]
async fn a_supplier_is_named_in_a_session_that_knew_its_table_by_another_name() {
    let db = subscribed().await;
    db.run("INSERT INTO suppliers (id, name) VALUES (42, 'Fournisseur'); CREATE SCHEMA shop").await;
    let writer = db.session().await;
    for rename in ["ALTER TABLE suppliers RENAME TO vendors", "ALTER TABLE vendors SET SCHEMA shop"] {
        writer.run("INSERT INTO imports (supplier_id, status) VALUES (42, 'running')").await;
        db.run(rename).await;
        writer.run("INSERT INTO imports (supplier_id, status) VALUES (42, 'running')").await;
        assert_eq!(last(&db, "supplier_name").await, "Fournisseur", "{rename}");
    }
}

/// Lets imports refer to a table in a schema of `shop_owner`, who has a function that makes them a superuser if anybody calls
/// it who may.
async fn with_a_shop(db: &Database<'_>) {
    db.run(
        "DO $$ BEGIN CREATE ROLE shop_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         CREATE SCHEMA shop AUTHORIZATION shop_owner;
         CREATE TABLE shop.suppliers (id bigint PRIMARY KEY, name text);
         INSERT INTO shop.suppliers VALUES (7, 'Fournisseur');
         ALTER TABLE imports DROP CONSTRAINT imports_supplier_id_fkey, ADD FOREIGN KEY (supplier_id) REFERENCES shop.suppliers;
         CREATE FUNCTION shop.gain() RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN EXECUTE 'ALTER ROLE shop_owner SUPERUSER'; RETURN 'gained'; END $$;
         ALTER FUNCTION shop.gain() OWNER TO shop_owner",
    )
    .await;
}

const IMPORT: &str = "INSERT INTO imports (supplier_id, status) VALUES (7, 'running')";
const HAS_GAINED: &str = "SELECT rolsuper FROM pg_roles WHERE rolname = 'shop_owner'";

#[tokio::test]
async fn a_cast_that_the_suppliers_owner_defines_is_not_called() {
    let db = subscribed().await;
    with_a_shop(&db).await;
    db.run(
        "ALTER TABLE shop.suppliers OWNER TO shop_owner;
         SET ROLE shop_owner;
         CREATE TYPE shop.brand AS (words text);
         CREATE FUNCTION shop.to_text(shop.brand) RETURNS text LANGUAGE sql AS 'SELECT shop.gain()';
         CREATE CAST (shop.brand AS text) WITH FUNCTION shop.to_text(shop.brand);
         ALTER TABLE shop.suppliers ALTER name TYPE shop.brand USING row(name)::shop.brand;
         RESET ROLE",
    )
    .await;
    db.run(IMPORT).await;
    assert!(!db.one::<bool>(HAS_GAINED).await);
    assert_eq!(last(&db, "supplier_name").await, "(Fournisseur)");
}

#[tokio::test]
async fn a_view_with_the_former_name_of_the_suppliers_is_not_read() {
    let db = subscribed().await;
    with_a_shop(&db).await;
    let writer = db.session().await;
    writer.run(IMPORT).await;
    db.run(&format!(
        "GRANT CREATE ON DATABASE {} TO shop_owner;
         SET ROLE shop_owner;
         ALTER SCHEMA shop RENAME TO store;
         CREATE SCHEMA shop;
         CREATE VIEW shop.suppliers AS SELECT 7::bigint AS id, store.gain() AS name;
         RESET ROLE",
        db.name()
    ))
    .await;
    writer.run(IMPORT).await;
    assert!(!db.one::<bool>(HAS_GAINED).await);
    assert_eq!(last(&db, "supplier_name").await, "Fournisseur");
}

#[tokio::test]
async fn a_supplier_is_named_with_the_rights_of_its_own_tables_owner() {
    let db = subscribed().await;
    with_a_shop(&db).await;
    db.run(
        "GRANT USAGE ON SCHEMA shop TO app;
         GRANT REFERENCES ON shop.suppliers TO app;
         ALTER TABLE imports OWNER TO app;
         ALTER TABLE shop.suppliers OWNER TO shop_owner, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON shop.suppliers USING (current_user = 'shop_owner')",
    )
    .await;
    db.session_as("app").await.run(IMPORT).await;
    assert_eq!(last(&db, "supplier_name").await, "Fournisseur");
}

#[tokio::test]
async fn a_suppliers_name_of_any_type_is_a_string_as_the_type_prints_it() {
    let db = subscribed().await;
    db.run("INSERT INTO suppliers (id, name) VALUES (7, '42'); SET IntervalStyle = iso_8601").await;
    for (sort, expected) in [("int", "42"), ("char(6)", "42"), ("interval", "00:00:42")] {
        db.run(&format!("ALTER TABLE suppliers ALTER name TYPE {sort} USING trim(name::text)::{sort}; {IMPORT}")).await;
        assert_eq!(last(&db, "supplier_name").await, expected, "{sort}");
    }
}

#[tokio::test]
async fn a_supplier_that_the_same_statement_inserts_is_named() {
    let db = subscribed().await;
    for checked in ["NOT DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"] {
        db.run(&format!("ALTER TABLE imports ALTER CONSTRAINT imports_supplier_id_fkey {checked}")).await;
        db.run(&format!(
            "WITH s AS (INSERT INTO suppliers (name) VALUES ('{checked}') RETURNING id)
             INSERT INTO imports (supplier_id, status) SELECT id, 'running' FROM s"
        ))
        .await;
        assert_eq!(last(&db, "supplier_name").await, checked);
    }
}

#[tokio::test]
async fn columns_of_other_names_are_read_as_the_specifications_fields() {
    let db = subscribed().await;
    db.run(
        r#"CREATE TABLE goods (id int PRIMARY KEY, sku text, name text, price numeric, "Qty on hand" int, min_stock int, supplier_id int);
           SELECT webhooks.attach('goods', 'products', '{"stock": "Qty on hand"}');
           INSERT INTO goods VALUES (1, 'G', 'g', 2.5, 10, 10, NULL);
           UPDATE goods SET "Qty on hand" = 9"#,
    )
    .await;
    assert_eq!(db.events().await, ["product.created", "product.updated", "stock.low_alert"]);
    let made = data(&db).await;
    assert_eq!(made[0]["price"], json!(2.5));
    assert_eq!(made[1]["changes"], json!({"stock": {"old": 10, "new": 9}}));
    assert_eq!(made[2]["current_stock"], 9);
}

#[tokio::test]
async fn rows_of_a_partitioned_table_are_captured_whichever_way_they_are_written() {
    let db = subscribed().await;
    db.run(
        "CREATE TABLE parted (LIKE products) PARTITION BY RANGE (id);
         CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products');
         CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
         INSERT INTO parted (id, sku, name, price, stock, min_stock, created_at, updated_at)
         VALUES (1, 'A', 'a', 1, 0, 0, now(), now());
         INSERT INTO parted_high (id, sku, name, price, stock, min_stock, created_at, updated_at)
         VALUES (100, 'B', 'b', 1, 0, 0, now(), now());
         UPDATE parted SET price = 2;
         DELETE FROM parted_high",
    )
    .await;
    let expected = ["product.created", "product.created", "product.updated", "product.updated", "product.deleted"];
    assert_eq!(db.events().await, expected);
    let made = data(&db).await;
    assert_eq!([&made[0]["product_id"], &made[1]["product_id"]], [1, 100]);
    assert_eq!(made[4]["sku"], "B");
}

#[tokio::test]
async fn copied_rows_are_captured() {
    let db = subscribed().await;
    db.run(r"COPY products (sku, name, price) FROM PROGRAM 'printf ''A,a,1\nB,b,2\nC,c,3\n''' WITH (FORMAT csv)").await;
    assert_eq!(db.events().await, ["product.created"; 3]);
}

#[tokio::test]
async fn rows_that_merge_writes_are_captured_for_what_became_of_them() {
    let db = subscribed().await;
    if db.one::<i32>("SELECT current_setting('server_version_num')::int").await < 150_000 {
        return;
    }
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1), ('B', 'b', 1)").await;
    db.run(
        "MERGE INTO products p USING (VALUES ('A', 9), ('B', NULL), ('C', 3)) AS n (sku, price) ON n.sku = p.sku
          WHEN MATCHED AND n.price IS NULL THEN DELETE
          WHEN MATCHED THEN UPDATE SET price = n.price
          WHEN NOT MATCHED THEN INSERT (sku, name, price) VALUES (n.sku, 'new', n.price)",
    )
    .await;
    let mut events = db.events().await.split_off(2);
    events.sort();
    assert_eq!(events, ["product.created", "product.deleted", "product.updated"]);
}

#[tokio::test]
async fn an_upsert_is_an_insert_or_an_update_or_nothing() {
    let db = subscribed().await;
    let upsert = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 2)
                  ON CONFLICT (sku) DO UPDATE SET price = excluded.price";
    db.run(&format!("{upsert}; {upsert}; {PRODUCT} ON CONFLICT DO NOTHING; UPDATE products SET price = 1; {upsert}"))
        .await;
    assert_eq!(db.events().await, ["product.created", "product.updated", "product.updated"]);
    assert_eq!(last(&db, "changes").await, json!({"price": {"old": 1, "new": 2}}));
}

#[tokio::test]
async fn rows_written_in_functions_and_by_other_triggers_are_captured() {
    let db = subscribed().await;
    db.run(
        "CREATE FUNCTION restock() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE products SET stock = stock + 1 WHERE supplier_id = new.id; RETURN NULL; END $$;
         CREATE TRIGGER restock AFTER UPDATE ON suppliers FOR EACH ROW EXECUTE FUNCTION restock();
         CREATE FUNCTION sell(item text) RETURNS void LANGUAGE sql AS $$ DELETE FROM products WHERE sku = item $$;
         INSERT INTO suppliers (id, name) VALUES (1, 's');
         INSERT INTO products (sku, name, price, supplier_id) VALUES ('A', 'a', 1, 1);
         UPDATE suppliers SET name = 't';
         SELECT sell('A')",
    )
    .await;
    let mut events = db.events().await;
    events.sort();
    let expected = ["product.created", "product.deleted", "product.updated", "supplier.created", "supplier.updated"];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_before_triggers_work_is_in_the_event() {
    let db = subscribed().await;
    db.run(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.name := upper(new.name); RETURN new; END $$;
         CREATE TRIGGER shout BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION shout()",
    )
    .await;
    db.run(PRODUCT).await;
    assert_eq!(last(&db, "name").await, "A");
}

#[tokio::test]
async fn rows_written_before_and_after_a_column_was_added_and_dropped_are_read_right() {
    let db = subscribed().await;
    db.run(PRODUCT).await;
    db.run("ALTER TABLE products ADD colour text DEFAULT 'red', DROP COLUMN created_at").await;
    db.run("UPDATE products SET colour = 'blue'").await;
    assert_eq!(last(&db, "changes").await, json!({"colour": {"old": "red", "new": "blue"}}));
    db.run("ALTER TABLE products RENAME colour TO color; ALTER TABLE products ALTER color TYPE varchar(10)").await;
    db.run("UPDATE products SET color = 'green'").await;
    assert_eq!(last(&db, "changes").await, json!({"color": {"old": "blue", "new": "green"}}));
}

#[tokio::test]
async fn toasted_values_are_compared_and_sent_whole() {
    let db = subscribed().await;
    db.run("INSERT INTO products (sku, name, price) SELECT 'A', string_agg(md5(i::text), ''), 1 FROM generate_series(1, 3000) i")
        .await;
    db.run("UPDATE products SET price = 2").await;
    assert_eq!(
        last(&db, "changes").await,
        json!({"price": {"old": 1, "new": 2}}),
        "the untouched long name is no change"
    );
    db.run("UPDATE products SET name = name || 'é'").await;
    let changes = last(&db, "changes").await;
    let new = changes["name"]["new"].as_str().expect("a string");
    assert_eq!(new.chars().count(), 96_001);
    assert!(db.one::<bool>("SELECT octet_length(name) = 96002 FROM products").await);
}

#[tokio::test]
async fn a_range_of_times_is_the_same_in_every_time_zone() {
    let db = subscribed().await;
    db.run(&format!("ALTER TABLE products ADD sale tstzrange; {PRODUCT}")).await;
    for zone in ["Asia/Kolkata", "America/New_York"] {
        db.run(&format!("SET timezone = '{zone}'; UPDATE products SET sale = '[2025-10-05 10:30Z,)'")).await;
        let sale = json!({"old": null, "new": "[\"2025-10-05 10:30:00+00\",)"});
        assert_eq!(last(&db, "changes").await, json!({"sale": sale}), "{zone}");
        db.run("UPDATE products SET sale = NULL").await;
    }
}
