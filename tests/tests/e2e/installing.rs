//! What CREATE EXTENSION leaves open, and where it puts things: nothing of ours is anybody's whom grants.sql does not name.

use tests::{Cluster, Database};

/// Every privilege that somebody other than the owner has on the schema or on anything in it.
const PRIVILEGES: &str = "
    WITH object (class, id, name, owner, acl) AS (
        SELECT 'pg_namespace'::regclass, oid, nspname::text, nspowner, nspacl FROM pg_namespace WHERE nspname = 'webhooks'
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
        "SELECT webhooks.create_partition(parent, date '2030-01-02')
           FROM unnest('{webhooks.event,webhooks.attempt}'::regclass[]) parent",
    )
    .await;
    assert_eq!(db.all::<String>(PRIVILEGES).await, intended);
    let dump = db.dump().await;
    assert!(!dump.contains("_20300102"), "a day stays behind when the database is dumped: {dump}");
}
