//! Who has rights on what is in schema webhooks: the roles of the extension, and nobody else.

use super::finding::{Findings, Level};
use crate::cli::connection::Connection;
use crate::cli::error::CliError;

/// What somebody may do that the extension has not let them: an object as GRANT names it, who, and what. Members of the
/// extension's roles are not looked at, nor what everybody is meant to have: USAGE of the schema and `emit` are the user's
/// to give, and each writer calls the functions named wanted_….
const FOREIGN_RIGHTS: &str = "
    WITH ours (oid) AS (
        SELECT oid FROM pg_roles WHERE rolname IN ('webhooks_admin', 'webhooks_api', 'webhooks_sidecar')
    ), object (name, owner, acl, is_open) AS (
        SELECT 'SCHEMA webhooks', nspowner, nspacl, false FROM pg_namespace WHERE nspname = 'webhooks'
         UNION ALL
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, relowner, acl, false
          FROM pg_class c
         CROSS JOIN LATERAL (SELECT relacl UNION ALL
                             SELECT attacl FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) AS own (acl)
         WHERE relnamespace = to_regnamespace('webhooks') AND relkind IN ('r', 'p', 'S')
         UNION ALL
        SELECT 'FUNCTION ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner)),
               proname = 'emit' OR starts_with(proname, 'wanted_')
          FROM pg_proc WHERE pronamespace = to_regnamespace('webhooks')
         UNION ALL
        SELECT 'what is made in schema webhooks', defaclrole, defaclacl, false
          FROM pg_default_acl WHERE defaclnamespace = to_regnamespace('webhooks')
    )
    SELECT name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
           string_agg(DISTINCT privilege_type, ', ' ORDER BY privilege_type) AS privileges,
           CASE WHEN starts_with(name, 'what') THEN
               'ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks REVOKE ALL ON TABLES FROM …;  -- \\ddp shows them' END AS fix
      FROM object CROSS JOIN aclexplode(acl)
     WHERE grantee <> owner AND NOT is_open
       AND (name LIKE 'TABLE %' OR name LIKE 'SEQUENCE %' OR grantee NOT IN (SELECT oid FROM ours))
       AND NOT (name = 'SCHEMA webhooks' AND privilege_type = 'USAGE')
     GROUP BY name, grantee ORDER BY name, 2";

pub async fn check(connection: &Connection, findings: &mut Findings) -> Result<(), CliError> {
    let rows = connection.client.query(FOREIGN_RIGHTS, &[]).await?;
    for row in &rows {
        let (object, grantee): (&str, &str) = (row.get("name"), row.get("grantee"));
        let privileges: &str = row.get("privileges");
        let fix: Option<String> = row.get("fix");
        // Secrets are there, and whoever may create can put another table in a table's place.
        let level = match object {
            "TABLE webhooks.endpoint" | "SCHEMA webhooks" => Level::Problem,
            _ => Level::Warning,
        };
        let fix = fix.unwrap_or_else(|| format!("REVOKE ALL ON {object} FROM {grantee};"));
        findings.add("rights", level, format!("{grantee} has {privileges} on {object}"), fix);
    }
    if rows.is_empty() {
        findings.ok("rights", "only the extension's roles have rights on what is in schema webhooks");
    }
    Ok(())
}
