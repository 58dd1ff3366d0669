//! What becomes of an attached table: columns renamed, dropped and retyped, copies of the database, other triggers.

use serde_json::{Value, json};
use tests::{Cluster, CommandLine, Database, SECRET, Stage};

async fn subscribed() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db
}

/// The `data` of every event in the log, in its order.
async fn data(db: &Database<'_>) -> Vec<Value> {
    let bodies: Vec<String> = db.all("SELECT body FROM webhooks.event ORDER BY xid, seq").await;
    bodies.iter().map(|body| serde_json::from_str::<Value>(body).expect("JSON")["data"].clone()).collect()
}

const INSERT: &str = "INSERT INTO products (sku, name, price, stock, min_stock) VALUES ('A', 'a', 1, 10, 10)";

#[tokio::test]
async fn a_renamed_column_goes_on_as_the_field_that_it_was() {
    let db = subscribed().await;
    let open = db.session().await;
    open.run(INSERT).await;
    db.run("ALTER TABLE products RENAME stock TO qty; ALTER TABLE products RENAME sku TO reference").await;
    open.run("UPDATE products SET qty = 9").await;
    db.run("UPDATE products SET price = 2; DELETE FROM products").await;
    let expected = ["product.created", "product.updated", "stock.low_alert", "product.updated", "product.deleted"];
    assert_eq!(db.events().await, expected);
    let made = data(&db).await;
    assert_eq!(made[1]["changes"], json!({"stock": {"old": 10, "new": 9}}));
    assert_eq!(made[2]["current_stock"], 9);
    assert_eq!(made[4]["sku"], "A");
}

#[tokio::test]
async fn a_column_renamed_above_a_partition_is_followed_in_it() {
    let db = subscribed().await;
    db.run(
        "CREATE TABLE parted (id int, sku text, name text, price numeric, stock int, min_stock int, supplier_id int)
             PARTITION BY RANGE (id);
         CREATE TABLE part (gone int, min_stock int, stock int, supplier_id int, price numeric, name text, sku text, id int);
         ALTER TABLE part DROP gone;
         ALTER TABLE parted ATTACH PARTITION part FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products');
         ALTER TABLE parted RENAME stock TO qty;
         INSERT INTO parted VALUES (1, 'A', 'a', 1, 10, 10, 7);
         UPDATE parted SET qty = 9",
    )
    .await;
    assert_eq!(db.events().await, ["product.created", "product.updated", "stock.low_alert"]);
    let made = data(&db).await;
    assert_eq!(made[1]["changes"], json!({"stock": {"old": 10, "new": 9}}));
    assert_eq!([&made[2]["current_stock"], &made[2]["threshold"]], [9, 10]);
}

#[tokio::test]
async fn a_dropped_column_ends_the_events_that_need_it_and_no_others() {
    let db = subscribed().await;
    db.run("ALTER TABLE products DROP min_stock; INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    db.run("UPDATE products SET stock = 1; DELETE FROM products").await;
    assert_eq!(db.events().await, ["product.created", "product.updated", "product.deleted"]);
    db.run("ALTER TABLE products DROP name; INSERT INTO products (sku, price) VALUES ('A', 1); DELETE FROM products")
        .await;
    assert_eq!(db.events().await[3..], ["product.deleted"], "created holds the name");
}

#[tokio::test]
async fn no_other_column_takes_the_place_of_one_that_is_gone() {
    let db = subscribed().await;
    // It has become another field, another kind of value, or a new column has its name.
    db.run("ALTER TABLE products DROP min_stock; ALTER TABLE products RENAME stock TO min_stock").await;
    db.run(INSERT.replace("stock, min_stock", "min_stock").replace(", 10, 10", ", 10").as_str()).await;
    assert_eq!(db.events().await, ["product.created"]);
    db.run("ALTER TABLE products RENAME name TO label; ALTER TABLE products ALTER label TYPE int USING 1").await;
    db.run("DELETE FROM products; INSERT INTO products (sku, label, price) VALUES ('B', 5, 1)").await;
    assert_eq!(db.events().await, ["product.created", "product.deleted"]);
    db.run("ALTER TABLE products ADD name text; ALTER TABLE products RENAME sku TO old_sku; ALTER TABLE products ADD sku text")
        .await;
    db.run("INSERT INTO products (sku, old_sku, name, label, price) VALUES ('new', 'old', 'n', 1, 1)").await;
    let made = data(&db).await;
    assert_eq!([&made[2]["sku"], &made[2]["name"]], ["new", "n"]);
}

#[tokio::test]
async fn after_dump_and_restore_names_count() {
    let db = subscribed().await;
    // The restored table has no dropped column, so its columns have other numbers.
    db.run(
        "CREATE TABLE goods (gone int, id int, sku text, name text, price numeric, stock int, reserved int, min_stock int,
                             supplier_id int);
         SELECT webhooks.attach('goods', 'products');
         ALTER TABLE goods DROP gone;
         ALTER TABLE goods RENAME stock TO qty",
    )
    .await;
    let restored = Cluster::shared().await.empty_database().await;
    restored.restore(&db.dump().await).await;
    restored.run("INSERT INTO goods VALUES (1, 'A', 'a', 1, 10, 10, 10); UPDATE goods SET reserved = 9").await;
    assert_eq!(restored.events().await, ["product.created", "product.updated"], "no alert of another column");
    restored.run(r#"SELECT webhooks.attach('goods', 'products', '{"stock": "qty"}'); UPDATE goods SET qty = 9"#).await;
    assert_eq!(restored.events().await[2..], ["product.updated", "stock.low_alert"]);
}

#[tokio::test]
async fn a_password_is_in_no_message() {
    let stage = Stage::start().await;
    let db = &stage.db;
    db.run("ALTER TABLE suppliers ADD ftp_password text, ADD notes text, ADD site text").await;
    let open = db.session().await;
    open.run("INSERT INTO suppliers (id, name, ftp_password) VALUES (1, 's', 'hunter1')").await;
    // Also where nobody has attached the table anew since the column came.
    open.run("UPDATE suppliers SET ftp_password = 'hunter2'").await;
    db.notices();
    db.run("SELECT webhooks.attach('suppliers', exclude => '{notes}')").await;
    let notice = db.notices().remove(0);
    assert!(notice.message.contains("ftp_password") && notice.hint.contains("include"), "{notice:?}");
    open.run("UPDATE suppliers SET ftp_password = 'hunter3', notes = 'hunter4'").await;
    // What they are called does not matter once they are left out.
    db.run("ALTER TABLE suppliers RENAME ftp_password TO ftp_word; ALTER TABLE suppliers RENAME notes TO remarks")
        .await;
    open.run("UPDATE suppliers SET ftp_word = 'hunter5', remarks = 'hunter6'").await;
    db.run("ALTER TABLE suppliers ADD \"apiToken\" text").await;
    open.run(
        "UPDATE suppliers SET \"apiToken\" = 'hunter7'; UPDATE suppliers SET \"apiToken\" = 'hunter8', site = 'new'",
    )
    .await;
    open.run("UPDATE suppliers SET name = 'renamed', ftp_word = 'hunter9'").await;
    let arrived = stage.arrived().await;
    assert!(arrived.iter().all(|one| !one.body.contains("hunter")), "{arrived:?}");
    let updated = arrived.iter().filter(|one| one.event() == "supplier.updated");
    let mut changes: Vec<Value> = updated.map(|one| one.data()["changes"].clone()).collect();
    changes.sort_by_key(ToString::to_string);
    let told = [json!({"name": {"old": "s", "new": "renamed"}}), json!({"site": {"old": null, "new": "new"}})];
    assert_eq!(changes, told, "and a change of nothing else is no event");
}

#[tokio::test]
async fn include_lists_all_that_changes_shows() {
    let db = subscribed().await;
    db.run(
        "ALTER TABLE suppliers ADD token text, ADD notes text;
         SELECT webhooks.attach('suppliers', include => '{token, import_type}');
         INSERT INTO suppliers (id, name) VALUES (1, 's');
         UPDATE suppliers SET token = 't', notes = 'n', import_type = 'partial', name = 'new';
         UPDATE suppliers SET notes = 'm';
         ALTER TABLE suppliers RENAME token TO key_card; ALTER TABLE suppliers ADD later text;
         UPDATE suppliers SET key_card = 'u', later = 'l'",
    )
    .await;
    let made = data(&db).await;
    let changes: Vec<_> = made[1..].iter().map(|data| &data["changes"]).collect();
    let first = json!({"import_type": {"old": "full", "new": "partial"}, "token": {"old": null, "new": "t"}});
    assert_eq!(changes, [&first, &json!({"key_card": {"old": "t", "new": "u"}})]);
}

#[tokio::test]
async fn attachments_says_what_is_attached_and_how_to_attach_it_again() {
    let db = Cluster::shared().await.database().await;
    db.run(
        r#"CREATE TABLE "Goods" (id int, sku text, name text, price int, "Qty" int, min_stock int, supplier_id int,
                                 notes text, "it's" text, token text);
           SELECT webhooks.attach('"Goods"', 'products', '{"stock": "Qty"}', exclude => '{notes,it''s}');
           ALTER TABLE suppliers ADD api_key text;
           SELECT webhooks.attach('suppliers', include => '{name, api_key}')"#,
    )
    .await;
    let all = "SELECT target::text, kind, events, columns, left_out, problem FROM webhooks.attachments()";
    let listed = db.json(all).await;
    assert_eq!(listed.len(), 4);
    let goods = &listed[0];
    assert_eq!(goods["target"], "\"Goods\"");
    assert_eq!(goods["events"][3], "stock.low_alert");
    assert_eq!((&goods["columns"]["stock"], &goods["columns"]["sku"]), (&json!("Qty"), &json!("sku")));
    assert_eq!(goods["left_out"], json!(["notes", "it's", "token"]));
    assert_eq!(listed.iter().filter(|one| one["problem"].is_null()).count(), 3, "{listed:?}");
    let problem = listed[3]["problem"].as_str().expect("the included secret");
    assert!(problem.contains("api_key"), "{problem}");

    let manager = db.session_as("manager").await;
    assert_eq!(manager.json("SELECT * FROM webhooks.attachments()").await.len(), 4, "who manages may see it");
    for definition in db.all::<String>("SELECT definition FROM webhooks.attachments()").await {
        db.run(&definition).await;
    }
    assert_eq!(db.json(all).await, listed);
}

#[tokio::test]
async fn what_is_wrong_with_an_attached_table_is_named_and_doctor_finds_it() {
    let db = subscribed().await;
    db.run(
        "ALTER TABLE products DROP min_stock; ALTER TABLE suppliers RENAME import_type TO kind_of_import;
         ALTER TABLE imports DISABLE TRIGGER \"!webhooks_capture\"; CREATE TABLE cheap () INHERITS (products);
         CREATE TABLE parted (LIKE products, min_stock int) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products'); ALTER TABLE part DISABLE TRIGGER \"!webhooks_capture\"",
    )
    .await;
    let problems = db.json("SELECT target::text, problem FROM webhooks.attachments()").await;
    let problem = |target: &str| {
        let found = problems.iter().find(|one| one["target"] == target).expect("it is attached");
        found["problem"].as_str().unwrap_or_default().to_owned()
    };
    assert!(problem("products").contains("no column for min_stock"), "{problems:?}");
    assert!(problem("products").contains("child tables make no events: public.cheap"), "{problems:?}");
    assert!(problem("suppliers").contains("import_type is column kind_of_import now"), "{problems:?}");
    assert!(problem("imports").contains("disabled"), "{problems:?}");
    assert!(problem("parted").contains("part make no events"), "{problems:?}");
    let doctor = CommandLine::new(&db).run(&["doctor"]).await.stdout;
    for told in ["no column for min_stock", "import_type is column", "public.cheap", "trigger of imports is disabled"] {
        assert!(doctor.contains(told), "{told}: {doctor}");
    }
    let definition: String =
        db.one("SELECT definition FROM webhooks.attachments() WHERE target = 'suppliers'::regclass").await;
    db.run(&format!("{definition}; ALTER TABLE part ENABLE TRIGGER \"!webhooks_capture\"")).await;
    db.run("ALTER TABLE imports ENABLE TRIGGER \"!webhooks_capture\"").await;
    let left: Vec<String> = db.all("SELECT DISTINCT target::text FROM webhooks.attachment_problems()").await;
    assert_eq!(left, ["products"]);
}

#[tokio::test]
async fn what_an_applications_trigger_changes_is_news_after_the_change_it_was_fired_for() {
    let db = subscribed().await;
    db.run(
        "CREATE FUNCTION reprice() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN UPDATE products SET price = 2 WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER \"0 first\" AFTER INSERT ON products FOR EACH ROW EXECUTE FUNCTION reprice()",
    )
    .await;
    db.run(INSERT).await;
    assert_eq!(db.events().await, ["product.created", "product.updated"]);
}

#[tokio::test]
async fn a_trigger_of_anothers_that_has_our_name_is_left_alone() {
    let db = Cluster::shared().await.database().await;
    db.run(
        "SELECT webhooks.detach('products');
         CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER \"!webhooks_capture\" AFTER INSERT ON products FOR EACH ROW EXECUTE FUNCTION theirs()",
    )
    .await;
    let error = db.fail("SELECT webhooks.attach('products')").await;
    assert!(error.code == "42710" && error.hint.contains("RENAME TO"), "{error:?}");
    assert_eq!(db.fail("SELECT webhooks.detach('products')").await.code, "42704");
    let kept =
        "SELECT tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = 'products'::regclass AND tgname ~ 'webhooks'";
    assert_eq!(db.all::<String>(kept).await, ["theirs"]);
}

#[tokio::test]
async fn a_table_that_is_in_use_is_said_to_be() {
    let db = Cluster::shared().await.database().await;
    db.run("SELECT webhooks.detach('products')").await;
    let writer = db.session().await;
    writer.run(&format!("BEGIN; {INSERT}")).await;
    let error = db.fail("SELECT webhooks.attach('products')").await;
    assert!(error.code == "55P03" && error.message.contains("public.products"), "{error:?}");
    assert!(error.hint.contains("pg_locks"), "{error:?}");
    writer.run("COMMIT").await;
    db.run("SELECT webhooks.attach('products')").await;
}

#[tokio::test]
async fn child_tables_are_warned_of_and_make_events_once_they_are_attached() {
    let db = subscribed().await;
    db.run("CREATE TABLE cheap () INHERITS (products)").await;
    db.notices();
    db.run("SELECT webhooks.attach('products')").await;
    let told = db.notices().remove(0);
    assert!(told.message.contains("public.cheap") && told.hint.contains("kind => 'products'"), "{told:?}");
    db.run("SELECT webhooks.attach('cheap', kind => 'products'); SELECT webhooks.attach('products')").await;
    assert!(db.notices().is_empty(), "they all make events now");
    db.run("INSERT INTO cheap (id, sku, name, price) VALUES (1, 'A', 'a', 1); UPDATE products SET price = 2").await;
    assert_eq!(db.events().await, ["product.created", "product.updated"]);
}

#[tokio::test]
async fn a_supplier_is_named_through_a_key_of_several_columns() {
    let db = subscribed().await;
    db.run(
        "CREATE TABLE vendors (shop text, id bigint, name text, PRIMARY KEY (shop, id));
         CREATE TABLE jobs (LIKE imports INCLUDING DEFAULTS, shop text,
                            FOREIGN KEY (supplier_id, shop) REFERENCES vendors (id, shop));
         SELECT webhooks.attach('jobs', 'imports');
         INSERT INTO vendors VALUES ('a', 7, 'Seven of a'), ('b', 7, 'Seven of b');
         INSERT INTO jobs (id, supplier_id, shop, status) VALUES (1, 7, 'b', 'running'), (2, 7, 'a', 'running'),
                                                                 (3, 7, NULL, 'running')",
    )
    .await;
    let named: Vec<Value> = data(&db).await.iter().map(|data| data["supplier_name"].clone()).collect();
    assert_eq!(named, [json!("Seven of b"), json!("Seven of a"), Value::Null]);
}
