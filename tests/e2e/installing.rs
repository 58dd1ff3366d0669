//! What CREATE EXTENSION opens, where it puts things, and where it looks for tables.

use tests::{Cluster, Database, SECRET};

const SAMPLE: &str = include_str!("../../sql/examples/products_manager.sql");

/// Every privilege that somebody other than the owner has on the schema or on anything in it.
const PRIVILEGES: &str = "
    WITH object (class, id, name, owner, acl) AS (
        SELECT 'pg_namespace'::regclass, oid, nspname::text, nspowner, nspacl
          FROM pg_namespace WHERE nspname = 'webhooks'
         UNION ALL
        SELECT 'pg_class'::regclass, oid, oid::regclass::text, relowner, relacl
          FROM pg_class WHERE relnamespace = 'webhooks'::regnamespace
         UNION ALL
        SELECT 'pg_proc'::regclass, oid, oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
          FROM pg_proc WHERE pronamespace = 'webhooks'::regnamespace
         UNION ALL
        SELECT 'pg_type'::regclass, oid, oid::regtype::text, typowner, coalesce(typacl, acldefault('T', typowner))
          FROM pg_type WHERE typnamespace = 'webhooks'::regnamespace AND typelem = 0 AND typrelid = 0
    )
    SELECT format('%s %s: %s to %s', class, name, privilege_type, grantee::regrole)
      FROM object, aclexplode(acl) WHERE grantee <> owner ORDER BY 1";

/// Gives away whatever is created from now on.
async fn give_all_away(db: &Database<'_>, grantee: &str) {
    for kind in ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"] {
        db.run(&format!("ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {grantee}")).await;
    }
}

#[tokio::test]
async fn default_privileges_open_nothing_of_ours() {
    let cluster = Cluster::shared().await;
    let plain = cluster.empty_database().await;
    plain.run("CREATE EXTENSION pg_webhooks").await;
    let intended = plain.all::<String>(PRIVILEGES).await;
    assert!(intended.iter().any(|one| one.ends_with("EXECUTE to webhooks_admin")), "{intended:?}");

    for grantee in ["PUBLIC", "app WITH GRANT OPTION", "webhooks_sidecar"] {
        let db = cluster.empty_database().await;
        give_all_away(&db, grantee).await;
        db.run("CREATE EXTENSION pg_webhooks").await;
        assert_eq!(db.all::<String>(PRIVILEGES).await, intended, "after CREATE EXTENSION, to {grantee}");
        let refused = db.session_as("app").await.fail("SELECT secret FROM webhooks.endpoint").await;
        assert_eq!(refused.code, "42501", "{grantee}: {refused:?}");
    }
}

#[tokio::test]
async fn default_privileges_open_no_day_that_is_made_later() {
    let db = Cluster::shared().await.database().await;
    let intended = db.all::<String>(PRIVILEGES).await;
    give_all_away(&db, "PUBLIC").await;
    give_all_away(&db, "app").await;
    db.run(
        "SELECT webhooks.create_partition(parent, date '2020-01-02')
           FROM unnest('{webhooks.event,webhooks.attempt}'::regclass[]) parent",
    )
    .await;
    assert_eq!(db.all::<String>(PRIVILEGES).await, intended);
    let dump = db.dump().await;
    assert!(!dump.contains("_20200102"), "a day stays behind when the database is dumped: {dump}");
}

#[tokio::test]
async fn dropping_schema_public_leaves_the_extension_whole() {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.token("me", "manage").await;
    db.run("DROP SCHEMA public CASCADE").await;
    assert_eq!(db.all::<String>("SELECT id FROM webhooks.list()").await, [endpoint]);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.tokens()").await, 1);
    let event: String = db.one("SELECT webhooks.emit('order.paid', '{}')").await;
    assert_eq!(db.all::<String>("SELECT webhook_id FROM webhooks.event").await, [event]);
}

#[tokio::test]
async fn the_extension_comes_again_into_the_schema_it_left_empty() {
    let db = Cluster::shared().await.empty_database().await;
    db.run("CREATE EXTENSION pg_webhooks").await;
    let schema = "SELECT nspname::text FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
                   WHERE extname = 'pg_webhooks'";
    assert_eq!(db.one::<String>(schema).await, "webhooks");
    let privileges = db.all::<String>(PRIVILEGES).await;
    db.run("DROP EXTENSION pg_webhooks").await;
    let left = "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
                 WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'webhooks'::regnamespace";
    assert_eq!(db.all::<String>(left).await, [""; 0]);
    db.run("CREATE EXTENSION pg_webhooks").await;
    assert_eq!(db.all::<String>(PRIVILEGES).await, privileges);
    db.run("DROP EXTENSION pg_webhooks; DROP SCHEMA webhooks").await;
}

#[tokio::test]
async fn another_schema_is_refused_in_the_words_of_postgres() {
    let db = Cluster::shared().await.empty_database().await;
    let refused = db.fail("CREATE EXTENSION pg_webhooks SCHEMA public").await;
    assert_eq!(refused.code, "0A000");
    assert!(refused.message.contains("must be installed in schema \"webhooks\""), "{refused:?}");
}

#[tokio::test]
async fn a_schema_of_our_name_that_is_somebody_elses_is_refused() {
    let cluster = Cluster::shared().await;
    for (sql, why) in [
        ("CREATE SCHEMA webhooks AUTHORIZATION app", "belongs to app"),
        ("CREATE SCHEMA webhooks; GRANT CREATE ON SCHEMA webhooks TO app", "app may create"),
        ("CREATE SCHEMA webhooks; GRANT ALL ON SCHEMA webhooks TO PUBLIC", "PUBLIC may create"),
        ("CREATE SCHEMA webhooks; CREATE TABLE webhooks.event_20300102 ()", "table webhooks.event_20300102"),
        ("CREATE SCHEMA webhooks; CREATE FUNCTION webhooks.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "webhooks.f()"),
        ("CREATE SCHEMA webhooks; CREATE TYPE webhooks.mood AS ENUM ()", "type webhooks.mood"),
        ("CREATE SCHEMA webhooks; CREATE EXTENSION pgcrypto SCHEMA webhooks", "webhooks."),
    ] {
        let db = cluster.empty_database().await;
        db.run(sql).await;
        let refused = db.fail("CREATE EXTENSION pg_webhooks").await;
        assert_eq!(refused.code, "42P06", "{sql}: {refused:?}");
        assert!(refused.message.contains(why), "{sql}: {refused:?}");
        assert!(refused.hint.contains("ALTER SCHEMA webhooks RENAME"), "{sql}: {refused:?}");
    }
    // As a dump has it that somebody else restores.
    let db = cluster.empty_database().await;
    db.run("CREATE ROLE elsewhere SUPERUSER; CREATE SCHEMA webhooks AUTHORIZATION elsewhere").await;
    db.run("CREATE EXTENSION pg_webhooks; DROP EXTENSION pg_webhooks; DROP SCHEMA webhooks; DROP ROLE elsewhere").await;
}

#[tokio::test]
async fn create_extension_looks_for_tables_where_the_session_looks() {
    let cluster = Cluster::shared().await;
    for (sql, attached) in [
        ("SET search_path = other, shop; CREATE EXTENSION pg_webhooks", &["shop.products"][..]),
        ("BEGIN; SET LOCAL search_path = shop; CREATE EXTENSION pg_webhooks; COMMIT", &["shop.products"]),
        ("SET search_path = shop, public; CREATE EXTENSION pg_webhooks", &["shop.products", "suppliers"]),
        ("CREATE EXTENSION pg_webhooks", &["suppliers"]),
        ("SET search_path = ''; CREATE EXTENSION pg_webhooks", &[]),
    ] {
        let db = cluster.empty_database().await;
        db.run(SAMPLE).await;
        db.run("CREATE SCHEMA shop; CREATE SCHEMA other; ALTER TABLE products SET SCHEMA shop; DROP TABLE imports")
            .await;
        db.run(sql).await;
        db.run("RESET search_path").await;
        let triggers = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = '!webhooks_capture' ORDER BY 1";
        assert_eq!(db.all::<String>(triggers).await, attached, "{sql}");
    }
}

#[tokio::test]
async fn a_session_that_wants_no_notices_gets_none_from_create_extension() {
    let db = Cluster::shared().await.empty_database().await;
    db.run("SET client_min_messages = warning; CREATE EXTENSION pg_webhooks").await;
    assert!(db.notices().is_empty());
}
